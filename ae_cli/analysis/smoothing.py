"""Smoothing images, and comparing them by their smoothed statistics."""

from __future__ import annotations

import torch
from torch import Tensor

SSIM_CONSTANTS = 0.01**2, 0.03**2  # those of Wang et al., 2004, for values in [0, 1]


def smooth(images: Tensor, width: float) -> Tensor:
    """Smooth images, (n, channels, height, width), by a Gaussian with this standard deviation.

    At the edges, the nearest pixels are repeated.
    """
    for axis, side in ((2, images.shape[2]), (3, images.shape[3])):
        reach = min(round(4 * width), 4 * side)
        offsets = torch.arange(-reach, reach + 1)
        kernel = torch.exp(-(offsets**2) / (2 * width**2))
        kernel /= kernel.sum()
        # As a matrix: every row holds the weights of all pixels in one place.
        matrix = torch.zeros(side, side)
        rows = torch.arange(side)[:, None].expand(-1, len(offsets))
        matrix.index_put_(
            (rows, (rows + offsets).clamp(0, side - 1)), kernel.expand_as(rows), accumulate=True
        )
        images = torch.tensordot(images, matrix, ([axis], [1])).movedim(-1, axis)
    return images


def ssim(x: Tensor, y: Tensor, width: float) -> Tensor:
    """Structural similarity (Wang et al., 2004) with a Gaussian window, as a mean over pixels.

    Args:
        x: (n, channels, height, width) in [0, 1].
        y: Like `x`; it is limited to [0, 1].
        width: The window's standard deviation, in pixels.

    Returns:
        (n,), at most 1.
    """
    y = y.clamp(0, 1)
    mean_x, mean_y = smooth(x, width), smooth(y, width)
    variance_x = smooth(x * x, width) - mean_x**2
    variance_y = smooth(y * y, width) - mean_y**2
    covariance = smooth(x * y, width) - mean_x * mean_y
    first, second = SSIM_CONSTANTS
    similarity = ((2 * mean_x * mean_y + first) * (2 * covariance + second)) / (
        (mean_x**2 + mean_y**2 + first) * (variance_x + variance_y + second)
    )
    return similarity.mean((1, 2, 3)).clamp(max=1)
