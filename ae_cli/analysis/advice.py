"""What would make a model better: each sentence rests on a figure that was measured."""

from __future__ import annotations

import math
from typing import NamedTuple

from ae_cli.config import Metrics, TrainConfig
from ae_cli.models.checkpoint import Checkpoint

# Smaller differences are not worth a sentence: our own rules of thumb.
WORSE = 1.005  # times PCA's error
OVERFITTED = 1.5  # times the training images' error
STILL_FALLING = 0.02  # of the loss, in the last quarter of the epochs
RISEN = 0.02  # of the lowest loss
WORTH_MORE = 0.05  # of the variance, for twice as many latents
WORTH_LESS = 0.01  # of the variance, lost with half as many


class Evidence(NamedTuple):
    """What was measured, besides what the checkpoint records.

    Attributes:
        error: The model's mean reconstruction error over the held-out images.
        train_error: The same over as many training images, or over all if there are fewer.
        pca_error: PCA's mean reconstruction error over the held-out images, with as many components
            as latents.
        kept: The share of the held-out images' variance that PCA keeps, by its number of
            components: half as many as latents, as many, and twice as many, where there are so
            many. Empty if the images are all alike.
    """

    error: float
    train_error: float
    pca_error: float
    kept: dict[int, float]


def advise(trained: Checkpoint, evidence: Evidence) -> list[str]:
    """Say what would make a model better, in a sentence each.

    Args:
        trained: The model, with what is recorded about it. If this is a problem already, that comes
            first, and there is no advice.
        evidence: What was measured.
    """
    if trained.problems:
        return []
    training = trained.training
    sentences = [
        _advise_family(trained, evidence),
        _advise_epochs(training, trained.metrics),
        _advise_images(training, evidence),
        _advise_latents(trained.model.config.latent_dim, evidence.kept),
    ]
    return [sentence for sentence in sentences if sentence is not None]


def _advise_family(trained: Checkpoint, evidence: Evidence) -> str | None:
    """Advise a model that starts from PCA, and keeps that start if no epoch is better."""
    if evidence.error <= WORSE * evidence.pca_error:
        return None
    if not trained.model.has_start:
        remedy = "--model conv, which starts from PCA"
    elif trained.training.keep == "last":
        remedy = "--keep best, which keeps the start, PCA itself, if no epoch is better"
    else:
        return None
    return (
        f"PCA's mean error on held-out images is {evidence.pca_error:.4f}, and the model's "
        f"{evidence.error:.4f}: try {remedy}"
    )


def _advise_epochs(training: TrainConfig, metrics: Metrics) -> str | None:
    """Advise more epochs if the loss was still falling, or to keep the best one if it had risen."""
    losses = metrics.recent_losses
    span = min(math.ceil(training.epochs / 4), len(losses) - 1)
    if metrics.epoch < training.epochs or span < 1 or not all(losses):
        return None
    if losses[-1] > (1 + RISEN) * min(losses):
        return (
            f"the loss on held-out images was {min(losses):.4f} after an earlier epoch, and "
            f"{losses[-1]:.4f} after the last one: try --keep best"
        )
    fell = 1 - losses[-1] / losses[-1 - span]
    if fell < STILL_FALLING:
        return None
    return (
        f"the loss on held-out images still fell by {fell:.0%} in the last "
        f"{'epoch' if span == 1 else f'{span} epochs'}: try more --epochs than {training.epochs}"
    )


def _advise_images(training: TrainConfig, evidence: Evidence) -> str | None:
    """Advise more or varied images if those that were learned from are reconstructed better."""
    if evidence.error < OVERFITTED * evidence.train_error:
        return None
    remedy = "more images" if training.augment else "--augment shift, or more images"
    return (
        f"the mean error is {evidence.error:.4f} on held-out images, and "
        f"{evidence.train_error:.4f} on as many training images at most: try {remedy}"
    )


def _advise_latents(count: int, kept: dict[int, float]) -> str | None:
    """Advise more latents or fewer, by what PCA keeps with as many components."""
    fewer, more = count // 2, 2 * count
    if count not in kept:
        return None
    if more in kept and kept[more] - kept[count] >= WORTH_MORE:
        other = more
    elif fewer in kept and kept[count] - kept[fewer] < WORTH_LESS:
        other = fewer
    else:
        return None
    return (
        f"PCA with {count} components keeps {kept[count]:.1%} of the variance, with {other} "
        f"{kept[other]:.1%}: try --latent-dim {other}"
    )
