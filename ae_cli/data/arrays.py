"""Images from one file: an array (NPY, NPZ or IDX) or a table of pixels (CSV or Parquet).

Each format is read into `Part`s: arrays as they are in the file. Their values, shapes and labels
are interpreted afterwards, in the same way for all formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from ae_cli.config import ReadOptions
from ae_cli.data.csv_tables import read_csv
from ae_cli.data.idx import read_idx
from ae_cli.data.images import DataSet, Images, hold_out
from ae_cli.data.parquet_tables import read_parquet
from ae_cli.data.store import PixelStore
from ae_cli.data.values import Part, to_labels, to_pixels
from ae_cli.errors import DataError, UsageError, brief, warn
from ae_cli.files.reading import ROW_BYTES, UNREADABLE, check_unpacked, read_arrays

IMAGE_NAMES = ("images", "x", "data")
LABEL_NAMES = ("labels", "y")


def load_file(path: Path, options: ReadOptions) -> DataSet:
    """Read images from one file.

    Args:
        path: An absolute path. ``.npy``, ``.npz``, ``.csv`` and ``.parquet`` files are recognised
            by their endings, IDX files, gzipped or not, by their content.
        options: `key`, `image_size` (only for flat rows of pixels), `color` (False for luma in
            place of colours), `val_fraction` and `seed`.

    Returns:
        The data set. An NPZ file may have its own test split; otherwise one is held out.

        In a file, grey images are (n, height, width), (n, height, width, 1) or
        (n, 1, height, width), colour images are (n, height, width, 3) or (n, 3, height, width), and
        flat rows (n, d) are squares unless `image_size` says otherwise. The values of a colour
        image's flat row are in the order of (height, width, 3), as in image files. Integers are
        from 0 to 255, floats from 0 to 1, and bool is black and white.

    Raises:
        DataError: The file cannot be read, or contains no images.
        UsageError: `key` is given for a file that has no names in it.
    """
    kind, read = _find_reader(path)
    try:
        parts = read(path, options)
    except UNREADABLE as error:
        raise _unreadable(path, kind, error) from error
    images = sum(len(part.images) for part in parts if part.images.ndim)
    check_unpacked(path, images * ROW_BYTES)
    return to_data_set(str(path), parts, options)


def to_data_set(source: str, parts: list[Part], options: ReadOptions) -> DataSet:
    """Make a data set of two arrays, its splits, or of one array, part of which is held out.

    Args:
        source: What to give as ``--data`` to get these images.
        parts: One or two.
        options: As for `load_file`.

    Raises:
        DataError: The arrays are not images, or not of one shape.
    """
    splits = to_images(source, parts, options)
    if len(splits) == 1:
        return hold_out(source, splits[0], options)
    train, test = splits
    if train.shape != test.shape:
        raise DataError(
            f"the images of {parts[0].name} have the shape {train.shape} (channels, height, width)"
            f", but those of {parts[1].name} have {test.shape}",
            "save both splits with the same shape",
        )
    return DataSet(source, train, test)


def to_images(source: str, parts: list[Part], options: ReadOptions) -> list[Images]:
    """Convert arrays to images, in the order of the arrays; see `to_data_set`."""
    labels, classes = to_labels(parts)
    grey = options.color is False
    stores = [to_pixels(part, options.size, grey=grey) for part in parts]
    if all(part.images.dtype.kind in "iu" for part in parts) and max(map(_brightest, stores)) <= 1:
        warn(
            f"no pixel of {Path(source).name} is brighter than 1 of 255; save 0 and 1 as float or "
            "bool if they mean black and white"
        )
    return [
        Images(PixelStore(pixels), part_labels, classes=classes)
        for pixels, part_labels in zip(stores, labels, strict=True)
    ]


def _brightest(pixels: Tensor) -> int:
    return int(pixels.max())


_Reader = Callable[[Path, ReadOptions], list[Part]]


def _find_reader(path: Path) -> tuple[str, _Reader]:
    """The name of a file's format, and the function that reads it."""
    readers: dict[str, _Reader] = {
        ".npy": _read_npy,
        ".npz": _read_npz,
        ".csv": lambda path, options: [Part(str(path), *read_csv(path, options.key, options.size))],
        ".parquet": lambda path, options: [Part(str(path), *read_parquet(path, options.key))],
    }
    ending = path.suffix.lower()
    if not path.is_file():  # such as a pipe, which might never end
        raise DataError(f"{path} is not a file", "check the path")
    if ending in readers:
        return ending[1:].upper(), readers[ending]
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise _unreadable(path, "IDX", error) from error
    is_idx = re.fullmatch(rb"\0\0[\x08\x09\x0b-\x0e].", start, re.DOTALL)
    if is_idx or start[:2] == b"\x1f\x8b" or re.search(r"(\.idx|-ubyte|\.gz)$", path.name):
        return "IDX", _read_idx
    raise DataError(
        f"{path} is not in a format that ae reads",
        "give a file that ends in .npy, .npz, .csv or .parquet, an IDX file such as MNIST's, or a "
        "folder of images",
    )


def _read_npy(path: Path, options: ReadOptions) -> list[Part]:
    _refuse_key(path, options)
    _check_start(path, "NPY", b"\x93NUMPY")
    with _no_objects(path):
        _check_header(path)
        return [Part(str(path), np.load(path, mmap_mode="r", allow_pickle=False))]


def _check_header(path: Path) -> None:
    """Refuse an NPY file for which numpy would divide by zero, which would end the process."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        # Version 3 differs from 2 only in how names of fields are written; pixels have no fields.
        read = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
        shape, _, kind = getattr(np.lib.format, read)(file)
    if not kind.itemsize or any(size < 0 for size in shape):
        raise ValueError(f"it has values of type {kind} in the shape {shape}")


def _read_npz(path: Path, options: ReadOptions) -> list[Part]:
    _check_start(path, "NPZ", b"PK\x03\x04", b"PK\x05\x06")

    with _no_objects(path), np.load(path, allow_pickle=False) as arrays:
        chosen = _choose_keys(path, arrays.files, options.key)
        used = [key for pair in chosen for key in pair if key is not None]
        columns = read_arrays(path, arrays, used)
        return [
            Part(
                f"{images} in {path}", columns[images], None if labels is None else columns[labels]
            )
            for images, labels in chosen
        ]


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


def _choose_keys(path: Path, keys: list[str], key: str | None) -> list[tuple[str, str | None]]:
    """The names of an NPZ file's images and labels: one pair, or one pair per split."""
    there = f"choose among {', '.join(keys)}" if keys else "save an array into it"
    if key is not None:
        images, comma, labels = (part.strip() for part in key.partition(","))
        for name in [images, labels] if comma else [images]:
            if name not in keys:
                raise DataError(f"{path} has no array {name!r}", there)
        return [(images, labels if comma else None)]

    def find(names: tuple[str, ...], split: str) -> list[str]:
        forms = [form for name in names for form in (f"{split}_{name}", f"{name}_{split}")]
        return [name for name in keys if name.lower() in (forms if split else names)]

    images_of = {split: find(IMAGE_NAMES, split) for split in ("", "train", "test")}
    splits = [split for split, found in images_of.items() if found]
    if not splits:
        raise DataError(
            f"{path} has no array called {', '.join(IMAGE_NAMES)}",
            f"name the one with the images with --key; {there}",
        )
    labels_of = {split: find(LABEL_NAMES, split) for split in splits}
    for what, arrays_of in (("images", images_of), ("labels", labels_of)):
        found = [name for names in arrays_of.values() for name in names]
        if len(found) > 1 and (splits[0] == "" or len(found) > len(splits)):
            raise DataError(
                f"{path} has several arrays that could be the {what} ({', '.join(found)})",
                "choose with --key IMAGES or --key IMAGES,LABELS",
            )
    if len(labels_of[splits[0]]) != len(labels_of[splits[-1]]):
        raise DataError(
            f"{path} has labels for only one of its splits",
            "save the others too, or choose one split with --key IMAGES or --key IMAGES,LABELS",
        )
    return [(images_of[split][0], next(iter(labels_of[split]), None)) for split in splits]


def _read_idx(path: Path, options: ReadOptions) -> list[Part]:
    _refuse_key(path, options)
    images = read_idx(path)
    if images.ndim not in (3, 4):
        raise DataError(
            f"{path} has {images.ndim} dimensions, but images have 3 or 4",
            "give the file with the images",
        )
    name = re.sub(r"images([-.])idx[34]", r"labels\1idx1", path.name)
    for sibling in (name, f"{name}.gz", name.removesuffix(".gz")):
        labels = path.with_name(sibling)
        if name != path.name and labels.is_file():
            try:
                return [Part(str(path), images, read_idx(labels))]
            except UNREADABLE as error:
                raise _unreadable(labels, "IDX", error) from error
    return [Part(str(path), images)]


def _refuse_key(path: Path, options: ReadOptions) -> None:
    if options.key is not None:
        raise UsageError(
            f"--key applies only to an .npz file or a table of pixels, not to {path}",
            "leave it out",
        )


def _holds_objects(path: Path) -> DataError:
    return DataError(f"{path} holds Python objects, which ae does not read", "save plain numbers")


def _unreadable(path: Path, kind: str, error: BaseException) -> DataError:
    cause = (error.strerror if isinstance(error, OSError) else None) or brief(error)
    return DataError(f"{path} cannot be read as {kind} ({cause})", "save it again")
