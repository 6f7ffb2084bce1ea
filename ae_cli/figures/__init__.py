"""Pictures, by Matplotlib: reconstructions beside their originals, and latents as points.

What is drawn are arrays; where they come from is not known here. Pictures are drawn without pyplot,
and so without a display, unless a window is asked for.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.registry import BackendFilter, backend_registry
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ae_cli.figures.boxes import Boxes
from ae_cli.files import atomic_write

RESOLUTION = 150  # dots per inch
COLUMNS = 10  # images side by side, before the next row begins
MOST_IMAGES = 1000  # beyond it, a picture has more than the 65,535 rows of pixels that can be drawn
MOST_BOXES = 300  # beyond it, labels in boxes cover one another
LONGEST_BOX = 3  # characters of a label in a box
MOST_LEGEND = 24  # classes beyond it do not fit beside the plot
LONGEST_LEGEND = 18  # characters of a name that fit beside the plot
MOST_VECTOR = 5000  # points beyond it are drawn as pixels into an SVG or PDF, which stays small


def endings() -> tuple[str, ...]:
    """The file endings that Matplotlib writes: .png, .svg, .pdf and more."""
    # A PGF needs TeX, and bare pixels are no picture that a program opens.
    formats = FigureCanvasBase.get_supported_filetypes().keys() - {"pgf", "raw", "rgba"}
    return tuple(f".{name}" for name in sorted(formats))


def new_figure(*, window: bool = False) -> tuple[Figure, bool]:
    """Make an empty figure, in a window if one is wanted and there is a display.

    Returns:
        The figure, and whether it is in a window, which `show` shows.
    """
    linux = sys.platform.startswith("linux")
    if window and (not linux or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        from matplotlib import pyplot

        # Each windowing toolkit has its own exception for a display that is not there.
        with suppress(Exception):
            figure = pyplot.figure()
            if pyplot.get_backend() in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
                return figure, True
    return Figure(), False


def show() -> None:
    """Show the window that `new_figure` made, until it is closed."""
    from matplotlib import pyplot

    pyplot.show()


def save(figure: Figure, path: Path) -> None:
    """Write a picture whole, in the format that the path's ending names.

    Raises:
        UsageError: The file cannot be written.
    """
    # Titles, axes and legends stay text in an SVG: smaller, and they can be searched.
    with atomic_write(path) as file, matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=RESOLUTION)


def draw_reconstructions(
    figure: Figure,
    originals: NDArray[np.float32],
    reconstructions: NDArray[np.float32],
    titles: Sequence[str],
) -> None:
    """Draw originals in the upper row and their reconstructions below, `COLUMNS` to a row.

    Args:
        figure: An empty figure.
        originals: float (n, channels, height, width) in [0, 1].
        reconstructions: Shaped like `originals`.
        titles: What to write above each of the n columns.
    """
    count, _, height, width = originals.shape
    columns = min(count, COLUMNS)
    blocks = math.ceil(count / columns)
    # In inches: a strip of images side by side, with room for a title above and a word at the left.
    gap = max(1, width // 28)  # pixels between two images
    strip_width = 1.3 * columns
    strip_height = strip_width * height / (columns * (width + gap) - gap)
    block_height = 2 * strip_height + 0.35
    page_width, page_height = max(strip_width, 1.6) + 0.4, blocks * block_height + 0.05
    figure.set_size_inches(page_width, page_height)
    for block in range(blocks):
        members = slice(block * columns, (block + 1) * columns)
        top = page_height - block * block_height - 0.25
        for row, (word, images) in enumerate(
            (("original", originals[members]), ("reconstruction", reconstructions[members]))
        ):
            bottom = top - strip_height - row * (strip_height + 0.07)
            axes = figure.add_axes(
                (
                    0.3 / page_width,
                    bottom / page_height,
                    strip_width / page_width,
                    strip_height / page_height,
                )
            )
            axes.set_axis_off()
            _draw_strip(axes, images, columns, gap)
            axes.text(
                -0.06 / strip_width, 0.5, word, transform=axes.transAxes, rotation=90,
                ha="right", va="center", fontsize=8, color="0.35",
            )  # fmt: skip
            if row == 0:
                for i, title in enumerate(titles[members]):
                    axes.text(
                        i * (width + gap) + (width - 1) / 2, -0.5 - 0.04 * height, title,
                        ha="center", va="bottom", fontsize=8, parse_math=False,
                    )  # fmt: skip


def _draw_strip(axes: Axes, images: NDArray[np.float32], columns: int, gap: int) -> None:
    """Draw images side by side: one array is drawn much faster than many.

    Args:
        axes: Wide enough for `columns` images.
        images: float (up to `columns`, channels, height, width) in [0, 1].
        columns: Places there are; those without an image stay white.
        gap: White pixels between two images.
    """
    _, channels, height, width = images.shape
    strip = np.ones((height, columns * (width + gap) - gap, channels), np.float32)
    for i, image in enumerate(images):
        left = i * (width + gap)
        strip[:, left : left + width] = image.transpose(1, 2, 0)
    pixels = strip[:, :, 0] if channels == 1 else strip
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")


def draw_latents(
    figure: Figure,
    points: NDArray[np.float32],
    axis_names: Sequence[str],
    *,
    title: str,
    groups: NDArray[Any] | None = None,
    group_name: str = "label",
    values: NDArray[np.float32] | None = None,
    azim: float = -60,
    elev: float = 30,
) -> None:
    """Draw latents as points in two or three dimensions.

    Up to `MOST_BOXES` points of groups with short names are drawn as the tutorial does, by their
    names in coloured boxes, and otherwise as markers.

    Args:
        figure: An empty figure.
        points: float (n, 2) or (n, 3).
        axis_names: What to write at each of the axes.
        title: What to write above.
        groups: (n,) numbers or names, one colour each, explained in a legend; or None.
        group_name: What the groups are, to stand above the legend.
        values: float (n,) reconstruction errors to colour by instead, explained by a colour bar;
            or None.
        azim: Angle, in degrees, from which a 3-D plot is seen, around the vertical axis.
        elev: The same, above the horizontal plane.
    """
    figure.set_size_inches(8, 6.5)
    _draw_title(figure, title)
    names = np.unique(groups) if groups is not None else np.array([])
    colors = _palette(len(names))
    # Labels are one line, and one of which nothing would be seen is a dash.
    texts = [" ".join(str(name).split()) or "–" for name in names]
    right = 1.0 if values is None else 0.86  # where the legend or the colour bar begins
    if groups is not None:
        right = _draw_legend(figure, group_name, texts, colors)
    if points.shape[1] == 3:
        with matplotlib.rc_context({"grid.color": "0.85", "grid.linewidth": 0.6}):
            axes: Any = figure.add_axes((0.01, 0.02, right - 0.07, 0.91), projection="3d")
        axes.set_box_aspect(None, zoom=0.97)
        axes.view_init(elev=elev, azim=azim)
        axes.set_zlabel(axis_names[2])
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_pane_color("0.97")
            axis.pane.set_edgecolor("0.8")
    else:
        axes = figure.add_axes((0.1, 0.1, right - 0.13, 0.81))
        axes.grid(color="0.85", linewidth=0.6)
        axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, labelcolor="0.3")
    axes.set_xlabel(axis_names[0])
    axes.set_ylabel(axis_names[1])
    _set_limits(axes, points)

    if groups is not None:
        member = np.searchsorted(names, groups)
        if len(points) <= MOST_BOXES and all(len(text) <= LONGEST_BOX for text in texts):
            Boxes(axes, points, member, texts, colors)
        else:
            _draw_markers(axes, points, c=colors(member))
    elif values is not None:
        markers = _draw_markers(axes, points, c=values, cmap="viridis")
        bar = figure.colorbar(markers, cax=figure.add_axes((0.87, 0.25, 0.02, 0.45)))
        bar.set_label("reconstruction error")
    else:
        _draw_markers(axes, points, c="tab:blue")


def _set_limits(axes: Any, points: NDArray[np.float32]) -> None:
    """Fit the axes to the points: texts do not do it by themselves."""
    for name, column in zip("xyz", points.T, strict=False):
        low, high = float(column.min()), float(column.max())
        # A latent that hardly varies should look like it, not like noise blown up.
        smallest = 0.01 * max(abs(low), abs(high)) or 1.0
        middle, half = (low + high) / 2, max(0.53 * (high - low), smallest)
        getattr(axes, f"set_{name}lim")(middle - half, middle + half)


def _palette(count: int) -> Colormap:
    if count <= 20:
        return matplotlib.colormaps["tab10" if count <= 10 else "tab20"]
    return ListedColormap(matplotlib.colormaps["turbo"](np.linspace(0, 1, count)))


def _draw_markers(axes: Any, points: NDArray[np.float32], **colors: Any) -> Any:
    count = len(points)
    size = float(np.clip(15000 / count, 1.5, 24))
    if points.shape[1] == 3:
        colors["depthshade"] = False  # it would change the colours that the legend explains
    return axes.scatter(
        *points.T, s=size, alpha=0.9 if count <= 5000 else 0.5, linewidths=0,
        rasterized=count > MOST_VECTOR, **colors,
    )  # fmt: skip


def _draw_title(figure: Figure, title: str) -> None:
    """Write a title at the top, in smaller letters where it would not fit."""
    text = figure.suptitle(title, y=0.96, fontsize=14, parse_math=False)
    share = text.get_window_extent().width / figure.bbox.width
    text.set_fontsize(14 * min(1.0, 0.9 / max(share, 0.01)))


def _draw_legend(figure: Figure, title: str, names: Sequence[str], colors: Colormap) -> float:
    """Explain each name's colour at the right edge.

    Returns:
        Where the legend begins, as a share of the figure's width.
    """
    handles = [
        Line2D([], [], ls="", marker="o", markersize=7, color=colors(k), label=_shorten(name))
        for k, name in enumerate(names[:MOST_LEGEND])
    ]
    if len(names) > MOST_LEGEND:
        more = f"… {len(names) - MOST_LEGEND} more"
        handles.append(Line2D([], [], ls="", label=more))
    legend = figure.legend(
        handles=handles,
        title=title,
        loc="center right",
        bbox_to_anchor=(0.99, 0.5),
        fontsize=9,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return float(legend.get_window_extent().x0 / figure.bbox.width)


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST_LEGEND else name[: LONGEST_LEGEND - 1] + "…"
