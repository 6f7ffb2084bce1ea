"""How well images are reconstructed, and how well latents represent them."""

from __future__ import annotations

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
    reconstructions: Iterable[Reconstruction], sample: NDArray[np.int64], mean_image_error: float
) -> Quality:
    """Measure reconstructions.

    Args:
        reconstructions: Of all images in order, batch by batch.
        sample: Places of the images in which neighbours are searched, ascending.
        mean_image_error: Error of a model that always outputs the images' mean.
    """
    errors, similarities, latents, originals = [], [], [], []
    first = 0
    for batch in reconstructions:
        errors.append(batch.errors)
        similarities += _similarities(batch.originals, batch.pixels)
        chosen = sample[(first <= sample) & (sample < first + len(batch.errors))] - first
        latents.append(batch.latents[chosen])
        originals.append(batch.originals[chosen].reshape(len(chosen), -1))
        first += len(batch.errors)
    error = np.concatenate(errors).astype(np.float64)
    z, x = np.concatenate(latents), np.concatenate(originals)
    return Quality(
        mean_error=float(error.mean()),
        median_error=float(np.median(error)),
        error_95=float(np.quantile(error, 0.95)),
        # An error of 0 would give infinity: it counts as one level (of 255) in a single pixel.
        psnr=float(-10 * np.log10(np.maximum(error, 255.0**-2 / x.shape[1])).mean()),
        ssim=float(np.mean(similarities)) if similarities else None,
        variance_kept=None
        if mean_image_error < LEAST_VARIANCE
        else 1 - float(error.mean()) / mean_image_error,
        trustworthiness=_trustworthiness(x, z),
        continuity=_trustworthiness(z, x),
    )


def _similarities(originals: Floats, reconstructions: Floats) -> list[float]:
    """Structural similarity of each pair of images; empty if they are too small."""
    from skimage.metrics import structural_similarity

    # scikit-image's default window is 7 pixels wide; smaller images get a smaller one.
    side = min(7, *originals.shape[2:])
    window = side if side % 2 else side - 1
    if window < 3:
        return []
    return [
        float(structural_similarity(a, b, data_range=1, win_size=window, channel_axis=0))
        for a, b in zip(originals, reconstructions, strict=True)
    ]


def _trustworthiness(x: Floats, z: Floats) -> float | None:
    from sklearn.manifold import trustworthiness

    if len(x) <= 2 * NEIGHBORS:
        return None
    return float(trustworthiness(x, z, n_neighbors=NEIGHBORS))


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
    from sklearn.neighbors import KNeighborsClassifier

    knn = KNeighborsClassifier(min(CLASSIFIER_NEIGHBORS, len(labels))).fit(features, labels)
    with warnings.catch_warnings():
        # More iterations would only change the third digit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        logistic = LogisticRegression(max_iter=ITERATIONS).fit(features, labels)
    return Accuracy(
        knn=float(knn.score(test_features, truth)),
        logistic=float(logistic.score(test_features, truth)),
    )
