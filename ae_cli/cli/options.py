"""Options that several commands have, declared once, and how their texts are read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from ae_cli.config import CHECKPOINT, FIT, IMAGE_SIZE, VAL_FRACTION, Device, Fit
from ae_cli.errors import UsageError

# Headings in a command's help
IMAGES = "Images"
RECIPE = "Recipe"
KEEPING = "Keeping and going on"
WATCHING = "Watching"

CheckpointOption = Annotated[
    Path, typer.Option("--checkpoint", metavar="FILE", help="The model that `ae train` made.")
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="Images to use: a name that `ae data` lists, a folder or a file. By default those it "
        "was trained on.",
        show_default=False,
        rich_help_panel=IMAGES,
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        envvar="AE_DATA_DIR",
        help="Where downloads and decoded images are kept. By default your cache folder.",
        show_default=False,
        rich_help_panel=IMAGES,
    ),
]
ImageSizeOption = Annotated[
    str | None,
    typer.Option(
        "--image-size",
        metavar="SIZE",
        help="Pixels that a folder's images get: 64, or 48x64 (height x width).",
        show_default=str(IMAGE_SIZE),
        rich_help_panel=IMAGES,
    ),
]
ColorOption = Annotated[
    bool,
    typer.Option(
        "--color",
        help="Read a folder's images in colour.",
        show_default="grey",
        rich_help_panel=IMAGES,
    ),
]
FitOption = Annotated[
    Fit | None,
    typer.Option(
        "--fit",
        help="How a folder's images come to that size: cut off around the centre, with black "
        "margins, or stretched.",
        show_default=FIT,
        rich_help_panel=IMAGES,
    ),
]
ValFractionOption = Annotated[
    float | None,
    typer.Option(
        "--val-fraction",
        metavar="SHARE",
        help="Share of the images to hold out for testing, where there is no test split.",
        show_default=str(VAL_FRACTION),
        rich_help_panel=IMAGES,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="NAMES",
        help="Of an .npz file: the images and, after a comma, the labels. Of a table: the column "
        "with labels. By default the usual names.",
        show_default=False,
        rich_help_panel=IMAGES,
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Stop at the first image that cannot be read, rather than leave it out.",
        show_default=False,
        rich_help_panel=IMAGES,
    ),
]
_CLASSES_HELP = "Use images of these classes only, such as 0,1,3-5 or cat,dog."
ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes", metavar="NAMES", help=_CLASSES_HELP, show_default="all", rich_help_panel=IMAGES
    ),
]
SameClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="NAMES",
        help=f"{_CLASSES_HELP[:-1]}, or all.",
        show_default="those it was trained on",
        rich_help_panel=IMAGES,
    ),
]
ExcludeClassesOption = Annotated[
    str | None,
    typer.Option(
        "--exclude-classes",
        metavar="NAMES",
        help="Use images of all other classes.",
        show_default=False,
        rich_help_panel=IMAGES,
    ),
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Where to compute; auto takes a GPU if there is one.")
]
ShowOption = Annotated[
    bool, typer.Option("--show", help="Open the picture in a window as well.", show_default=False)
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.", show_default=False)
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print results as JSON on standard output.", show_default=False),
]


def parse_whole_numbers(option: str, text: str, *, example: str) -> tuple[int, ...]:
    """Read whole numbers with commas between them.

    Raises:
        UsageError: The text is something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[+-]?[0-9]{1,18}", part) for part in parts):
        raise UsageError(
            f"{option} is {text!r}", f"give whole numbers with commas between, such as {example}"
        )
    return tuple(map(int, parts))


def parse_image_size(text: str | None) -> tuple[int, int] | None:
    """Read a height and a width, such as ``48x64``, or one number for both.

    Raises:
        UsageError: The text is something else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})(?:[x×]([0-9]{1,9}))?", text.strip().lower())
    if match is None:
        raise UsageError(
            f"--image-size is {text!r}", "give a number of pixels such as 64, or 48x64"
        )
    height, width = match.group(1), match.group(2) or match.group(1)
    return int(height), int(width)


def parse_count(option: str, text: str | None) -> int | None:
    """Read how many there should be; None where nothing is said, or ``all``.

    Raises:
        UsageError: The text is something else than a whole number, 1 or more.
    """
    if text is None or text == "all":
        return None
    if not re.fullmatch(r"0*[1-9][0-9]{0,17}", text):
        raise UsageError(f"{option} is {text!r}", "give a whole number, 1 or more, or all")
    return int(text)


def choose_count(option: str, text: str | None, there: int, default: int | None, owner: str) -> int:
    """Find how many there will be, from what `parse_count` reads.

    Args:
        option: The option.
        text: What a person says: a number, ``all``, or None for the default, as far as it goes.
        there: How many there are.
        default: How many where a person says nothing; None for all.
        owner: A sentence that says how many there are.

    Raises:
        UsageError: There are not so many.
    """
    wanted = parse_count(option, text)
    if wanted is not None and wanted > there:
        raise UsageError(f"{option} is {wanted}, and {owner}", f"give at most {there}, or all")
    if text is None and default is not None:
        return min(default, there)
    return wanted or there


def parse_axes(text: str, latent_dim: int, *, counts: tuple[int, ...], owner: Path) -> list[int]:
    """Read names of latents, such as ``z1,z4``.

    Args:
        text: The names.
        latent_dim: How many latents there are.
        counts: How many may be named.
        owner: The table or checkpoint that has them.

    Returns:
        Their positions, from 0.

    Raises:
        UsageError: There are no such latents, or not as many different ones as there should be.
    """
    there = [f"z{i + 1}" for i in range(latent_dim)]
    names = [name.strip() for name in text.split(",")]
    how_many = " or ".join({2: "two", 3: "three"}[count] for count in counts)
    if latent_dim < min(counts):
        raise UsageError(f"--axes names latents, and {owner} has only one", "leave it out")
    if len(names) not in counts or len(set(names)) < len(names):
        raise UsageError(f"--axes is {text!r}", f"name {how_many} different ones, such as z1,z2")
    for name in names:
        if name not in there:
            raise UsageError(
                f"--axes names {name!r}, and {owner} has {there[0]} to {there[-1]}",
                f"name {how_many} of those",
            )
    return [there.index(name) for name in names]


def shell_word(path: Path) -> str:
    """A path as a person can type it after a command."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def checkpoint_argument(path: Path) -> str:
    """What to add to a suggested command so that it finds a checkpoint: often nothing."""
    return "" if path == CHECKPOINT else f" --checkpoint {shell_word(path)}"
