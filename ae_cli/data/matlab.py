"""Arrays of numbers in MATLAB's own format, that of its versions 5 to 7.

SciPy reads it too, but a file with a wrong byte can end the whole process there. The format is in
MathWorks' document "MAT-File Format": elements, each with its type and size, in a file or in a zlib
stream; that of an array has further elements in it: flags, dimensions, name and numbers.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.data.scratch import Scratch, fill
from ae_cli.files.reading import check_unpacked

_HEADER = 128  # bytes before the first element
_MATRIX, _COMPRESSED = 14, 15
_FIRST = 4096  # bytes of an array in which its dimensions and its name are
_BLOCK = 1 << 20  # compressed bytes that are read at once
_LONGEST_NAME = 63  # bytes, as in MATLAB
_FLOATS = (6, 7)  # classes of arrays: double and single
_NUMBERS = range(6, 16)
_LOGICAL, _COMPLEX = 0x200, 0x800  # flags
_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}


class MatlabArray(NamedTuple):
    """An array in a file.

    Attributes:
        path: The file.
        name: Its name.
        shape: Its shape, in MATLAB's order.
        kind: MATLAB's class of its numbers.
        is_logical: Whether it holds truth values.
        order: The order of bytes: ``<`` or ``>``.
        start: Where its element is in the file, after the element's tag.
        size: The size of this element in the file.
        compressed: Whether it is compressed.
        numbers: Where the element with its numbers is, in the array's element.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: int
    is_logical: bool
    order: str
    start: int
    size: int
    compressed: bool
    numbers: int

    def load(self, scratch: Scratch) -> NDArray[Any]:
        """Read the numbers, as they are stored; what is not compressed is mapped.

        Raises:
            DataError: They would take far more memory than the file's size suggests.
            ValueError: They are damaged.
        """
        count = math.prod(self.shape)
        with self.path.open("rb") as file:
            file.seek(self.start)
            stream: Any = file
            if self.compressed:
                check_unpacked(self.path, 8 * count)
                stream = _Unpacked(file, self.size)
                stream.read(8)  # the tag of the array's element
            stream.read(self.numbers)
            content = stream.read(8)
            code, size, begin = _read_tag(content, 0, self.order)
            kind = np.dtype(self.order + _TYPES.get(code, "V"))
            if not kind.itemsize or size != count * kind.itemsize:
                raise ValueError(f"{self.name} does not have as many numbers as its shape says")
            if begin == 4:  # few numbers are in the tag itself
                array = np.frombuffer(content, kind, count, begin).reshape(self.shape, order="F")
            elif self.compressed:
                flat = scratch.new((count,), kind)
                fill(flat, stream)
                array = flat.reshape(self.shape, order="F")
            else:
                array = np.memmap(self.path, kind, "r", file.tell(), self.shape, order="F")
        return self._interpret(array, scratch)

    def _interpret(self, array: NDArray[Any], scratch: Scratch) -> NDArray[Any]:
        """What the numbers mean: MATLAB stores floats that are whole numbers as such."""
        if self.is_logical:
            return scratch.convert(array, np.bool_)
        if self.kind in _FLOATS and array.dtype.kind in "iu" and array.size and array.max() <= 1:
            return scratch.convert(array, np.float32)
        return array


def find_arrays(path: Path) -> Iterator[MatlabArray]:
    """Find the arrays of numbers in a file.

    Raises:
        OSError, ValueError: It cannot be read, or is of MATLAB's version 4.
    """
    whole = path.stat().st_size
    with path.open("rb") as file:
        mark = file.read(_HEADER)[126:]
        if mark not in (b"IM", b"MI"):
            raise ValueError("it does not begin like a MATLAB file of version 5 or later")
        order = "<" if mark == b"IM" else ">"
        place = _HEADER
        while place + 8 <= whole:
            file.seek(place)
            code, size = struct.unpack(f"{order}II", file.read(8))
            if code in (_MATRIX, _COMPRESSED):
                found = _read_array(path, file, place + 8, size, order, code == _COMPRESSED)
                if found is not None:
                    yield found
            # Only a compressed element is not padded.
            place += 8 + (size if code == _COMPRESSED else -(-size // 8) * 8)


def _read_array(
    path: Path, file: BinaryIO, start: int, size: int, order: str, compressed: bool
) -> MatlabArray | None:
    """Read what an array's element says about it; None if it is no array of real numbers."""
    first = file.read(min(size, _FIRST))
    if compressed:
        first = _unpack(first, _FIRST)
        if _read_tag(first, 0, order)[0] != _MATRIX:
            return None
        first = first[8:]
    place = 0
    parts = []
    for _ in range(3):  # flags, dimensions, name
        _, length, begin = _read_tag(first, place, order)
        parts.append(first[begin : begin + length])
        place = begin + length if begin - place == 4 else begin + -(-length // 8) * 8
        place = -(-place // 8) * 8
    flags, dimensions, name = parts
    if place > _FIRST:
        raise ValueError("an array in it has an absurdly long name")
    if len(flags) < 4 or len(dimensions) % 4:
        raise ValueError("an array in it has no shape")
    flag = struct.unpack(f"{order}I", flags[:4])[0]
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    if flag & 0xFF not in _NUMBERS or flag & _COMPLEX or min(shape, default=-1) < 0:
        return None
    text = name[:_LONGEST_NAME].decode(errors="replace")
    logical = bool(flag & _LOGICAL)
    return MatlabArray(
        path, text, shape, flag & 0xFF, logical, order, start, size, compressed, place
    )


def _read_tag(content: bytes, place: int, order: str) -> tuple[int, int, int]:
    """An element's type and size, and where its content begins.

    Raises:
        ValueError: The content ends before it.
    """
    if len(content) < place + 8:
        raise ValueError("it ends in the middle of an array")
    code, size = struct.unpack(f"{order}II", content[place : place + 8])
    if code >> 16:  # a small element has its size in the upper half, and up to four bytes
        return code & 0xFFFF, min(code >> 16, 4), place + 4
    return code, size, place + 8


class _Unpacked:
    """A zlib stream in a file, of which only a part is in memory at a time."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size
        self._stream = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        """Read so many bytes, or fewer at the end."""
        parts = []
        while size and not self._stream.eof:
            content = self._stream.unconsumed_tail
            if not content:
                content = self._file.read(min(self._left, _BLOCK))
                self._left -= len(content)
                if not content:
                    break
            try:
                parts.append(self._stream.decompress(content, size))
            except zlib.error as error:
                raise _damaged(error) from error
            size -= len(parts[-1])
        return b"".join(parts)


def _damaged(error: zlib.error) -> ValueError:
    return ValueError(f"its compressed data are damaged ({error})")


def _unpack(content: bytes, most: int) -> bytes:
    """Decompress the beginning of a zlib stream."""
    try:
        return zlib.decompressobj().decompress(content, most)
    except zlib.error as error:
        raise _damaged(error) from error
