"""How well images are reconstructed, and how well latents represent them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.analysis.pca import LEAST_VARIANCE
from ae_cli.latents.infer import Floats, Reconstruction

NEIGHBORS = 10  # per image, for trustworthiness and continuity
CLASSIFIER_NEIGHBORS = 5
ITERATIONS = 100  # at most, of logistic regression


class Quality(NamedTuple):
    """How well images are reconstructed, and how faithfully the latents show their neighbourhoods.

    Attributes:
        mean_error: Mean reconstruction error.
        median_error: Median reconstruction error.
        error_95: The error that 95 % of the images stay below.
        psnr: Mean peak signal-to-noise ratio, in dB: −10 log₁₀(error), the peak being 1.
        ssim: Mean structural similarity, by scikit-image; None for images smaller than 3 × 3.
        variance_kept: Share of the images' variance that the reconstructions explain (R²); None for
            identical images.
        trustworthiness: To what extent neighbours in the latent space are neighbours in pixel space
            (Venna and Kaski, 2001), from 0 to 1, by scikit-learn; None for too few images.
        continuity: The same with latents and pixels exchanged.
    """

    mean_error: float
    median_error: float
    error_95: float
    psnr: float
    ssim: float | None
    variance_kept: float | None
    trustworthiness: float | None
    continuity: float | None


class Accuracy(NamedTuple):
    """Shares of the test images whose label is predicted correctly from some features.

    Attributes:
        knn: With `CLASSIFIER_NEIGHBORS` nearest neighbours.
        logistic: With logistic regression.
    """

    knn: float
    logistic: float


def measure_quality(
    reconstructions: Iterable[Reconstruction],
    count: int,
    sample: NDArray[np.int64],
    mean_image_error: float,
) -> Quality:
    """Measure reconstructions.

    Args:
        reconstructions: Of all images in order, batch by batch.
        count: Number of images.
        sample: Places of the images in which neighbours are searched, ascending.
        mean_image_error: Error of a model that always outputs the images' mean.
    """
    # Made first: arrays that stay between others that go would keep their memory.
    error, similarities = np.empty(count), np.empty(count)
    x = z = np.empty((0, 0), np.float32)
    first = 0
    for batch in reconstructions:
        rows = slice(first, first + len(batch.errors))
        if not first:
            x = np.empty((len(sample), batch.originals[0].size), np.float32)
            z = np.empty((len(sample), batch.latents.shape[1]), np.float32)
        error[rows] = batch.errors
        similarities[rows] = _similarities(batch.originals, batch.pixels)
        own = (rows.start <= sample) & (sample < rows.stop)
        chosen = sample[own] - first
        z[own], x[own] = batch.latents[chosen], batch.originals[chosen].reshape(-1, x.shape[1])
        first = rows.stop
    similarity = float(similarities.mean())
    return Quality(
        mean_error=float(error.mean()),
        median_error=float(np.median(error)),
        error_95=float(np.quantile(error, 0.95)),
        # An error of 0 would give infinity: it counts as one level (of 255) in a single pixel.
        psnr=float(-10 * np.log10(np.maximum(error, 255.0**-2 / x.shape[1])).mean()),
        ssim=None if math.isnan(similarity) else similarity,
        variance_kept=None
        if mean_image_error < LEAST_VARIANCE
        else 1 - float(error.mean()) / mean_image_error,
        trustworthiness=_trustworthiness(x, z),
        continuity=_trustworthiness(z, x),
    )


def _similarities(originals: Floats, reconstructions: Floats) -> Floats | float:
    """Structural similarity of each pair of images, (n,); NaN if they are too small."""
    from skimage.metrics import structural_similarity

    # scikit-image's default window is 7 pixels wide; smaller images get a smaller one.
    side = min(7, *originals.shape[2:])
    window = side if side % 2 else side - 1
    if window < 3:
        return math.nan
    # In one call, as a call takes longer than an image: the images are put side by side. A window
    # lies within one image unless its centre is near the edge, where scikit-image leaves it out.
    count, channels, height, width = originals.shape
    rows = (
        images.transpose(1, 2, 0, 3).reshape(channels, height, count * width)
        for images in (originals, reconstructions)
    )
    _, similar = structural_similarity(
        *rows, data_range=1, win_size=window, channel_axis=0, full=True
    )
    edge = window // 2
    inner = similar.reshape(channels, height, count, width)[
        :, edge : height - edge, :, edge : width - edge
    ]
    means: Floats = inner.mean((0, 1, 3), dtype=np.float64)
    return means


def _trustworthiness(x: Floats, z: Floats) -> float | None:
    from sklearn.manifold import trustworthiness

    if len(x) <= 2 * NEIGHBORS:
        return None
    return float(trustworthiness(x, z, n_neighbors=NEIGHBORS))


def measure_knn(
    features: Floats, labels: NDArray[np.int64], test_features: Floats, truth: NDArray[np.int64]
) -> float:
    """The share of labels that nearest neighbours predict; see `classify`."""
    from sklearn.neighbors import KNeighborsClassifier

    knn = KNeighborsClassifier(min(CLASSIFIER_NEIGHBORS, len(labels))).fit(features, labels)
    return float(knn.score(test_features, truth))


def classify(
    features: Floats, labels: NDArray[np.int64], test_features: Floats, truth: NDArray[np.int64]
) -> Accuracy:
    """Fit classifiers to features of training images, and measure their accuracy on test images.

    Args:
        features: (n, k), of the training images.
        labels: (n,), of the training images.
        test_features: (m, k), of the test images.
        truth: (m,), labels of the test images.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # More iterations would only change the third digit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        logistic = LogisticRegression(max_iter=ITERATIONS).fit(features, labels)
    return Accuracy(
        knn=measure_knn(features, labels, test_features, truth),
        logistic=float(logistic.score(test_features, truth)),
    )
