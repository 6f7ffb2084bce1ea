"""Draw what models with several numbers of latents reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

PANEL = (4.2, 3.2)  # inches
PCA = "PCA"
STYLE = {"marker": "o", "markersize": 4.5}
PCA_STYLE = {"color": "0.45", "linestyle": "--", "marker": "s", "markersize": 3.5}


def draw_sweep(
    figure: Figure,
    curves: Mapping[str, Mapping[str, Sequence[Any]]],
    *,
    enough: Mapping[str, int | None],
    chance: float | None,
) -> None:
    """Draw error, accuracy if there are labels, and size over the number of latents.

    Args:
        figure: An empty figure.
        curves: For each family, and for "PCA": the numbers of ``latents``, ascending; the
            ``error``s; the accuracies ``knn`` in [0, 1]; and, but for PCA, the ``megabytes``.
        enough: For each family, the number of latents to mark; None for none.
        chance: The accuracy of always guessing the most frequent label; None without labels.
    """
    panels = [("error", "mean reconstruction error")]
    if chance is not None:
        panels.append(("knn", "labels predicted by nearest neighbours"))
    panels.append(("megabytes", "checkpoint, MB"))
    figure.set_size_inches(PANEL[0] * len(panels), PANEL[1])
    figure.set_layout_engine("constrained")
    for number, (key, title) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for name, curve in curves.items():
            if key not in curve:
                continue
            style: dict[str, Any] = PCA_STYLE if name == PCA else STYLE
            (line,) = axes.plot(curve["latents"], curve[key], label=name, linewidth=1.5, **style)
            count = enough.get(name)
            if count is not None and key != "megabytes":
                value = curve[key][list(curve["latents"]).index(count)]
                axes.plot(
                    count, value, marker="o", markersize=11, markerfacecolor="none",
                    markeredgecolor=line.get_color(), label=f"enough: {count}",
                )  # fmt: skip
        if key == "knn" and chance is not None:
            axes.axhline(chance, color="0.7", linewidth=1, linestyle=":", label="chance")
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _set_up(axes, title, next(iter(curves.values()))["latents"])


def _set_up(axes: Axes, title: str, latents: Sequence[int]) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xscale("log")
    axes.set_xticks(latents, [str(count) for count in latents])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("latents", fontsize=9)
    axes.set_ylim(0, 1.06 * axes.get_ylim()[1])  # the highest point is not at the edge
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
