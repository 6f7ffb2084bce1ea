"""Reading tables and arrays from untrusted files, in bounded memory.

`UNREADABLE` lists what libraries raise for a broken file; `check_unpacked` refuses a file that
would take an unreasonable amount of memory.
"""

from __future__ import annotations

import csv
import io
import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ae_cli.errors import DataError, brief

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

# What numpy, zipfile, csv and pyarrow raise for a file that is truncated or malformed
_BROKEN = (OSError, EOFError, ValueError, TypeError, OverflowError, MemoryError, RuntimeError)
_MALFORMED = (SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
UNREADABLE = (*_BROKEN, *_MALFORMED, csv.Error)
_DAMAGED = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)  # of a compressed stream

# A compressed file of a few kilobytes can unpack to billions of zeros. Real images and latents are
# compressed to between a third and a twentieth of their size.
_SMALL = 64 << 20  # bytes of memory that any file may take
_MOST_TIMES = 100  # a larger file may take this many times its own size

# Approximate bytes of memory that reading takes, whatever the content
ROW_BYTES = 64  # for a row or a cell
COLUMN_BYTES = 10_000  # for a column of a CSV file


def most_unpacked(size: int) -> int:
    """How many bytes of memory a file of this size may take."""
    return max(_SMALL, _MOST_TIMES * size)


def unreadable(path: Path, kind: str, error: BaseException) -> DataError:
    """Make the error for a file that a library could not read as this kind of file."""
    cause = (error.strerror if isinstance(error, OSError) else None) or brief(error)
    return DataError(f"{path} cannot be read as {kind} ({cause})", "save it again")


def check_unpacked(path: Path, size: int) -> None:
    """Refuse a file whose content would take far more memory than its size suggests.

    Args:
        path: The file.
        size: Bytes of memory that it would take.

    Raises:
        DataError: `size` is too large for this file.
    """
    if size > most_unpacked(path.stat().st_size):
        raise DataError(
            f"{path} would take {size / 1e6:,.0f} MB of memory, more than {_MOST_TIMES} times its "
            "size",
            "if that is right, save it as an .npz file without compression",
        )


COMPRESSED = (".gz", ".bz2", ".zst", ".xz")  # endings that come after a file's own
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_INNER = {".tgz": ".gz"}  # endings that mean two


def inner_ending(path: Path) -> str:
    """The ending of a file, or of what is compressed in it, in lower case, with the dot."""
    endings = [ending.lower() for ending in path.suffixes]
    inner = endings[:-1] if endings and endings[-1] in COMPRESSED else endings
    return inner[-1] if inner else ""


def is_compressed(path: Path) -> bool:
    """Whether a file's name says that it is compressed."""
    return _compression(path) in COMPRESSED


def _compression(path: Path) -> str:
    ending = path.suffix.lower()
    return _INNER.get(ending, ending)


def open_unpacked(path: Path) -> BinaryIO:
    """Open a file for reading; if its name ends in one of `COMPRESSED`, what is compressed in it.

    Reading raises a ValueError where the compressed data are damaged, or absurdly long.

    Raises:
        OSError: The file cannot be read.
    """
    if not is_compressed(path):
        return path.open("rb")
    if _compression(path) == ".xz":
        return io.BufferedReader(_Unpacked(path, lzma.open(path)), 1 << 20)
    import pyarrow

    stream = pyarrow.input_stream(
        str(path), compression=_CODECS[_compression(path)], buffer_size=1 << 20
    )
    return io.BufferedReader(_Unpacked(path, stream), 1 << 20)


class _Unpacked(io.RawIOBase):
    """A decompressed stream that stops with an error where it becomes absurdly long."""

    def __init__(self, path: Path, stream: Any) -> None:
        self._stream, self._left = stream, most_unpacked(path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            some = self._stream.read(len(buffer))
        except _DAMAGED as error:
            raise ValueError(f"its compressed data are damaged ({error})") from error
        self._left -= len(some)
        if self._left < 0:
            raise ValueError("it unpacks to more than a hundred times its size")
        buffer[: len(some)] = some
        return len(some)

    def close(self) -> None:
        self._stream.close()
        super().close()


def check_csv(path: Path, delimiter: bytes = b",") -> None:
    """Refuse a CSV file with far too many columns for its size.

    Raises:
        DataError: The file has too many columns.
        OSError, ValueError: The file cannot be read.
    """
    with open_unpacked(path) as file:
        lines = iter(lambda: file.readline(1 << 24), b"")  # a part of a very long line will do
        first = next((line for line in lines if line.strip()), b"")
    check_unpacked(path, first.count(delimiter) * COLUMN_BYTES)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text or bytes of any length."""
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(fits(kind) for fits in kinds)


def is_plain(kind: pa.DataType) -> bool:
    """Whether a cell of this type is a single number or text, rather than an array."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    kinds = (is_text, types.is_primitive, types.is_decimal, types.is_null)
    return any(fits(kind) for fits in kinds)


def check_parquet(path: Path, metadata: pq.FileMetaData, size: int) -> None:
    """Refuse a Parquet file that would take far more memory than its size suggests.

    Args:
        path: The file.
        metadata: The file's metadata.
        size: Bytes of memory that a row will take, apart from text.

    Raises:
        DataError: The file would take too much memory.
    """
    # Not column by column: if a column's metadata is broken, Arrow aborts the whole process.
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    pages = sum(group.total_byte_size for group in groups)
    check_unpacked(path, max(size * metadata.num_rows, pages))


def read_arrays(
    path: Path, file: np.lib.npyio.NpzFile, names: Iterable[str]
) -> dict[str, NDArray[Any]]:
    """Read some arrays of an open NPZ file.

    Args:
        path: The file.
        file: The open file.
        names: Names of the arrays, as in `file.files`.

    Raises:
        DataError: The arrays are far too large for the file's size.
        ValueError: One of them is not an array.
    """
    chosen = list(names)
    sizes = (
        {member.filename: member.file_size for member in file.zip.infolist()} if file.zip else {}
    )
    # zipfile stops at the size that the archive states, so these sizes can be relied on.
    check_unpacked(path, sum(sizes.get(name, sizes.get(f"{name}.npy", 0)) for name in chosen))
    import numpy as np

    arrays = {name: file[name] for name in chosen}
    for name, values in arrays.items():
        if not isinstance(values, np.ndarray):
            raise ValueError(f"{name} is not an array")
    return arrays
