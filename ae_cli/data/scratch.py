"""Room for arrays: in memory, or for many values in mapped files, which may be larger."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ae_cli.errors import DataError, UsageError
from ae_cli.files import check_output

MOST_IN_MEMORY = 2**28  # bytes of pixels that may be in memory rather than in a mapped file
BLOCK = 2**24  # bytes of an array that are handled at once


class Scratch:
    """Room for arrays that are not kept: those of one source, while the program runs.

    Together they take at most `MOST_IN_MEMORY` bytes of memory. Further ones are in mapped files,
    which have no name, and are gone when the process ends, however it ends.

    Args:
        folder: The cache folder; None for memory in any case.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.left = MOST_IN_MEMORY

    def new(self, shape: tuple[int, ...], kind: DTypeLike = np.uint8) -> NDArray[Any]:
        """Make room for an array.

        Raises:
            DataError: There is no room in the folder.
        """
        kind = np.dtype(kind)
        size = math.prod(shape) * kind.itemsize
        if self.folder is None or size <= self.left:
            self.left -= size
            return np.empty(shape, kind)
        free = find_room(self.folder / "pixels")
        if size > free:
            raise no_room(size, self.folder, free)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            reserve(file, size)
            return np.memmap(file, kind, "r+", shape=shape)

    def convert(self, array: NDArray[Any], kind: DTypeLike) -> NDArray[Any]:
        """Convert an array to another type, block by block; its axes lie as they did."""
        order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
        lying = array.transpose(order)
        converted = self.new(lying.shape, kind)
        for part in split(lying):
            converted[part] = lying[part]
        return converted.transpose(np.argsort(order))

    def take(self, array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        """Some rows of an array, ascending: a view of it if they follow each other."""
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
            return array[rows[0] : rows[-1] + 1]
        taken = self.new((len(rows), *array.shape[1:]), array.dtype)
        for part in split(taken):
            taken[part] = array[rows[part]]
        return taken


class Rows:
    """Rows of pixels whose number is known only when all of them have been added.

    They are bytes as long as all that were added are bytes, and otherwise floats.

    Args:
        scratch: Where they are.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._blocks: list[NDArray[Any]] = []
        self._file: Any = None  # with the rows before those in the blocks
        self._held = 0  # bytes in the blocks
        self._kind: np.dtype[Any] = np.dtype(np.uint8)
        self._width = 0
        self.nbytes = 0

    def add(self, rows: NDArray[Any]) -> None:
        """Add some rows, uint8 or float32 (n, width), where the width is always the same.

        Raises:
            DataError: There is no room in the folder.
        """
        if rows.dtype != np.uint8 and self._kind == np.uint8:
            self._turn_to_floats()
        rows = np.ascontiguousarray(rows, self._kind)
        self._width = rows.shape[1]
        self._blocks.append(rows)
        self._held += rows.nbytes
        self.nbytes += rows.nbytes
        # Half of the room: the other half is for the array that the blocks become.
        if self._scratch.folder is not None and self._held > self._scratch.left // 2:
            self._write(self._scratch.folder)

    def to_array(self) -> NDArray[Any]:
        """All rows, uint8 or float32 (n, width). No further ones can be added."""
        shape = (self.nbytes // max(1, self._width * self._kind.itemsize), self._width)
        if self._file is None or self._scratch.folder is None:
            array = self._scratch.new(shape, self._kind)
            return np.concatenate(self._blocks, out=array) if self._blocks else array
        self._write(self._scratch.folder)
        with self._file:
            return np.memmap(self._file, self._kind, "r+", shape=shape)

    def _turn_to_floats(self) -> None:
        earlier = self.to_array()
        self._blocks, self._file, self._held, self.nbytes = [], None, 0, 0
        self._kind = np.dtype(np.float32)
        for part in split(earlier):
            self.add(earlier[part])

    def _write(self, folder: Path) -> None:
        try:
            if self._file is None:
                folder.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - see `to_array`
            for rows in self._blocks:
                self._file.write(rows.data)
            self._file.flush()
        except OSError as error:  # the disk is full, or the folder cannot be written to
            raise no_room(self.nbytes, folder, find_room(folder / "pixels")) from error
        self._blocks.clear()
        self._held = 0


def split(array: NDArray[Any]) -> Iterator[slice]:
    """Parts of an array's first axis, of `BLOCK` bytes or one row each."""
    step = max(1, BLOCK * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), step):
        yield slice(start, start + step)


def fill(array: NDArray[Any], file: Any) -> None:
    """Fill a contiguous array with the next bytes of a file.

    Raises:
        ValueError: The file ends before that.
    """
    values = array.reshape(-1).view(np.uint8)
    for part in split(values):
        content = file.read(len(values[part]))
        if len(content) < len(values[part]):
            raise ValueError("it is cut short")
        values[part] = np.frombuffer(content, np.uint8)


def find_room(path: Path) -> int:
    """How many bytes can be written to a file in the cache; 0 if it cannot be written at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_output(path, {path.suffix})
        return shutil.disk_usage(path.parent).free
    except (UsageError, OSError):
        return 0


def no_room(size: int, folder: Path, free: int) -> DataError:
    """The error if there are more pixels than bytes that can be written."""
    return DataError(
        f"as pixels, the images take {size / 1e6:,.0f} MB, but there is room for "
        f"{free / 1e6:,.0f} MB in {folder}",
        "choose a smaller --image-size, or --data-dir on a larger disk",
    )


def reserve(file: BinaryIO, size: int) -> None:
    """Make a file of this many bytes.

    Writing to a mapped file ends the process if the disk is full. So the disk has to reserve the
    room first, where the system allows that.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
