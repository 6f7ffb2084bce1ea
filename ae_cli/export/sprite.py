"""Thumbnails in one picture, as TensorBoard's Projector expects them."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL_SIDE = 64  # pixels of an image's longer side
MOST_SPRITE = 8192  # pixels of the picture's sides that the Projector allows


def make_sprite(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Arrange square thumbnails in a square, row by row, as the Projector expects it.

    Args:
        pixels: (n, channels, height, width).

    Returns:
        The sprite, (rows * side, rows * side, channels), and the side of a thumbnail.
    """
    rows = math.ceil(math.sqrt(len(pixels)))
    thumbnails = shrink(pixels, max(1, min(THUMBNAIL_SIDE, MOST_SPRITE // rows)))
    count, height, width, channels = thumbnails.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    squares = np.zeros((rows * rows, side, side, channels), np.uint8)
    squares[:count, top : top + height, left : left + width] = thumbnails
    return tile(squares, rows), side


def shrink(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Reduce images (n, channels, height, width) if their longer side is above `side`.

    Returns:
        (n, height, width, channels).
    """
    height, width = pixels.shape[2:]
    images = pixels.transpose(0, 2, 3, 1)
    if max(height, width) <= side:
        return images
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = [np.asarray(_picture(image).resize(size, Image.Resampling.BOX)) for image in images]
    return np.stack(small).reshape(len(images), size[1], size[0], -1)


def tile(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Arrange images (rows * columns, height, width, channels) in a grid, row by row."""
    count, height, width, channels = images.shape
    rows = count // columns
    cells = images.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return cells.reshape(rows * height, columns * width, channels)


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """Convert pixels, uint8 (height, width, 1 or 3), to a Pillow image."""
    return Image.fromarray(
        np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    )


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels, uint8 (height, width, 1 or 3), as a PNG file."""
    content = io.BytesIO()
    _picture(pixels).save(content, "png")
    return content.getvalue()
