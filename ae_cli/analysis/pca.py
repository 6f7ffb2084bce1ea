"""PCA for comparison: a model that is no better than PCA was not worth training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from copy import copy
from typing import TYPE_CHECKING

import numpy as np

from ae_cli.data.images import Images
from ae_cli.latents.infer import Floats, Reconstruction, stack

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

LEAST_VARIANCE = 1e-9  # of pixels: 8-bit images cannot have less; less is a rounding error
MOST_PIXELS = 2**26  # of training images to fit PCA and classifiers to: 256 MiB as floats


def to_matrix(images: Images) -> Floats:
    """All pixels, float32 (n, channels × height × width) in [0, 1]."""
    return images.floats().reshape(len(images), -1)


def fitting_images(train: Images, limit: int | None) -> Images:
    """The first training images: at most `limit`, with at most `MOST_PIXELS` in total."""
    most = max(1, MOST_PIXELS // math.prod(train.shape))
    return train.head(min(most, limit or most))


def fit_pca(train: Images, components: int) -> PCA:
    """Fit PCA to training images, with fewer components if there are too few images."""
    from sklearn.decomposition import PCA

    matrix = to_matrix(train)
    return PCA(min(components, *matrix.shape), copy=False, random_state=0).fit(matrix)


def transform(pca: PCA, images: Images) -> Floats:
    """The components of all images, float32 (n, components)."""
    matrices = (batch.numpy().reshape(len(batch), -1) for batch in images.batches())
    return stack(map(pca.transform, matrices), (len(images), pca.n_components_))


def first_components(pca: PCA, count: int) -> PCA:
    """PCA with the first `count` components of another, or with all if it has fewer."""
    fewer = copy(pca)
    fewer.components_ = pca.components_[:count]
    fewer.explained_variance_ = pca.explained_variance_[:count]
    fewer.n_components_ = len(fewer.components_)
    return fewer


def variance_kept(pca: PCA, images: Images, counts: Iterable[int]) -> dict[int, float]:
    """The share of the images' variance that PCA keeps, by its number of components.

    Args:
        pca: PCA with as many components as there are.
        images: The images.
        counts: Numbers of components; those that PCA does not have are left out.

    Returns:
        A share for each number; none if the images are all alike.
    """
    total = images.mean_image_error()
    if total < LEAST_VARIANCE:
        return {}
    shares = {}
    for count in counts:
        if 0 < count <= pca.n_components_:
            batches = reconstruct_by_pca(first_components(pca, count), images)
            error = sum(float(batch.errors.sum(dtype=np.float64)) for batch in batches)
            shares[count] = 1 - error / len(images) / total
    return shares


def reconstruct_by_pca(pca: PCA, images: Images) -> Iterator[Reconstruction]:
    """Do what `infer.reconstruct` does with PCA, whose pixels are not limited to [0, 1]."""
    for originals in images.batches():
        x = originals.numpy().reshape(len(originals), -1)
        latents = pca.transform(x)
        pixels = pca.inverse_transform(latents)
        yield Reconstruction(
            originals=originals.numpy(),
            latents=latents,
            pixels=pixels.reshape(originals.shape),
            errors=np.square(pixels - x).mean(1),
        )
