"""Which reader a file, a folder or several of them have, and what it makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ae_cli.config import ReadOptions
from ae_cli.data import pickles
from ae_cli.data.arrays import Arrays, refuse_key, to_data_set
from ae_cli.data.assemble import load_pictures
from ae_cli.data.folder import kind_of_file, list_files, list_folder
from ae_cli.data.image_formats import is_image
from ae_cli.data.images import DataSet
from ae_cli.data.layout import METADATA, find_file_splits
from ae_cli.data.listings import label_pictures
from ae_cli.data.paths import find_paths, to_absolute
from ae_cli.data.pictures import Pictures, expand_frames, join_pictures, list_kinds, list_some
from ae_cli.data.scratch import Scratch
from ae_cli.errors import DataError
from ae_cli.files.reading import (
    ROW_BYTES,
    UNREADABLE,
    check_unpacked,
    inner_ending,
    is_compressed,
    unreadable,
)

Found: TypeAlias = "Arrays | Pictures"
Reader: TypeAlias = Callable[[Path, ReadOptions, Scratch], Found]


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        name: Its name in errors.
        endings: The endings by which it is recognised.
        reader: The module in this folder, and the function in it, that read it.
        start: What is in its first bytes, if that is enough to recognise it: a regular expression.
        compressed: Whether it may be compressed.
    """

    name: str
    endings: tuple[str, ...]
    reader: str
    start: bytes = b""
    compressed: bool = False

    def read(self, path: Path, options: ReadOptions, scratch: Scratch) -> Found:
        """Read a file of this kind; its module is imported only then."""
        module, function = self.reader.split(".")
        read: Reader = getattr(import_module(f"ae_cli.data.{module}"), function)
        return read(path, options, scratch)


FORMATS = (
    Format("NPY", (".npy",), "array_files.read_npy", rb"\x93NUMPY"),
    Format("NPZ", (".npz",), "array_files.read_npz"),
    Format("CSV", (".csv", ".tsv", ".tab", ".txt"), "csv_tables.read_csv", compressed=True),
    Format("JSON", (".jsonl", ".ndjson"), "sheets.read_listing", compressed=True),
    Format("PARQUET", (".parquet",), "parquet_tables.read_parquet", rb"PAR1"),
    Format("MAT", (".mat",), "science_files.read_mat", rb"MATLAB 5"),
    Format("HDF5", (".h5", ".hdf5", ".hdf"), "science_files.read_hdf5", rb"\x89HDF\r\n\x1a\n"),
    Format("ZIP", (".zip",), "shards.read_archive", rb"PK\x03\x04"),
    Format("TAR", (".tar", ".tgz"), "shards.read_archive", rb".{257}ustar", compressed=True),
    Format("pickle", pickles.ENDINGS, "pickles.refuse_pickle", rb"\x80[\x02-\x05]"),
    Format("IDX", (), "array_files.read_idx_images", rb"\0\0[\x08\x09\x0b-\x0e].|\x1f\x8b"),
)
_IDX = FORMATS[-1]
_TABLES_OF_IMAGES, _ARCHIVES = (".parquet",), (".zip", ".tar", ".tgz")
_TABLE = re.compile(r"[^/]+\.(?:csv|tsv|jsonl|parquet)")


def read_source(source: str, options: ReadOptions, scratch: Scratch) -> Found:
    """Read what a value of ``--data`` means: a file, a folder, or several of one kind.

    Images in files of their own are only listed; arrays and tables of pixels are read, into
    `scratch` where they cannot be mapped.

    Raises:
        DataError: It does not exist, cannot be read, or is not of one kind.
        UsageError: An option has no meaning for it.
    """
    paths = find_paths(source)
    if not paths:
        raise DataError(
            f"--data {source}: there is no such file or folder", "check the path, or see `ae data`"
        )
    paths = [path.resolve() for path in paths]
    found = _join(to_absolute(source), [read_path(path, options, scratch) for path in paths])
    if isinstance(found, Pictures):
        return expand_frames(found) if options.frames == "all" else found
    return found


def finish(found: Found, options: ReadOptions, cache_folder: Path, scratch: Scratch) -> DataSet:
    """Make a data set of what was found: decode the images, or interpret the arrays.

    Raises:
        DataError: It has no images, or they cannot be read.
    """
    if isinstance(found, Pictures):
        return load_pictures(found, options, cache_folder=cache_folder)
    return to_data_set(found, options, scratch)


def read_path(path: Path, options: ReadOptions, scratch: Scratch) -> Found:
    """Read one file or folder; see `read_source`.

    Args:
        path: An absolute path.
        options: How to read it.
        scratch: Where pixels that have to be unpacked or parsed are.
    """
    if path.is_dir():
        return _read_folder(path, options, scratch)
    if not path.is_file():  # such as a pipe, which might never end
        raise DataError(f"{path} is not a file", "check the path")
    kind = _find_format(path)
    if kind is None:
        return _read_image(path, options)
    try:
        found = kind.read(path, options, scratch)
    except UNREADABLE as error:
        raise unreadable(path, kind.name, error) from error
    if isinstance(found, Arrays):
        images = sum(len(part.images) for part in found.parts if part.images.ndim)
        check_unpacked(path, images * ROW_BYTES)
        return found
    return _add_labels(found, options) if options.labels is not None else found


def _find_format(path: Path) -> Format | None:
    """The kind of a file, by its ending, or else by its first bytes; None for an image.

    Raises:
        DataError: It is of no kind that ae reads.
    """
    ending = inner_ending(path)
    for kind in FORMATS:
        if ending in kind.endings and (kind.compressed or not is_compressed(path)):
            return kind
    if is_image(path.name):
        return None
    try:
        with path.open("rb") as file:
            start = file.read(300)
    except OSError as error:
        raise unreadable(path, _IDX.name, error) from error
    for kind in FORMATS:
        if kind.start and re.match(kind.start, start, re.DOTALL):
            return kind
    if re.search(r"(\.idx|-ubyte|\.gz)$", path.name):
        return _IDX
    raise DataError(
        f"{path} is not in a format that ae reads",
        "give a folder or an archive of images, a table (.csv, .parquet), arrays (.npy, .npz, "
        ".mat, .h5), or an IDX file such as MNIST's",
    )


def _read_image(path: Path, options: ReadOptions) -> Pictures:
    """Read an image file of its own: its pages or frames are the images."""
    single = list_files(path.parent, [path.name], source=path)
    single = replace(single, understood=("an image file",))
    return single if options.frames == "first" else expand_frames(single)


def _read_folder(path: Path, options: ReadOptions, scratch: Scratch) -> Found:
    """Read a folder: of images, or else of shards, archives or tables with images.

    Raises:
        DataError: It has none of these.
    """
    pictures = list_folder(path)
    if pictures.names or pictures.failures:
        if options.labels is not None:
            return _add_labels(pictures, options)
        tables = [name for name in pictures.others if METADATA.fullmatch(name)]
        if tables:
            return _add_metadata(pictures, tables, options)
        refuse_key(path, options)
        tables = [name for name in pictures.others if _TABLE.fullmatch(name)]
        unused = f"not used: {list_some(tables)}; --labels names a table of labels"
        return replace(pictures, understood=(*pictures.understood, *[unused] * bool(tables)))
    for endings in (_TABLES_OF_IMAGES, _ARCHIVES):
        files = [path / name for name in pictures.others if inner_ending(Path(name)) in endings]
        if files:
            return _join(str(path), [read_path(file, options, scratch) for file in files])
    for name in pictures.others:
        if pickles.is_pickle(name):
            pickles.refuse_pickle(path / name)
    others = pictures.passed_over
    raise DataError(
        f"{path} holds no images{f', but {list_kinds(others)}' if others else ''}",
        "name another folder, or a file in it",
    )


def _add_labels(pictures: Pictures, options: ReadOptions) -> Pictures:
    """Give images the labels that the table of ``--labels`` has for them."""
    from ae_cli.data.sheets import read_sheet

    if options.labels is None:
        return pictures
    return label_pictures(pictures, {"": read_sheet(Path(options.labels).resolve())}, options)


def _add_metadata(pictures: Pictures, tables: list[str], options: ReadOptions) -> Pictures:
    """Give a folder's images what its tables ``metadata.csv`` or the like say about them."""
    from ae_cli.data.sheets import read_sheet

    root = Path(pictures.source)
    sheets = {name[: name.rfind("/") + 1]: read_sheet(root / name) for name in tables}
    passed_over = pictures.passed_over.copy()
    passed_over.subtract(map(kind_of_file, tables))
    return label_pictures(replace(pictures, passed_over=+passed_over), sheets, options)


def _join(source: str, found: Sequence[Found]) -> Found:
    """Join what was found in several files or folders.

    Raises:
        DataError: They are not of one kind.
    """
    pictures = [own for own in found if isinstance(own, Pictures)]
    arrays = [own for own in found if isinstance(own, Arrays)]
    if pictures and arrays:
        raise DataError(
            f"{arrays[0].source} holds pixels, and {pictures[0].source} image files",
            "give sources of one kind",
        )
    if pictures:
        return join_pictures(source, pictures)
    if len(arrays) == 1:
        return arrays[0]._replace(source=source)
    parts = [part for own in arrays for part in own.parts]
    if not any(part.split for part in parts):
        splits = find_file_splits([Path(own.source) for own in arrays for _ in own.parts])
        pairs = zip(parts, splits, strict=True)
        parts = [part._replace(split=split) for part, split in pairs if split or not any(splits)]
    several = f"{len(arrays):,} sources, one after the other"
    return Arrays(source, parts, (several, *arrays[0].understood))
