"""Arrays in NumPy's formats, NPY and NPZ, and in IDX, MNIST's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ae_cli.config import ReadOptions
from ae_cli.data.arrays import SPLITS, Arrays, refuse_key
from ae_cli.data.idx import read_idx
from ae_cli.data.keys import choose_keys
from ae_cli.data.values import Part
from ae_cli.errors import DataError
from ae_cli.files.reading import UNREADABLE, read_arrays, unreadable


def read_npy(path: Path, options: ReadOptions) -> Arrays:
    """Map an NPY file, which is never in memory as a whole."""
    refuse_key(path, options)
    _check_start(path, "NPY", b"\x93NUMPY")
    with _no_objects(path):
        # Bytes are used where they are, as a tensor, which torch takes to be writable: what is
        # written to it stays in memory.
        mode: Literal["c", "r"] = "c" if _read_type(path) == np.uint8 else "r"
        array = np.load(path, mmap_mode=mode, allow_pickle=False)
        return Arrays(str(path), [Part(str(path), array)], ("an array in NumPy's format",))


def _read_type(path: Path) -> np.dtype[Any]:
    """The type of an NPY file's values.

    Raises:
        ValueError: Numpy would divide by zero for it, which would end the process.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        # Version 3 differs from 2 only in how names of fields are written; pixels have no fields.
        read = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
        shape, _, kind = getattr(np.lib.format, read)(file)
    if not kind.itemsize or any(size < 0 for size in shape):
        raise ValueError(f"it has values of type {kind} in the shape {shape}")
    found: np.dtype[Any] = kind
    return found


def read_npz(path: Path, options: ReadOptions) -> Arrays:
    """Read an NPZ file: one array of images, or one for each split, with labels or without."""
    _check_start(path, "NPZ", b"PK\x03\x04", b"PK\x05\x06")

    with _no_objects(path), np.load(path, allow_pickle=False) as arrays:
        chosen = choose_keys(path, arrays.files, options.key)
        used = [key for pair in chosen for key in pair if key is not None]
        columns = read_arrays(path, arrays, used)
        parts = [
            Part(
                f"{images} in {path}",
                columns[images],
                None if labels is None else columns[labels],
                split if len(chosen) > 1 else None,
            )
            for split, (images, labels) in zip(SPLITS, chosen, strict=False)
        ]
    named = [f"images: {images}, labels: {labels or 'none'}" for images, labels in chosen]
    return Arrays(str(path), parts, ("arrays in NumPy's format", *named))


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


def read_idx_images(path: Path, options: ReadOptions) -> Arrays:
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
