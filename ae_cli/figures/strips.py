"""Draw images side by side, on a page measured in inches from its upper left corner."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

COLUMNS = 10  # images per row
FONT_SIZE = 8  # points
POINTS_PER_INCH = 72

# In inches
CELL = 1.3  # from one image to the next: a title such as "7 (error 0.0345)" fits above it
TALLEST = 2.0  # image
LINE = 0.14  # of text
SPACE = 0.07  # between strips
MARGIN = 0.1


class Box(NamedTuple):
    """A place on a page, in inches from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


class Page:
    """A figure in which all positions are in inches from the upper left corner.

    Args:
        figure: An empty figure.
        width: In inches.
        height: In inches.
    """

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        figure.set_size_inches(width, height)
        self.figure, self.width, self.height = figure, width, height
        # The same axes for all strips and their texts: separate ones would take milliseconds each.
        self.axes = figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)

    def add_axes(self, box: Box) -> Axes:
        """Add axes with small grey ticks and without a frame."""
        left, top, width, height = box
        bottom = self.height - top - height
        axes = self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )
        axes.tick_params(labelsize=FONT_SIZE, labelcolor="0.3", color="0.6", length=2.5)
        axes.spines[:].set_visible(False)
        return axes

    def write(self, x: float, y: float, text: str, **options: Any) -> None:
        """Write a text, which is never read as a formula."""
        options = {"fontsize": FONT_SIZE, "parse_math": False} | options
        self.axes.text(x, y, text, **options)

    def draw_strip(self, strip: Strip, images: Floats, box: Box) -> None:
        """Draw images side by side as a single array, which is much faster than many.

        Args:
            strip: The places of the images.
            images: float (up to `strip.columns`, channels, height, width) in [0, 1].
            box: The position of the whole strip on the page, including places without an image.
        """
        left, top, width, height = box
        draw_pixels(self.axes, strip.arrange(images), (left, left + width, top + height, top))


@dataclass(frozen=True)
class Strip:
    """Places for images side by side.

    Attributes:
        columns: The number of places.
        rows: The height of an image in pixels.
        pixels: The width of an image in pixels.
        gap: The number of white pixels between two images.
        scale: Inches per pixel.
    """

    columns: int
    rows: int
    pixels: int
    gap: int
    scale: float

    @classmethod
    def fit(cls, images: Floats, columns: int, cell: float = CELL) -> Strip:
        """Make the images as large as fit into a cell, of this width in inches, and `TALLEST`."""
        rows, pixels = images.shape[2:]
        gap = max(1, pixels // 28)
        scale = min(cell / (pixels + gap), TALLEST / rows)
        gap = max(gap, round(cell / scale) - pixels)  # tall images are further apart
        return cls(columns, rows, pixels, gap, scale)

    @property
    def step(self) -> float:
        """Inches from one image to the next."""
        return (self.pixels + self.gap) * self.scale

    @property
    def width(self) -> float:
        """In inches."""
        return (self.columns * (self.pixels + self.gap) - self.gap) * self.scale

    @property
    def height(self) -> float:
        """In inches."""
        return self.rows * self.scale

    def middle(self, column: int) -> float:
        """Inches from the strip's left edge to the middle of an image."""
        return column * self.step + self.pixels * self.scale / 2

    def arrange(self, images: Floats) -> Floats:
        """Put images side by side; places without an image stay white.

        Args:
            images: float (up to `columns`, channels, height, width).

        Returns:
            float32 (height, columns * (width + gap) - gap) in [0, 1], for images in colour with a
            last axis of 3 channels.
        """
        step = self.pixels + self.gap
        strip = np.ones((self.rows, self.columns * step - self.gap, images.shape[1]), np.float32)
        for i, image in enumerate(images):
            strip[:, i * step : i * step + self.pixels] = image.transpose(1, 2, 0)
        return as_pixels(strip)


def tile(images: NDArray[Any], columns: int) -> NDArray[Any]:
    """Put images side by side without gaps, row by row.

    Args:
        images: (rows * columns, channels, height, width).
        columns: The number of images per row.

    Returns:
        (rows * height, columns * width, channels), of the same dtype.
    """
    count, channels, height, width = images.shape
    rows = count // columns
    cells = images.reshape(rows, columns, channels, height, width)
    return cells.transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)


def draw_pixels(axes: Axes, pixels: Floats, extent: tuple[float, float, float, float]) -> None:
    """Draw pixels from `as_pixels`; `extent` has their left, right, lower and upper edges."""
    axes.imshow(
        pixels, cmap="gray", vmin=0, vmax=1, interpolation="antialiased", aspect="auto",
        extent=extent,
    )  # fmt: skip


def mark(axes: Axes, x: float, text: str, *, y: float) -> None:
    """Mark a value on the horizontal axis by a dashed line with a text above it.

    Args:
        axes: The axes.
        x: The value.
        text: The text.
        y: The lower edge of the text, as a share of the axes' height.
    """
    axes.axvline(x, color="0.2", linewidth=1, linestyle="--")
    axes.text(
        x, y, text, transform=axes.get_xaxis_transform(),
        ha="center", va="bottom", fontsize=FONT_SIZE, color="0.2",
    )  # fmt: skip


def as_pixels(array: Floats) -> Floats:
    """Prepare (height, width, channels) for Matplotlib: in [0, 1]; grey images lose their axis."""
    return np.clip(array[:, :, 0] if array.shape[2] == 1 else array, 0, 1)


def draw_strips(
    figure: Figure,
    rows: Sequence[tuple[str, Floats]],
    titles: Sequence[str] | None = None,
    *,
    cell: float = CELL,
    above: float = 0.0,
    below: float = 0.0,
    right: float = MARGIN,
    least_width: float = 0.0,
) -> tuple[Page, list[Box]]:
    """Draw blocks of strips below one another, each with up to `COLUMNS` images of every row.

    All blocks but the last have the same number of images, and the last about as many.

    Args:
        figure: An empty figure.
        rows: For each row its name, written to the left of its strips, and its images, float
            (n, channels, height, width) in [0, 1]. All images have the same height and width.
        titles: The title of each of the n columns; wrapped before a parenthesis, or shortened, if
            they would not fit.
        cell: Inches from one image to the next, unless the images would be too tall.
        above: Inches to leave free above the blocks.
        below: Inches to leave free below the blocks.
        right: Inches to leave free to the right of the blocks.
        least_width: The least width of the page, in inches.

    Returns:
        The page, and the positions of the strips, block by block.
    """
    count = len(rows[0][1])
    blocks = math.ceil(count / COLUMNS)
    strip = Strip.fit(rows[0][1], math.ceil(count / blocks), cell)  # the last about as full
    titles = [] if titles is None else wrap(titles, strip.step - SPACE)
    words = [word for word, _ in rows]
    if max(map(text_width, words)) > strip.height:
        words = [_break(word) for word in words]
    upright = max(map(text_width, words)) > strip.height  # otherwise they are rotated
    word_lines, title_lines = _count_lines(words), _count_lines(titles)
    left = MARGIN
    if any(words):
        left += SPACE + (max(map(text_width, words)) if upright else word_lines * LINE)
    # The titles of narrow images extend beyond the first and the last image.
    overhang = (max(map(text_width, titles), default=0.0) - strip.pixels * strip.scale) / 2
    left, right = max(left, overhang + MARGIN), max(right, overhang + MARGIN)
    is_sheet = len(rows) == 1 and not title_lines  # its rows are as close together as its columns
    space, between = (strip.gap * strip.scale, 0.0) if is_sheet else (SPACE, MARGIN)
    row_height = max(strip.height, word_lines * LINE if upright else 0.0) + space
    block_height = title_lines * LINE + len(rows) * row_height + between
    page = Page(
        figure,
        max(left + strip.width + right, least_width),
        above + MARGIN + blocks * block_height - space - between + MARGIN + below,
    )
    boxes = []
    for block in range(blocks):
        members = slice(block * strip.columns, (block + 1) * strip.columns)
        top = above + MARGIN + block * block_height + title_lines * LINE
        for i, title in enumerate(titles[members]):
            page.write(left + strip.middle(i), top - 0.04, title, ha="center", va="bottom")
        for k, (word, (_, images)) in enumerate(zip(words, rows, strict=True)):
            box = Box(left, top + k * row_height, strip.width, strip.height)
            page.draw_strip(strip, images[members], box)
            page.write(
                left - SPACE, box.top + strip.height / 2, word, color="0.35",
                rotation=0 if upright else 90, ha="right", va="center",
                multialignment="right" if upright else "center",
            )  # fmt: skip
            boxes.append(box)
    return page, boxes


def text_width(text: str, size: float = FONT_SIZE) -> float:
    """The width of a text's widest line, in inches; `size` is the font size in points."""
    font = FontProperties(size=size)
    widths: list[float] = [
        text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]
        for line in text.split("\n")
    ]
    return max(widths) / POINTS_PER_INCH


def shorten(text: str, width: float, size: float = FONT_SIZE) -> str:
    """Cut the middle out of a line if it is wider than this, in inches: names differ at the end."""
    if text_width(text, size) <= width:
        return text

    def cut(kept: int) -> str:
        return text[: (kept + 1) // 2].rstrip() + "…" + text[len(text) - kept // 2 :].lstrip()

    fitting = bisect_right(range(len(text)), width, key=lambda kept: text_width(cut(kept), size))
    return cut(max(0, fitting - 1))


def wrap(texts: Sequence[str], width: float) -> list[str]:
    """Break all texts before a parenthesis if one is too wide; shorten lines that still are."""
    if any(text_width(text) > width for text in texts):
        texts = [_break(text) for text in texts]
    return ["\n".join(shorten(line, width) for line in text.split("\n")) for text in texts]


def _break(text: str) -> str:
    return "\n(".join(text.rsplit(" (", 1))


def _count_lines(texts: Sequence[str]) -> int:
    return max((text.count("\n") + 1 for text in texts if text), default=0)
