"""Drawing images in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

MINIMUM_WIDTH = 10  # characters per image; with fewer, it cannot be recognised
MINIMUM_IN_GRID = 8  # pixels per side; there, an image's neighbours help to recognise it


class Reduction(NamedTuple):
    """How images fit in a terminal.

    Attributes:
        shown: Images in each row.
        factor: By how much they are reduced.
    """

    shown: int
    factor: int


def fit(rows: Sequence[NDArray[np.float32]], width: int, height: int) -> Reduction | None:
    """Reduce images by a whole factor until they fit, and leave out the last ones if need be.

    Args:
        rows: Each float (n, channels, height, width).
        width: Characters in a line.
        height: Number of lines.

    Returns:
        None if not even one fits.
    """
    count, _, tall, wide = rows[0].shape
    lines, factor = len(rows), 1
    while count * (wide // factor + 1) > width or lines * ((tall // factor + 1) // 2 + 1) > height:
        if wide // (factor + 1) < MINIMUM_WIDTH and count > 1:
            count, factor = count - 1, 1  # too small: show fewer images
        elif wide // (factor + 1) == 0 or tall // (factor + 1) == 0:
            return None
        else:
            factor += 1
    return Reduction(count, factor)


def half_blocks(rows: Sequence[NDArray[np.float32]], how: Reduction) -> Iterator[Text]:
    """Draw images side by side, two pixels to a character.

    Args:
        rows: Each float (n, channels, height, width) in [0, 1].
        how: As `fit` says.

    Yields:
        Lines of text, with an empty one between rows.
    """
    images, (shown, factor) = np.stack(rows), how
    lines, _, channels, tall, wide = images.shape
    small_tall, small_wide = tall // factor, wide // factor
    cut = images[:, :shown, :, : small_tall * factor, : small_wide * factor]
    small = cut.reshape(lines, shown, channels, small_tall, factor, small_wide, factor).mean((4, 6))
    levels = (small * 255).round().astype(int)
    if channels == 1:
        levels = levels.repeat(3, axis=2)
    for row in levels:  # (count, 3, height, width)
        for y in range(0, row.shape[2], 2):
            text = Text()
            for image in row:
                for x in range(small_wide):
                    # Of an odd number of lines, the last one leaves the background below it.
                    colors = [Color.from_rgb(*pixel) for pixel in image[:, y : y + 2, x].T]
                    text.append("▀", Style(color=colors[0], bgcolor=(*colors[1:], None)[0]))
                text.append(" ")
            yield text
        yield Text()


class Grid(NamedTuple):
    """A grid of images as one image.

    Attributes:
        pixels: float32 (1, channels, height, width) in [0, 1].
        rows: How many rows of images are in it.
        columns: How many columns.
    """

    pixels: NDArray[np.float32]
    rows: int
    columns: int


def shrink_grid(images: NDArray[np.float32], columns: int, width: int, height: int) -> Grid:
    """Make one image of a grid of images, which `half_blocks` can draw without reducing it.

    If the images would be too small, some rows and columns are left out: those that stay are
    evenly spread from the first to the last.

    Args:
        images: float (rows * columns, channels, height, width) in [0, 1], row by row.
        columns: Images in a row.
        width: As for `fit`.
        height: As for `fit`.
    """
    from PIL import Image

    from ae_cli.figures.strips import tile  # it imports Matplotlib, which few previews need

    size = np.array(images.shape[2:])  # of an image in pixels, and of all below: down, across
    grid = np.array([len(images) // columns, columns])
    space = np.array([2 * (height - 1), width - 1])
    least = np.minimum(size, size * MINIMUM_IN_GRID / size.min())
    shown = np.clip(space // least, 1, grid).astype(int)
    scale = min(1.0, (space // shown / size).min())
    small = np.maximum((scale * size).round().astype(int), 1)
    down, across = (
        np.linspace(0, there - 1, count).round().astype(int)
        for there, count in zip(grid, shown, strict=True)
    )
    chosen = images[(down[:, None] * columns + across).ravel()]
    levels = (tile(chosen, len(across)) * 255).round().astype(np.uint8)
    picture = Image.fromarray(levels.squeeze(2) if levels.shape[2] == 1 else levels)
    high, wide = shown * small
    reduced = picture.resize((int(wide), int(high)), Image.Resampling.BOX)
    pixels = np.asarray(reduced, np.float32).reshape(high, wide, -1) / np.float32(255)
    return Grid(pixels.transpose(2, 0, 1)[None], len(down), len(across))
