"""Images in a table, CSV or Parquet: a row of pixels each, with or without a label."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.errors import LONGEST_CAUSE, DataError
from ae_cli.tables import ROW_BYTES, check_csv, check_parquet, check_unpacked, is_plain, is_text

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = ("label", "labels", "y", "class", "target")

Table = tuple[NDArray[Any], NDArray[Any] | None]  # pixels (n, d), and labels (n,) if it has any


def flat_shape(count: int, size: tuple[int, int] | None) -> tuple[int, int, int] | None:
    """Find out what images have so many values in a row.

    Args:
        count: The number of values.
        size: Height and width of the images; None if they are squares.

    Returns:
        Channels (1 or 3), height and width; None if no image has so many.
    """
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        height, width = size or (side, side)
        if count > 0 and channels * height * width == count:
            return channels, height, width
    return None


def read_csv(path: Path, key: str | None, size: tuple[int, int] | None) -> Table:
    """Read a CSV file, with a line of column names at its beginning or without one.

    Args:
        path: The file.
        key: The column with the labels; None for the one that is called as in `LABELS`, or for the
            first in a file without names that has one column more than an image has pixels.
        size: Height and width of the images; None if they are squares.

    Returns:
        Pixels, uint8 (n, d) if any is above 1 and otherwise float32 (n, d) in [0, 1], and labels,
        str (n,), or None.

    Raises:
        DataError: A row or a cell is not as it should be.
        OSError, ValueError, csv.Error: It cannot be read as CSV at all.
    """
    check_csv(path)
    head = _read_head(path)
    if head.lines:
        label = _label_column(path, head.columns, key)
    elif key is not None:
        raise DataError(
            f"{path} has no line of column names, and so no column {key}",
            "add such a line at its beginning, or leave --key out",
        )
    else:
        count = len(head.columns)
        first = flat_shape(count, size) is None and flat_shape(count - 1, size) is not None
        label = head.columns[0] if first else None
    names = _pixel_columns(path, head.columns, label)
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
    all_labels = _to_array(path, labels) if labels else None
    if max(values.max() for values in pixels) <= 1:
        return np.concatenate(pixels), all_labels
    row = 1
    for values in pixels:
        _check_cells(path, names, values, values == np.rint(values), row)
        row += len(values)
    return np.concatenate([values.astype(np.uint8) for values in pixels]), all_labels


class _Head(NamedTuple):
    """What a CSV file begins with."""

    columns: list[str]  # their names, or 1, 2, … where they have none
    lines: int  # before the first row of pixels: 0 where columns have no names


def _read_head(path: Path) -> _Head:
    """Find out whether a CSV file's first line that is not empty names its columns."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        first = [cell.strip() for cell in next((line for line in lines if line), [])]
    if not first:
        raise ValueError("it is empty")
    filled = [cell for cell in first if cell]
    # pandas calls columns without a name 0, 1, 2, …; so few of them might be pixels after all.
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
    """Read a CSV file's rows, float32 but for the label, a few at a time."""
    import pyarrow.csv

    types = dict.fromkeys(head.columns, pyarrow.float32())
    if label is not None:
        types[label] = pyarrow.string()  # as it is written: 007 is no 7
    with (
        _arrow_errors(),
        pyarrow.csv.open_csv(
            path,
            # A row must fit into a block, however many columns it has.
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
    """Say which row or cell of a CSV file Arrow stumbled over, since it does not always know."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = (row for row in csv.reader(file) if row)
        if head.lines:
            next(rows)
        for number, row in enumerate(rows, start=1):
            if len(row) != len(head.columns):
                return DataError(
                    f"{path} has {len(row)} cells in row {number}, and {len(head.columns)} columns",
                    "correct the row or leave it out",
                )
            for name, cell in zip(head.columns, row, strict=True):
                if name != label and not _is_number(cell):
                    return _bad_cell(path, name, number, cell)
    return None


def _check_cells(
    path: Path, names: list[str], values: NDArray[Any], valid: NDArray[Any], first_row: int
) -> None:
    """Refuse a CSV file with a number that is no pixel, and say where it is."""
    if not valid.all():
        row, column = np.argwhere(~valid)[0]
        value = str(values[row, column]).removesuffix(".0")
        raise DataError(
            f"{path} has {value} for {names[column]} in row {first_row + row}",
            "save pixels as whole numbers from 0 to 255, or all of them from 0 to 1",
        )


def read_parquet(path: Path, key: str | None) -> Table:
    """Read a Parquet file.

    Args:
        path: The file.
        key: The column with the labels; None for the one that is called as in `LABELS`.

    Returns:
        Pixels, (n, d) of bool, of integers or of floats, as the columns' types are, and labels,
        (n,), or None.

    Raises:
        DataError: A column or a cell is not as it should be.
        OSError, ValueError: It cannot be read as Parquet at all.
    """
    import pyarrow.parquet

    with _arrow_errors():
        metadata = pyarrow.parquet.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        # pandas keeps a table's index, which is no part of the images, under such a name.
        columns = [name for name in schema.names if not name.startswith("__index_level_")]
        label = _label_column(path, columns, key)
        names = _pixel_columns(path, columns, label)
        kind = _pixel_type(path, schema, names)
        count = metadata.num_rows
        check_parquet(path, metadata, kind.itemsize * len(names) + ROW_BYTES)
        pixels = np.empty((count, len(names)), kind)
        labels: list[Any] = []
        row = 0
        # Each different text of the labels is kept once, however often it is there.
        text = None
        if label is not None:
            what = schema.field(label).type
            if not is_plain(what):
                raise DataError(
                    f"the labels of {path} are of type {what}", "save whole numbers or text"
                )
            text = [label] if is_text(what) else None
        with pyarrow.parquet.ParquetFile(path, metadata=metadata, read_dictionary=text) as file:
            for batch in file.iter_batches(batch_size=4096, columns=columns):
                rows = slice(row, row + len(batch))
                for name, column in zip(columns, batch.columns, strict=True):
                    if column.null_count:
                        raise _bad_cell(
                            path, name, row + column.is_null().to_pylist().index(True) + 1
                        )
                for i, name in enumerate(names):
                    pixels[rows, i] = batch.column(name).to_numpy(zero_copy_only=False)
                if label is not None:
                    labels += _to_list(batch.column(label))
                row += len(batch)
    return pixels, None if label is None else _to_array(path, labels)


def _to_list(column: pa.Array) -> list[Any]:
    """A column's values, of which those that are equal may be one object."""
    import pyarrow

    if not pyarrow.types.is_dictionary(column.type):
        cells: list[Any] = column.to_pylist()
        return cells
    column.validate(full=True)  # Arrow does not see by itself whether there are such positions
    values = column.dictionary.to_pylist()
    return [values[position] for position in column.indices.to_pylist()]


def _to_array(path: Path, labels: list[Any]) -> NDArray[Any]:
    """Labels as an array, (n,)."""
    # numpy gives each text the room that the longest needs.
    longest = max((len(label) for label in labels if isinstance(label, str | bytes)), default=0)
    check_unpacked(path, len(labels) * longest * 4)
    return np.array(labels)


def _pixel_type(path: Path, schema: pa.Schema, names: list[str]) -> np.dtype[Any]:
    """The one type that holds all pixels of a Parquet file."""
    import pyarrow

    numbers = (pyarrow.types.is_integer, pyarrow.types.is_floating, pyarrow.types.is_boolean)
    types = {}
    for name in names:
        kind = schema.field(name).type
        if not any(fits(kind) for fits in numbers):
            raise DataError(
                f"{path} has values of type {kind} for {name}, where numbers should be",
                "save each pixel in a column of its own; if this is the label, name it with --key",
            )
        types[name] = np.dtype(kind.to_pandas_dtype())
    groups = {kind.kind.replace("u", "i"): name for name, kind in types.items()}
    if len(groups) > 1:
        first, second = list(groups.values())[:2]
        raise DataError(
            f"{path} has pixels of several types ({types[first]} for {first}, {types[second]} for "
            f"{second})",
            "save all with one type: uint8 from 0 to 255, or floats from 0 to 1",
        )
    if "i" in groups:
        common = np.result_type(*set(types.values()))
        # uint64 and int64 have no integer type in common but this; what does not fit is no pixel.
        return common if common.kind in "iu" else np.dtype(np.int64)
    return np.result_type(*set(types.values()))


def _label_column(path: Path, columns: list[str], key: str | None) -> str | None:
    """The column with the labels, if there is one."""
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


def _pixel_columns(path: Path, columns: list[str], label: str | None) -> list[str]:
    """All columns but the one with the labels."""
    if names := [name for name in columns if name != label]:
        return names
    raise DataError(f"{path} has no columns of pixels", "save a column for each pixel")


def _bad_cell(path: Path, column: str, row: int, cell: str = "") -> DataError:
    """An error for a cell that is empty or no number; `row` counts from 1, below the header."""
    found = repr(cell)[:LONGEST_CAUSE] if cell.strip() else "nothing"
    return DataError(
        f"{path} has {found} for {column} in row {row}",
        "correct the row or leave it out; if the column holds the labels, name it with --key",
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@contextmanager
def _arrow_errors() -> Iterator[None]:
    """Turn what pyarrow raises into a ValueError, which some of it is not."""
    import pyarrow

    try:
        yield
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
