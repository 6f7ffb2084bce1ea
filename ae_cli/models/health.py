"""What is wrong with a trained model, judged by what is recorded about it, and what would help."""

from __future__ import annotations

from ae_cli.config import DataConfig, Metrics, ModelConfig, TrainConfig
from ae_cli.results import count_images

# A model whose error is above this share of the mean image's error has learned next to nothing.
COLLAPSED = 0.98
HIGH_LR = 0.02  # above it, a rate is the likely reason
FEW_STEPS = 500
FEW_IMAGES = 100
FEWEST_LATENTS = 4  # with fewer, it does not matter how many are in use
MOSTLY_UNUSED = 0.5  # of the latents


def describe_use(in_use: float | None) -> str:
    """What to add to a number of latents: how many of them are in use, if that is known."""
    return "" if in_use is None else f", of which {_write_use(in_use)} are in use"


def _write_use(in_use: float) -> str:
    """Write an effective number of latents; of many, its fraction says nothing."""
    return f"about {in_use:.0f}" if in_use >= 10 else f"about {in_use:.1f}"


def find_problems(
    model: ModelConfig, training: TrainConfig, data: DataConfig, metrics: Metrics
) -> list[str]:
    """Say what is wrong with a model and what would help, in a sentence each; [] if nothing is."""
    if data.mean_error is not None and metrics.test_error > COLLAPSED * data.mean_error:
        if training.lr > HIGH_LR:
            remedy = f"its learning rate of {training.lr:g} is too high: leave out --lr"
        elif not model.pca and training.preset == "tutorial":
            remedy = "leave out --preset tutorial, whose recipe is for MNIST"
        elif data.train_images < FEW_IMAGES:
            remedy = f"it learned from {count_images(data.train_images)} only: give it more of them"
        elif metrics.step < FEW_STEPS:
            remedy = f"it took only {metrics.step:,} steps: give it more --epochs"
        elif model.variational:
            remedy = f"give it a smaller --beta than {training.beta:g}"
        elif not model.pca:
            remedy = "train with --model conv, which starts from PCA"
        else:
            remedy = "the images may be alike, or noise: look at some of them"
        return [f"the model reconstructs images no better than their mean image would; {remedy}"]
    used, count = metrics.latents_in_use, model.latent_dim
    if used is not None and count >= FEWEST_LATENTS and used < MOSTLY_UNUSED * count:
        if model.variational:
            remedy = f"a smaller --beta than {training.beta:g} would use more of them"
        elif training.sparse:
            remedy = f"a smaller --sparse than {training.sparse:g} would use more of them"
        elif not model.pca:
            remedy = "train with --model conv, which starts from PCA"
        else:  # however little the last components vary, they lower the error
            return []
        return [f"only {_write_use(used)} of the {count} latents are in use; {remedy}"]
    return []
