"""Arrays in files of MATLAB and in HDF5, which MATLAB uses as well since its version 7.3."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.config import ReadOptions
from ae_cli.data.arrays import SPLITS, Arrays
from ae_cli.data.columns import flat_shape
from ae_cli.data.keys import choose_arrays
from ae_cli.data.matlab import find_arrays
from ae_cli.data.scratch import BLOCK, Scratch
from ae_cli.data.values import Part, is_whole
from ae_cli.errors import AeError, DataError, brief
from ae_cli.files.reading import check_unpacked

_HDF5 = b"\x89HDF\r\n\x1a\n"
_STARTS = (0, 512, 1024, 2048)  # where HDF5's signature may be


class _Stored(NamedTuple):
    """An array in a file.

    Attributes:
        shape: Its shape, as the program that saved it sees it.
        load: Reads it, into what is given unless it can be mapped.
    """

    shape: tuple[int, ...]
    load: Callable[[Scratch], NDArray[Any]]


def read_mat(path: Path, options: ReadOptions, scratch: Scratch) -> Arrays:
    """Read a MATLAB file of version 5 or later.

    Raises:
        DataError: It has no images; or it is of version 7.3, and h5py is not installed.
        ValueError, OSError: It cannot be read.
    """
    if is_hdf5(path):
        return read_hdf5(path, options, scratch)
    stored = {own.name: _Stored(own.shape, own.load) for own in find_arrays(path)}
    return _to_arrays(path, stored, options, scratch, form="a MATLAB file", matlab=True)


def read_hdf5(path: Path, options: ReadOptions, scratch: Scratch) -> Arrays:
    """Read an HDF5 file.

    Raises:
        DataError: It has no images, or h5py is not installed.
        ValueError, OSError: It cannot be read.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"{path} is in HDF5's format, for which h5py is needed",
            "install it: pip install 'ae-cli[hdf5]'",
        ) from error
    stored: dict[str, _Stored] = {}
    with _library_errors(), h5py.File(path, "r") as file:
        is_matlab = False

        def visit(name: str, item: Any) -> None:
            nonlocal is_matlab
            if isinstance(item, h5py.Dataset) and item.dtype.kind in "buif" and item.shape:
                matlab = "MATLAB_class" in item.attrs
                is_matlab |= matlab
                shape = item.shape[::-1] if matlab else item.shape
                stored[name] = _Stored(shape, lambda scratch: _load(path, item, matlab, scratch))

        file.visititems(visit)
        kind = "a MATLAB file in HDF5's format" if is_matlab else "a file in HDF5's format"
        return _to_arrays(path, stored, options, scratch, form=kind, matlab=is_matlab)


@contextmanager
def _library_errors() -> Iterator[None]:
    """Turn whatever a library raises for a broken file into a ValueError."""
    try:
        yield
    except AeError:
        raise
    except Exception as error:
        raise ValueError(brief(error)) from error


def is_hdf5(path: Path) -> bool:
    """Whether a file is in HDF5's format, by its signature."""
    with path.open("rb") as file:
        for start in _STARTS:
            file.seek(start)
            if file.read(len(_HDF5)) == _HDF5:
                return True
    return False


def _load(path: Path, item: Any, matlab: bool, scratch: Scratch) -> NDArray[Any]:
    """Read a data set of an open HDF5 file; as a map of the file where it lies there as it is."""
    if item.external:
        raise DataError(f"{path} keeps {item.name} in another file", "save it as one file")
    offset = item.id.get_offset()
    if offset is not None and item.chunks is None and not matlab:
        mode: Literal["c", "r"] = "c" if item.dtype == np.uint8 else "r"  # see `read_npy`
        return np.memmap(path, item.dtype, mode, offset, item.shape)
    check_unpacked(path, item.dtype.itemsize * _count(item.shape))
    array = scratch.new(item.shape, item.dtype)
    whole_chunks = item.chunks[0] if item.chunks else 1
    step = -(-max(1, BLOCK * len(array) // max(1, array.nbytes)) // whole_chunks) * whole_chunks
    for start in range(0, len(array), step):
        rows = np.s_[start : start + step]
        item.read_direct(array, rows, rows)
    return array.transpose() if matlab else array


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod([int(size) for size in shape], dtype=object))


def _to_arrays(
    path: Path,
    stored: Mapping[str, _Stored],
    options: ReadOptions,
    scratch: Scratch,
    *,
    form: str,
    matlab: bool,
) -> Arrays:
    """Choose the images and labels among arrays, and read these.

    Args:
        path: The file.
        stored: Its arrays of numbers, by name.
        options: `key` names the arrays; None to find them.
        scratch: Where arrays are that cannot be mapped.
        form: What kind of file this is.
        matlab: Whether MATLAB wrote it: the last axis then usually counts the images.
    """
    chosen = choose_arrays(path, {name: own.shape for name, own in stored.items()}, options.key)
    parts, understood = [], []
    for split, (name, label) in zip(SPLITS, chosen, strict=False):
        array = stored[name].load(scratch)
        # MATLAB saves all numbers as floats unless told not to.
        if matlab and array.dtype.kind == "f" and is_whole(array):
            in_range = array.min() >= 0 and array.max() <= 255
            array = scratch.convert(array, np.uint8) if in_range else array
        labels = None if label is None else stored[label].load(scratch)
        labels = None if labels is None else labels.reshape(-1)
        axis = _find_axis(array.shape, None if labels is None else len(labels), matlab)
        size = "first" if axis == 0 else "last" if axis == array.ndim - 1 else f"{axis + 1}."
        understood.append(f"images: {name}, counted by its {size} axis; labels: {label or 'none'}")
        images = np.moveaxis(array, axis, 0)
        whole = split if len(chosen) > 1 else None
        parts.append(Part(f"{name} in {path}", images, labels, whole))
    return Arrays(str(path), parts, (form, *understood))


def _find_axis(shape: tuple[int, ...], labels: int | None, images_last: bool) -> int:
    """The axis that counts the images.

    Args:
        shape: The shape of the array.
        labels: The number of labels; None without.
        images_last: Which axis it is if neither the labels nor the other axes say so.
    """
    last = len(shape) - 1
    ends = [axis for axis in (0, last) if shape[axis] == labels]
    if len(ends) == 1:
        return ends[0]
    if len(shape) == 4:
        # (height, width, channels, n), or (n, height, width, channels) and the like
        if shape[3] in (1, 3) or shape[1] in (1, 3):
            return 0
        return last if shape[2] in (1, 3) else (last if images_last else 0)
    if len(shape) == 3 and (shape[0] == shape[1]) != (shape[1] == shape[2]):
        return last if shape[0] == shape[1] else 0
    if len(shape) == 2:
        squares = [flat_shape(size, None) is not None for size in shape]
        if squares[0] != squares[1]:
            return last if squares[0] else 0
        return 0
    return last if images_last else 0
