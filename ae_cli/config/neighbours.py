"""The options of ``neighbours`` and ``duplicates``."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ae_cli.config.checks import check_choice, check_range, parse_whole_numbers
from ae_cli.config.commands import IN_TABLE, output_option
from ae_cli.config.images import Source, Split, Splits, UseOptions
from ae_cli.config.option import option
from ae_cli.errors import UsageError

NEIGHBOURS, MOST_NEIGHBOURS = 12, 1000
PAIRS_DRAWN, MOST_PAIRS_DRAWN = 10, 100
BOTH = f"The table: {IN_TABLE}. The picture gets the same name with .png."


@dataclass(frozen=True, kw_only=True)
class NeighboursOptions(UseOptions):
    """Which images to find neighbours of, and where to look for them.

    Attributes:
        like: The images whose neighbours are wanted: whatever ``--data`` takes, such as the path of
            an image; or the name of one that is searched; in Python also an array.
        index: Instead of `like`, images of the searched source by their index in the table of
            latents, such as ``3,7,19``.
        index_split: The split that `index` counts in; None for the test split.
        n: How many neighbours each image gets.
        split: The split to search, or ``all``.
        out: The table to write; a picture has the same name with ``.png``. None for neither.
    """

    like: Source = option(
        None,
        "The image to find others like: a file, or a name from the table of latents; or several, "
        "in a folder, an archive or a table.",
        kind=str,
        metavar="SOURCE",
        default_text="",
        several=True,
    )
    index: Collection[int] | str | None = option(
        None,
        "Instead of --like: images by their index in the table of latents, such as 3,7,19.",
        kind=str,
        metavar="NUMBERS",
        default_text="",
    )
    index_split: Split | None = option(
        None, "With --index: the split of these images.", default_text="test"
    )
    n: int = option(NEIGHBOURS, "How many neighbours.")
    split: Splits = option("all", "Which images to search.")
    out: Path | str | None = output_option(BOTH, Path("neighbours.csv"))

    def __post_init__(self) -> None:
        check_choice("--split", self.split, get_args(Splits))
        check_range("--n", self.n, 1, MOST_NEIGHBOURS)
        if self.like is None and self.index is None:
            raise UsageError(
                "it is not said whose neighbours are wanted",
                "name it with --like photo.jpg, or by its index with --index 7",
            )
        if self.like is not None and self.index is not None:
            raise UsageError("--like and --index exclude one another", "leave one of them out")
        if self.index_split is not None:
            check_choice("--index-split", self.index_split, get_args(Split))
            if self.index is None:
                raise UsageError("--index-split is for --index", "leave it out, or give --index")

    @property
    def chosen(self) -> tuple[int, ...] | None:
        """`index` as numbers."""
        if self.index is None:
            return None
        return parse_whole_numbers("--index", self.index, example="3,7,19")


@dataclass(frozen=True, kw_only=True)
class DuplicatesOptions(UseOptions):
    """Where to look for duplicates.

    Attributes:
        threshold: The distance up to which two images are duplicates. 1 is the distance below which
            95 % of copies are that were saved again, smaller or a little brighter.
        n: How many of the nearest pairs to draw.
        split: The split to search, or ``all``.
        out: The table to write; a picture has the same name with ``.png``. None for neither.
    """

    threshold: float = option(
        1.0,
        "The distance up to which two images are duplicates; 1 is usual for an image and its copy, "
        "saved again, smaller or a little brighter.",
    )
    n: int = option(PAIRS_DRAWN, "How many pairs to draw.")
    split: Splits = option("all", "Which images to search.")
    out: Path | str | None = output_option(BOTH, Path("duplicates.csv"))

    def __post_init__(self) -> None:
        check_choice("--split", self.split, get_args(Splits))
        check_range("--n", self.n, 1, MOST_PAIRS_DRAWN)
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise UsageError(f"--threshold is {self.threshold}", "give a number, 0 or more")
