"""Principal components of any number of images, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ae_cli.data.images import Images
from ae_cli.models import Line

ITERATIONS = 8
OVERSAMPLED = 16  # directions beyond those that are wanted, so that the last ones are exact, too
# Pixels in the images that are looked at: more take time, and change little.
MOST_VALUES = 2**27
QUICK_VALUES, QUICK_IMAGES = 2**24, 4000  # as many as the more generous one allows
LEAST_DEVIATION = 1e-4  # of the first one: smaller ones are rounding errors
SMALLEST = 1e-4  # a deviation for images that are all alike


def find_components(
    images: Images, count: int, *, mirrored: bool = False, quick: bool = False
) -> Line:
    """Find the principal components of images.

    This is the randomised subspace iteration of Halko, Martinsson and Tropp (2011, algorithm 4.4),
    on batches, so that the images are never in memory as floats.

    Args:
        images: At least one image; if there are very many, an evenly spaced part of them is used.
        count: Number of components. Where the images have fewer, the rest are zero.
        mirrored: Whether to add the mirror image of every image.
        quick: Whether to look at fewer images, but at `QUICK_IMAGES` at least.
    """
    size = math.prod(images.shape)
    most = max(QUICK_IMAGES, (QUICK_VALUES if quick else MOST_VALUES) // size)
    if len(images) > most:
        images = images.select(torch.linspace(0, len(images) - 1, most).long().numpy())
    mean = sum(batch.sum(0) for batch in images.batches()) / len(images)
    if not isinstance(mean, Tensor):
        raise AssertionError("there is at least one image")
    if mirrored:
        mean = (mean + mean.flip(2)) / 2

    def centred() -> Iterator[Tensor]:
        for batch in images.batches():
            batch -= mean
            yield batch.view(-1, size)
            if mirrored:
                yield batch.flip(3).reshape(-1, size)

    rows = len(images) * (1 + mirrored)
    width = min(count + OVERSAMPLED, rows, size)
    basis = torch.randn(size, width, generator=torch.Generator().manual_seed(0))
    for _ in range(ITERATIONS):
        basis, _ = torch.linalg.qr(basis)
        product = torch.zeros_like(basis)
        for x in centred():
            product.addmm_(x.T, x @ basis)
        basis = product
    basis, _ = torch.linalg.qr(basis)
    covariance, total = torch.zeros(width, width, dtype=torch.float64), 0.0
    for x in centred():
        y = (x @ basis).double()
        covariance += y.T @ y
        total += float(x.square().sum(dtype=torch.float64))
    variances, vectors = torch.linalg.eigh(covariance / rows)
    found = min(count, width)
    components = torch.zeros(count, size)
    components[:found] = (basis.double() @ vectors.flip(1)[:, :found]).T
    deviations = torch.zeros(count)
    deviations[:found] = variances.flip(0)[:found].clamp_min(0).sqrt()
    least = max(LEAST_DEVIATION * float(deviations[0]), SMALLEST)
    return Line(
        mean=mean,
        components=components,
        deviations=deviations.clamp_min(least),
        unit=max(math.sqrt(total / rows / size), SMALLEST),
    )


def pca_error(line: Line, images: Images) -> float:
    """The mean reconstruction error of PCA, whose pixels are not limited to [0, 1]."""
    total = 0.0
    for batch in images.batches():
        x = (batch - line.mean).view(len(batch), -1)
        projected = x @ line.components.T
        # What is left is orthogonal to the components, but the difference of two large numbers.
        left = x - projected @ line.components
        total += float(left.square().mean(1).sum())
    return total / len(images)


def effective_rank(covariance: Tensor) -> float:
    """How many directions a covariance matrix, (k, k), has in effect: from 0 to k.

    It is the exponential of the entropy of the eigenvalues' shares (Roy and Vetterli, 2007, "The
    effective rank"): k if all directions vary alike, and near 1 if almost all variance is in one.
    """
    if not covariance.isfinite().all():
        return 0.0
    variances = torch.linalg.eigvalsh(covariance.double()).clamp_min(0)
    if variances.sum() == 0:
        return 0.0
    shares = variances / variances.sum()
    return float(torch.special.entr(shares).sum().exp())
