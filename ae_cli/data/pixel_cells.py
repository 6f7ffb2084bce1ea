"""Tables with all pixels of an image in one cell: a text such as ``70 80 82``, or a list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.data.arrays import Arrays
from ae_cli.data.columns import (
    Roles,
    arrow_errors,
    check_length,
    describe_roles,
    find_splits,
    is_number,
    to_column,
)
from ae_cli.data.listings import Sheet
from ae_cli.data.scratch import Rows, Scratch
from ae_cli.data.values import Part, is_whole
from ae_cli.errors import DataError, warn

if TYPE_CHECKING:
    import pyarrow as pa


class PixelCells:
    """Collects the pixels of a column in which each cell has all pixels of an image.

    Args:
        path: The table, for errors.
        name: The column's name.
        scratch: Where the pixels are.
    """

    def __init__(self, path: Path, name: str, scratch: Scratch) -> None:
        self.path, self.name, self.scratch = path, name, scratch
        self.rows = Rows(scratch)
        self.count = 0
        self._widths: set[int] = set()

    def add(self, column: pa.Array) -> None:
        """Parse some cells.

        Raises:
            DataError: A cell is not valid, or they do not have the same number of pixels.
        """
        values = parse_cells(self.path, self.name, column, self.count + 1)
        if len(values):
            self._widths.add(values.shape[1])
        if len(self._widths) == 1 and len(values):  # otherwise it is refused at the end
            self.rows.add(values)
        self.count += len(values)

    def to_array(self) -> NDArray[Any]:
        """All images, uint8, int64 or float32 (n, values).

        Raises:
            DataError: There are no images, or not all have the same number of values.
        """
        if not self._widths:
            raise DataError(f"{self.path} holds no images", "give at least two")
        if len(self._widths) > 1:
            raise DataError(
                f"{self.path} has images of {' and '.join(map(str, sorted(self._widths)))} pixels "
                f"for {self.name}",
                "save all images with the same size",
            )
        images = self.rows.to_array()
        if images.dtype == np.uint8 or not is_whole(images):
            return images
        in_range = images.min() >= 0 and images.max() <= 255  # otherwise they are refused later
        return self.scratch.convert(images, np.uint8 if in_range else np.int64)


def parse_cells(path: Path, name: str, column: pa.Array, first_row: int) -> NDArray[Any]:
    """Parse a column of texts of pixels.

    Args:
        path: The table, for errors.
        name: The column's name.
        column: Its cells.
        first_row: The number of the first cell's row.

    Returns:
        uint8 (n, values) if they are whole numbers up to 255, and otherwise float32 (n, values).

    Raises:
        DataError: A cell is not valid, or they do not have the same number of pixels.
    """
    import pyarrow
    import pyarrow.compute as pc

    with arrow_errors():
        bare = pc.utf8_trim(pc.replace_substring_regex(column, r"[\[\](),;\s]+", " "), " ")
        lists = pc.split_pattern(bare, " ")
        counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        words = lists.flatten()
        if len(column) and (counts != counts[0]).any():
            row = int(np.flatnonzero(counts != counts[0])[0])
            raise DataError(
                f"{path} has {counts[row]} pixels for {name} in row {first_row + row}, but "
                f"{counts[0]} in the first row that was read with it",
                "save all images with the same size",
            )
        try:
            numbers = words.cast(pyarrow.uint8())
        except pyarrow.ArrowInvalid:
            numbers = _to_floats(path, name, words, counts, first_row)
    values: NDArray[Any] = numbers.to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def _to_floats(
    path: Path, name: str, words: pa.Array, counts: NDArray[Any], first_row: int
) -> pa.Array:
    """Parse numbers that are not whole numbers up to 255.

    Raises:
        DataError: One is not a number.
    """
    import pyarrow

    try:
        return words.cast(pyarrow.float32())
    except pyarrow.ArrowInvalid as error:
        texts = words.to_pylist()
        place = next((i for i, word in enumerate(texts) if not is_number(word)), 0)
        raise DataError(
            f"{path} has {texts[place][:40]!r} among the pixels for {name} in row "
            f"{first_row + place // int(counts[0])}",
            "correct the row or leave it out",
        ) from error


def to_arrays(sheet: Sheet, roles: Roles, pixels: PixelCells) -> Arrays:
    """Put the pixels and the other columns of a table together, split by split.

    Args:
        sheet: The table's other columns.
        roles: What the columns mean.
        pixels: The images.

    Raises:
        DataError: There are no images, or not all have the same number of values.
    """
    path = sheet.path
    images = pixels.to_array()
    for cells in sheet.columns.values():
        check_length(path, cells)
    labels = None if roles.label is None else np.array(sheet.columns[roles.label])
    columns = {name: to_column(sheet.columns[name]) for name in roles.others}
    splits: list[str | None] = [None]
    chosen = [np.arange(len(images))]
    if roles.split is not None:
        found = find_splits(sheet.columns[roles.split])
        if any(found):
            splits = ["train", "test"]
            chosen = [np.flatnonzero([own == split for own in found]) for split in splits]
            if unused := found.count(None):
                warn(f"{unused:,} rows of {path.name} are in neither split and are not used")
    parts = [
        Part(
            str(path),
            pixels.scratch.take(images, rows),
            None if labels is None else labels[rows],
            split,
            {name: values[rows] for name, values in columns.items()},
        )
        for split, rows in zip(splits, chosen, strict=True)
    ]
    understood = f"images: column {roles.image}, {images.shape[1]:,} pixels each"
    return Arrays(str(path), parts, (*sheet.understood, understood, *describe_roles(roles)))
