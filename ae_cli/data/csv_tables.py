"""Images in a CSV file: a row of pixels per image, with or without a label."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.data.pixel_tables import (
    Table,
    arrow_errors,
    bad_cell,
    find_label_column,
    find_pixel_columns,
    flat_shape,
    to_label_array,
)
from ae_cli.errors import DataError
from ae_cli.files.reading import check_csv

if TYPE_CHECKING:
    import pyarrow as pa


def read_csv(path: Path, key: str | None, size: tuple[int, int] | None) -> Table:
    """Read a CSV file, with or without a first line of column names.

    Args:
        path: The file.
        key: The column with the labels. None for the one called as in `LABELS`, or, in a file
            without column names, for the first one if there is one column more than an image has
            values.
        size: Height and width of the images; None if they are squares.

    Returns:
        Pixels, uint8 (n, d) if any is above 1, and otherwise float32 (n, d) in [0, 1]; and labels,
        str (n,), or None.

    Raises:
        DataError: A row or a cell is not valid.
        OSError, ValueError, csv.Error: It cannot be read as CSV at all.
    """
    check_csv(path)
    head = _read_head(path)
    if head.lines:
        label = find_label_column(path, head.columns, key)
    elif key is not None:
        raise DataError(
            f"{path} has no line of column names, so there is no column {key}",
            "add such a line at its beginning, or leave --key out",
        )
    else:
        count = len(head.columns)
        first = flat_shape(count, size) is None and flat_shape(count - 1, size) is not None
        label = head.columns[0] if first else None
    names = find_pixel_columns(path, head.columns, label)
    pixels: list[NDArray[np.float32]] = []
    labels: list[str] = []
    try:
        row = 1
        for batch in _read_batches(path, head, label):
            values = np.column_stack([batch.column(name).to_numpy() for name in names])
            _check_cells(path, names, values, (values >= 0) & (values <= 255), row)
            pixels.append(values)
            if label is not None:
                labels += batch.column(label).to_pylist()
            row += len(values)
    except ValueError as error:
        raise _find_fault(path, head, label) or error from error
    if not pixels:
        raise DataError(f"{path} holds no images", "give at least two rows of pixels")
    all_labels = to_label_array(path, labels) if labels else None
    if max(values.max() for values in pixels) <= 1:
        return np.concatenate(pixels), all_labels
    row = 1
    for values in pixels:
        _check_cells(path, names, values, values == np.rint(values), row)
        row += len(values)
    return np.concatenate([values.astype(np.uint8) for values in pixels]), all_labels


class _Head(NamedTuple):
    """The beginning of a CSV file."""

    columns: list[str]  # the names of the columns, or 1, 2, … if they have none
    lines: int  # the number of lines before the first row of pixels: 0 if there are no names


def _read_head(path: Path) -> _Head:
    """Find out whether the first line of a CSV file that is not empty has column names."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        first = [cell.strip() for cell in next((line for line in lines if line), [])]
    if not first:
        raise ValueError("it is empty")
    filled = [cell for cell in first if cell]
    # pandas names columns 0, 1, 2, … by default. A few such numbers could also be pixels.
    counted = len(filled) > 9 and filled == [str(number) for number in range(len(filled))]
    if not counted and all(_is_number(cell) for cell in filled):
        return _Head([str(number) for number in range(1, len(first) + 1)], 0)
    if len(first) == 1 and (";" in first[0] or "\t" in first[0]):
        raise DataError(f"{path} has one column", "save it with commas between the columns")
    if "" in first:
        raise DataError(
            f"{path} has a column without a name", "name it, or leave it out if it is an index"
        )
    return _Head(first, lines.line_num)


def _read_batches(path: Path, head: _Head, label: str | None) -> Iterator[pa.RecordBatch]:
    """Read the rows of a CSV file in batches, as float32, except for the label."""
    import pyarrow.csv

    types = dict.fromkeys(head.columns, pyarrow.float32())
    if label is not None:
        types[label] = pyarrow.string()  # as it is written: 007 is not 7
    with (
        arrow_errors(),
        pyarrow.csv.open_csv(
            path,
            # A row must fit into a block, even if it has many columns.
            read_options=pyarrow.csv.ReadOptions(
                column_names=head.columns,
                skip_rows=head.lines,
                block_size=max(1 << 20, 64 * len(head.columns)),
            ),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, null_values=[]),
        ) as reader,
    ):
        yield from reader


def _find_fault(path: Path, head: _Head, label: str | None) -> DataError | None:
    """Find the row or cell of a CSV file that Arrow failed at, since it does not always say."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = (row for row in csv.reader(file) if row)
        if head.lines:
            next(rows)
        for number, row in enumerate(rows, start=1):
            if len(row) != len(head.columns):
                return DataError(
                    f"{path} has {len(row)} cells in row {number}, but {len(head.columns)} columns",
                    "correct the row or leave it out",
                )
            for name, cell in zip(head.columns, row, strict=True):
                if name != label and not _is_number(cell):
                    return bad_cell(path, name, number, cell)
    return None


def _check_cells(
    path: Path, names: list[str], values: NDArray[Any], valid: NDArray[Any], first_row: int
) -> None:
    """Refuse a CSV file with a number that cannot be a pixel, and say where it is."""
    if not valid.all():
        row, column = np.argwhere(~valid)[0]
        value = str(values[row, column]).removesuffix(".0")
        raise DataError(
            f"{path} has {value} for {names[column]} in row {first_row + row}",
            "save pixels as whole numbers from 0 to 255, or all of them from 0 to 1",
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
