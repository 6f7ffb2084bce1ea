"""Images side by side, on a page that is measured in inches from its upper left corner."""

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

COLUMNS = 10  # images side by side, before the next row begins
MOST_IMAGES = 1000  # beyond it, a picture would have to be drawn coarser and coarser
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
    """A figure in which everything has its place in inches from the upper left corner.

    Args:
        figure: An empty figure.
        width: In inches.
        height: In inches.
    """

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        figure.set_size_inches(width, height)
        self.figure, self.width, self.height = figure, width, height
        # One for all strips and their texts: each axes of its own takes milliseconds.
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
        """Write a text that is never a formula."""
        options = {"fontsize": FONT_SIZE, "parse_math": False} | options
        self.axes.text(x, y, text, **options)

    def draw_strip(self, strip: Strip, images: Floats, box: Box) -> None:
        """Draw images side by side: one array is drawn much faster than many.

        Args:
            strip: Where the images stand in it.
            images: float (up to `strip.columns`, channels, height, width) in [0, 1].
            box: Where the strip stands on the page, all of its places included.
        """
        left, top, width, height = box
        draw_pixels(self.axes, strip.arrange(images), (left, left + width, top + height, top))


@dataclass(frozen=True)
class Strip:
    """Places for images side by side.

    Attributes:
        columns: Places there are.
        rows: Pixels of an image from top to bottom.
        pixels: Pixels of an image from left to right.
        gap: White pixels between two images.
        scale: Inches to a pixel.
    """

    columns: int
    rows: int
    pixels: int
    gap: int
    scale: float

    @classmethod
    def fit(cls, images: Floats, columns: int, cell: float = CELL) -> Strip:
        """Make the images as large as a cell of this width, in inches, and `TALLEST` allow."""
        rows, pixels = images.shape[2:]
        gap = max(1, pixels // 28)
        scale = min(cell / (pixels + gap), TALLEST / rows)
        gap = max(gap, round(cell / scale) - pixels)  # tall images stand further apart
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
        """Put images side by side; places without one stay white.

        Args:
            images: float (up to `columns`, channels, height, width).

        Returns:
            float32 (height, columns * (width + gap) - gap), with 3 channels at the end for images
            in colour, in [0, 1].
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
        columns: Images in a row.

    Returns:
        (rows * height, columns * width, channels), of the same type.
    """
    count, channels, height, width = images.shape
    rows = count // columns
    cells = images.reshape(rows, columns, channels, height, width)
    return cells.transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)


def draw_pixels(axes: Axes, pixels: Floats, extent: tuple[float, float, float, float]) -> None:
    """Draw what `as_pixels` makes, with its left, right, lower and upper edges at these places."""
    axes.imshow(
        pixels, cmap="gray", vmin=0, vmax=1, interpolation="antialiased", aspect="auto",
        extent=extent,
    )  # fmt: skip


def mark(axes: Axes, x: float, text: str, *, y: float) -> None:
    """Mark a value on the horizontal axis by a dashed line, with words above it.

    Args:
        axes: Where.
        x: The value.
        text: The words.
        y: Where they begin, as a share of the axes' height.
    """
    axes.axvline(x, color="0.2", linewidth=1, linestyle="--")
    axes.text(
        x, y, text, transform=axes.get_xaxis_transform(),
        ha="center", va="bottom", fontsize=FONT_SIZE, color="0.2",
    )  # fmt: skip


def as_pixels(array: Floats) -> Floats:
    """Make (height, width, channels) what Matplotlib draws: in [0, 1], and without one channel."""
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
    """Draw blocks of strips below one another, each of up to `COLUMNS` images of every row.

    Args:
        figure: An empty figure.
        rows: Words that stand at the left of the strips, and float (n, channels, height, width) in
            [0, 1], all of one height and width.
        titles: What to write above each of the n columns; broken before a parenthesis or shortened
            where they would not fit.
        cell: Inches from one image to the next, as far as their height allows.
        above: Inches to leave free above the blocks.
        below: Inches to leave free below the blocks.
        right: Inches to leave free at the right of the blocks.
        least_width: Of the page, in inches.

    Returns:
        The page, and where the strips are, block by block.
    """
    count = len(rows[0][1])
    strip = Strip.fit(rows[0][1], min(count, COLUMNS), cell)
    blocks = math.ceil(count / strip.columns)
    titles = [] if titles is None else wrap(titles, strip.step - SPACE)
    words = [word for word, _ in rows]
    if max(map(text_width, words)) > strip.height:
        words = [_break(word) for word in words]
    upright = max(map(text_width, words)) > strip.height  # otherwise they are turned
    word_lines, title_lines = _count_lines(words), _count_lines(titles)
    left = MARGIN
    if any(words):
        left += SPACE + (max(map(text_width, words)) if upright else word_lines * LINE)
    # The titles of narrow images reach beyond the first and the last of them.
    overhang = (max(map(text_width, titles), default=0.0) - strip.pixels * strip.scale) / 2
    left, right = max(left, overhang + MARGIN), max(right, overhang + MARGIN)
    is_sheet = len(rows) == 1 and not title_lines  # its rows are as close as its columns
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
    """How wide the widest line of a text is, in inches, in letters of a size in points."""
    font = FontProperties(size=size)
    widths: list[float] = [
        text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]
        for line in text.split("\n")
    ]
    return max(widths) / POINTS_PER_INCH


def shorten(text: str, width: float, size: float = FONT_SIZE) -> str:
    """Cut a line to a width in inches, if it is wider."""
    if text_width(text, size) <= width:
        return text
    lengths = range(len(text))
    fitting = bisect_right(lengths, width, key=lambda k: text_width(text[:k] + "…", size))
    return text[: max(0, fitting - 1)].rstrip() + "…"


def wrap(texts: Sequence[str], width: float) -> list[str]:
    """Break texts before a parenthesis if one of them is too wide; shorten what still is."""
    if any(text_width(text) > width for text in texts):
        texts = [_break(text) for text in texts]
    return ["\n".join(shorten(line, width) for line in text.split("\n")) for text in texts]


def _break(text: str) -> str:
    return "\n(".join(text.rsplit(" (", 1))


def _count_lines(texts: Sequence[str]) -> int:
    return max((text.count("\n") + 1 for text in texts if text), default=0)
