"""Ways through the latent space: points to decode."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# The quantiles of a latent over the training images between which a grid lies: a few outliers would
# otherwise leave most of it in places where there is nothing.
RANGE = (0.01, 0.99)


class Grid(NamedTuple):
    """A regular grid over two latents.

    Attributes:
        points: float32 (size × size, k), row by row from the top.
        across: float32 (size,), values of the first latent from left to right.
        down: float32 (size,), values of the second latent from top to bottom, the highest first.
    """

    points: Floats
    across: Floats
    down: Floats


def grid_over(latents: Floats, axes: tuple[int, int], size: int) -> Grid:
    """Lay a grid over the range that latents occupy; `RANGE` says what counts as that.

    Args:
        latents: (n, k), those of the training images.
        axes: The positions of two latents. The others keep their median.
        size: Points to the side.
    """
    low, high = np.quantile(latents[:, axes], RANGE, axis=0).astype(np.float32)
    across = np.linspace(low[0], high[0], size, dtype=np.float32)
    down = np.linspace(high[1], low[1], size, dtype=np.float32)
    points = np.tile(np.median(latents, axis=0).astype(np.float32), (size * size, 1))
    points[:, axes[0]] = np.tile(across, size)
    points[:, axes[1]] = np.repeat(down, size)
    return Grid(points, across, down)


def line_between(start: Floats, end: Floats, steps: int) -> Floats:
    """Points on the straight line between two, (k,), both included: float32 (steps, k)."""
    return np.linspace(start, end, steps, dtype=np.float32)
