"""Options for images: where they come from, how they are read, which of them are used."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from ae_cli.config.checks import (
    check_choice,
    check_share,
    check_whole,
    option_name,
    parse_image_size,
)
from ae_cli.config.option import option
from ae_cli.config.progress import Progress, ignore_progress

Fit = Literal["crop", "pad", "stretch"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Frames = Literal["first", "all"]
Split = Literal["train", "test"]
Splits = Literal["train", "test", "all"]

# A name or path, as for `--data`; in Python also a `DataSet`, an array or a tensor (see
# `ae_cli.data.load`).
Source: TypeAlias = Any

# Classes, such as ``0,1,3-5`` or ``cat,dog``; in Python also a collection of names or numbers
Chosen: TypeAlias = str | int | Collection[str | int]

CHOSEN_SIDE = 64  # pixels; the longest side that a folder's images get unless a size is given
LARGEST_SIDE = 4096  # pixels; with more, the first layer alone would have billions of weights
FIT: Fit = "crop"
VAL_FRACTION = 0.1
MOST_WORKERS = 1024  # a system may refuse more threads
SEED = 0

DATA_DIR_VARIABLE = "AE_DATA_DIR"
IMAGES = "Images"  # heading of these options in a command's help
_CLASSES = "Use only images of these classes, such as 0,1,3-5 or cat,dog"
_DATA_DIR = option(
    None,
    "Where downloads and decoded images are kept. By default your cache folder.",
    kind=Path,
    metavar="FOLDER",
    envvar=DATA_DIR_VARIABLE,
    default_text="",
    heading=IMAGES,
)
_EXCLUDE = option(
    None,
    "Use images of all classes but these.",
    kind=str,
    metavar="NAMES",
    default_text="",
    heading=IMAGES,
)
_KEY = option(
    None,
    "In an .npz, .mat or .h5 file: the arrays with the images and, after a comma, the labels. In "
    "a table: the column with the labels. By default the usual names.",
    kind=str,
    metavar="NAMES",
    default_text="",
    heading=IMAGES,
)
_LABELS = option(
    None,
    "A table (.csv, .tsv, .jsonl or .parquet) with the names of a folder's or an archive's images "
    "and their labels.",
    kind=Path,
    metavar="FILE",
    default_text="",
    heading=IMAGES,
)
_FRAMES = option(
    None,
    "Of an image file with several pages or frames: read the first only, or all.",
    default_text="all of a single file, first in a folder",
    heading=IMAGES,
)
_STRICT = option(
    False,
    "Stop at the first image that cannot be read, instead of leaving it out.",
    default_text="",
    heading=IMAGES,
)
_WORKERS = option(
    None,
    "Threads that read and decode image files. More than there are cores can help with files on "
    "a network.",
    metavar="N",
    default_text="one per core",
    heading=IMAGES,
)


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How images are read if their source does not determine it.

    Attributes:
        image_size: Height and width of a folder's images, or of images in flat rows of pixels: a
            number for both, a pair, or text such as ``48x64``. None for squares in flat rows, and
            in a folder for the images' own size or what they have in common, with sides of
            `CHOSEN_SIDE` at most.
        color: Whether images are read in colour rather than grey. None for what they are: in a
            folder, this is colour if some images in a sample have colours. Only a folder's images
            can be read in colour if they are grey.
        fit: How a folder's images are brought to their size: cropped around the centre, padded
            with black, or stretched; None for `FIT`.
        val_fraction: Share of the images to hold out if the source has no test split; None for
            `VAL_FRACTION`.
        key: The arrays of an NPZ, MATLAB or HDF5 file that hold the images and, after a comma, the
            labels (without a comma, the images have no labels); in a table, the column with the
            labels. None for the usual names.
        labels: A table with the names of a folder's or an archive's images and their labels; None
            for what the folder itself says.
        frames: Whether the first page or frame of an image file is read, or all; None for all of a
            single file, and for the first in a folder, an archive or a table.
        strict: Whether the first file that cannot be read is an error.
        workers: The number of threads that read and decode image files; None for as many as torch
            computes in.
        seed: Decides which images are held out.
        progress: Called during long operations.
        fewest: How many images there have to be.
    """

    fewest: ClassVar[int] = 2  # one to learn from, and one to test on
    image_size: int | tuple[int, int] | str | None = option(
        None,
        "Size of a folder's images in pixels: 96, or 48x64 (height x width).",
        kind=str,
        metavar="SIZE",
        default_text=f"their own, at most {CHOSEN_SIDE}",
        heading=IMAGES,
    )
    color: bool | None = option(
        None,
        "Read a folder's images in colour, or any images in grey.",
        off="--grey",
        default_text="as the images are",
        heading=IMAGES,
    )
    fit: Fit | None = option(
        None,
        "How to bring a folder's images to that size: crop around the centre, pad with black, or "
        "stretch.",
        default_text=FIT,
        heading=IMAGES,
    )
    val_fraction: float | None = option(
        None,
        "Share of the images to hold out for testing if there is no test split.",
        metavar="SHARE",
        default_text=str(VAL_FRACTION),
        heading=IMAGES,
    )
    key: str | None = _KEY
    labels: Path | str | None = _LABELS
    frames: Frames | None = _FRAMES
    strict: bool = _STRICT
    workers: int | None = _WORKERS
    seed: int = option(SEED, "Decides which images are held out.")
    progress: Progress = field(default=ignore_progress, repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.size is not None:
            for side in self.size:
                check_whole("--image-size", side, minimum=1, maximum=LARGEST_SIDE)
        if self.fit is not None:
            check_choice("--fit", self.fit, get_args(Fit))
        if self.val_fraction is not None:
            check_share("--val-fraction", self.val_fraction)
        if self.frames is not None:
            check_choice("--frames", self.frames, get_args(Frames))
        if self.workers is not None:
            check_whole("--workers", self.workers, minimum=1, maximum=MOST_WORKERS)

    @property
    def given(self) -> frozenset[str]:
        """Names of the options whose value is not the default."""
        return frozenset(
            f.name for f in fields(self) if f.compare and getattr(self, f.name) is not f.default
        )

    def option_of(self, name: str) -> str:
        """The command line's option that gave a field its value."""
        return "--grey" if name == "color" and self.color is False else option_name(name)

    @property
    def size(self) -> tuple[int, int] | None:
        """`image_size` as height and width."""
        return parse_image_size(self.image_size)


@dataclass(frozen=True, kw_only=True)
class ReadForTrainedOptions(ReadOptions):
    """How images are read for a model that is trained already."""

    fewest = 1


@dataclass(frozen=True, kw_only=True)
class LoadOptions(ReadOptions):
    """Which images to load, and how to read them.

    Attributes:
        data_dir: Where downloads and decoded images are kept; None for the user's cache folder.
        classes: The classes whose images to use, such as ``0,1,3-5`` or ``cat,dog``; None or
            ``all`` for all.
        exclude_classes: The classes whose images to leave out, in the same form.
    """

    data_dir: Path | str | None = _DATA_DIR
    classes: Chosen | None = option(
        None, f"{_CLASSES}.", kind=str, metavar="NAMES", default_text="all", heading=IMAGES
    )
    exclude_classes: Chosen | None = _EXCLUDE


def used_data() -> Any:
    """The option for the images to use a model on."""
    return option(
        None,
        "Images to use: a name that `ae data` lists, a folder or a file. By default those that the "
        "model was trained on.",
        kind=str,
        metavar="SOURCE",
        default_text="",
        several=True,
        heading=IMAGES,
    )


@dataclass(frozen=True)
class UseOptions:
    """The images that a trained model is used on, and where it computes.

    Attributes:
        data: The images; None for those that the model was trained on.
        data_dir: As in `LoadOptions`; None for the folder that the checkpoint names.
        classes: As in `LoadOptions`; None for those that the model was trained on.
        exclude_classes: As in `LoadOptions`.
        key: As in `ReadOptions`; None for the one used in training.
        labels: As in `ReadOptions`; None for those used in training.
        frames: As in `ReadOptions`; None for those used in training.
        strict: As in `ReadOptions`.
        workers: As in `ReadOptions`.
        device: Where to compute; ``auto`` is a GPU if there is one.
        progress: Called during long operations.
    """

    data: Source = used_data()
    _: KW_ONLY
    data_dir: Path | str | None = _DATA_DIR
    classes: Chosen | None = option(
        None,
        f"{_CLASSES}, or all.",
        kind=str,
        metavar="NAMES",
        default_text="those it was trained on",
        heading=IMAGES,
    )
    exclude_classes: Chosen | None = _EXCLUDE
    key: str | None = _KEY
    labels: Path | str | None = _LABELS
    frames: Frames | None = _FRAMES
    strict: bool = _STRICT
    workers: int | None = _WORKERS
    device: Device = option("auto", "Where to compute; auto takes a GPU if there is one.")
    progress: Progress = field(default=ignore_progress, repr=False, compare=False, kw_only=True)
