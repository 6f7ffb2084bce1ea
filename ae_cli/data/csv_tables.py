"""Tables of text: a row per image, with its pixels, or with the path of its file.

The separator is found out, and the file may be compressed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.config import ReadOptions
from ae_cli.data.arrays import Arrays
from ae_cli.data.columns import (
    check_length,
    check_names,
    find_label_column,
    find_pixel_columns,
    find_roles,
    flat_shape,
    holds_pixels,
    is_number,
    to_label_array,
)
from ae_cli.data.csv_files import Head, find_fault, read_batches, read_head
from ae_cli.data.listings import Sheet, list_pictures
from ae_cli.data.pictures import Pictures
from ae_cli.data.pixel_cells import PixelCells, to_arrays
from ae_cli.data.scratch import Rows, Scratch
from ae_cli.data.values import Part
from ae_cli.errors import DataError


def read_csv(path: Path, options: ReadOptions, scratch: Scratch) -> Arrays | Pictures:
    """Read a table of text, with a column for each pixel, or one of all pixels, or one of paths.

    Args:
        path: The file, with or without a first line of column names.
        options: `key` is the column with the labels; None for the one called as in `LABELS`, or, in
            a table of pixels without column names, for the first one if there is one column more
            than an image has values. `size` is the size of the images in a table of pixels.
        scratch: Where pixels are.

    Raises:
        DataError: A row or a cell is not valid.
        OSError, ValueError, csv.Error: It cannot be read as CSV at all.
    """
    head = read_head(path)
    texts = next((name for name, cells in head.cells.items() if holds_pixels(cells)), None)
    if texts is not None:
        return _read_texts(head, texts, options, scratch)
    listed = list_pictures(path, head.cells, lambda: read_sheet(head), options)
    if listed is not None:
        return listed
    return _read_pixels(head, options, scratch)


def read_sheet(head: Head) -> Sheet:
    """Read all columns of a table of text as text.

    Raises:
        DataError: A row has too many or too few cells.
        ValueError: It cannot be read.
    """
    cells: dict[str, list[str]] = {name: [] for name in head.columns}
    check_names(head.path, head.columns)
    try:
        for batch in read_batches(head, dict.fromkeys(head.columns, "string")):
            for name in head.columns:
                cells[name] += batch.column(name).to_pylist()
    except ValueError as error:
        raise find_fault(head, ignored=set(head.columns)) or error from error
    for column in cells.values():
        check_length(head.path, column)
    return Sheet(head.path, cells, (head.form,))


def _read_texts(head: Head, image: str, options: ReadOptions, scratch: Scratch) -> Arrays:
    """Read a table with a column of texts of pixels."""
    check_names(head.path, head.columns)
    cells: dict[str, list[str]] = {name: [] for name in head.columns if name != image}
    pixels = PixelCells(head.path, image, scratch)
    try:
        for batch in read_batches(head, dict.fromkeys(head.columns, "string")):
            pixels.add(batch.column(image))
            for name, column in cells.items():
                column += batch.column(name).to_pylist()
    except ValueError as error:
        raise find_fault(head, ignored=set(head.columns)) or error from error
    roles = find_roles(head.path, cells, image, options.key)
    return to_arrays(Sheet(head.path, cells, (head.form,)), roles, pixels)


def _read_pixels(head: Head, options: ReadOptions, scratch: Scratch) -> Arrays:
    """Read a table with a column for each pixel."""
    path, key = head.path, options.key
    if head.lines:
        first_cells = next(iter(head.cells.values()), [])
        if len(head.columns) == 1 and not all(is_number(cell) for cell in first_cells[:1]):
            raise DataError(
                f"{path} has one column, and no image is found by what is in it",
                "save a column for each pixel, or the paths of images relative to the table",
            )
        label = find_label_column(path, head.columns, key)
    elif key is not None:
        raise DataError(
            f"{path} has no line of column names, so there is no column {key}",
            "add such a line at its beginning, or leave --key out",
        )
    else:
        count = len(head.columns)
        first = flat_shape(count, options.size) is None
        first &= flat_shape(count - 1, options.size) is not None
        label = head.columns[0] if first else None
    names = find_pixel_columns(path, head.columns, label)
    pixels = _PixelColumns(path, names, scratch)
    labels: list[str] = []
    types = dict.fromkeys(head.columns, "float")
    if label is not None:
        types[label] = "string"  # as it is written: 007 is not 7
    try:
        for batch in read_batches(head, types):
            pixels.add(np.column_stack([batch.column(name).to_numpy() for name in names]))
            if label is not None:
                labels += batch.column(label).to_pylist()
    except ValueError as error:
        raise find_fault(head, ignored={label} - {None}) or error from error
    part = Part(str(path), pixels.to_array(), to_label_array(path, labels) if labels else None)
    named = f"labels: column {label}" if label is not None else "no column of labels"
    return Arrays(str(path), [part], (head.form, f"{len(names):,} columns of pixels", named))


class _PixelColumns:
    """Collects the pixels of a table with a column for each, and refuses what cannot be pixels.

    Args:
        path: The table, for errors.
        names: The names of the columns.
        scratch: Where the pixels are.
    """

    def __init__(self, path: Path, names: list[str], scratch: Scratch) -> None:
        self._path, self._names = path, names
        self._rows = Rows(scratch)
        self._count = 0
        self._largest = 0.0
        self._fraction: DataError | None = None  # about the first one, for which 1 must be white

    def add(self, values: NDArray[np.float32]) -> None:
        """Add the pixels of some rows, (n, d)."""
        if fault := self._find_fault(values, (values >= 0) & (values <= 255)):
            raise fault
        fraction = self._find_fault(values, values == np.rint(values))
        self._fraction = self._fraction or fraction
        self._largest = max(self._largest, float(values.max(initial=0)))
        self._count += len(values)
        if self._fraction is None or self._largest <= 1:  # otherwise it is refused at the end
            self._rows.add(values if fraction else values.astype(np.uint8))

    def to_array(self) -> NDArray[Any]:
        """All pixels: uint8 (n, d) if any is above 1, and otherwise bool or float32 in [0, 1]."""
        if not self._count:
            raise DataError(f"{self._path} holds no images", "give at least two rows of pixels")
        if self._largest > 1 and self._fraction is not None:
            raise self._fraction
        array = self._rows.to_array()
        return array.view(np.bool_) if self._largest <= 1 and self._fraction is None else array

    def _find_fault(self, values: NDArray[Any], valid: NDArray[Any]) -> DataError | None:
        """The error about the first number that cannot be a pixel, if there is one."""
        if valid.all():
            return None
        row, column = np.argwhere(~valid)[0]
        value = str(values[row, column]).removesuffix(".0")
        return DataError(
            f"{self._path} has {value} for {self._names[column]} in row {self._count + row + 1}",
            "save pixels as whole numbers from 0 to 255, or all of them from 0 to 1",
        )
