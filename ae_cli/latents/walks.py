"""Grids and lines in the latent space, whose points can be decoded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# A grid spans these quantiles of a latent over the training images. Spanning the full range would
# put most of it into empty space if there are a few outliers.
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
    """Make a grid over the range of two latents, as defined by `RANGE`.

    Args:
        latents: (n, k), those of the training images.
        axes: The positions of two latents. The others stay at their median.
        size: Points per side.
    """
    low, high = np.quantile(latents[:, axes], RANGE, axis=0).astype(np.float32)
    across = np.linspace(low[0], high[0], size, dtype=np.float32)
    down = np.linspace(high[1], low[1], size, dtype=np.float32)
    points = np.tile(np.median(latents, axis=0).astype(np.float32), (size * size, 1))
    points[:, axes[0]] = np.tile(across, size)
    points[:, axes[1]] = np.repeat(down, size)
    return Grid(points, across, down)


def line_between(start: Floats, end: Floats, steps: int) -> Floats:
    """Points on the straight line between two points, (k,), ends included: float32 (steps, k)."""
    return np.linspace(start, end, steps, dtype=np.float32)
