"""Reading tables of latents, which other programs may have written. Needs no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.errors import LONGEST_CAUSE, DataError, brief
from ae_cli.files import suggest_near
from ae_cli.files.reading import (
    ROW_BYTES,
    UNREADABLE,
    check_csv,
    check_parquet,
    check_unpacked,
    is_plain,
    is_text,
    read_arrays,
)
from ae_cli.latents.table import Latents
from ae_cli.latents.tables import ENDINGS

if TYPE_CHECKING:
    import pyarrow as pa


_TEXT = ("split", "name", "label", "run")
_COLUMNS = {*_TEXT, "index", "error"}
_LATENT = re.compile(r"z[1-9]\d*")
_REMAKE = "make the table again with `ae embed`"


def read_latents(path: Path, *, besides: Collection[str] = _COLUMNS) -> Latents:
    """Read a table that `write_latents` or another program wrote.

    Only the latents, ``z1 … zk``, are required; unknown columns are ignored.

    Args:
        path: The table.
        besides: The columns to read besides the latents, if the table has them.

    Raises:
        DataError: The file does not exist, is not a table of latents, has no rows, or a latent or
            error is not a finite number.
    """
    import pyarrow

    read = {".csv": _read_csv, ".parquet": _read_parquet, ".npz": _read_npz}.get(
        path.suffix.lower()
    )
    if read is None:
        raise DataError(
            f"{path} is not a table of latents", f"give a file that ends in {', '.join(ENDINGS)}"
        )
    try:
        return _parse(path, read(path, besides))
    except FileNotFoundError as error:
        raise DataError(
            f"there is no table at {path}",
            suggest_near(path, f"make one with `ae embed --out {path}`"),
        ) from error
    except (*UNREADABLE, pyarrow.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as {path.suffix[1:].upper()} ({brief(error)})", _REMAKE
        ) from error


def _is_wanted(name: str, besides: Collection[str]) -> bool:
    """Whether a column is read: latents are, and others by their names."""
    return name.strip() in besides or _LATENT.fullmatch(name.strip()) is not None


def _read_csv(path: Path, besides: Collection[str]) -> pa.Table:
    import pyarrow.csv

    # Arrow would otherwise guess types, and take a class called 007 for a number. A dictionary
    # keeps each distinct text once, as there are few labels.
    text = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = dict.fromkeys(_TEXT, text)
    check_csv(path)
    with pyarrow.csv.open_csv(path) as file:  # reads its first block
        names = [name for name in file.schema.names if _is_wanted(name, besides)]
    numbers = [name for name in names if name.strip() == "error" or _LATENT.fullmatch(name.strip())]
    options = pyarrow.csv.ConvertOptions(
        column_types={**types, **dict.fromkeys(numbers, pyarrow.float64())}, include_columns=names
    )
    try:
        with pyarrow.csv.open_csv(path, convert_options=options) as file:
            return file.read_all()
    except pyarrow.ArrowInvalid:
        # A cell is no number: which one is found where types follow from all cells. That takes
        # several times the memory.
        options = pyarrow.csv.ConvertOptions(column_types=types, include_columns=names)
        return pyarrow.csv.read_csv(path, convert_options=options)


def _read_parquet(path: Path, besides: Collection[str]) -> pa.Table:
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(path)
    schema = metadata.schema.to_arrow_schema()
    own = [field for field in schema if _is_wanted(field.name, besides)]
    if nested := [field for field in own if not is_plain(field.type)]:
        raise DataError(f"{path} has values of type {nested[0].type} for {nested[0].name}", _REMAKE)
    # Each distinct text is kept once here, too.
    text = [field.name for field in own if is_text(field.type)]
    names = [field.name for field in own]
    with pyarrow.parquet.ParquetFile(path, metadata=metadata, read_dictionary=text) as file:
        check_parquet(path, metadata, len(names) * ROW_BYTES)
        table = file.read(columns=names)
    table.validate(full=True)  # by default, Arrow does not check the offsets of texts
    return table


def _read_npz(path: Path, besides: Collection[str]) -> pa.Table:
    import pyarrow

    arrays = np.load(path, allow_pickle=False)
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise ValueError("it holds a single array")
    with arrays:
        # Other arrays may have any shape, and are ignored.
        names = [name for name in arrays if _is_wanted(name, besides)]
        columns = read_arrays(path, arrays, names)
    shapes = {values.shape for values in columns.values()}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise ValueError("its arrays are not columns of the same length")
    check_unpacked(path, sum(map(len, columns.values())) * ROW_BYTES)
    # Arrow only takes numbers in the machine's byte order.
    return pyarrow.table(
        {name: values.astype(values.dtype.newbyteorder("=")) for name, values in columns.items()}
    )


def _parse(path: Path, table: pa.Table) -> Latents:
    columns = [name.strip() for name in table.column_names]
    if len(set(columns)) != len(columns):
        raise DataError(f"{path} has two columns with the same name", _REMAKE)
    table = table.rename_columns(columns)
    dimensions = sum(bool(_LATENT.fullmatch(name)) for name in columns)
    if not dimensions:
        semicolons = any(";" in name for name in columns)
        remedy = "save it with commas between the columns" if semicolons else _REMAKE
        raise DataError(f"{path} has no latent columns (z1, z2, …)", remedy)
    names = [f"z{i}" for i in range(1, dimensions + 1)]
    if missing := sorted({*names} - {*columns}, key=lambda name: int(name[1:])):
        raise DataError(f"{path} has {dimensions} latent columns, but no {missing[0]}", _REMAKE)
    if not len(table):
        raise DataError(f"{path} has no rows", _REMAKE)

    def numbers(name: str) -> NDArray[np.float32]:
        return _numbers(path, name, table[name])

    def text(name: str) -> NDArray[Any] | None:
        return _text(path, *_distinct(table[name])) if name in columns else None

    return Latents(
        z=np.column_stack([numbers(name) for name in names]),
        index=_positions(table["index"]) if "index" in columns else None,
        split=text("split"),
        name=text("name"),
        label=_labels(path, table["label"]) if "label" in columns else None,
        error=numbers("error") if "error" in columns else None,
        run=text("run"),
    )


def _positions(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """A column as whole numbers, (n,); None if it holds anything else, as it is optional."""
    import pyarrow

    if not pyarrow.types.is_integer(column.type) or column.null_count:
        return None
    positions: NDArray[np.int64] = column.to_numpy().astype(np.int64)
    return positions


def _numbers(path: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.float32]:
    """A column as finite numbers, (n,)."""
    import pyarrow

    kind = column.type
    if pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind):
        values = column.to_numpy()  # float64 with NaN where a cell is empty
    elif pyarrow.types.is_null(kind):
        values = np.full(len(column), np.nan)
    else:
        texts, positions = _distinct(column)
        values = np.array([_float(text) for text in texts])[positions]
    with np.errstate(over="ignore"):  # values too large for float32 become infinite
        numbers: NDArray[np.float32] = values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        row = int(bad[0])
        value = column[row].as_py()
        found = "nothing" if value is None else repr(value)[:LONGEST_CAUSE]
        raise DataError(
            f"{path} has {found} for {name} in row {row + 1} below the header, where a number "
            "should be",
            "correct the row or leave it out",
        )
    return numbers


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _text(path: Path, values: list[str], positions: NDArray[np.int64]) -> NDArray[np.str_]:
    """Turn distinct texts and each row's position among them into an array of text, (n,)."""
    # numpy stores every row with the length of the longest text, 4 bytes per character.
    check_unpacked(path, len(positions) * max(map(len, values)) * 4)
    return np.array(values)[positions]


def _labels(path: Path, column: pa.ChunkedArray) -> NDArray[np.int64] | NDArray[np.str_]:
    """A column as whole numbers, (n,), if it holds only these, and as text otherwise."""
    values, positions = _distinct(column)
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", value) for value in values):
        return np.array(values, dtype=np.int64)[positions]
    return _text(path, values, positions)


def _distinct(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """A column's distinct values as text, and the position of each row's value in them, (n,).

    Even tens of thousands of rows have few labels, so handling each label in Python is fast.
    """
    import pyarrow

    if pyarrow.types.is_dictionary(column.type) and not column.null_count:
        chunks = column.unify_dictionaries().chunks
        positions = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
        values = chunks[0].dictionary.to_pylist()
        is_used = np.bincount(positions, minlength=len(values)) > 0
        used = np.flatnonzero(is_used)
        return [str(values[i]) for i in used], (np.cumsum(is_used) - 1)[positions]
    numbers: dict[str, int] = {}
    cells = ("" if value is None else str(value) for value in column.to_pylist())
    positions = np.fromiter((numbers.setdefault(c, len(numbers)) for c in cells), np.int64)
    return list(numbers), positions
