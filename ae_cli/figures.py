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
from matplotlib.colors import Colormap, ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ae_cli.files import atomic_write

RESOLUTION = 150  # dots per inch
COLUMNS = 10  # images side by side, before the next row begins
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
    # Text stays text in an SVG: smaller, and it can be searched.
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
    tall = 1.3 * height / width
    figure.set_size_inches(max(1.3 * columns, 2.6) + 0.3, blocks * (2 * tall + 0.3))
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03)
    grid = figure.subplots(2 * blocks, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for i, title in enumerate(titles):
        block, column = divmod(i, columns)
        upper, lower = grid[2 * block, column], grid[2 * block + 1, column]
        _draw_image(upper, originals[i])
        _draw_image(lower, reconstructions[i])
        upper.set_title(title, fontsize=8, parse_math=False)
    for block in range(blocks):
        for row, word in enumerate(("original", "reconstruction")):
            axes = grid[2 * block + row, 0]
            axes.text(
                -0.08, 0.5, word, transform=axes.transAxes, rotation=90, ha="right", va="center",
                fontsize=8, color="0.35",
            )  # fmt: skip


def _draw_image(axes: Axes, image: NDArray[np.float32]) -> None:
    """Draw one image, (channels, height, width) in [0, 1]."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def draw_latents(
    figure: Figure,
    points: NDArray[np.float32],
    axis_names: Sequence[str],
    *,
    title: str,
    groups: NDArray[Any] | None = None,
    group_name: str = "label",
    values: NDArray[np.float32] | None = None,
    value_name: str = "reconstruction error",
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
        values: float (n,) numbers to colour by instead, explained by a colour bar; or None.
        value_name: What the values are, to stand beside the colour bar.
        azim: Angle, in degrees, from which a 3-D plot is seen, around the vertical axis.
        elev: The same, above the horizontal plane.
    """
    figure.set_size_inches(8, 6.5)
    figure.suptitle(title, y=0.96, fontsize=14, parse_math=False)
    if points.shape[1] == 3:
        # Room for the title above and the legend at the right.
        with matplotlib.rc_context({"grid.color": "0.85", "grid.linewidth": 0.6}):
            axes: Any = figure.add_axes((0.01, 0.02, 0.87, 0.91), projection="3d")
        axes.set_box_aspect(None, zoom=0.97)
        axes.view_init(elev=elev, azim=azim)
        axes.set_zlabel(axis_names[2])
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_pane_color("0.97")
            axis.pane.set_edgecolor("0.8")
        order = _far_to_near(points, azim, elev)
    else:
        axes = figure.add_axes((0.1, 0.1, 0.74, 0.81))
        axes.grid(color="0.85", linewidth=0.6)
        axes.set_axisbelow(True)
        order = np.arange(len(points))
    axes.tick_params(labelsize=8, labelcolor="0.3")
    axes.set_xlabel(axis_names[0])
    axes.set_ylabel(axis_names[1])
    _set_limits(axes, points)
    points = points[order]

    if groups is not None:
        names = np.unique(groups)
        member = np.searchsorted(names, groups)[order]
        colors = _palette(len(names))
        short = all(len(str(name)) <= LONGEST_BOX for name in names)
        if len(points) <= MOST_BOXES and short:
            for point, k in zip(points, member, strict=True):
                _draw_box(axes, point, str(names[k]), colors(k))
        else:
            _draw_markers(axes, points, c=[colors(k) for k in member])
        _draw_legend(figure, group_name, [(str(name), colors(k)) for k, name in enumerate(names)])
    elif values is not None:
        markers = _draw_markers(axes, points, c=values[order], cmap="viridis")
        bar = figure.colorbar(markers, cax=figure.add_axes((0.87, 0.25, 0.02, 0.45)))
        bar.set_label(value_name)
    else:
        _draw_markers(axes, points, c="tab:blue")


def _far_to_near(points: NDArray[np.float32], azim: float, elev: float) -> NDArray[np.int64]:
    """The order, (n,), in which points hide those behind them: Matplotlib does not sort texts."""
    a, e = math.radians(azim), math.radians(elev)
    toward = np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
    spread = np.ptp(points, axis=0)
    return np.argsort((points / np.where(spread > 0, spread, 1)) @ toward, kind="stable")


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


def _draw_box(axes: Any, point: NDArray[np.float32], text: str, color: Any) -> None:
    red, green, blue = to_rgb(color)
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.6  # ITU-R BT.601 luma
    axes.text(
        *point, text, fontsize=8, ha="center", va="center", clip_on=True, parse_math=False,
        color="black" if bright else "white",
        bbox={"boxstyle": "round,pad=0.2", "fc": color, "ec": "white", "lw": 0.4},
    )  # fmt: skip


def _draw_markers(axes: Any, points: NDArray[np.float32], **colors: Any) -> Any:
    count = len(points)
    size = float(np.clip(15000 / count, 1.5, 24))
    if points.shape[1] == 3:
        colors["depthshade"] = False  # it would change the colours that the legend explains
    return axes.scatter(
        *points.T, s=size, alpha=0.9 if count <= 5000 else 0.5, linewidths=0,
        rasterized=count > MOST_VECTOR, **colors,
    )  # fmt: skip


def _draw_legend(figure: Figure, title: str, entries: Sequence[tuple[str, Any]]) -> None:
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=7, color=color, label=_shorten(name))
        for name, color in entries[:MOST_LEGEND]
    ]
    if len(entries) > MOST_LEGEND:
        more = f"… {len(entries) - MOST_LEGEND} more"
        handles.append(Line2D([], [], linestyle="", label=more))
    legend = figure.legend(
        handles=handles,
        title=title,
        loc="center right",
        bbox_to_anchor=(0.985, 0.5),
        fontsize=9,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST_LEGEND else name[: LONGEST_LEGEND - 1] + "…"
