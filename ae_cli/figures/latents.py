"""Draw latents as points in two or three dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ae_cli.figures.boxes import Boxes
from ae_cli.figures.placement import ALL_AROUND, fill_space
from ae_cli.figures.strips import shorten

MOST_BOXES = 300  # points; more boxes would cover one another
LONGEST_BOX = 3  # characters of a label in a box
MOST_LEGEND = 24  # classes; more do not fit beside the plot
LEGEND_SIZE = 9  # points
LONGEST_LEGEND = 1.4  # inches, of a name in the legend
SIZE = (8.0, 6.5)  # inches; a picture is wider if its legend would leave the plot less than `PLOT`
PLOT = 6.8
# More points, in fewer colours, are drawn as the markers of lines: of about so many.
MOST_SCATTERED, FEWEST_SCATTERED_COLORS, LINES = 200_000, 100, 1000
# Of Matplotlib's turbo, whose ends can hardly be seen on a dark page
HUES = (0.11, 0.89)
SHADES = 64  # of a reconstruction error
MOST_VECTOR = 5000  # points; more are drawn as pixels in an SVG or PDF, to keep it small


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
    turns: bool = False,
) -> None:
    """Draw latents as points in two or three dimensions.

    Up to `MOST_BOXES` points of groups with short names are drawn as in the tutorial, as names in
    coloured boxes. All others are markers.

    Args:
        figure: An empty figure.
        points: float (n, 2) or (n, 3).
        axis_names: The label of each axis.
        title: The title of the plot.
        groups: (n,) numbers or names, one colour each, explained in a legend; or None.
        group_name: What the groups are: the title of the legend.
        values: float (n,) reconstruction errors to colour by instead, explained by a colour bar;
            or None.
        azim: The angle around the vertical axis, in degrees, from which a 3-D plot is seen.
        elev: The angle above the horizontal plane, in degrees.
        turns: Whether the plot will be turned. It takes longer to draw if there are many points.
    """
    found = None if groups is None else find_groups(groups)
    axes = draw_axes(
        figure, axis_names, title=title, groups=found, group_name=group_name,
        right=1.0 if values is None else 0.86, azim=azim, elev=elev,
    )  # fmt: skip
    set_limits(axes, points)
    if points.shape[1] == 3:
        fill_space(axes, ALL_AROUND if turns else [azim])
    if found is not None:
        if len(points) <= MOST_BOXES and all(len(text) <= LONGEST_BOX for text in found.texts):
            Boxes(axes, points, found.member, found.texts, found.colors)
        else:
            draw_markers(axes, points, found, turns=turns)
    elif values is not None:
        low, high = float(values.min()), float(values.max())
        colors = matplotlib.colormaps["viridis"].resampled(SHADES)
        shades = (values - low) * np.float32((SHADES - 1) / ((high - low) or 1.0))
        texts = [str(shade) for shade in range(SHADES)]
        shaded = Groups(shades.round().astype(np.int64), texts, colors)
        draw_markers(axes, points, shaded, turns=turns)
        bar_axes = figure.add_axes((0.87, 0.25, 0.02, 0.45))
        bar = figure.colorbar(ScalarMappable(Normalize(low, high), colors), cax=bar_axes)
        bar.set_label("reconstruction error")
    else:
        draw_markers(axes, points, None, turns=turns)


class Groups(NamedTuple):
    """Which points belong together, and how they are shown.

    Attributes:
        member: int64 (n,), the position of each point's group in `texts`.
        texts: The groups' names, one line each, none of them blank.
        colors: The groups' colours, by position.
    """

    member: NDArray[np.int64]
    texts: list[str]
    colors: Colormap


def find_groups(groups: NDArray[Any]) -> Groups:
    """Find the groups of points, from (n,) numbers or names."""
    import pyarrow  # which finds the different ones without sorting all

    try:
        encoded = pyarrow.array(groups).dictionary_encode()
    except (pyarrow.ArrowException, UnicodeError):  # another byte order, or no valid text
        names, member = np.unique(groups, return_inverse=True)
    else:
        different = encoded.dictionary.to_numpy(zero_copy_only=False)
        names, order = np.unique(different, return_inverse=True)
        member = order[encoded.indices.to_numpy()]
    # A label is one line, and a blank one becomes a dash.
    texts = [" ".join(str(name).split()) or "–" for name in names]
    return Groups(member, texts, palette(len(names)))


def draw_axes(
    figure: Figure,
    axis_names: Sequence[str],
    *,
    title: str,
    groups: Groups | None,
    group_name: str = "label",
    right: float = 1.0,
    azim: float = -60,
    elev: float = 30,
) -> Any:
    """Draw a title, axes without points, and the legend of groups.

    Args:
        figure: An empty figure.
        axis_names: The label of each of two or three axes.
        title: The title of the plot.
        groups: The groups to explain in the legend; or None.
        group_name: The title of the legend.
        right: Where the plot's space ends on the right, as a share of the figure's width.
        azim: As in `draw_latents`.
        elev: As in `draw_latents`.

    Returns:
        The axes, 2-D or 3-D.
    """
    figure.set_size_inches(*SIZE)
    _draw_title(figure, title)
    if groups is not None:
        right = _draw_legend(figure, group_name, groups.texts, groups.colors)
    if len(axis_names) == 3:
        with matplotlib.rc_context({"grid.color": "0.85", "grid.linewidth": 0.6}):
            axes: Any = figure.add_axes((0.02, 0.02, right - 0.04, 0.9), projection="3d")
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
    return axes


def spread(latents: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert latents, (n, 1 to 3), to points in two or three dimensions.

    A single latent gets the row number as its second coordinate: points on a line say little.
    """
    if latents.shape[1] > 1:
        return latents
    return np.column_stack([latents, np.arange(len(latents), dtype=np.float32)])


def set_limits(axes: Any, points: NDArray[np.float32]) -> None:
    """Fit the axes to the points, which Matplotlib does not do for texts."""
    for name, column in zip("xyz", points.T, strict=False):
        getattr(axes, f"set_{name}lim")(find_limits(column))


def find_limits(column: NDArray[np.float32]) -> tuple[float, float]:
    """Find the limits of an axis that shows all values of a latent, (n,)."""
    low, high = float(column.min()), float(column.max())
    # A latent that hardly varies should look like that, not like magnified noise.
    smallest = 0.01 * max(abs(low), abs(high)) or 1.0
    middle, half = (low + high) / 2, max(0.53 * (high - low), smallest)
    return middle - half, middle + half


def palette(count: int) -> Colormap:
    """The colours of `count` groups, by position."""
    if count <= 20:
        return matplotlib.colormaps["tab10" if count <= 10 else "tab20"]
    return ListedColormap(matplotlib.colormaps["turbo"](np.linspace(*HUES, count)))


def draw_markers(
    axes: Any, points: NDArray[np.float32], groups: Groups | None, *, turns: bool = False
) -> Any:
    """Draw points as dots, smaller if there are many, in their groups' colours or in blue.

    With `turns`, near points cover far ones however the plot is turned.
    """
    count = len(points)
    size = float(np.clip(15000 / count, 1.5, 24))
    colors = 1 if groups is None else len(groups.texts)
    if count > MOST_SCATTERED and colors < FEWEST_SCATTERED_COLORS and not turns:
        return _draw_many(axes, points, groups, size)
    options: dict[str, Any] = {
        "c": "tab:blue" if groups is None else groups.colors(groups.member),
        "alpha": 0.9 if count <= 5000 else 0.5,
        "rasterized": count > MOST_VECTOR,
    }
    if points.shape[1] == 3:
        options["depthshade"] = False  # it would change the colours that the legend explains
    return axes.scatter(*points.T, s=size, linewidths=0, **options)


def _draw_many(axes: Any, points: NDArray[np.float32], groups: Groups | None, size: float) -> None:
    """Draw points as `scatter` does, but many times as fast: as the markers of lines.

    A line's markers have one colour, and so there is a line for each colour. To let no colour
    cover the others, there are many rounds, in each of which a part of the points is drawn: the
    farthest first, or in 2-D the first rows.
    """
    order = np.arange(len(points))
    if points.shape[1] == 3:
        # In perspective, a depth is the quotient of two coordinates.
        depth, divisor = (
            points @ row[:3] + row[3] for row in axes.get_proj()[2:].astype(np.float32)
        )
        order = np.argsort(depth / divisor)[::-1]
    axes.autoscale(False)
    colors = 1 if groups is None else len(groups.texts)
    for part in np.array_split(order, LINES // colors):
        member = np.zeros(len(part), np.int64) if groups is None else groups.member[part]
        by_color = part[np.argsort(member, kind="stable")]
        ends = np.cumsum(np.bincount(member))
        for color, places in enumerate(np.split(by_color, ends[:-1])):
            axes.plot(
                *points[places].T, ls="", marker="o", markersize=math.sqrt(size), mew=0, alpha=0.5,
                color="tab:blue" if groups is None else groups.colors(color), rasterized=True,
            )  # fmt: skip


def _draw_title(figure: Figure, title: str) -> None:
    """Write a title at the top, in smaller letters if it would not fit."""
    text = figure.suptitle(title, y=0.96, fontsize=14, parse_math=False)
    share = text.get_window_extent().width / figure.bbox.width
    text.set_fontsize(14 * min(1.0, 0.9 / max(share, 0.01)))


def _draw_legend(figure: Figure, title: str, names: Sequence[str], colors: Colormap) -> float:
    """Draw a legend of the names' colours at the right edge, for which it makes room.

    Returns:
        Where the legend begins, as a share of the figure's width.
    """
    labels = [shorten(name, LONGEST_LEGEND, LEGEND_SIZE) for name in names[:MOST_LEGEND]]
    handles = [
        Line2D([], [], ls="", marker="o", markersize=7, color=colors(k), label=label)
        for k, label in enumerate(labels)
    ]
    if len(names) > MOST_LEGEND:
        more = f"… {len(names) - MOST_LEGEND} more"
        handles.append(Line2D([], [], ls="", label=more))
    legend = figure.legend(
        handles=handles,
        title=title,
        loc="center right",
        bbox_to_anchor=(0.99, 0.5),
        fontsize=LEGEND_SIZE,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    missing = PLOT - legend.get_window_extent().x0 / figure.dpi
    figure.set_size_inches(SIZE[0] + max(missing, 0.0), SIZE[1])
    return float(legend.get_window_extent().x0 / figure.bbox.width)
