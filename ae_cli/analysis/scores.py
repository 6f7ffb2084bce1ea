"""How unusual images are, by their reconstructions and latents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.analysis.defects import add_defects
from ae_cli.analysis.smoothing import smooth, ssim
from ae_cli.config import Score
from ae_cli.data.images import Images
from ae_cli.data.store import PixelStore
from ae_cli.errors import CheckpointError
from ae_cli.latents.infer import Reconstruction, encode, reconstruct
from ae_cli.models import AutoEncoder
from ae_cli.models.normal import Normal, rank_scores

# The parts of a score are logarithms, less their mean over held-out images, in units of their
# standard deviation. So each tells alike how unusual an image is, and they can be added.
WEIGHTS: dict[str, dict[str, float]] = {
    "mse": {"error": 1},
    "local": {"local 1": 1 / 3, "local 2": 1 / 3, "local 4": 1 / 3},
    "ssim": {"ssim 1.5": 1 / 2, "ssim 3": 1 / 2},
    "latent": {"latent": 1},
    "both": {"error": 1, "latent": 1},
}

LOCAL_SCALES = (1, 2, 4)  # pixels of an image of 64 pixels or less: standard deviations
SSIM_SCALES = (1.5, 3)  # pixels, as above
USUAL_SIDE = 64
NEIGHBORS = 5
MOST_NEIGHBORS = 1000  # learned images among which neighbours are searched, and recorded
LEAST_SPREAD = 0.1  # of the mean spread: a pixel that never varies is not infinitely telling
SMALLEST = 1e-12

MOST_HELD_OUT = 5000  # images that are looked at to know what is normal
MOST_WITH_DEFECTS = 300  # of which copies get artificial defects
# A score's weight in auto is its `detection` beyond chance, from 0 to 1, to this power, so that the
# better scores count most. Where all are near chance, the error is left.
POWER = 6
LEFT = {"mse": 0.01, "local": 0.0, "ssim": 0.0}
# Artificial defects say nothing about images of another kind, which may be drawn well and yet have
# unusual latents. So auto is the higher one of the weighted sum and, less this reserve, `latent`: a
# soft maximum. These numbers were chosen on MNIST, scikit-learn's digits, magnetic tiles, flowers.
RESERVE, SOFTNESS = 0.75, 0.25
LEAST_SHOWN = 0.01  # share of auto


class Scorer:
    """Computes the scores of images.

    Args:
        model: The model.
        normal: What is normal for it.
        score: Which score.

    Raises:
        CheckpointError: What is normal lacks a score.
    """

    def __init__(self, model: AutoEncoder, normal: Normal, score: Score) -> None:
        parts = {part for weights in WEIGHTS.values() for part in weights}
        there = (set(normal.scales), set(normal.detection), set(normal.scores))
        if there != (parts, {*WEIGHTS}, {*WEIGHTS, "auto"}):
            raise CheckpointError(
                "what is normal was recorded by another version of ae, with other scores",
                "train again",
            )
        self._normal = normal
        self._score: Score = score
        self._parts = _Parts(normal, model.config.shape)

    def score(self, batch: Reconstruction) -> NDArray[np.float64]:
        """The scores of a batch, (n,): higher for more unusual images."""
        parts = self._parts.measure(batch)
        z = standardise(parts, self._normal.scales)
        return combine(self._score, z, self._normal.detection)

    def maps(self, batch: Reconstruction) -> NDArray[np.float32]:
        """Where the images are unusual, (n, height, width): 1 is usual.

        It is the squared error of what is left after smoothing, in units of its usual spread at
        each pixel, as a mean over the scales of ``local``.
        """
        maps = self._parts.local_maps(batch)
        return torch.stack(maps).mean(0).numpy()


def combine(
    score: Score, parts: Mapping[str, NDArray[np.float64]], detection: Mapping[str, float]
) -> NDArray[np.float64]:
    """A score, (n,), from its parts as `standardise` returns them.

    Args:
        score: Which score.
        parts: All parts, (n,) each.
        detection: As in `Normal`, on which ``auto`` depends.
    """
    if score != "auto":
        return _add(parts, WEIGHTS[score])
    drawn = np.sum(
        [share * _add(parts, WEIGHTS[name]) for name, share in share_of_scores(detection).items()],
        axis=0,
    )
    highest: NDArray[np.float64] = SOFTNESS * np.logaddexp(
        drawn / SOFTNESS, (parts["latent"] - RESERVE) / SOFTNESS
    )
    return highest


def _add(
    parts: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]
) -> NDArray[np.float64]:
    """The weighted sum of parts, (n,)."""
    total: NDArray[np.float64] = np.sum([w * parts[name] for name, w in weights.items()], axis=0)
    return total


def share_of_scores(detection: Mapping[str, float]) -> dict[str, float]:
    """What each of the scores that ``auto`` adds contributes to the sum: they add up to 1."""
    raw = {name: max(0.0, 2 * detection[name] - 1) ** POWER + left for name, left in LEFT.items()}
    return {name: weight / sum(raw.values()) for name, weight in raw.items()}


def list_shares(shares: Mapping[str, float]) -> dict[str, str]:
    """Shares in words, such as ``51 % local``, by score, the largest first; not the tiny ones."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return {name: f"{100 * share:.0f} % {name}" for name, share in ordered if share >= LEAST_SHOWN}


def describe_normal(normal: Normal) -> str:
    """Say how many images were held out, and what ``auto`` adds up."""
    shares = list_shares(share_of_scores(normal.detection))
    parts = [f"{text} ({normal.detection[name]:.2f})" for name, text in shares.items()]
    return (
        f"{normal.images:,} held-out images; auto is {', '.join(parts)}, by how well artificial "
        "defects are told from them (AUROC)"
    )


def learn_normal(
    model: AutoEncoder, learned: Images, held_out: Images, *, device: torch.device
) -> Normal:
    """Find out what is normal.

    Args:
        model: A trained model; moved to `device`.
        learned: Images that it learned from.
        held_out: At least one normal image that it did not.
        device: Where to compute.
    """
    held_out = _spread_out(held_out, MOST_HELD_OUT)
    latents = encode(model, _spread_out(learned, MOST_NEIGHBORS), device=device)
    mean, whitening = _whiten(latents, model.latent_scale.cpu().numpy())
    spread = _measure_spread(reconstruct(model, held_out, device=device), len(held_out))
    normal = Normal(
        images=len(held_out),
        mean=mean,
        whitening=whitening,
        neighbors=((latents - mean) @ whitening).astype(np.float32),
        spread=spread,
        scales={},
        detection={},
        scores={},
    )
    # An image's own error is left out of the spread that it is compared with.
    parts = _Parts(normal, model.config.shape, own=True)
    usual = _measure(parts, reconstruct(model, held_out, device=device))
    scales = {name: _scale(np.log(values + SMALLEST)) for name, values in usual.items()}
    normal = replace(normal, scales=scales)
    z = standardise(usual, scales)
    detection = _measure_detection(model, normal, held_out, z, device)
    normal = replace(normal, detection=detection)
    scores = {name: rank_scores(combine(name, z, detection)) for name in get_args(Score)}
    return replace(normal, scores=scores)


def standardise(
    parts: Mapping[str, NDArray[np.float64]], scales: Mapping[str, tuple[float, float]]
) -> dict[str, NDArray[np.float64]]:
    """The logarithms of parts, (n,) each, in standard deviations above their usual mean."""
    return {
        name: (np.log(values + SMALLEST) - scales[name][0]) / scales[name][1]
        for name, values in parts.items()
    }


class _Parts:
    """Measures the parts of scores.

    Args:
        normal: What is normal; only its arrays are used.
        shape: Channels, height and width of an image.
        own: Whether the images are those that `normal` was found on.
    """

    def __init__(self, normal: Normal, shape: tuple[int, int, int], *, own: bool = False) -> None:
        self._normal, self._own = normal, own
        self._spread = torch.from_numpy(normal.spread)
        self._floor = LEAST_SPREAD * float(normal.spread.mean()) + SMALLEST
        self._unit = max(1.0, min(shape[1:]) / USUAL_SIDE)

    def measure(self, batch: Reconstruction) -> dict[str, NDArray[np.float64]]:
        """The parts of all scores, (n,) each."""
        x, y = torch.from_numpy(batch.originals), torch.from_numpy(batch.pixels)
        parts = {"error": torch.from_numpy(batch.errors)}
        for size, values in zip(LOCAL_SCALES, self.local_maps(batch), strict=True):
            parts[f"local {size}"] = values.amax((1, 2))
        for width in SSIM_SCALES:
            parts[f"ssim {width:g}"] = 1 - ssim(x, y, width * self._unit)
        parts["latent"] = self._distances(torch.from_numpy(batch.latents))
        return {name: values.double().numpy() for name, values in parts.items()}

    def local_maps(self, batch: Reconstruction) -> list[Tensor]:
        """Smoothed errors in units of their spread, (n, height, width), for each scale."""
        difference = torch.from_numpy(batch.pixels) - torch.from_numpy(batch.originals)
        spread = self._spread.expand(len(difference), -1, -1)
        if self._own and self._normal.images > 1:
            images = self._normal.images
            spread = (images * spread - _smooth_errors(difference)) / (images - 1)
        return [
            smooth(difference, size * self._unit).square().mean(1) / (spread + self._floor)
            for size in LOCAL_SCALES
        ]

    def _distances(self, latents: Tensor) -> Tensor:
        """The mean distance to the nearest latents of learned images, (n,)."""
        normal = self._normal
        centred = latents - torch.from_numpy(normal.mean)
        distances = torch.cdist(
            centred @ torch.from_numpy(normal.whitening), torch.from_numpy(normal.neighbors)
        )
        nearest = distances.topk(min(NEIGHBORS, distances.shape[1]), largest=False).values
        return nearest.mean(1)


def _smooth_errors(difference: Tensor) -> Tensor:
    """Squared errors at each pixel, slightly smoothed, (n, height, width)."""
    return smooth(difference.square().mean(1, keepdim=True), LOCAL_SCALES[0])[:, 0]


def _measure_spread(batches: Iterable[Reconstruction], count: int) -> NDArray[np.float32]:
    total = sum(
        _smooth_errors(torch.from_numpy(batch.pixels - batch.originals)).double().sum(0)
        for batch in batches
    )
    return (torch.as_tensor(total) / count).float().numpy()


def _measure(parts: _Parts, batches: Iterable[Reconstruction]) -> dict[str, NDArray[np.float64]]:
    measured = [parts.measure(batch) for batch in batches]
    return {name: np.concatenate([some[name] for some in measured]) for name in measured[0]}


def _measure_detection(
    model: AutoEncoder,
    normal: Normal,
    held_out: Images,
    usual: Mapping[str, NDArray[np.float64]],
    device: torch.device,
) -> dict[str, float]:
    """Compute `detection` of a `Normal`; `usual` are the standardised parts of `held_out`."""
    from sklearn.metrics import roc_auc_score

    found: dict[str, list[float]] = {name: [] for name in WEIGHTS}
    images = _spread_out(held_out, MOST_WITH_DEFECTS).floats()
    parts = _Parts(normal, model.config.shape)
    for defective in add_defects(images).values():
        pixels = torch.from_numpy(np.rint(255 * defective).astype(np.uint8))
        batches = reconstruct(model, Images(PixelStore(pixels)), device=device)
        unusual = standardise(_measure(parts, batches), normal.scales)
        for name, weights in WEIGHTS.items():
            scores = _add(usual, weights), _add(unusual, weights)
            truth = np.repeat([False, True], [len(some) for some in scores])
            found[name].append(float(roc_auc_score(truth, np.concatenate(scores))))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _spread_out(images: Images, most: int) -> Images:
    """At most this many of the images, evenly spaced."""
    if len(images) <= most:
        return images
    return images.select(np.linspace(0, len(images) - 1, most).round().astype(np.int64))


def _whiten(
    latents: NDArray[np.float32], scale: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean of latents, (k,), and the matrix that makes their covariance 1, (k, k).

    What varies by less than a thousandth, in units of `scale`, (k,) or (), is not enlarged to 1.
    """
    z = latents.astype(np.float64) / scale
    mean = z.mean(0)
    covariance = (z - mean).T @ (z - mean) / len(z)
    least = 1e-6 * max(float(np.trace(covariance)) / len(covariance), SMALLEST)
    variances, directions = np.linalg.eigh(covariance)
    whitening = directions / np.sqrt(variances.clip(least)) / np.atleast_1d(scale)[:, None]
    return (mean * scale).astype(np.float32), whitening.astype(np.float32)


def _scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation; 1 for values that are all alike."""
    return float(values.mean()), float(values.std()) or 1.0
