"""Draw the losses of runs over their epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ae_cli.figures.latents import palette

SIZE = (7.5, 4.2)  # inches
MOST_MARKED = 40  # epochs that get a dot each


def draw_losses(figure: Figure, runs: Mapping[str, Sequence[tuple[int, float, float]]]) -> None:
    """Draw the training and the test loss of each run, and mark its lowest test loss.

    Args:
        figure: An empty figure.
        runs: For each run its name, and for each of its epochs, of which there is at least one:
            the epoch's number, the training loss and the test loss.
    """
    figure.set_size_inches(*SIZE)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    colors = palette(len(runs))
    for number, (name, history) in enumerate(runs.items()):
        epochs, train, test = zip(*history, strict=True)
        color, prefix = colors(number), f"{name}, " if len(runs) > 1 else ""
        dot = "o" if len(epochs) <= MOST_MARKED else ""
        axes.plot(
            epochs, train, color=color, linestyle="--", linewidth=1.2, alpha=0.7, marker=dot,
            markersize=2.5, label=f"{prefix}training loss",
        )  # fmt: skip
        axes.plot(
            epochs, test, color=color, linewidth=1.8, marker=dot, markersize=3.5,
            label=f"{prefix}test loss",
        )  # fmt: skip
        lowest = min(range(len(test)), key=test.__getitem__)
        axes.plot(
            epochs[lowest], test[lowest], marker="o", markersize=10, markerfacecolor="none",
            markeredgecolor=color, linestyle="",
            label=f"{prefix}lowest: {test[lowest]:.4f}, epoch {epochs[lowest]}",
        )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
