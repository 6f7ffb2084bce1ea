"""The options of each command that uses a trained model or a table of latents.

The options of ``train`` are in `ae_cli.config.training`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ae_cli.config.checks import (
    check_choice,
    check_range,
    check_whole,
    option_name,
    parse_count,
    parse_whole_numbers,
)
from ae_cli.config.images import (
    Chosen,
    Device,
    LoadOptions,
    Source,
    Split,
    Splits,
    UseOptions,
    used_data,
)
from ae_cli.config.option import option
from ae_cli.config.progress import Progress, ignore_progress
from ae_cli.errors import UsageError

# The files that commands write and read by default
CHECKPOINT = Path("ae.safetensors")
TABLE = Path("latents.csv")

QUANTILE = 0.99  # of the held-out images' errors: an image with a larger one is an anomaly
SHOWN = 5  # images that `reconstruct` takes
MOST_IMAGES = 1000  # in a picture; more would have to be drawn at a lower resolution
DECODED = 100  # rows of a table that `decode` draws in a picture
STEPS, MOST_STEPS = 12, 1000  # images on the line between two
LARGEST_GRID = 100  # images per side
EXPLORED = 5000  # images in the page
PLOTTED = 200  # points in a picture, as in the tutorial
PLOTTED_IN_PAGE = 50_000  # more are slow to rotate in a browser without a GPU
ANOMALIES_DRAWN, MOST_ANOMALIES_DRAWN = 10, 100

Color = Literal["label", "error", "split", "none"]
Score = Literal["auto", "mse", "local", "ssim", "latent", "both"]
PageColor = Literal["label", "error", "split"]
PICTURE = ".png, .svg, .pdf, .jpg and more"
IN_TABLE = ".csv, .parquet or .npz"


def output_option(help: str, default: Path | None, **looks: Any) -> Any:
    """Declare an output file. In Python it is written only if it is named."""
    looks = {"metavar": "FILE", "kind": Path, "command_default": default, **looks}
    return option(None, help, **looks)


@dataclass(frozen=True, kw_only=True)
class ReconstructOptions(UseOptions):
    """Which images to reconstruct.

    Attributes:
        n: How many images; None for `SHOWN`, or for all if there are fewer.
        index: Which images, by their index in the table of latents, such as ``3,7,19``.
        seed: Draw the images at random with this seed; None for the first images.
        split: The split to take them from.
        out: The picture to write; None for none.
    """

    n: int | None = option(None, "How many images.", default_text=str(SHOWN))
    index: Collection[int] | str | None = option(
        None,
        "Which images, by their index in the table of latents, such as 3,7,19. By default the "
        "first images.",
        kind=str,
        metavar="NUMBERS",
        default_text="",
    )
    seed: int | None = option(None, "Draw the images at random with this seed.", default_text="")
    split: Split = option("test", "Which images to take them from.")
    out: Path | str | None = output_option(f"The picture: {PICTURE}.", Path("reconstruction.png"))

    def __post_init__(self) -> None:
        check_choice("--split", self.split, get_args(Split))
        if self.seed is not None and self.seed < 0:
            raise UsageError(f"--seed is {self.seed}", "give a whole number, 0 or more")
        if self.index is not None and (self.n is not None or self.seed is not None):
            raise UsageError("--index already says which images", "leave out --n and --seed")
        if self.count < 1:
            raise UsageError(f"--n is {self.count}", "give a whole number, 1 or more")
        if self.count > MOST_IMAGES:
            raise UsageError(
                "a picture of so many images would be too large", f"give at most {MOST_IMAGES}"
            )

    @property
    def chosen(self) -> tuple[int, ...] | None:
        """`index` as numbers."""
        if self.index is None:
            return None
        return parse_whole_numbers("--index", self.index, example="3,7,19")

    @property
    def count(self) -> int:
        """How many images are asked for."""
        if self.chosen is not None:
            return len(self.chosen)
        return SHOWN if self.n is None else self.n


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(UseOptions):
    """Which images to encode.

    Attributes:
        split: The split, or ``all``.
        out: The table to write, batch by batch; None to return the table instead.
    """

    out: Path | str | None = output_option(f"The table: {IN_TABLE}.", TABLE)
    split: Splits = option("all", "Which images to encode.")

    def __post_init__(self) -> None:
        check_choice("--split", self.split, get_args(Splits))


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(UseOptions):
    """What to measure a model on.

    Attributes:
        split: The split whose reconstructions and latents are measured.
        limit: Fit PCA and the classifiers to the first `limit` training images; None for all.
        out: The picture to draw; None for none.
    """

    split: Split = option("test", "Which images' reconstructions and latents to measure.")
    limit: int | None = option(
        None,
        "Fit PCA and the classifiers to the first N training images only, which is faster.",
        metavar="N",
        default_text="all",
    )
    out: Path | str | None = output_option(
        "Draw some reconstructions, those of PCA, and the accuracies: .png, .svg and more.",
        None,
        default_text="",
    )

    def __post_init__(self) -> None:
        check_choice("--split", self.split, get_args(Split))
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit is {self.limit}", "give a whole number, 1 or more")


@dataclass(frozen=True, kw_only=True)
class AnomaliesOptions(UseOptions):
    """How to look for anomalies.

    Attributes:
        top: How many rows the table has, the highest scores first; None or ``all`` for all.
        n: How many of the worst images to draw.
        score: How it is measured how unusual an image is (see `ae_cli.analysis.scores`); None for
            ``auto`` where the model is for anomalies, and otherwise ``mse``.
        quantile: Share of the held-out images whose score is below the threshold; None for
            `QUANTILE`, if no `threshold` is given.
        threshold: The score above which an image is an anomaly; None for that of `quantile`.
        normal_classes: The classes that are normal; None for those the model was trained on.
        split: The split to examine, or ``all``.
        maps: The folder to write maps to, which show where the images of the table are unusual;
            None for none.
        out: The table to write; a picture and a page have the same name with ``.png`` and
            ``.html``. None for none of them.
    """

    top: int | str | None = option(
        None,
        "How many rows the table has, the worst images first.",
        kind=str,
        metavar="N",
        default_text="all",
    )
    n: int = option(ANOMALIES_DRAWN, "How many of the worst images to draw.")
    score: Score | None = option(
        None,
        "How it is measured how unusual an image is: its mean squared error; the largest local "
        "error; structural similarity; the distance of its latents from those of images learned "
        "from; both, the first and the last; or auto, which adds up the first three, weighted by "
        "how well they tell artificial defects, and minds latents that are clearly unusual.",
        default_text="auto if the model is for anomalies, else mse",
    )
    quantile: float | None = option(
        None,
        "Share of the held-out images whose score is below the threshold.",
        metavar="SHARE",
        usual=QUANTILE,
    )
    threshold: float | None = option(
        None,
        "The score above which an image is an anomaly, such as one chosen on the page.",
        metavar="SCORE",
        default_text="by --quantile",
    )
    normal_classes: Chosen | None = option(
        None,
        "Classes that are normal, such as 0,1,3-5 or good. All others are anomalous, and it is "
        "measured how well the scores separate the two.",
        kind=str,
        metavar="NAMES",
        default_text="those it was trained on",
    )
    split: Splits = option("all", "Which images to examine.")
    maps: Path | str | None = option(
        None,
        "Write where the images of the table are unusual to a new folder: in colours over each "
        "image, and as numbers in a 16-bit picture.",
        kind=Path,
        metavar="FOLDER",
        default_text="",
    )
    out: Path | str | None = output_option(
        f"The table: {IN_TABLE}. A picture and a page have the same name with .png and .html.",
        Path("anomalies.csv"),
    )

    def __post_init__(self) -> None:
        check_choice("--split", self.split, get_args(Splits))
        parse_count("--top", self.top)
        if self.score is not None:
            check_choice("--score", self.score, get_args(Score))
        check_threshold(self.quantile, self.threshold)
        check_range("--n", self.n, 1, MOST_ANOMALIES_DRAWN)


@dataclass(frozen=True)
class WatchOptions:
    """Which folder to watch for unusual images.

    Attributes:
        folder: The folder; images in its subfolders are judged as well.
        score: As in `AnomaliesOptions`.
        quantile: As in `AnomaliesOptions`.
        threshold: As in `AnomaliesOptions`.
        every: Seconds from one look at the folder to the next.
        device: Where to compute; ``auto`` is a GPU if there is one.
    """

    folder: Path | str
    _: KW_ONLY
    score: Score | None = None
    quantile: float | None = None
    threshold: float | None = None
    every: float = 1.0
    device: Device = "auto"

    def __post_init__(self) -> None:
        check_threshold(self.quantile, self.threshold)


def check_threshold(quantile: float | None, threshold: float | None) -> None:
    """Raise a `UsageError` unless at most one of the two is given, and is possible."""
    if quantile is not None and threshold is not None:
        raise UsageError("--quantile and --threshold exclude one another", "leave one of them out")
    if quantile is not None and not 0 <= quantile <= 1:
        raise UsageError(f"--quantile is {quantile}", "give a share from 0 to 1")
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"--threshold is {threshold}", "give a score")


@dataclass(frozen=True)
class DecodeOptions(UseOptions):
    """Which points of the latent space to decode: a table's rows, a grid, a line, or random ones.

    Attributes:
        table: A table of latents, or its path; in Python also an array, float (n, latent_dim).
            None for `TABLE`, if none of `grid`, `between` and `sample` is given.
        n: How many rows of the table, from the first, or ``all``; None for `DECODED` in a picture,
            and otherwise for all.
        grid: Points per side of a regular grid over two latents.
        axes: The two latents that the grid varies, such as ``z1,z3``.
        between: The indices of two images; the points are on the line between their latents.
        steps: How many points are on that line, both ends included; None for `STEPS`.
        split: The split of those two images; None for the test split.
        sample: How many points to draw from the prior of a variational model.
        seed: Decides which; None for 0.
        out: A picture, an ``.npy`` file or a new folder to write; None for none.
    """

    table: Any = option(
        None,
        "A table of latents: one that `ae embed` made, or any with columns z1, z2, …",
        kind=Path,
        metavar="[TABLE]",
        argument=True,
        default_text=str(TABLE),
    )
    _: KW_ONLY
    data: Source = used_data()
    n: int | str | None = option(
        None,
        "How many rows, from the first; or all.",
        kind=str,
        metavar="N",
        default_text=f"{DECODED} in a picture, or all otherwise",
    )
    grid: int | None = option(
        None,
        "Instead of a table: N × N images from a regular grid over two latents.",
        metavar="N",
        default_text="",
    )
    axes: str | Sequence[str] | None = option(
        None,
        "The two latents that --grid varies, such as z1,z3. The others stay at the median of the "
        "training images.",
        kind=str,
        metavar="NAMES",
        default_text="z1,z2",
    )
    between: Collection[int] | str | None = option(
        None,
        "Instead of a table: images on the straight line between the latents of two images, by "
        "their index, such as 3,19.",
        kind=str,
        metavar="NUMBERS",
        default_text="",
    )
    steps: int | None = option(
        None, "With --between: how many images, both ends included.", default_text=str(STEPS)
    )
    split: Split | None = option(
        None, "With --between: the split of the two images.", default_text="test"
    )
    sample: int | None = option(
        None,
        "Instead of a table: N new images, drawn from the prior of a model that was trained with "
        "--variational.",
        metavar="N",
        default_text="",
    )
    seed: int | None = option(None, "With --sample: decides which ones.", default_text="0")
    out: Path | str | None = output_option(
        "A picture (.png, .svg, .pdf, .jpg and more), an .npy file, or a new folder with a PNG "
        "file for each image.",
        Path("decoded.png"),
        metavar="PATH",
    )

    def __post_init__(self) -> None:
        ways = (self.table, self.grid, self.between, self.sample)
        if sum(way is not None for way in ways) > 1:
            raise UsageError(
                "a table, --grid, --between and --sample exclude one another", "give one of them"
            )
        is_read = self.grid is not None or self.between is not None
        from_table = not is_read and self.sample is None
        owners = {
            "n": ("a table", from_table),
            "axes": ("--grid", self.grid is not None),
            "steps": ("--between", self.between is not None),
            "split": ("--between", self.between is not None),
            **dict.fromkeys(
                (
                    *("data", "classes", "exclude_classes", "key", "labels", "frames", "strict"),
                    "workers",
                ),
                ("--grid or --between", is_read),
            ),
            "seed": ("--sample", self.sample is not None),
        }
        for name, (owner, is_there) in owners.items():
            if getattr(self, name) not in (None, False) and not is_there:
                raise UsageError(
                    f"{option_name(name)} is for {owner}", f"leave it out, or give {owner}"
                )
        if self.grid is not None:
            check_range("--grid", self.grid, 2, LARGEST_GRID)
        if self.sample is not None:
            check_whole("--sample", self.sample, minimum=1)
        if self.seed is not None:
            check_whole("--seed", self.seed, minimum=0, maximum=2**32 - 1)
        check_range("--steps", self.step_count, 2, MOST_STEPS)
        if self.ends is not None and len(self.ends) != 2:
            raise UsageError(f"--between is {self.between!r}", "give two numbers, such as 3,19")
        parse_count("--n", self.n)

    @property
    def step_count(self) -> int:
        """How many points are on the line."""
        return STEPS if self.steps is None else self.steps

    @property
    def ends(self) -> tuple[int, ...] | None:
        """`between` as numbers."""
        if self.between is None:
            return None
        return parse_whole_numbers("--between", self.between, example="3,19")


@dataclass(frozen=True)
class ExploreOptions(UseOptions):
    """What the page shows.

    Attributes:
        n: How many images, drawn at random, or ``all``; None for `EXPLORED`, or for all if there
            are fewer.
        split: The split to draw them from, or ``all``.
        color: What the colours show at first; None for the label, or the error without labels.
        axes: The two or three latents to draw at first, such as ``z2,z5,z7``.
        out: The page to write; None for none.
    """

    out: Path | str | None = output_option("The page.", Path("explore.html"))
    _: KW_ONLY
    n: int | str | None = option(
        None,
        "How many images, drawn at random; or all.",
        kind=str,
        metavar="N",
        default_text=str(EXPLORED),
    )
    split: Splits = option("all", "Which images to draw from.")
    color: PageColor | None = option(
        None,
        "What the colours show at first.",
        default_text="label if there are labels, or else error",
    )
    axes: str | Sequence[str] | None = option(
        None,
        "Which two or three latents to draw at first, such as z2,z5,z7.",
        kind=str,
        metavar="NAMES",
        default_text="all up to three, or else their principal components",
    )

    def __post_init__(self) -> None:
        check_choice("--split", self.split, get_args(Splits))
        if self.color is not None:
            check_choice("--color", self.color, get_args(PageColor))
        parse_count("--n", self.n)


@dataclass(frozen=True)
class PlotOptions:
    """What a plot of latents shows.

    Attributes:
        n: How many rows, from the first, or ``all``; None for `PLOTTED` (`PLOTTED_IN_PAGE` in a
            page), or for all if there are fewer.
        color: What the colours show; None for the label, or else the error.
        axes: The two or three latents to draw, such as ``z2,z5,z7``; None for the first three.
        azim: Viewing angle around the vertical axis, in degrees.
        elev: Viewing angle above the horizontal plane, in degrees.
        title: The title above the plot; None for one that says how many images are drawn.
        out: The picture, film or page to write; None for none.
        progress: Called while a film is drawn.
    """

    out: Path | str | None = output_option(
        f"A picture: {PICTURE}. A film in which the plot turns once: .gif, .webp or .mp4. A page "
        "in which you can turn it yourself: .html.",
        None,
        default_text="the table's name with .png",
    )
    _: KW_ONLY
    n: int | str | None = option(
        None,
        "How many rows, from the first; or all.",
        kind=str,
        metavar="N",
        default_text=f"{PLOTTED}, or up to {PLOTTED_IN_PAGE:,} in a page",
    )
    color: Color | None = option(
        None, "What the colours show.", default_text="label if there are labels, or else error"
    )
    axes: str | Sequence[str] | None = option(
        None,
        "Which two or three latents to draw, such as z2,z5,z7.",
        kind=str,
        metavar="NAMES",
        default_text="the first three",
    )
    azim: float = option(-60.0, "Viewing angle around the vertical axis, in degrees.")
    elev: float = option(30.0, "Viewing angle above the horizontal plane, in degrees.")
    title: str | None = option(None, "Title above the plot.", kind=str, default_text="")
    progress: Progress = field(default=ignore_progress, repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        parse_count("--n", self.n)
        if self.color is not None:
            check_choice("--color", self.color, get_args(Color))
        for name, angle in (("--azim", self.azim), ("--elev", self.elev)):
            if not math.isfinite(angle):
                raise UsageError(f"{name} is {angle}", "give an angle in degrees")


@dataclass(frozen=True, kw_only=True)
class DescribeOptions(LoadOptions):
    """Which images to describe.

    Attributes:
        out: The picture with examples of each class; None for none.
    """

    out: Path | str | None = output_option(
        f"Draw examples of each class: {PICTURE}.", None, default_text=""
    )
