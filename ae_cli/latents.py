"""The table of latents, one row per image, as CSV, Parquet or NPZ.

Its columns are ``index, split, name, label, z1 … zk, error``: `name` only where images have names,
`label` only where they have labels. This module needs numpy and pyarrow, and no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.errors import LONGEST_CAUSE, DataError, brief
from ae_cli.tables import (
    ENDINGS,
    ROW_BYTES,
    UNREADABLE,
    check_csv,
    check_parquet,
    check_unpacked,
    is_plain,
    is_text,
    read_arrays,
    write_table,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from ae_cli.data import Images
    from ae_cli.infer import Reconstruction


@dataclass(frozen=True)
class Latents:
    """Rows of the table.

    Attributes:
        z: float32 (n, k), the latents.
        index: int64 (n,), each image's position in its split, or in a source without splits; None
            if a table lacks it.
        split: str (n,), ``train`` or ``test``; None if a table lacks it.
        name: str (n,), file names, or None.
        label: int64 or str (n,), or None.
        error: float32 (n,), reconstruction errors; None if a table lacks them.
    """

    z: NDArray[np.float32]
    index: NDArray[np.int64] | None = None
    split: NDArray[np.str_] | None = None
    name: NDArray[np.str_] | None = None
    label: NDArray[np.int64] | NDArray[np.str_] | None = None
    error: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.z)

    def head(self, count: int) -> Latents:
        """The first rows, at most `count`."""

        def column(name: str) -> Any:
            values = getattr(self, name)
            return None if values is None else values[:count]

        return Latents(**{field.name: column(field.name) for field in fields(Latents)})

    def captions(self) -> list[str]:
        """What to call each row, n short texts: its label, else its name, else its index."""
        columns = (self.label, self.name, self.index, np.arange(len(self)))
        return [str(value) for value in next(c for c in columns if c is not None)]

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns that are there, by name, in the table's order, each (n,)."""
        columns = {
            "index": self.index,
            "split": self.split,
            "name": self.name,
            "label": self.label,
            **{f"z{i}": values for i, values in enumerate(self.z.T, start=1)},
            "error": self.error,
        }
        return {name: values for name, values in columns.items() if values is not None}


def to_rows(
    split: str, images: Images, reconstructions: Iterable[Reconstruction]
) -> Iterator[Latents]:
    """Turn what a model makes of a split's images, batch by batch, into rows of the table."""
    labels, index = images.label_values(), images.index()
    first = 0
    for batch in reconstructions:
        count = len(batch.latents)
        rows = slice(first, first + count)
        yield Latents(
            z=batch.latents,
            index=index[rows],
            split=np.full(count, split),
            name=None if images.names is None else np.array(images.names[rows]),
            label=None if labels is None else labels[rows],
            error=batch.errors,
        )
        first += count


def join(batches: Iterable[Latents]) -> Latents:
    """Put rows with the same columns together."""
    parts = list(batches)

    def column(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    return Latents(**{field.name: column(field.name) for field in fields(Latents)})


def write_latents(path: Path, batches: Iterable[Latents]) -> int:
    """Write the table whole, or leave what stood there.

    Args:
        path: Its ending, one of `ENDINGS`, chooses the format.
        batches: At least one, all with the same columns.

    Returns:
        The number of rows.

    Raises:
        UsageError: The file cannot be written.
    """
    return write_table(path, (batch.columns() for batch in batches))


def read_latents(path: Path) -> Latents:
    """Read a table that `write_latents`, or anybody's program, wrote.

    Only the latents, ``z1 … zk``, must be there; further columns are ignored.

    Raises:
        DataError: It is not there, is no such table, has no rows, or has no finite number where
            one must be.
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
        return _parse(path, read(path))
    except FileNotFoundError as error:
        raise DataError(
            f"there is no table at {path}", f"make one with `ae embed --out {path}`"
        ) from error
    except (*UNREADABLE, pyarrow.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as {path.suffix[1:].upper()} ({brief(error)})", _REMAKE
        ) from error


_TEXT = ("split", "name", "label")
_COLUMNS = {*_TEXT, "index", "error"}
_LATENT = re.compile(r"z[1-9]\d*")
_REMAKE = "make the table again with `ae embed`"


def _is_own(name: str) -> bool:
    """Whether a column is one of the table's; others are not read."""
    return name.strip() in _COLUMNS or _LATENT.fullmatch(name.strip()) is not None


def _read_csv(path: Path) -> pa.Table:
    import pyarrow.csv

    # Types that Arrow would otherwise guess, taking a class called 007 for a number. Each different
    # text is kept once: there are few labels.
    text = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = dict.fromkeys(_TEXT, text)
    check_csv(path)
    options = pyarrow.csv.ConvertOptions(column_types=types)
    return pyarrow.csv.read_csv(path, convert_options=options)


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(path)
    schema = metadata.schema.to_arrow_schema()
    own = [field for field in schema if _is_own(field.name)]
    if nested := [field for field in own if not is_plain(field.type)]:
        raise DataError(f"{path} has values of type {nested[0].type} for {nested[0].name}", _REMAKE)
    # Each different text is kept once here too.
    text = [field.name for field in own if is_text(field.type)]
    names = [field.name for field in own]
    with pyarrow.parquet.ParquetFile(path, metadata=metadata, read_dictionary=text) as file:
        check_parquet(path, metadata, len(names) * ROW_BYTES)
        table = file.read(columns=names)
    table.validate(full=True)  # Arrow does not see by itself whether texts are where it says
    return table


def _read_npz(path: Path) -> pa.Table:
    import pyarrow

    arrays = np.load(path, allow_pickle=False)
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise ValueError("it holds a single array")
    with arrays:
        # Further arrays may have any shape; only the table's own are its columns.
        columns = read_arrays(path, arrays, [name for name in arrays if _is_own(name)])
    shapes = {values.shape for values in columns.values()}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise ValueError("its arrays are no columns of one length")
    check_unpacked(path, sum(map(len, columns.values())) * ROW_BYTES)
    # Arrow takes numbers in the machine's byte order alone.
    return pyarrow.table(
        {name: values.astype(values.dtype.newbyteorder("=")) for name, values in columns.items()}
    )


def _parse(path: Path, table: pa.Table) -> Latents:
    columns = [name.strip() for name in table.column_names]
    if len(set(columns)) != len(columns):
        raise DataError(f"{path} has two columns of one name", _REMAKE)
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
    )


def _positions(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """A column as whole numbers, (n,); None where it holds something else: little needs it."""
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
    with np.errstate(over="ignore"):  # what does not fit becomes infinite
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
    """Different texts, and where each row's is among them, as an array of text, (n,)."""
    # numpy gives each row the room that the longest text needs.
    check_unpacked(path, len(positions) * max(map(len, values)) * 4)
    return np.array(values)[positions]


def _labels(path: Path, column: pa.ChunkedArray) -> NDArray[np.int64] | NDArray[np.str_]:
    """A column as whole numbers, (n,), if it holds nothing else, and as text otherwise."""
    values, positions = _distinct(column)
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", value) for value in values):
        return np.array(values, dtype=np.int64)[positions]
    return _text(path, values, positions)


def _distinct(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """A column's different values as text, and where each row's is among them, (n,).

    Tens of thousands of rows have few labels, which are soon looked at one by one.
    """
    import pyarrow

    if pyarrow.types.is_dictionary(column.type) and not column.null_count:
        chunks = column.unify_dictionaries().chunks
        positions = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
        used, positions = np.unique(positions, return_inverse=True)  # a filter leaves unused ones
        values = chunks[0].dictionary.to_pylist()
        return [str(values[i]) for i in used], positions
    numbers: dict[str, int] = {}
    cells = ("" if value is None else str(value) for value in column.to_pylist())
    positions = np.fromiter((numbers.setdefault(c, len(numbers)) for c in cells), np.int64)
    return list(numbers), positions
