"""What the columns of a table mean: a row of pixels per image, with or without a label."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ae_cli.errors import LONGEST_CAUSE, DataError
from ae_cli.files.reading import check_unpacked

LABELS = ("label", "labels", "y", "class", "target")

# Pixels (n, d), and labels (n,) if the table has any
Table: TypeAlias = tuple[NDArray[Any], NDArray[Any] | None]


def flat_shape(count: int, size: tuple[int, int] | None) -> tuple[int, int, int] | None:
    """Find the shape of an image that has this many values.

    Args:
        count: The number of values.
        size: Height and width of the images; None if they are squares.

    Returns:
        Channels (1 or 3), height and width; None if no image has this many values.
    """
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        height, width = size or (side, side)
        if count > 0 and channels * height * width == count:
            return channels, height, width
    return None


def find_label_column(path: Path, columns: list[str], key: str | None) -> str | None:
    """Find the column with the labels: `key`, or else the one called as in `LABELS`, if any.

    Raises:
        DataError: Two columns have the same name, there is no column `key`, or several columns
            could be the labels.
    """
    if len(set(columns)) < len(columns):
        twice = next(name for i, name in enumerate(columns) if name in columns[:i])
        raise DataError(f"{path} has two columns called {twice}", "rename one of them")
    if key is not None:
        if key in columns:
            return key
        some = ", ".join(columns[:8]) + (", …" if len(columns) > 8 else "")
        raise DataError(f"{path} has no column {key}", f"choose one of {some}")
    found = [name for name in columns if name.lower() in LABELS]
    if len(found) > 1:
        raise DataError(
            f"{path} has several columns that could be the labels ({', '.join(found)})",
            "name one with --key, and leave the others out",
        )
    return found[0] if found else None


def find_pixel_columns(path: Path, columns: list[str], label: str | None) -> list[str]:
    """Find the columns with pixels: all but the one with the labels.

    Raises:
        DataError: There are none.
    """
    if names := [name for name in columns if name != label]:
        return names
    raise DataError(f"{path} has no columns of pixels", "save a column for each pixel")


def to_label_array(path: Path, labels: list[Any]) -> NDArray[Any]:
    """Put labels into an array, (n,).

    Raises:
        DataError: The array would be absurdly large for this file.
    """
    # numpy gives each text as much space as the longest needs.
    longest = max((len(label) for label in labels if isinstance(label, str | bytes)), default=0)
    check_unpacked(path, len(labels) * longest * 4)
    return np.array(labels)


def bad_cell(path: Path, column: str, row: int, cell: str = "") -> DataError:
    """Make the error for a cell that is empty or not a number.

    Args:
        path: The file.
        column: The name of the cell's column.
        row: The number of its row, from 1, not counting the line of column names.
        cell: What is in the cell.
    """
    found = repr(cell)[:LONGEST_CAUSE] if cell.strip() else "nothing"
    return DataError(
        f"{path} has {found} for {column} in row {row}",
        "correct the row or leave it out; if the column holds the labels, name it with --key",
    )


@contextmanager
def arrow_errors() -> Iterator[None]:
    """Turn every exception of pyarrow into a ValueError, since some of them are not."""
    import pyarrow

    try:
        yield
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
