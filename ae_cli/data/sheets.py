"""Tables of labels beside images, in any form: ``--labels FILE``, or a folder's ``metadata``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ae_cli.config import ReadOptions
from ae_cli.data.csv_files import read_head
from ae_cli.data.csv_tables import read_sheet as read_text_sheet
from ae_cli.data.listings import Sheet, list_pictures
from ae_cli.data.parquet_tables import read_sheet as read_parquet_sheet
from ae_cli.data.pictures import Pictures
from ae_cli.data.scratch import Scratch
from ae_cli.errors import DataError
from ae_cli.files import suggest_near
from ae_cli.files.reading import UNREADABLE, inner_ending, open_unpacked, unreadable

TEXT = (".csv", ".tsv", ".tab", ".txt")
LINES = (".jsonl", ".ndjson")
_LONGEST_LINE = 1 << 24


def read_sheet(path: Path) -> Sheet:
    """Read all columns of a table.

    Args:
        path: A ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file, or one that is compressed.

    Raises:
        DataError: It cannot be read.
    """
    ending = inner_ending(path)
    if not path.is_file():
        raise DataError(f"there is no table {path}", suggest_near(path, "check the path"))
    try:
        if ending == ".parquet":
            return read_parquet_sheet(path)
        if ending in LINES:
            return read_lines(path)
        head = read_head(path)
        if not head.lines:
            raise DataError(f"{path} has no line of column names", "add one at its beginning")
        return read_text_sheet(head)
    except UNREADABLE as error:
        raise unreadable(path, ending[1:].upper() or "a table", error) from error


def read_listing(path: Path, options: ReadOptions, _: Scratch) -> Pictures:
    """List the images that a file with a JSON object in each line names.

    Raises:
        DataError: It names none, or a line is no JSON object.
    """
    sheet = read_lines(path)
    listed = list_pictures(path, sheet.head, lambda: sheet, options)
    if listed is None:
        raise DataError(
            f"{path} names no images that are there",
            "give a file whose lines have the path of an image, relative to the file",
        )
    return listed


def read_lines(path: Path) -> Sheet:
    """Read a file with a JSON object in each line. What is not a text or a number is left out.

    Raises:
        DataError: A line is no JSON object.
        ValueError, OSError: It cannot be read.
    """
    columns: dict[str, list[str]] = {}
    with open_unpacked(path) as file:
        rows = 0
        for line in iter(lambda: file.readline(_LONGEST_LINE), b""):
            if not line.strip():
                continue
            for name, cell in _parse_line(path, line, rows + 1).items():
                if isinstance(cell, (str, int, float)):
                    own = columns.setdefault(str(name), [])
                    own += [""] * (rows - len(own)) + [str(cell)]
            rows += 1
    for own in columns.values():
        own += [""] * (rows - len(own))
    return Sheet(path, columns, ("lines of JSON",))


def _parse_line(path: Path, line: bytes, number: int) -> dict[Any, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise DataError(f"{path} has no JSON object in row {number}", "correct the line")
    return fields
