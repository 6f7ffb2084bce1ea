"""Arrays in NumPy's formats, NPY and NPZ, and in IDX, MNIST's."""

from __future__ import annotations

import math
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.config import ReadOptions
from ae_cli.data.arrays import SPLITS, Arrays, refuse_key
from ae_cli.data.idx import read_idx
from ae_cli.data.keys import choose_keys
from ae_cli.data.scratch import BLOCK, Scratch, fill
from ae_cli.data.values import Part
from ae_cli.errors import DataError
from ae_cli.files.reading import UNREADABLE, check_unpacked, read_arrays, unreadable


def read_npy(path: Path, options: ReadOptions, _: Scratch) -> Arrays:
    """Map an NPY file, which is never in memory as a whole."""
    refuse_key(path, options)
    _check_start(path, "NPY", b"\x93NUMPY")
    with _no_objects(path), path.open("rb") as file:
        kind = _read_header(file).kind
        array = np.load(path, mmap_mode=_mapping_mode(kind), allow_pickle=False)
        return Arrays(str(path), [Part(str(path), array)], ("an array in NumPy's format",))


class _Header(NamedTuple):
    """What an NPY file says about its array: its type, its shape, and the order of its axes."""

    kind: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]


def _read_header(file: Any) -> _Header:
    """Read the header of an NPY file, up to the array's values.

    Raises:
        ValueError: Numpy would divide by zero for this type, which would end the process.
    """
    version = np.lib.format.read_magic(file)
    # Version 3 differs from 2 only in how names of fields are written; pixels have no fields.
    read = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
    shape, is_fortran, kind = getattr(np.lib.format, read)(file)
    if not kind.itemsize or any(size < 0 for size in shape):
        raise ValueError(f"it has values of type {kind} in the shape {shape}")
    return _Header(kind, shape, "F" if is_fortran else "C")


def _mapping_mode(kind: np.dtype[Any]) -> Literal["c", "r"]:
    """How values of a type are mapped.

    Bytes are used where they are, as a tensor, which torch takes to be writable: what is written to
    it stays in memory.
    """
    return "c" if kind == np.uint8 else "r"


def read_npz(path: Path, options: ReadOptions, scratch: Scratch) -> Arrays:
    """Read an NPZ file: one array of images, or one for each split, with labels or without."""
    _check_start(path, "NPZ", b"PK\x03\x04", b"PK\x05\x06")

    with _no_objects(path), np.load(path, allow_pickle=False) as arrays:
        chosen = choose_keys(path, arrays.files, options.key)
        labels_of = read_arrays(path, arrays, [labels for _, labels in chosen if labels])
        parts = [
            Part(
                f"{images} in {path}",
                _read_member(path, arrays, images, scratch),
                None if labels is None else labels_of[labels],
                split if len(chosen) > 1 else None,
            )
            for split, (images, labels) in zip(SPLITS, chosen, strict=False)
        ]
    named = [f"images: {images}, labels: {labels or 'none'}" for images, labels in chosen]
    return Arrays(str(path), parts, ("arrays in NumPy's format", *named))


def _read_member(
    path: Path, arrays: np.lib.npyio.NpzFile, name: str, scratch: Scratch
) -> NDArray[Any]:
    """Read an array of an NPZ file block by block, or map it where it is not compressed.

    Raises:
        DataError: It is far too large for the file's size.
        ValueError, zipfile.BadZipFile: It is damaged.
    """
    archive: Any = arrays.zip
    member = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")
    with archive.open(member) as file:
        if file.peek(6)[:6] != b"\x93NUMPY":
            return read_arrays(path, arrays, [name])[name]  # it raises what is wrong
        kind, shape, order = _read_header(file)
        if kind.hasobject:
            raise _holds_objects(path)
        check_unpacked(path, member.file_size)
        size = math.prod(shape) * kind.itemsize
        begin = file.tell()
        if begin + size > member.file_size:
            raise ValueError(f"{name} is cut short")
        if size and member.compress_type == zipfile.ZIP_STORED:
            while file.read(BLOCK):  # at its end, the checksum is compared
                pass
            mode, offset = _mapping_mode(kind), _find_content(path, member) + begin
            return np.memmap(path, kind, mode, offset, shape, order)
        flat = scratch.new((math.prod(shape),), kind)
        fill(flat, file)
        file.read(1)  # at its end, the checksum is compared
    return flat.reshape(shape, order=order)


def _find_content(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a file that is not compressed is in an archive: behind its header, name and extras."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extras = struct.unpack("<HH", file.read(4))
    return member.header_offset + 30 + int(name) + int(extras)


def _check_start(path: Path, kind: str, *starts: bytes) -> None:
    """Refuse a file that is something else, which numpy would take for a pickle."""
    with path.open("rb") as file:
        found = file.read(6)
    if found[:1] == b"\x80":  # it really is a pickle
        raise _holds_objects(path)
    if not found.startswith(starts):
        raise ValueError(f"it does not begin like an {kind} file")


@contextmanager
def _no_objects(path: Path) -> Iterator[None]:
    """Turn numpy's error about an array of Python objects into a `DataError`."""
    try:
        yield
    except ValueError as error:
        if re.search("Object arrays|Python objects", str(error)):
            raise _holds_objects(path) from error
        raise


def read_idx_images(path: Path, options: ReadOptions, _: Scratch) -> Arrays:
    """Read an IDX file, and the labels in the file beside it, if it is named as MNIST's are."""
    refuse_key(path, options)
    images = read_idx(path)
    if images.ndim not in (3, 4):
        raise DataError(
            f"{path} has {images.ndim} dimensions, but images have 3 or 4",
            "give the file with the images",
        )
    understood = ("an array in IDX's format",)
    name = re.sub(r"images([-.])idx[34]", r"labels\1idx1", path.name)
    for sibling in (name, f"{name}.gz", name.removesuffix(".gz")):
        labels = path.with_name(sibling)
        if name != path.name and labels.is_file():
            try:
                part = Part(str(path), images, read_idx(labels))
            except UNREADABLE as error:
                raise unreadable(labels, "IDX", error) from error
            return Arrays(str(path), [part], (*understood, f"labels: {labels.name}"))
    return Arrays(str(path), [Part(str(path), images)], understood)


def _holds_objects(path: Path) -> DataError:
    return DataError(f"{path} holds Python objects, which ae does not read", "save plain numbers")
