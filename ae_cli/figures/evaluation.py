"""Draw an evaluation: reconstructions and those of PCA, and the accuracy of classifiers."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ae_cli.figures.strips import FONT_SIZE, MARGIN, Box, Floats, draw_strips, mark, shorten

BAR = 0.19  # inches from one bar to the next
CLASSIFIERS = ("k-nearest neighbours", "logistic regression")
LONGEST_NAME = 1.3  # inches, of a name on the left of the bars


def draw_evaluation(
    figure: Figure,
    originals: Floats,
    reconstructions: Floats,
    pca_reconstructions: Floats,
    *,
    errors: tuple[float, float],
    accuracies: Mapping[str, tuple[float, float]] | None = None,
    chance: float | None = None,
) -> None:
    """Draw images above their reconstructions by the autoencoder and PCA, and accuracies as bars.

    Args:
        figure: An empty figure.
        originals: float (n, channels, height, width) in [0, 1].
        reconstructions: Shaped like `originals`, by the autoencoder.
        pca_reconstructions: Shaped like `originals`, by PCA.
        errors: The mean reconstruction errors of the autoencoder and of PCA.
        accuracies: The accuracies of k-nearest neighbours and logistic regression, in [0, 1], on
            "latents", "PCA", "pixels" or other features; or None.
        chance: The accuracy of always guessing the most frequent label, in [0, 1]; or None.
    """
    rows = [
        ("original", originals),
        (f"autoencoder (error {errors[0]:.4f})", reconstructions),
        (f"PCA (error {errors[1]:.4f})", pca_reconstructions),
    ]
    if not accuracies:
        draw_strips(figure, rows)
        return
    height = BAR * (2 * len(accuracies) + 3)
    page, _ = draw_strips(figure, rows, below=height + 0.95, least_width=5.5)
    left = LONGEST_NAME + 2 * MARGIN
    width = min(page.width - left - 0.7, 7.0)
    axes = page.add_axes(Box(left, page.height - height - 0.5, width, height))
    _draw_bars(axes, accuracies, chance)


def _draw_bars(
    axes: Axes, accuracies: Mapping[str, tuple[float, float]], chance: float | None
) -> None:
    """Draw a group of bars for each classifier, with its name above those of the bars."""
    places: list[float] = []
    names: list[str] = []
    for k, classifier in enumerate(CLASSIFIERS):
        first = k * (len(accuracies) + 1.5) + 1
        places += [first - 1 + i for i in range(len(accuracies) + 1)]
        names += [classifier, *(shorten(name, LONGEST_NAME) for name in accuracies)]
        for i, shares in enumerate(accuracies.values()):
            # The first features are the latents, which the evaluation is about.
            color = "tab:blue" if i == 0 else "0.65"
            axes.barh(first + i, shares[k], height=0.75, color=color)
            axes.text(
                shares[k] + 0.008, first + i, f"{shares[k]:.1%}",
                fontsize=FONT_SIZE, va="center", color="0.2",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(places[-1] + 0.6, -0.5)
    axes.set_yticks(places, names, parse_math=False)
    axes.tick_params(axis="y", length=0)
    for text in axes.get_yticklabels()[:: len(accuracies) + 1]:
        text.set_color("black")
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "20", "40", "60", "80", "100"])
    axes.set_xlabel("accuracy (%)", fontsize=FONT_SIZE)
    axes.grid(axis="x", color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)
    if chance is not None:
        mark(axes, chance, f"chance {chance:.1%}", y=1.02)
