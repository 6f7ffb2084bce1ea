"""Draw an evaluation: reconstructions and those of PCA, and the accuracy of classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ae_cli.figures.strips import (
    COLUMNS,
    FONT_SIZE,
    LINE,
    MARGIN,
    SPACE,
    Box,
    Floats,
    Strip,
    draw_strips,
    mark,
    shorten,
    text_width,
)

CLASSIFIERS = ("k-nearest neighbours", "logistic regression")
# In inches
PANEL = 4.0  # the least width of a classifier's bars with all texts
BAR = 0.22  # from one bar to the next
LONGEST_NAME = 1.3  # on the left of the bars
ABOVE, BELOW = 0.45, 0.5  # the bars, for the classifier's name and for the ticks
RIGHT = 0.6  # of the bars, for the highest accuracies


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

    The bars of the classifiers are side by side if there is room.

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
    strip = Strip.fit(originals, min(len(originals), COLUMNS))
    columns = len(CLASSIFIERS) if strip.width >= len(CLASSIFIERS) * PANEL else 1
    names = [shorten(name, LONGEST_NAME) for name in accuracies]
    height = BAR * len(names)
    panel_height = ABOVE + height + BELOW
    below = panel_height * len(CLASSIFIERS) / columns
    page, _ = draw_strips(figure, rows, below=below, least_width=PANEL)
    panel_width = page.width / columns
    names_width = max(map(text_width, names)) + 2 * MARGIN
    for k, classifier in enumerate(CLASSIFIERS):
        row, column = divmod(k, columns)
        left = column * panel_width + names_width
        top = page.height - below + row * panel_height + ABOVE
        axes = page.add_axes(Box(left, top, panel_width - names_width - RIGHT, height))
        _draw_bars(axes, names, [shares[k] for shares in accuracies.values()], chance)
        # Above the name of the chance level, which may be anywhere
        page.write(left, top - SPACE - LINE, classifier, va="bottom")


def _draw_bars(
    axes: Axes, names: Sequence[str], shares: Sequence[float], chance: float | None
) -> None:
    """Draw the accuracies of a classifier on several features, in [0, 1], as horizontal bars."""
    for i, share in enumerate(shares):
        # The first features are the latents, which the evaluation is about.
        axes.barh(i, share, height=0.75, color="tab:blue" if i == 0 else "0.65")
        axes.text(
            share + 0.008, i, f"{share:.1%}", fontsize=FONT_SIZE, va="center", color="0.2",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_yticks(range(len(shares)), names, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "20", "40", "60", "80", "100"])
    axes.set_xlabel("accuracy (%)", fontsize=FONT_SIZE)
    axes.grid(axis="x", color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)
    if chance is not None:
        mark(axes, chance, f"chance {chance:.1%}", y=1.02)
