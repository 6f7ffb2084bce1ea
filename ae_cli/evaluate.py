"""How good a model is: its reconstructions, its latents as a picture, and as features.

PCA with as many components, fitted to the same training images, is the yardstick throughout: what
a model does not do better than it has not been worth training.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli import infer
from ae_cli.data import Images, scale
from ae_cli.infer import Reconstruction
from ae_cli.model import AutoEncoder
from ae_cli.train import mean_image_error

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

NEIGHBORS = 10  # of an image, that trustworthiness and continuity look at
LEAST_VARIANCE = 1e-9  # of pixels: 8 bits cannot show less, and float32 may add it up from nothing
SAMPLE = 2000  # images among which they look: time and memory grow with the square
CLASSIFIER_NEIGHBORS = 5
ITERATIONS = 100  # of logistic regression, at most
MOST_PIXELS = 2**28  # of training images that PCA and classifiers are fitted to: 1 GiB as floats

Floats = NDArray[np.float32]


class Quality(NamedTuple):
    """How well images are reconstructed from a few numbers, and how true a picture these make.

    Attributes:
        mean_error: Mean reconstruction error.
        median_error: Its median.
        error_95: The error that 95 % of the images stay below.
        psnr: Mean peak signal-to-noise ratio, in dB: −10 log₁₀(error), the peak being 1.
        ssim: Mean structural similarity, by scikit-image; None for images under 3 × 3 pixels.
        variance_kept: Share of the images' variance that is in the reconstructions (R²); None for
            images that are all alike.
        trustworthiness: To what extent neighbours among the latents are neighbours among the
            images (Venna and Kaski, 2001), from 0 to 1, by scikit-learn; None for too few images.
        continuity: The same with latents and images exchanged.
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
    """Shares of the test images whose label is told rightly from some features.

    Attributes:
        knn: By `CLASSIFIER_NEIGHBORS` nearest neighbours.
        logistic: By logistic regression.
    """

    knn: float
    logistic: float


@dataclass(frozen=True)
class Report:
    """All figures for one split.

    Attributes:
        split: Its name.
        images: Number of images in it.
        fitted: Number of training images that PCA and the classifiers were fitted to.
        sample: Number of images of the split that trustworthiness and continuity were computed on.
        components: Components of PCA: as many as latents, where there are as many images.
        autoencoder: How well the model does.
        pca: How well PCA does.
        accuracy: What latents, PCA's components and pixels tell of the test images' labels; None
            without labels of two classes.
        chance: Share of test images that are of the most frequent class of the training images;
            None where `accuracy` is.
    """

    split: str
    images: int
    fitted: int
    sample: int
    components: int
    autoencoder: Quality
    pca: Quality
    accuracy: dict[str, Accuracy] | None
    chance: float | None


def evaluate(
    model: AutoEncoder,
    pca: PCA,
    train: Images,
    images: Images,
    test: Images,
    *,
    split: str,
    device: torch.device,
    progress: Callable[[str], None] = lambda stage: None,
) -> Report:
    """Measure a model, and PCA beside it.

    Args:
        model: Moved to `device`.
        pca: Fitted to the training images.
        train: The training images, which the classifiers are fitted to.
        images: The split that reconstructions and latents are judged on.
        test: The test images: the classifiers are judged on them.
        split: The name of the split that `images` are.
        device: Where the model computes.
        progress: Called with the name of each stage as it begins.
    """
    sample = np.sort(np.random.default_rng(0).permutation(len(images))[:SAMPLE])
    mean_error = mean_image_error(images)
    progress("autoencoder")
    own = _quality(infer.reconstruct(model, images, device=device), sample, mean_error)
    progress("PCA")
    yardstick = _quality(reconstruct_by_pca(pca, images), sample, mean_error)

    accuracy = chance = None
    if train.labels is not None and test.labels is not None and len(train.labels.unique()) > 1:
        features = {
            "latents": lambda some: infer.encode(model, some, device=device),
            "PCA": lambda some: pca.transform(to_matrix(some)),
            "pixels": to_matrix,
        }
        labels, truth = train.labels.numpy(), test.labels.numpy()
        accuracy = {}
        for name, compute in features.items():
            progress(f"labels from {name}")
            accuracy[name] = _classify(compute(train), labels, compute(test), truth)
        chance = float((truth == np.bincount(labels).argmax()).mean())
    return Report(
        split=split,
        images=len(images),
        fitted=len(train),
        sample=len(sample),
        components=pca.n_components_,
        autoencoder=own,
        pca=yardstick,
        accuracy=accuracy,
        chance=chance,
    )


def to_matrix(images: Images) -> Floats:
    """All pixels, float32 (n, channels × height × width) in [0, 1]."""
    matrix: Floats = scale(images.pixels).flatten(1).numpy()
    return matrix


def fitting_images(train: Images, limit: int | None) -> Images:
    """The first training images: at most `limit` of them, or of `MOST_PIXELS` together."""
    most = max(1, MOST_PIXELS // train.pixels[0].numel())
    return train.head(min(most, limit or most))


def fit_pca(train: Images, components: int) -> PCA:
    """Fit PCA to training images, with fewer components where there are too few images."""
    from sklearn.decomposition import PCA

    matrix = to_matrix(train)
    return PCA(min(components, *matrix.shape), random_state=0).fit(matrix)


def reconstruct_by_pca(pca: PCA, images: Images) -> Iterator[Reconstruction]:
    """Do what `infer.reconstruct` does, by PCA; its pixels are not held to [0, 1]."""
    for originals in images.batches(infer.BATCH_SIZE):
        x = originals.flatten(1).numpy()
        latents = pca.transform(x)
        pixels = pca.inverse_transform(latents)
        yield Reconstruction(
            originals=originals.numpy(),
            latents=latents,
            pixels=pixels.reshape(originals.shape),
            errors=np.square(pixels - x).mean(1),
        )


def _quality(
    reconstructions: Iterable[Reconstruction], sample: NDArray[np.int64], mean_image_error: float
) -> Quality:
    """Sum up reconstructions.

    Args:
        reconstructions: Of all images in order, batch by batch.
        sample: Places of the images that neighbours are looked for among, ascending.
        mean_image_error: Error of a model that always draws the images' mean.
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
        # An error of 0 has no ratio: it counts as the smallest that 8 bits can show in one pixel.
        psnr=float(-10 * np.log10(np.maximum(error, 255.0**-2 / x.shape[1])).mean()),
        ssim=float(np.mean(similarities)) if similarities else None,
        variance_kept=None
        if mean_image_error < LEAST_VARIANCE
        else 1 - float(error.mean()) / mean_image_error,
        trustworthiness=_trustworthiness(x, z),
        continuity=_trustworthiness(z, x),
    )


def _similarities(originals: Floats, reconstructions: Floats) -> list[float]:
    """Structural similarity of each pair of images, if they are large enough to have one."""
    from skimage.metrics import structural_similarity

    # scikit-image's window is 7 pixels wide; images that are smaller get a smaller one.
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


def _classify(
    features: Floats, labels: NDArray[np.int64], test_features: Floats, truth: NDArray[np.int64]
) -> Accuracy:
    """Fit classifiers to training images, and see how often they are right about test images.

    Args:
        features: (n, k).
        labels: (n,).
        test_features: (m, k).
        truth: (m,).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    knn = KNeighborsClassifier(min(CLASSIFIER_NEIGHBORS, len(labels))).fit(features, labels)
    with warnings.catch_warnings():
        # More iterations would change the third digit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        logistic = LogisticRegression(max_iter=ITERATIONS).fit(features, labels)
    return Accuracy(
        knn=float(knn.score(test_features, truth)),
        logistic=float(logistic.score(test_features, truth)),
    )


def judge(report: Report, latent_dim: int) -> str:
    """Answer in one sentence whether a picture of the latents can be trusted.

    Args:
        report: The figures to draw it from.
        latent_dim: Latent values per image.
    """
    own, pca = report.autoencoder, report.pca
    if own.trustworthiness is None or own.continuity is None:
        return f"too few images to say: it takes more than {2 * NEIGHBORS}"
    if own.variance_kept is None or pca.variance_kept is None:
        return "the images are all alike: there is nothing to see"
    answer, _ = _judge(min(own.trustworthiness, own.continuity))
    _, alike = _judge(own.trustworthiness)
    _, close = _judge(own.continuity)
    beside = f", PCA's {pca.trustworthiness:.2f}" if pca.trustworthiness is not None else ""
    better = "more" if own.variance_kept > pca.variance_kept else "no more"
    shown = "" if latent_dim <= 3 else f"; but a plot shows three of the {latent_dim} latents"
    return (
        f"{answer}: images close together in it are {alike} alike (trustworthiness "
        f"{own.trustworthiness:.2f}{beside}), alike images are {close} close together (continuity "
        f"{own.continuity:.2f}), and {latent_dim} latents keep {own.variance_kept:.0%} of the "
        f"variance, {better} than PCA's {pca.variance_kept:.0%}{shown}"
    )


def _judge(figure: float) -> tuple[str, str]:
    """An answer, and how often something is so."""
    return next(words for least, words in _ANSWERS if figure >= least)


# From which trustworthiness or continuity on something is said: our own rule of thumb.
_ANSWERS = (
    (0.95, ("yes", "nearly always")),
    (0.9, ("mostly", "mostly")),
    (0.8, ("with care", "often")),
    (0.0, ("no", "too seldom")),
)
