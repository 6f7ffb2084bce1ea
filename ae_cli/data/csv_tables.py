"""Tables of text: a row per image, with its pixels, or with the path of its file.

The separator is found out, and the file may be compressed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.config import ReadOptions
from ae_cli.data.arrays import Arrays
from ae_cli.data.columns import (
    LOOKED_AT,
    arrow_errors,
    bad_cell,
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
from ae_cli.data.listings import Sheet, list_pictures
from ae_cli.data.pictures import Pictures
from ae_cli.data.pixel_cells import PixelCells, to_arrays
from ae_cli.data.scratch import Rows, Scratch
from ae_cli.data.values import Part
from ae_cli.errors import DataError
from ae_cli.files.reading import check_csv, open_unpacked

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces"}
_LONGEST_LINE = 1 << 24  # bytes; of longer lines, the beginning shows what the file is
_BLOCK = 1 << 21  # bytes that Arrow reads at once; a table takes many times this as it is parsed
csv.field_size_limit(_LONGEST_LINE)  # a cell with all pixels of an image is longer than the default


class Head(NamedTuple):
    """The beginning of a table of text.

    Attributes:
        path: The file.
        columns: The names of the columns, or 1, 2, … if they have none.
        lines: The number of lines before the first row: 0 if there are no names.
        separator: What is between two cells.
        decimal: The mark in front of a number's fraction: a point, or a comma.
        rows: The first rows.
        longest: The length of the longest line so far, in bytes.
    """

    path: Path
    columns: list[str]
    lines: int
    separator: str
    decimal: str
    rows: list[list[str]]
    longest: int

    @property
    def cells(self) -> dict[str, list[str]]:
        """The first cells of each column."""
        rows = [row for row in self.rows if len(row) == len(self.columns)]
        return {name: [row[i] for row in rows] for i, name in enumerate(self.columns)}

    @property
    def form(self) -> str:
        """The form of the file in words."""
        return f"a table with {SEPARATORS[self.separator]} between its columns"


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


def read_head(path: Path) -> Head:
    """Find out how a table of text is written, and whether its first line has column names.

    Raises:
        DataError: It has no columns, or one without a name.
        OSError, ValueError, csv.Error: It cannot be read as CSV at all.
    """
    with open_unpacked(path) as file:
        lines = iter(lambda: file.readline(_LONGEST_LINE), b"")
        some = list(islice((line for line in lines if line.strip()), LOOKED_AT + 1))
    if not some:
        raise ValueError("it is empty")
    first_line = some[0].decode("utf-8-sig", errors="replace")
    separator = _find_separator(first_line)
    check_csv(path, separator.encode())
    text = b"".join(some).decode("utf-8-sig", errors="replace")
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    first = [cell.strip() for cell in rows[0]] if rows else []
    if not first:
        raise ValueError("it is empty")
    body = rows[1:]
    decimal = "."
    if separator != "," and any(re.fullmatch(r"\d+,\d+", cell) for row in body for cell in row):
        decimal = ","
    filled = [cell for cell in first if cell]
    # pandas names columns 0, 1, 2, … by default. A few such numbers could also be pixels.
    counted = len(filled) > 9 and filled == [str(number) for number in range(len(filled))]
    longest = max(map(len, some))
    if not counted and all(is_number(cell, decimal) or holds_pixels([cell]) for cell in filled):
        names = [str(number) for number in range(1, len(first) + 1)]
        return Head(path, names, 0, separator, decimal, rows[:LOOKED_AT], longest)
    if "" in first:
        raise DataError(
            f"{path} has a column without a name", "name it, or leave it out if it is an index"
        )
    return Head(path, first, _count_lines(path, separator), separator, decimal, body, longest)


def _find_separator(line: str) -> str:
    """What is between two cells of a line: of all that occur outside quotes, the most frequent."""
    bare = re.sub(r'"[^"]*"', "", line.strip())
    if re.search(r"[;\t|]", bare):  # then a comma between digits is a decimal mark
        bare = re.sub(r"(?<=\d),(?=\d)", "", bare)
    counts = {separator: bare.count(separator) for separator in SEPARATORS}
    counts[" "] = 0 if re.search(r"[^\d\s.eE+-]", bare) else counts[" "]
    best = max(counts, key=lambda separator: counts[separator])
    return best if counts[best] else ","


def _count_lines(path: Path, separator: str) -> int:
    """The number of lines up to the end of the column names."""
    with _open_text(path) as file:
        lines = csv.reader(file, delimiter=separator)
        next(line for line in lines if line)
        return lines.line_num


def _open_text(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_unpacked(path), newline="", encoding="utf-8-sig", errors="replace")


def read_sheet(head: Head) -> Sheet:
    """Read all columns of a table of text as text.

    Raises:
        DataError: A row has too many or too few cells.
        ValueError: It cannot be read.
    """
    cells: dict[str, list[str]] = {name: [] for name in head.columns}
    check_names(head.path, head.columns)
    try:
        for batch in _read_batches(head, dict.fromkeys(head.columns, "string")):
            for name in head.columns:
                cells[name] += batch.column(name).to_pylist()
    except ValueError as error:
        raise _find_fault(head, ignored=set(head.columns)) or error from error
    for column in cells.values():
        check_length(head.path, column)
    return Sheet(head.path, cells, (head.form,))


def _read_texts(head: Head, image: str, options: ReadOptions, scratch: Scratch) -> Arrays:
    """Read a table with a column of texts of pixels."""
    check_names(head.path, head.columns)
    cells: dict[str, list[str]] = {name: [] for name in head.columns if name != image}
    pixels = PixelCells(head.path, image, scratch)
    try:
        for batch in _read_batches(head, dict.fromkeys(head.columns, "string")):
            pixels.add(batch.column(image))
            for name, column in cells.items():
                column += batch.column(name).to_pylist()
    except ValueError as error:
        raise _find_fault(head, ignored=set(head.columns)) or error from error
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
        for batch in _read_batches(head, types):
            pixels.add(np.column_stack([batch.column(name).to_numpy() for name in names]))
            if label is not None:
                labels += batch.column(label).to_pylist()
    except ValueError as error:
        raise _find_fault(head, ignored={label} - {None}) or error from error
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


def _read_batches(head: Head, types: dict[str, str]) -> Iterator[pa.RecordBatch]:
    """Read the rows of a table of text in batches, with these types of the columns."""
    import pyarrow
    import pyarrow.csv

    with (
        arrow_errors(),
        open_unpacked(head.path) as file,
        pyarrow.csv.open_csv(
            file,
            # A row must fit into a block, even if it has many columns.
            read_options=pyarrow.csv.ReadOptions(
                column_names=head.columns,
                skip_rows=head.lines,
                block_size=max(_BLOCK, 64 * len(head.columns), 4 * head.longest),
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=head.separator),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pyarrow.type_for_alias(kind) for name, kind in types.items()},
                null_values=[],
                decimal_point=head.decimal,
            ),
        ) as reader,
    ):
        yield from reader


def _find_fault(head: Head, ignored: set[str | None]) -> DataError | None:
    """Find the row or cell of a table that Arrow failed at, since it does not always say."""
    with _open_text(head.path) as file:
        rows = (row for row in csv.reader(file, delimiter=head.separator) if row)
        if head.lines:
            next(rows)
        for number, row in enumerate(rows, start=1):
            if len(row) != len(head.columns):
                return DataError(
                    f"{head.path} has {len(row)} cells in row {number}, but {len(head.columns)} "
                    "columns",
                    "correct the row or leave it out",
                )
            for name, cell in zip(head.columns, row, strict=True):
                if name not in ignored and not is_number(cell, head.decimal):
                    return bad_cell(head.path, name, number, cell)
    return None
