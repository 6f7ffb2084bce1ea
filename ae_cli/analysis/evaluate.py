"""How good a model is: its reconstructions, and its latents as a picture and as features.

It is always compared with PCA with as many components, fitted to the same training images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ae_cli.analysis.advice import Evidence, advise
from ae_cli.analysis.pca import (
    first_components,
    fit_pca,
    fitting_images,
    reconstruct_by_pca,
    transform,
    variance_kept,
)
from ae_cli.analysis.quality import NEIGHBORS, Accuracy, Quality, classify, measure_quality
from ae_cli.config import Split, takes
from ae_cli.config.commands import EvaluateOptions
from ae_cli.data.images import DataSet, Images
from ae_cli.files import check_output
from ae_cli.latents.infer import (
    Floats,
    encode,
    join,
    reconstruct,
    reconstruct_all,
    reconstruction_errors,
)
from ae_cli.latents.inputs import Inputs, ModelLike, load_inputs
from ae_cli.models import AutoEncoder, choose_device
from ae_cli.results import Result, Rows

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from sklearn.decomposition import PCA

    from ae_cli.config import Progress

DRAWN = 10  # images in the picture
SAMPLE = 2000  # images in which neighbours are searched: time grows with the square
# Principal components in place of all pixels, from which labels are predicted: on MNIST, accuracies
# differ by 0.3 and 0.2 percentage points, and take a quarter of the time.
PIXEL_COMPONENTS = 128
# The name and the format of each figure
FIGURES = {
    "mean_error": ("mean reconstruction error", "{:.4f}"),
    "median_error": ("median", "{:.4f}"),
    "error_95": ("95 % are below", "{:.4f}"),
    "psnr": ("PSNR, dB", "{:.2f}"),
    "ssim": ("SSIM", "{:.3f}"),
    "variance_kept": ("variance kept", "{:.1%}"),
    "trustworthiness": ("trustworthiness", "{:.3f}"),
    "continuity": ("continuity", "{:.3f}"),
}


@dataclass(frozen=True)
class Report(Result):
    """All figures for one split.

    Attributes:
        split: Its name.
        images: Number of images in it.
        fitted: Number of training images that PCA and the classifiers were fitted to.
        sample: Number of images of the split that trustworthiness and continuity were computed on.
        latent_dim: Latent values per image.
        components: Number of PCA's components: as many as latents, unless there are fewer images.
        pixel_components: Number of principal components that stand for the pixels in `accuracy`.
        autoencoder: The model's figures.
        pca: PCA's figures.
        accuracy: How well labels of test images can be predicted from latents, PCA's components and
            pixels; None without labels of two classes.
        chance: Share of test images in the class that is most frequent in the training images; None
            if `accuracy` is None.
        trust: Whether a picture of the latents can be trusted, in a sentence.
        out: The picture; None if none was drawn.
        originals: float32 (n, channels, height, width) in [0, 1], the first images of the split.
        pixels: The model's reconstructions of them.
        pca_pixels: PCA's reconstructions of them.
        latents_in_use: How many of the latents the test images differ in, in effect, as training
            measured it; None if it did not.
        problems: What is wrong with the model and what would help, in a sentence each.
        advice: What would make the model better, by what was measured, in a sentence each; empty
            if there are problems, and for other images than the model's own held-out ones.
    """

    split: str
    images: int
    fitted: int
    sample: int
    latent_dim: int
    components: int
    pixel_components: int
    autoencoder: Quality
    pca: Quality
    accuracy: dict[str, Accuracy] | None
    chance: float | None
    trust: str
    out: Path | None
    originals: Floats = field(repr=False)
    pixels: Floats = field(repr=False)
    pca_pixels: Floats = field(repr=False)
    latents_in_use: float | None = None
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def summary(self) -> Rows:
        """The model beside PCA."""
        rows = []
        for attribute, (name, form) in FIGURES.items():
            values = (getattr(quality, attribute) for quality in (self.autoencoder, self.pca))
            rows.append([name, *("–" if value is None else form.format(value) for value in values)])
        title = f"{self.images:,} {self.split} images"
        return [title, "autoencoder", f"PCA, {self.components} components"], rows

    def draw(self, figure: Figure) -> None:
        """Draw some images above both reconstructions, and the accuracies."""
        from ae_cli.figures import draw_evaluation

        draw_evaluation(
            figure,
            self.originals,
            self.pixels,
            self.pca_pixels,
            errors=(self.autoencoder.mean_error, self.pca.mean_error),
            accuracies=self.accuracy,
            chance=self.chance,
        )

    def _repr_png_(self) -> bytes:
        from ae_cli.figures import to_png

        return to_png(self.draw)


@takes(EvaluateOptions)
def evaluate(model: ModelLike, options: EvaluateOptions) -> Report:
    """Measure a model, and for comparison PCA with as many components.

    Args:
        model: A trained model, or the path of its checkpoint.
        options: See `EvaluateOptions`.

    Raises:
        AeError: The model or the images cannot be read, or the picture cannot be written.
    """
    out = None if options.out is None else Path(options.out)
    if out is not None:
        from ae_cli import figures

        check_output(out, figures.endings())
    device = choose_device(options.device)
    inputs = load_inputs(model, options)
    network, data = inputs.trained.model, inputs.images
    # PCA gets no more training images than the model had.
    limits = [options.limit, inputs.trained.training.limit if inputs.own else None]
    train = fitting_images(
        data.split("train"), min((n for n in limits if n is not None), default=None)
    )
    options.progress("fitting PCA", 0, None, "")
    # To see what more latents would keep, and in place of all pixels
    wide = fit_pca(train, max(2 * network.config.latent_dim, PIXEL_COMPONENTS))
    pca = first_components(wide, network.config.latent_dim)
    report = measure(
        network,
        pca,
        first_components(wide, PIXEL_COMPONENTS),
        train,
        data,
        options.split,
        device=device,
        progress=options.progress,
        out=out,
    )
    is_held_out = inputs.own and options.split == "test"
    report = replace(
        report,
        latents_in_use=inputs.trained.metrics.latents_in_use,
        problems=inputs.trained.problems,
        advice=_give_advice(inputs, report, wide, device) if is_held_out else [],
    )
    if out is not None:
        figures.write(out, report.draw)
    return report


def _give_advice(inputs: Inputs, report: Report, wide: PCA, device: torch.device) -> list[str]:
    """Compute `advice` of a `Report` on the model's own test split."""
    trained, data = inputs.trained, inputs.images
    latents = trained.model.config.latent_dim
    if data.selected_classes != trained.data.selected_classes:
        return []
    learned = data.train.head(trained.training.limit or len(data.train))
    count = min(len(learned), len(data.test))
    some = learned.select(np.linspace(0, len(learned) - 1, count).round().astype(int))
    return advise(
        trained,
        Evidence(
            error=report.autoencoder.mean_error,
            train_error=float(reconstruction_errors(trained.model, some, device=device).mean()),
            pca_error=report.pca.mean_error,
            kept=variance_kept(wide, data.test, (latents // 2, latents, 2 * latents)),
        ),
    )


def measure(
    model: AutoEncoder,
    pca: PCA,
    wide: PCA,
    train: Images,
    data: DataSet,
    split: Split,
    *,
    device: torch.device,
    progress: Progress,
    out: Path | None,
) -> Report:
    """Measure a model and PCA on one split, and their features on the test split.

    Args:
        model: Moved to `device`.
        pca: Fitted to `train`.
        wide: The same with more components, in place of all pixels.
        train: The training images that the classifiers are fitted to.
        data: Both splits.
        split: The split whose reconstructions and latents are measured.
        device: Where the model computes.
        progress: Called with the name of each stage as it begins.
        out: As in `Report`.
    """
    images = data.split(split)
    sample = np.sort(np.random.default_rng(0).permutation(len(images))[:SAMPLE])
    mean_error = images.mean_image_error()
    progress("autoencoder", 0, None, "")
    reconstructed = reconstruct(model, images, device=device)
    own = measure_quality(reconstructed, len(images), sample, mean_error)
    progress("PCA", 0, None, "")
    reconstructed = reconstruct_by_pca(pca, images)
    pca_quality = measure_quality(reconstructed, len(images), sample, mean_error)
    accuracy, chance = _measure_accuracy(model, pca, wide, train, data.test, device, progress)
    shown = images.head(DRAWN)
    made = reconstruct_all(model, shown, device=device)
    return Report(
        split=split,
        images=len(images),
        fitted=len(train),
        sample=len(sample),
        latent_dim=model.config.latent_dim,
        components=pca.n_components_,
        pixel_components=wide.n_components_,
        autoencoder=own,
        pca=pca_quality,
        accuracy=accuracy,
        chance=chance,
        trust=judge(own, pca_quality, model.config.latent_dim),
        out=out,
        originals=made.originals,
        pixels=made.pixels,
        pca_pixels=join(reconstruct_by_pca(pca, shown)).pixels.clip(0, 1),
    )


def _measure_accuracy(
    model: AutoEncoder,
    pca: PCA,
    wide: PCA,
    train: Images,
    test: Images,
    device: torch.device,
    progress: Progress,
) -> tuple[dict[str, Accuracy] | None, float | None]:
    """Compute `accuracy` and `chance` of a `Report`."""
    if train.labels is None or test.labels is None or len(train.labels.unique()) < 2:
        return None, None
    features: dict[str, Callable[[Images], Floats]] = {
        "latents": lambda some: encode(model, some, device=device),
        "PCA": partial(transform, pca),
        "pixels": partial(transform, wide),
    }
    labels, truth = train.labels.numpy(), test.labels.numpy()
    accuracy = {}
    for name, compute in features.items():
        progress(f"labels from {name}", 0, None, "")
        accuracy[name] = classify(compute(train), labels, compute(test), truth)
    return accuracy, float((truth == np.bincount(labels).argmax()).mean())


def judge(own: Quality, pca: Quality, latent_dim: int) -> str:
    """Say in one sentence whether a picture of the latents can be trusted.

    Args:
        own: The model's figures.
        pca: PCA's figures.
        latent_dim: Latent values per image.
    """
    if own.trustworthiness is None or own.continuity is None:
        return f"too few images to say: more than {2 * NEIGHBORS} are needed"
    if own.variance_kept is None or pca.variance_kept is None:
        return "the images are all alike: there is nothing to see"
    answer, _ = _judge(min(own.trustworthiness, own.continuity))
    _, alike = _judge(own.trustworthiness)
    _, close = _judge(own.continuity)
    beside = f", PCA's {pca.trustworthiness:.2f}" if pca.trustworthiness is not None else ""
    better = "more" if own.variance_kept > pca.variance_kept else "no more"
    shown = "" if latent_dim <= 3 else f"; but a plot shows three of the {latent_dim} latents"
    return (
        f"{answer}: images with similar latents are {alike} alike (trustworthiness "
        f"{own.trustworthiness:.2f}{beside}), alike images {close} have similar latents "
        f"(continuity {own.continuity:.2f}), and {latent_dim} latents keep {own.variance_kept:.0%} "
        f"of the variance, {better} than PCA's {pca.variance_kept:.0%}{shown}"
    )


def _judge(figure: float) -> tuple[str, str]:
    """The answer, and the adverb, for a trustworthiness or continuity."""
    return next(words for least, words in _ANSWERS if figure >= least)


# The smallest trustworthiness or continuity for each answer: our own rule of thumb.
_ANSWERS = (
    (0.95, ("yes", "nearly always")),
    (0.9, ("mostly", "mostly")),
    (0.8, ("with care", "often")),
    (0.0, ("no", "too rarely")),
)
