"""Drawing images in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

MINIMUM_WIDTH = 10  # characters per image; with fewer, it cannot be recognised


def half_blocks(rows: Sequence[NDArray[np.float32]], width: int, height: int) -> Iterator[Text]:
    """Draw images side by side, two pixels to a character.

    Args:
        rows: Each float (n, channels, height, width) in [0, 1].
        width: Characters in a line.
        height: Number of lines. The images are reduced by a whole factor until they fit.

    Yields:
        Lines of text, with an empty one between rows.
    """
    images = np.stack(rows)
    lines, count, channels, tall, wide = images.shape
    factor = 1
    while count * (wide // factor + 1) > width or lines * ((tall // factor + 1) // 2 + 1) > height:
        if wide // (factor + 1) < MINIMUM_WIDTH and count > 1:
            count, factor = count - 1, 1  # too small: show fewer images
        elif wide // (factor + 1) == 0 or tall // (factor + 1) == 0:
            return
        else:
            factor += 1
    small_tall, small_wide = tall // factor, wide // factor
    cut = images[:, :count, :, : small_tall * factor, : small_wide * factor]
    small = cut.reshape(lines, count, channels, small_tall, factor, small_wide, factor).mean((4, 6))
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
