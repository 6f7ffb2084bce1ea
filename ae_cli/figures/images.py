"""Draw images: with their reconstructions, as sheets, and as a mosaic over two latents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ae_cli.figures.strips import (
    CELL,
    FONT_SIZE,
    LINE,
    MARGIN,
    SPACE,
    Box,
    Floats,
    Page,
    Strip,
    as_pixels,
    draw_pixels,
    draw_strips,
    shorten,
    text_width,
    tile,
)

MOST_ROWS = 25  # of examples below one another; further rows are beside them
EXAMPLE = 0.6  # inches from one example to the next, for square images
LONGEST_NAME = 1.4  # inches, of a class name
MOSAIC = 7.0  # inches, the longer side of a mosaic


def draw_reconstructions(
    figure: Figure, originals: Floats, reconstructions: Floats, titles: Sequence[str]
) -> None:
    """Draw originals in the upper row and their reconstructions below, up to `COLUMNS` per row.

    Args:
        figure: An empty figure.
        originals: float (n, channels, height, width) in [0, 1].
        reconstructions: Shaped like `originals`.
        titles: The title of each of the n columns.
    """
    draw_strips(figure, [("original", originals), ("reconstruction", reconstructions)], titles)


def draw_sheet(figure: Figure, images: Floats, titles: Sequence[str] | None = None) -> None:
    """Draw images, up to `COLUMNS` per row.

    Args:
        figure: An empty figure.
        images: float (n, channels, height, width) in [0, 1], n from 1 to `MOST_IMAGES`.
        titles: The title of each of the n images; or None.
    """
    draw_strips(figure, [("", images)], titles)


def draw_examples(figure: Figure, rows: Sequence[Floats], names: Sequence[str]) -> None:
    """Draw some images of each class, one class per row, with its name on the left.

    After `MOST_ROWS` rows, further ones are drawn beside the first.

    Args:
        figure: An empty figure.
        rows: For each class float (up to c, channels, height, width) in [0, 1]. At least one class
            has an image.
        names: The names of the classes. If all are empty, no space is left for them.
    """
    texts = [shorten(" ".join(name.split()), LONGEST_NAME) for name in names]
    height, width = rows[0].shape[2:]
    # All images get the same area, whatever their shape.
    cell = EXAMPLE * math.sqrt(width / height)
    strip = Strip.fit(rows[0], max(len(images) for images in rows), cell)
    row_height = max(strip.height + strip.gap * strip.scale, LINE if any(texts) else 0.0)
    left = MARGIN + (SPACE + max(map(text_width, texts)) if any(texts) else 0.0)
    panels = math.ceil(len(rows) / MOST_ROWS)
    length = math.ceil(len(rows) / panels)
    panel_width = left + strip.width + MARGIN
    page = Page(figure, panels * panel_width, length * row_height + 2 * MARGIN)
    for k, (images, text) in enumerate(zip(rows, texts, strict=True)):
        panel, row = divmod(k, length)
        x, top = panel * panel_width + left, MARGIN + row * row_height
        if len(images):
            page.draw_strip(strip, images, Box(x, top, strip.width, strip.height))
        page.write(
            x - SPACE, top + strip.height / 2, text, color="0.35", ha="right", va="center"
        )  # fmt: skip


def draw_grid(
    figure: Figure,
    images: Floats,
    axis_names: tuple[str, str],
    axis_values: tuple[Floats, Floats],
) -> None:
    """Draw the images at the points of a regular grid over two latents, without gaps.

    Args:
        figure: An empty figure.
        images: float (rows * columns, channels, height, width) in [0, 1], row by row from the top.
        axis_names: The names of the horizontal and the vertical latent.
        axis_values: float (columns,), the values from left to right, and float (rows,), the values
            from top to bottom; for an axis that points upwards, the first is the highest.
    """
    across, down = axis_values
    columns, rows = len(across), len(down)
    height, width = images.shape[2:]
    scale = min(
        MOSAIC / max(columns * width, rows * height),
        CELL / max(width, height),
    )
    cell_width, cell_height = width * scale, height * scale
    x_labels, y_labels = _label_ticks(across), _label_ticks(down)
    x_step = math.ceil((max(map(text_width, x_labels)) + 2 * SPACE) / cell_width)
    y_step = math.ceil(1.2 * LINE / cell_height)
    left = 0.4 + max(map(text_width, y_labels))
    box = Box(left, 2 * MARGIN, columns * cell_width, rows * cell_height)
    page = Page(figure, left + box.width + 0.25, box.top + box.height + 0.5)
    axes = page.add_axes(box)
    draw_pixels(axes, as_pixels(tile(images, columns)), (0, columns, rows, 0))
    axes.set_xticks(np.arange(columns)[::x_step] + 0.5, x_labels[::x_step])
    axes.set_yticks(np.arange(rows)[::y_step] + 0.5, y_labels[::y_step])
    axes.set_xlabel(axis_names[0], fontsize=FONT_SIZE, parse_math=False)
    axes.set_ylabel(axis_names[1], fontsize=FONT_SIZE, parse_math=False)


def _label_ticks(values: Floats) -> list[str]:
    """Format values with three digits, and with the minus sign of Matplotlib's own labels."""
    # A value such as 4e-16 between -2.1 and 2.1 is meant to be 0.
    meant = np.where(np.abs(values) > 1e-6 * np.abs(values).max(), values, 0.0)
    return [f"{value:.3g}".replace("-", "\N{MINUS SIGN}") for value in meant]
