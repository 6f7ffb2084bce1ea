"""Maps of where images are unusual, in colours over the images."""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray

HEAT = "inferno"
OUTLINE = (0.0, 1.0, 1.0)  # red, green and blue of a mask's outline, which the heat does not have
STRENGTH = 0.6  # of the colours over the image, where it is most unusual
_SMALLEST = 1e-12


def overlay(
    originals: NDArray[np.floating],
    maps: NDArray[np.floating],
    masks: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Lay each map in colours over its image; its own largest value is the brightest colour.

    Args:
        originals: (n, channels, height, width) in [0, 1].
        maps: (n, height, width), not negative.
        masks: (n, height, width), where defects are known to be, which are outlined; or None.

    Returns:
        The pictures, (n, 3, height, width).
    """
    shares = maps / maps.max((1, 2), keepdims=True).clip(_SMALLEST)
    heat = matplotlib.colormaps[HEAT](shares)[..., :3]
    amount = STRENGTH * shares[:, None]
    mixed = (1 - amount) * originals + amount * np.moveaxis(heat, -1, 1)
    if masks is not None:
        mixed = draw_outlines(mixed, masks)
    levels: NDArray[np.uint8] = (255 * mixed).round().astype(np.uint8)
    return levels


def draw_outlines(images: NDArray[np.floating], masks: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Draw the outlines of masks, (n, height, width), on images, (n, 3, height, width)."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    inside = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
    return np.where((masks & ~inside)[:, None], np.reshape(OUTLINE, (3, 1, 1)), images)
