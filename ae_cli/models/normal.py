"""What a model for anomalies knows of normal images, as its checkpoint records it."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ae_cli.config.checks import check_number, check_whole
from ae_cli.errors import UsageError

Floats: TypeAlias = NDArray[np.float32]

CONFIDENCE = 0.75  # of a threshold, if enough images are held out
MOST_SCORES = 1001  # that are recorded; of more images, evenly spaced quantiles


class Threshold(NamedTuple):
    """An estimate of the score that a share of normal images stays below.

    Attributes:
        value: The score.
        confidence: How likely it is that so many of all normal images are below it.
    """

    value: float
    confidence: float


@dataclass(frozen=True)
class Normal:
    """What is normal: from images that the model learned, and from others that were held out.

    Attributes:
        images: Number of held-out images.
        mean: float32 (latent_dim,), the mean latent of the learned images.
        whitening: float32 (latent_dim, latent_dim): with it, latents less their mean have variance
            1 in all directions.
        neighbors: float32 (m, latent_dim), whitened latents of learned images.
        spread: float32 (height, width), the mean squared error at each pixel of held-out images,
            slightly smoothed.
        scales: For each part of a score, the mean and the standard deviation of its logarithm over
            held-out images.
        detection: For each score, how well it tells held-out images with artificial defects from
            those without: the mean area under the receiver operating characteristic.
        scores: For each score, the held-out images', ascending; of more than `MOST_SCORES`,
            evenly spaced quantiles from the smallest to the largest.
    """

    images: int
    mean: Floats = field(repr=False)
    whitening: Floats = field(repr=False)
    neighbors: Floats = field(repr=False)
    spread: Floats = field(repr=False)
    scales: dict[str, tuple[float, float]] = field(repr=False)
    detection: dict[str, float]
    scores: dict[str, tuple[float, ...]] = field(repr=False)

    def __post_init__(self) -> None:
        check_whole("images", self.images, minimum=1)
        size = self.mean.size
        shapes = (self.mean.shape, self.whitening.shape, self.neighbors.shape[1:], self.spread.ndim)
        if shapes != ((size,), (size, size), (size,), 2) or not len(self.neighbors):
            raise UsageError(f"normal has arrays of shapes {shapes}", "train again")
        if (self.spread < 0).any():
            raise UsageError("normal has a negative spread", "train again")
        for value in self.detection.values():
            check_number("detection", value)
        for numbers in (*self.scales.values(), *self.scores.values()):
            if not numbers or not all(math.isfinite(number) for number in numbers):
                raise UsageError("normal has values that are not finite", "train again")
        for scale in self.scales.values():
            if len(scale) != 2 or scale[1] <= 0:
                raise UsageError(f"normal has the scale {scale}", "train again")
        for scores in self.scores.values():
            if list(scores) != sorted(scores):
                raise UsageError("normal has scores that are not ascending", "train again")

    def threshold(self, score: str, quantile: float) -> Threshold:
        """Estimate the score that a share `quantile`, from 0 to 1, of normal images stays below.

        It is a tolerance limit (Wilks, 1941): that at least this share of all normal images is
        below it is as likely as `CONFIDENCE`, whatever the distribution of their scores. The share
        below the k-th lowest of n scores has the beta distribution with parameters k and n + 1 - k;
        between two of them, it is interpolated. It is never above the highest score, even if that
        is less likely.
        """
        from scipy.special import betainc

        ranks = np.arange(1, self.images + 1)
        likely = betainc(self.images + 1 - ranks, ranks, 1 - quantile)
        rank = np.interp(CONFIDENCE, likely, ranks)
        scores = self.scores[score]
        place = (rank - 1) / max(1, self.images - 1) * (len(scores) - 1)
        value = np.interp(place, np.arange(len(scores)), scores)
        return Threshold(float(value), min(CONFIDENCE, float(likely[-1])))


def rank_scores(scores: NDArray[np.float64]) -> tuple[float, ...]:
    """Scores, (n,), in ascending order, or their quantiles, as `Normal` records them."""
    if len(scores) > MOST_SCORES:
        scores = np.quantile(scores, np.linspace(0, 1, MOST_SCORES))
    return tuple(float(f"{value:.6g}") for value in np.sort(scores))


def to_text(normal: Normal) -> str:
    """Convert to JSON; arrays as the base64 code of their bytes."""
    return json.dumps(
        {
            name: _encode(value) if isinstance(value, np.ndarray) else value
            for name, value in asdict(normal).items()
        }
    )


def from_text(text: str) -> Normal:
    """Read what `to_text` wrote.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: It is something else.
        UsageError: A value is out of range.
    """
    values: Any = json.loads(text)
    for name in ("scales", "detection", "scores"):
        if not isinstance(values[name], dict):
            raise TypeError(f"{name} is not an object")
    arrays = {name: _decode(values[name]) for name in ("mean", "whitening", "neighbors", "spread")}
    tuples = {
        name: {key: tuple(map(float, numbers)) for key, numbers in values[name].items()}
        for name in ("scales", "scores")
    }
    return Normal(**{**values, **arrays, **tuples})


def _encode(array: NDArray[Any]) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
    return {"shape": array.shape, "data": data}


def _decode(value: Any) -> Floats:
    numbers = np.frombuffer(base64.b64decode(value["data"], validate=True), "<f4")
    array = numbers.reshape(value["shape"]).astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError("an array is not finite")
    return array
