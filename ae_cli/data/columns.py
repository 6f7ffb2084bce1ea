"""What the columns of a table mean: pixels, labels, splits, paths of images, and others."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.errors import LONGEST_CAUSE, DataError
from ae_cli.files.reading import check_unpacked

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = ("label", "labels", "y", "class", "target")
SPLITS = ("split", "usage", "subset", "partition", "phase", "set")
# Names under which whole numbers are names of files, too
NAMES = (
    *("id", "name", "file", "filename", "file_name", "path", "filepath", "file_path", "image"),
    *("img", "image_id", "image_name", "image_path", "img_path"),
)
LOOKED_AT = 20  # rows that show what a column means
MOST_LOOKED_AT = 50  # columns in which paths may be
# At least this many numbers in a cell are an image.
_PIXELS = re.compile(r"[\[(\s]*\d+(\.\d*)?([\s,;]+\d+(\.\d*)?){8,}[\])\s]*")

_TRAIN = ("train", "training")
_TEST = ("test", "testing", "publictest", "privatetest")
_HELD_OUT = ("val", "valid", "validation", "dev", "eval")


class Roles(NamedTuple):
    """What the columns of a table mean. All but `others` are names, or None if there is none.

    Attributes:
        image: The column with the images, or with their paths.
        label: The column with the labels.
        split: The column with the splits.
        others: The names of all other columns.
    """

    image: str
    label: str | None
    split: str | None
    others: tuple[str, ...]


def find_roles(
    path: Path, columns: Mapping[str, Sequence[str]], image: str, key: str | None
) -> Roles:
    """Find out what the columns beside the images mean.

    Args:
        path: The table, for errors.
        columns: The cells of its columns, by name; those of the images may be left out.
        image: The column with the images or their paths.
        key: The column with the labels. None for the one called as in `LABELS`, or else for the
            only one that is left, if each of its cells occurs twice or more on average.

    Raises:
        DataError: There is no column `key`, or several could be the labels.
    """
    rest = [name for name in columns if name != image]
    split = next((name for name in rest if name.lower() in SPLITS and name != key), None)
    if split is not None and not all(map(find_split, columns[split])):
        split = None
    rest = [name for name in rest if name != split]
    label = find_label_column(path, rest, key)
    if label is None and len(rest) == 1:
        cells = [cell for cell in columns[rest[0]] if cell.strip()]
        is_decimal = any(re.search(r"\d\.\d", cell) for cell in cells)
        if 2 * len(set(cells)) <= len(cells) and not is_decimal:
            label = rest[0]
    return Roles(image, label, split, tuple(name for name in rest if name != label))


def describe_roles(roles: Roles) -> list[str]:
    """Say what the columns mean, a line for each decision."""
    return [
        f"labels: column {roles.label}" if roles.label else "no column of labels (--key names one)",
        *([f"splits: column {roles.split}"] if roles.split else []),
        *([f"carried along by embed: {', '.join(roles.others[:8])}"] if roles.others else []),
    ]


def find_split(word: str) -> str | None:
    """The split that a word means: ``train``, ``test``, or ``val``; None for another word."""
    word = word.strip().lower()
    return (
        "train"
        if word in _TRAIN
        else "test"
        if word in _TEST
        else "val"
        if word in _HELD_OUT
        else None
    )


def find_splits(words: Sequence[str | None]) -> list[str | None]:
    """The split of each row by a word: ``train`` or ``test``, for which ``val`` stands in.

    None for all if there are not both; None for ``val`` beside a ``test``.
    """
    meaning = {word: find_split(word) for word in set(words) if word is not None}
    found = set(meaning.values())
    if "train" not in found or not found & {"test", "val"}:
        return [None] * len(words)
    if "test" not in found:
        meaning = {word: "test" if m == "val" else m for word, m in meaning.items()}
    meaning = {word: None if m == "val" else m for word, m in meaning.items()}
    return [None if word is None else meaning[word] for word in words]


def holds_pixels(cells: Sequence[str]) -> bool:
    """Whether the cells of a column are texts of pixels, such as ``70 80 82``."""
    return bool(cells) and all(_PIXELS.fullmatch(cell) for cell in cells[:2])


def is_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell holds a number."""
    try:
        float(cell.replace(decimal, ".", 1))
    except ValueError:
        return False
    return True


def find_paths(
    columns: Mapping[str, Sequence[str]], find: Callable[[str], object | None]
) -> str | None:
    """Find the column with the paths of images.

    Args:
        columns: Columns by name, with some of their cells.
        find: Finds an image by its path; None if there is no such image.

    Returns:
        The column in which most cells are paths of images; None if there is none.
    """
    counts = {}
    for name, cells in list(columns.items())[:MOST_LOOKED_AT]:
        texts = [cell for cell in cells if cell.strip()]
        if name.lower() in NAMES or not all(map(is_number, texts)):
            counts[name] = sum(find(cell) is not None for cell in texts)
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best] else None


def to_column(cells: Sequence[Any]) -> NDArray[Any]:
    """An array of the cells of a column: int64, float64 or text, as they are, (n,)."""
    for kind in (np.int64, np.float64):
        try:
            numbers = np.array(cells, dtype=np.str_).astype(kind) if len(cells) else None
        except (ValueError, OverflowError):
            continue
        # 007 is a name, and must stay one.
        if numbers is not None and not any(
            len(cell := str(c)) > 1 and cell[0] == "0" and cell.isdecimal() for c in cells
        ):
            return numbers
    return np.array(cells, dtype=np.str_)


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


def check_names(path: Path, columns: list[str]) -> None:
    """Refuse a table with two columns of one name.

    Raises:
        DataError: It has some.
    """
    if len(set(columns)) < len(columns):
        twice = next(name for i, name in enumerate(columns) if name in columns[:i])
        raise DataError(f"{path} has two columns called {twice}", "rename one of them")


def find_label_column(path: Path, columns: list[str], key: str | None) -> str | None:
    """Find the column with the labels: `key`, or else the one called as in `LABELS`, if any.

    Raises:
        DataError: Two columns have the same name, there is no column `key`, or several columns
            could be the labels.
    """
    check_names(path, columns)
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


def to_label_array(path: Path, labels: Sequence[Any]) -> NDArray[Any]:
    """Put labels or other cells into an array, (n,).

    Raises:
        DataError: The array would be absurdly large for this file.
    """
    check_length(path, labels)
    return np.array(labels)


def check_length(path: Path, cells: Sequence[Any]) -> None:
    """Refuse texts whose array would be absurdly large for this file.

    Raises:
        DataError: They are.
    """
    # numpy gives each text as much space as the longest needs.
    longest = max((len(cell) for cell in cells if isinstance(cell, str | bytes)), default=0)
    check_unpacked(path, len(cells) * longest * 4)


def to_list(column: pa.Array) -> list[Any]:
    """The values of a column; equal ones may be the same object."""
    import pyarrow

    if not pyarrow.types.is_dictionary(column.type):
        cells: list[Any] = column.to_pylist()
        return cells
    column.validate(full=True)  # otherwise Arrow does not check the positions
    values = column.dictionary.to_pylist()
    positions = column.indices.to_pylist()
    return [None if position is None else values[position] for position in positions]


def to_texts(column: pa.Array) -> list[str]:
    """The cells of a column as text; empty for those without a value. Equal ones are one object."""
    import pyarrow

    if not pyarrow.types.is_dictionary(column.type):
        with suppress(pyarrow.ArrowException):  # not all types can be encoded
            column = column.dictionary_encode()
    return ["" if cell is None else _to_text(cell) for cell in to_list(column)]


def _to_text(cell: Any) -> str:
    return cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell)


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
