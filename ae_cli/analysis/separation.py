"""What is known about images that are judged, and how well their scores agree with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.analysis.judge import Judge
from ae_cli.analysis.masks import PixelScores, score_pixels
from ae_cli.analysis.pca import fit_pca, fitting_images, reconstruct_by_pca
from ae_cli.config import Chosen, Progress
from ae_cli.data.classes import is_member, parse_classes, select_classes
from ae_cli.data.images import Images
from ae_cli.errors import UsageError, warn
from ae_cli.latents.infer import collect, stack
from ae_cli.latents.inputs import Inputs

MOST_MASKED = 2**24  # pixels that are compared with masks


@dataclass(frozen=True)
class Scores:
    """How well scores separate anomalous images from normal ones, for any threshold.

    Attributes:
        auroc: Area under the receiver operating characteristic: the chance that an anomalous image
            has a higher score than a normal one.
        average_precision: Area under the precision-recall curve, as scikit-learn defines it.
        normal: Number of normal images.
        anomalous: Number of anomalous images.
    """

    auroc: float
    average_precision: float
    normal: int
    anomalous: int


def separate(scores: NDArray[np.floating[Any]], anomalous: NDArray[np.bool_]) -> Scores:
    """Measure how well scores separate anomalous images from normal ones.

    Args:
        scores: (n,).
        anomalous: (n,), which of the images are anomalous: some, but not all.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    count = int(anomalous.sum())
    return Scores(
        auroc=float(roc_auc_score(anomalous, scores)),
        average_precision=float(average_precision_score(anomalous, scores)),
        normal=len(anomalous) - count,
        anomalous=count,
    )


class Known(NamedTuple):
    """What is known about examined images without judging them.

    Attributes:
        classes: The classes that are normal; None if that is not known.
        places: int64 (m,), the places of the images that scores are compared on.
        anomalous: bool (m,), which of these are anomalous; None if that is not known, or if all or
            none are.
    """

    classes: tuple[str, ...] | None
    places: NDArray[np.int64]
    anomalous: NDArray[np.bool_] | None


def find_known(
    text: Chosen | None, inputs: Inputs, examined: Images, membership: NDArray[np.str_]
) -> Known:
    """Find out which images are anomalous.

    Args:
        text: The option ``--normal-classes``.
        inputs: The model, and all images.
        examined: n images.
        membership: (n,), the split of each.

    Raises:
        UsageError: The normal classes leave nothing to tell apart.
    """
    normal = _find_normal(text, inputs)
    # The model's errors on its own training images say nothing about new ones.
    places = np.flatnonzero(membership == "test") if inputs.own else np.arange(len(examined))
    anomalous = None
    if normal is not None:
        anomalous = ~is_member(examined, normal)[places]
        if len(set(anomalous)) < 2:
            anomalous = None
    if anomalous is None and text is not None:
        raise UsageError(
            "--normal-classes leaves nothing to tell apart: all images are normal, or none is",
            "choose other classes, or leave it out",
        )
    if anomalous is not None and inputs.own and not inputs.trained.data.for_anomalies:
        warn(
            f"the threshold of {inputs.name} comes from the test images, which are judged here; "
            "train again for one from images that are not"
        )
    return Known(normal, places, anomalous)


class Separation(NamedTuple):
    """How well normal and anomalous images are told apart; see `AnomalyReport`."""

    scores: Scores | None = None
    detected: int | None = None
    false_alarms: int | None = None
    pca_scores: Scores | None = None
    pixel_scores: PixelScores | None = None


def measure_separation(
    judge: Judge,
    inputs: Inputs,
    examined: Images,
    values: NDArray[np.floating[Any]],
    known: Known,
    progress: Progress,
) -> Separation:
    """Measure how well scores separate normal images from anomalous ones, if these are known.

    Args:
        judge: What gave the scores.
        inputs: The model, and all images.
        examined: n images.
        values: (n,), the score of each.
        known: What is known about them.
        progress: Called while it goes on.
    """
    if known.anomalous is None:
        return Separation()
    images = examined.select(known.places)
    scores = values[known.places]
    above = scores > judge.threshold
    found = Separation(
        scores=separate(scores, known.anomalous),
        detected=int((above & known.anomalous).sum()),
        false_alarms=int((above & ~known.anomalous).sum()),
    )
    if inputs.own:
        progress("PCA", 0, None, "")
        found = found._replace(pca_scores=_score_pca(inputs, images, known.anomalous))
    if images.mask_places is not None:
        progress("masks", 0, None, "")
        found = found._replace(pixel_scores=_score_masks(judge, images, known.anomalous))
    return found


def _find_normal(text: Chosen | None, inputs: Inputs) -> tuple[str, ...] | None:
    """The classes whose images are normal; None if that is not known."""
    train = inputs.images.train
    if text is not None:
        return parse_classes("--normal-classes", text, inputs.images)
    selected = inputs.trained.data.selected_classes
    if selected is None and inputs.own and train.labels is not None and train.classes is not None:
        # A set for visual inspection may have only good examples in its training split.
        selected = tuple(train.classes[i] for i in train.labels.unique())
    if selected is None or train.classes is None or set(selected) >= set(train.classes):
        return None
    return selected


def _score_masks(
    judge: Judge, examined: Images, anomalous: NDArray[np.bool_]
) -> PixelScores | None:
    """Compare maps of images with their masks; normal images need none."""
    if examined.mask_places is None:
        return None
    known = np.flatnonzero(~anomalous | (examined.mask_places >= 0))
    most = max(1, MOST_MASKED // math.prod(examined.shape[1:]))
    if len(known) > most:
        known = known[np.linspace(0, len(known) - 1, most).round().astype(int)]
    images = examined.select(known)
    batches = judge.reconstruct(images)
    maps = stack((judge.maps(batch) for batch in batches), (len(images), *images.shape[1:]))
    return score_pixels(maps, images.masks())


def _score_pca(inputs: Inputs, examined: Images, anomalous: NDArray[np.bool_]) -> Scores:
    """Score PCA's errors. PCA has as many components as latents, and the same training images."""
    images, trained = inputs.images, inputs.trained
    if trained.data.selected_classes is not None:
        images = select_classes(images, trained.data.selected_classes)
    train = fitting_images(images.train, trained.training.limit)
    pca = fit_pca(train, trained.model.config.latent_dim)
    errors = collect(reconstruct_by_pca(pca, examined), len(examined)).errors
    return separate(errors, anomalous)
