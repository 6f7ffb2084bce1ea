"""Tables, written whole as CSV, Parquet or NPZ, from columns that are numpy arrays.

What whoever reads such files has to beware of is here as well: see `UNREADABLE` and
`check_unpacked`.
"""

from __future__ import annotations

import csv
import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ae_cli.errors import DataError
from ae_cli.files import atomic_write

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ENDINGS = (".csv", ".parquet", ".npz")

Columns: TypeAlias = dict[str, NDArray[Any]]

# What numpy, zipfile, csv and pyarrow raise for a file that is not whole or not what it seems to be
_BROKEN = (OSError, EOFError, ValueError, TypeError, OverflowError, MemoryError, RuntimeError)
_MALFORMED = (SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
UNREADABLE = (*_BROKEN, *_MALFORMED, csv.Error)

# A file of a few kilobytes can stand for billions of zeros. Real images and latents are compressed
# to a third or a twentieth of their size.
_SMALL = 64 << 20  # bytes of memory that any file may take
_MOST_TIMES = 100  # its own size, that a larger file may

# About what it costs to read something, in bytes of memory, whatever is in it
ROW_BYTES = 64
COLUMN_BYTES = 10_000  # of a CSV file


def most_unpacked(size: int) -> int:
    """How many bytes of memory a file of this size may take."""
    return max(_SMALL, _MOST_TIMES * size)


def check_unpacked(path: Path, size: int) -> None:
    """Refuse a file that would take so many bytes of memory, if they are absurdly many for it.

    Raises:
        DataError: They are.
    """
    if size > most_unpacked(path.stat().st_size):
        raise DataError(
            f"{path} would take {size / 1e6:,.0f} MB of memory, more than {_MOST_TIMES} times its "
            "size",
            "if that is right, save it as an .npz file without compression",
        )


def write_table(path: Path, batches: Iterable[Columns]) -> int:
    """Write a table whole, or leave what stood there.

    CSV and Parquet are written batch by batch. An NPZ file holds one array per column, which are
    kept in memory until the last batch: a few dozen bytes per row.

    Args:
        path: Its ending, one of `ENDINGS`, chooses the format.
        batches: At least one, all with the same columns, each (rows of the batch,).

    Returns:
        The number of rows.

    Raises:
        UsageError: The file cannot be written.
    """
    write = {".csv": _write_csv, ".parquet": _write_parquet, ".npz": _write_npz}
    rows = 0

    def counted() -> Iterator[Columns]:
        nonlocal rows
        for columns in batches:
            rows += len(next(iter(columns.values())))
            yield columns

    with atomic_write(path) as file:
        write[path.suffix.lower()](file, counted())
    return rows


def _write_csv(file: BinaryIO, batches: Iterable[Columns]) -> None:
    import pyarrow.compute
    import pyarrow.csv

    first = True
    for columns in batches:
        table = pyarrow.table(columns)
        if first:
            file.write((",".join(table.column_names) + "\n").encode())
            first = False
        # Arrow's "needed" puts quotes around all text; a table that people look at reads better
        # with quotes only where a name has a comma, a quote or a line break in it.
        text = [column for column in table.columns if pyarrow.types.is_string(column.type)]
        special = any(
            pyarrow.compute.any(pyarrow.compute.match_substring_regex(column, '[",\r\n]')).as_py()
            for column in text
        )
        options = pyarrow.csv.WriteOptions(
            include_header=False, quoting_style="needed" if special else "none"
        )
        pyarrow.csv.write_csv(table, file, options)


def _write_parquet(file: BinaryIO, batches: Iterable[Columns]) -> None:
    import pyarrow
    import pyarrow.parquet

    with ExitStack() as stack:
        writer = None
        for columns in batches:
            table = pyarrow.table(columns)
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(file, table.schema)
                # Closed even after a failure: a writer left open tries again when it is deleted.
                stack.callback(writer.close)
            writer.write_table(table)


def _write_npz(file: BinaryIO, batches: Iterable[Columns]) -> None:
    arrays: dict[str, list[NDArray[Any]]] = {}
    for columns in batches:
        for name, values in columns.items():
            arrays.setdefault(name, []).append(values)
    whole = {name: np.concatenate(parts) for name, parts in arrays.items()}
    np.savez(file, allow_pickle=False, **whole)


def check_csv(path: Path) -> None:
    """Refuse a CSV file with absurdly many columns for its size.

    Raises:
        DataError: It has.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        lines = iter(lambda: file.readline(1 << 24), b"")  # a part of an absurdly long one will do
        first = next((line for line in lines if line.strip()), b"")
    check_unpacked(path, first.count(b",") * COLUMN_BYTES)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type has texts, or bytes, of any length."""
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(fits(kind) for fits in kinds)


def is_plain(kind: pa.DataType) -> bool:
    """Whether a cell of this type is one number or text, and not an array of any size."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    kinds = (is_text, types.is_primitive, types.is_decimal, types.is_null)
    return any(fits(kind) for fits in kinds)


def check_parquet(path: Path, metadata: pq.FileMetaData, size: int) -> None:
    """Refuse a Parquet file that would take absurdly much memory for its size.

    Args:
        path: The file.
        metadata: What its end says of it.
        size: Bytes that a row of what is made of it will take, apart from text.

    Raises:
        DataError: It would.
    """
    # Not column by column: where a column's description is broken, Arrow ends the whole process.
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    pages = sum(group.total_byte_size for group in groups)
    check_unpacked(path, max(size * metadata.num_rows, pages))


def read_arrays(
    path: Path, file: np.lib.npyio.NpzFile, names: Iterable[str]
) -> dict[str, NDArray[Any]]:
    """Read some arrays of an NPZ file that is open.

    Args:
        path: The file.
        file: What numpy made of it.
        names: Of the arrays, as `file.files` has them.

    Raises:
        DataError: They are absurdly large for this file.
        ValueError: One of them is something else than an array.
    """
    chosen = list(names)
    sizes = (
        {member.filename: member.file_size for member in file.zip.infolist()} if file.zip else {}
    )
    # zipfile stops at the size that the archive states, whatever else is there.
    check_unpacked(path, sum(sizes.get(name, sizes.get(f"{name}.npy", 0)) for name in chosen))
    arrays = {name: file[name] for name in chosen}
    for name, values in arrays.items():
        if not isinstance(values, np.ndarray):
            raise ValueError(f"{name} is no array")
    return arrays
