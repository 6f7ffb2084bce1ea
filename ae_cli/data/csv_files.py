"""How a table of text is written: its separator and column names; and its rows, in batches."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ae_cli.data.columns import LOOKED_AT, arrow_errors, bad_cell, holds_pixels, is_number
from ae_cli.errors import DataError
from ae_cli.files.reading import check_csv, open_unpacked

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces"}
_LONGEST_LINE = 1 << 24  # bytes; of longer lines, the beginning shows what the file is
_MOST_PACKED = 20  # texts are seldom compressed to a smaller share than one in so many
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


def read_batches(head: Head, types: dict[str, str]) -> Iterator[pa.RecordBatch]:
    """Read the rows of a table of text in batches, with these types of the columns."""
    import pyarrow
    import pyarrow.csv

    if not head.rows:  # Arrow refuses a file that ends with the names of the columns
        return
    # Arrow makes room for a whole block, even if the file is shorter.
    block = min(_BLOCK, _MOST_PACKED * max(1, head.path.stat().st_size))
    with (
        arrow_errors(),
        open_unpacked(head.path) as file,
        pyarrow.csv.open_csv(
            file,
            # A row must fit into a block, even if it has many columns.
            read_options=pyarrow.csv.ReadOptions(
                column_names=head.columns,
                skip_rows=head.lines,
                block_size=max(block, 64 * len(head.columns), 4 * head.longest),
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


def find_fault(head: Head, ignored: set[str | None]) -> DataError | None:
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
