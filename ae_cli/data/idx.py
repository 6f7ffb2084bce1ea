"""The IDX format, in which MNIST and similar data sets are published."""

from __future__ import annotations

import gzip
import io
import math
import mmap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.files.reading import most_unpacked

# The third byte of a file gives the type of its values, which are big-endian.
_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Path) -> NDArray[Any]:
    """Read an IDX file, gzipped or not.

    Returns:
        An array of the type and shape that the file states. Unless the file is gzipped, it is
        mapped, and what is written to the array stays in memory.

    Raises:
        ValueError: It is not an IDX file, or it is damaged.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b" or not path.stat().st_size:
            return parse_idx(path.read_bytes())
        return parse_idx(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def parse_idx(content: bytes | mmap.mmap) -> NDArray[Any]:
    """Parse the content of an IDX file, of which the array is a view; see `read_idx`."""
    if isinstance(content, bytes) and content[:2] == b"\x1f\x8b":
        try:
            content = _unpack(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"its gzip stream is damaged ({error})") from error
    # Two zero bytes, the type, the number of dimensions, then each as a big-endian int32
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or not content[3]:
        raise ValueError("it does not begin like an IDX file")
    kind, dimensions = np.dtype(_TYPES[content[2]]), content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise ValueError("it is cut short")
    shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4).tolist()
    if len(content) != start + math.prod(shape) * kind.itemsize:
        raise ValueError(f"it is not as long as its header says ({shape})")
    return np.frombuffer(content, dtype=kind, offset=start).reshape(shape)


def _unpack(content: bytes) -> bytes:
    """Decompress a gzip stream, unless the result is absurdly long."""
    most, parts = most_unpacked(len(content)), []
    with gzip.open(io.BytesIO(content)) as file:
        while part := file.read(1 << 20):
            parts.append(part)
            most -= len(part)
            if most < 0:
                raise ValueError("it unpacks to more than a hundred times its size")
    return b"".join(parts)
