"""Telling how unusual images are, and which of them are too unusual."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.analysis.scores import Scorer, share_of_scores
from ae_cli.config import QUANTILE, Score
from ae_cli.data.images import Images
from ae_cli.errors import CheckpointError, UsageError
from ae_cli.latents.infer import Floats, Reconstruction, reconstruct, reconstruction_errors
from ae_cli.models.checkpoint import Checkpoint

QUANTILES = 1001  # of the held-out images' errors: one for every 0.1 %
DIGITS = 6  # significant digits of a quantile, to keep checkpoints small


def error_quantiles(errors: NDArray[np.float32]) -> tuple[float, ...]:
    """Summarise reconstruction errors, so that `threshold_at` needs no images.

    Args:
        errors: (n,), n at least 1.

    Returns:
        `QUANTILES` evenly spaced quantiles, ascending from the smallest error to the largest.
    """
    quantiles = np.quantile(errors.astype(np.float64), np.linspace(0, 1, QUANTILES))
    return tuple(float(f"{value:.{DIGITS}g}") for value in np.maximum.accumulate(quantiles))


def threshold_at(quantile: float, quantiles: tuple[float, ...]) -> float:
    """The error that a share `quantile`, from 0 to 1, of the images stays below.

    It is interpolated between the given `quantiles`.
    """
    return float(np.interp(quantile, np.linspace(0, 1, len(quantiles)), quantiles))


def name_score(score: str, *, for_anomalies: bool) -> str:
    """What a score is called in pictures: in a model that is not for anomalies, it is an error."""
    return f"score: {score}" if for_anomalies else "reconstruction error"


class Judge:
    """Tells how unusual images are, and which score is too high.

    Args:
        trained: The model.
        name: Its name in an error.
        score: Which score; None for ``auto`` where the model is for anomalies, else ``mse``.
        quantile: Share of the held-out images whose score is below the threshold; None for
            `QUANTILE`.
        threshold: The threshold, if it is not to be that of `quantile`.
        device: Where to compute.

    Attributes:
        score: Which score.
        usual: The scores of held-out images, ascending, or many quantiles of them.
        threshold: The score above which an image is an anomaly.
        quantile: Share of normal images whose score is expected to be below it; of a given
            threshold, the share of the held-out images.
        held_out: Number of held-out images.
        shares: As in `AnomalyReport`.
        confidence: As in `AnomalyReport`.

    Raises:
        CheckpointError: The checkpoint has no threshold.
        UsageError: The model does not know this score.
    """

    def __init__(
        self,
        trained: Checkpoint,
        name: str,
        score: Score | None,
        quantile: float | None,
        threshold: float | None,
        device: torch.device,
    ) -> None:
        self.quantile = QUANTILE if quantile is None else quantile
        self._model, self._device = trained.model, device
        self._scorer: Scorer | None = None
        self.confidence: float | None = None
        if trained.normal is not None:
            self.score: Score = score or "auto"
            self._scorer = Scorer(trained.model, trained.normal, self.score)
            self.usual = trained.normal.scores[self.score]
            self.threshold, self.confidence = trained.normal.threshold(self.score, self.quantile)
            self.held_out = trained.normal.images
            self._set(threshold)
            self.shares = None
            if self.score == "auto":
                self.shares = share_of_scores(trained.normal.detection)
            return
        quantiles = trained.metrics.error_quantiles
        if not quantiles:
            raise CheckpointError(
                f"{name} is from an older ae, and has no threshold", "train again"
            )
        if score not in (None, "mse"):
            raise UsageError(
                f"{name} knows no score but mse, as it is not for anomalies or was not trained to "
                "the end",
                "leave out --score, or train with --for anomalies",
            )
        self.score, self.shares = "mse", None
        self.usual = quantiles
        self.threshold = threshold_at(self.quantile, quantiles)
        self.held_out = trained.data.judged_images
        self._set(threshold)

    def _set(self, threshold: float | None) -> None:
        """Replace the threshold by one that the user chose."""
        if threshold is not None:
            self.threshold, self.confidence = threshold, None
            self.quantile = bisect_left(self.usual, threshold) / len(self.usual)

    @property
    def for_anomalies(self) -> bool:
        """Whether the model is for anomalies, and knows all scores and maps."""
        return self._scorer is not None

    def __call__(self, images: Images) -> tuple[NDArray[np.float32], NDArray[np.floating[Any]]]:
        """The reconstruction errors and the scores of images, (n,) each."""
        scorer = self._scorer
        if scorer is None:
            errors = reconstruction_errors(self._model, images, device=self._device)
            return errors, errors
        errors, scores = np.empty(len(images), np.float32), np.empty(len(images))
        done = 0
        for batch in self.reconstruct(images):
            rows = slice(done, done + len(batch.errors))
            errors[rows], scores[rows], done = batch.errors, scorer.score(batch), rows.stop
        return errors, scores

    def reconstruct(self, images: Images) -> Iterator[Reconstruction]:
        """Reconstruct images, batch by batch."""
        return reconstruct(self._model, images, device=self._device)

    def maps(self, batch: Reconstruction) -> Floats:
        """Where images are unusual, float32 (n, height, width); for errors, the squared ones."""
        if self._scorer is not None:
            return self._scorer.maps(batch)
        errors: Floats = np.square(batch.originals - batch.pixels).mean(1)
        return errors
