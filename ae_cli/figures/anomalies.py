"""Draw anomalies: the distribution of the scores, and the images with the highest ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from ae_cli.figures.overlays import HEAT, draw_outlines
from ae_cli.figures.strips import FONT_SIZE, LINE, Box, Floats, draw_strips, mark

HISTOGRAM = 1.8  # inches, the height of the histogram
MOST_BINS = 60
LOG_FROM = 4.0  # the axis is logarithmic if the highest score is more than this times the lowest
COLORS = ("tab:blue", "tab:red")  # normal and anomalous
SMALLEST = 1e-12


def draw_anomalies(
    figure: Figure,
    originals: Floats,
    reconstructions: Floats,
    titles: Sequence[str],
    *,
    maps: Floats | None = None,
    masks: NDArray[np.bool_] | None = None,
    scores: NDArray[np.floating[Any]],
    name: str = "reconstruction error",
    threshold: float,
    anomalous: NDArray[np.bool_] | None = None,
) -> None:
    """Draw a histogram of all scores, and the images with the highest ones as heat maps.

    Args:
        figure: An empty figure.
        originals: float (k, channels, height, width) in [0, 1], the images with the highest
            scores, k from 1 to 100.
        reconstructions: Shaped like `originals`.
        titles: The title of each of the k columns.
        maps: float (k, height, width), where these images are unusual, each drawn on its own scale;
            None for their squared errors, which are drawn on one.
        masks: bool (k, height, width), where they are known to have defects, which is outlined; or
            None.
        scores: float (n,), the scores of all images.
        name: What the scores are.
        threshold: The score above which an image is an anomaly.
        anomalous: bool (n,), which images are known to be anomalies; or None. If given, the normal
            and the anomalous images get a histogram each, in percent of their own number.
    """
    if maps is None:
        values = np.square(originals - reconstructions).mean(axis=1)  # (k, height, width)
    else:
        values = maps / maps.max((1, 2), keepdims=True).clip(SMALLEST)
    norm = Normalize(0, float(values.max()) or 1.0)
    colormap = matplotlib.colormaps[HEAT]
    heat = np.moveaxis(colormap(norm(values))[..., :3], -1, 1)  # (k, 3, height, width)
    if masks is not None:
        heat = draw_outlines(heat, masks)
    what = "squared error" if maps is None else "where"
    rows = [("original", originals), ("reconstruction", reconstructions), (what, heat)]
    top = 0.3
    page, strips = draw_strips(
        figure, rows, titles, above=top + HISTOGRAM + 0.55, right=0.6, least_width=6.5
    )
    right = 0.25 if anomalous is None else 1.6  # with room for a legend
    axes = page.add_axes(Box(0.6, top, page.width - 0.6 - right, HISTOGRAM))
    _draw_histogram(axes, scores, name, threshold, anomalous)
    first = strips[2]
    bar_box = Box(first.left + first.width + 0.08, first.top, 0.08, first.height)
    bar = figure.colorbar(ScalarMappable(norm, colormap), cax=page.add_axes(bar_box))
    # Beside images of very few rows there is only room for one number.
    ticks = [0.0, norm.vmax or 1.0] if first.height > 2 * LINE else [norm.vmax or 1.0]
    labels = [f"{tick:.2g}" for tick in ticks] if maps is None else ["0", "most"][-len(ticks) :]
    bar.set_ticks(ticks, labels=labels)
    bar.outline.set_visible(False)


def _draw_histogram(
    axes: Axes,
    scores: NDArray[np.floating[Any]],
    name: str,
    threshold: float,
    anomalous: NDArray[np.bool_] | None,
) -> None:
    edges, logarithmic = _find_bins(scores)
    threshold_at = threshold
    if logarithmic:
        threshold_at = threshold if threshold > 0 else edges[0]
        _make_logarithmic(axes, min(edges[0], threshold_at), max(edges[-1], threshold_at))
    if anomalous is None:
        counts, _ = np.histogram(scores.clip(edges[0]), edges)
        axes.stairs(counts, edges, fill=True, color=COLORS[0], alpha=0.8)
        axes.set_ylabel("images", fontsize=FONT_SIZE)
        axes.yaxis.set_major_locator(
            MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
        )
    else:
        groups = (("normal", scores[~anomalous]), ("anomalous", scores[anomalous]))
        for (group_name, group), color in zip(groups, COLORS, strict=True):
            counts, _ = np.histogram(group.clip(edges[0]), edges)
            shares = 100 * counts / max(1, len(group))
            label = f"{group_name} ({len(group):,})"
            axes.stairs(shares, edges, fill=True, color=color, alpha=0.55, label=label)
            axes.stairs(shares, edges, color=color, linewidth=0.8)
        axes.set_ylabel("images of each group (%)", fontsize=FONT_SIZE)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=FONT_SIZE, frameon=False)
    axes.set_xlabel(name, fontsize=FONT_SIZE)
    axes.set_ylim(0)
    axes.grid(axis="y", color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color("0.6")
    mark(axes, threshold_at, f"threshold {threshold:.3g}", y=1.03)


def _make_logarithmic(axes: Axes, low: float, high: float) -> None:
    """Make the horizontal axis logarithmic, with ticks for errors from low to high."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(LogLocator(subs="all"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", color="0.6", length=1.5)


def _find_bins(scores: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], bool]:
    """Find the edges of the histogram's bins, (bins + 1,), which look equally wide on the axis.

    Returns:
        The edges, and whether the axis should be logarithmic.
    """
    count = int(np.clip(2 * np.sqrt(len(scores)), 10, MOST_BINS)) + 1
    low, high = float(scores.min()), float(scores.max())
    if low == 0 < high:  # a logarithmic axis has no zero
        low = max(float(scores[scores > 0].min()), 1e-4 * high)
    if high > LOG_FROM * low > 0:
        return np.geomspace(low, high * (1 + 1e-6), count), True
    room = 0.0 if high > low else 0.5 * abs(high) or 0.5
    least = low - room if low < 0 else max(0.0, low - room)
    return np.linspace(least, high + room, count), False
