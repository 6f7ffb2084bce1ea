"""Images in an archive, zip or tar, which is read where it lies: nothing is unpacked to disk."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ae_cli.config import ReadOptions
from ae_cli.data.arrays import refuse_key
from ae_cli.data.decode import Content, UnreadableImageError
from ae_cli.data.folder import kind_of_file
from ae_cli.data.image_formats import is_image
from ae_cli.data.layout import METADATA, arrange
from ae_cli.data.pickles import is_pickle, refuse_pickle
from ae_cli.data.pictures import Pictures, list_kinds, list_some, to_text
from ae_cli.data.sample import Encoded
from ae_cli.errors import DataError, brief, warn
from ae_cli.files.reading import (
    UNREADABLE,
    inner_ending,
    is_compressed,
    most_unpacked,
    open_unpacked,
    unreadable,
)

# Files with images in them, or with what is known about images
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".npy", ".npz", ".mat", ".h5", ".hdf5")
_FOREIGN = "__MACOSX"  # a folder that macOS adds to archives


@dataclass
class Archive:
    """What is in an archive.

    Attributes:
        path: The archive.
        members: What the library knows about each file, by its path within the archive.
        failures: Why other files cannot be read, by name.
        passed_over: The number of entries that are no files, by what they are.
    """

    path: Path
    members: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, member: Any) -> None:
        """Take a file into account, unless it is hidden, or its path leads out of the archive."""
        inner = posixpath.normpath(name.replace("\\", "/"))
        parts = inner.split("/")
        if inner.startswith("/") or ".." in parts:
            self.failures[to_text(name)] = "its path leads out of the archive"
        elif _FOREIGN not in parts and not any(part.startswith(".") for part in parts):
            self.members[inner] = member  # of several with one name, the last one counts

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes | UnreadableImageError]]:
        """Read some files, in the order in which that is fastest.

        Raises:
            DataError: The archive is damaged.
        """
        raise NotImplementedError


class _Zip(Archive):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    self.passed_over["links"] += 1
                elif not info.is_dir():
                    self.add(info.filename, info)

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes | UnreadableImageError]]:
        with zipfile.ZipFile(self.path) as archive:
            for name in names:
                info = self.members[name]
                try:
                    # zipfile stops at the size that the archive states.
                    if info.file_size > most_unpacked(info.compress_size):
                        raise ValueError("it unpacks to more than a hundred times its size")
                    yield name, archive.read(info)
                except (*UNREADABLE, NotImplementedError) as error:
                    yield name, UnreadableImageError(brief(error))


class _Tar(Archive):
    """A tar archive that is not compressed: its files can be read in any order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                _add_member(self, member, (member.offset_data, member.size))
            end = os.pread(file.fileno(), tarfile.BLOCKSIZE, archive.offset)
        if end != bytes(tarfile.BLOCKSIZE):
            _warn_of_end(path)

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes | UnreadableImageError]]:
        with self.path.open("rb") as file:
            for name in names:
                offset, size = self.members[name]
                yield name, os.pread(file.fileno(), size, offset)


class _CompressedTar(Archive):
    """A compressed tar archive, which can only be read from its beginning."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with open_unpacked(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for number, member in enumerate(archive):
                _add_member(self, member, number)
            stream: Any = archive.fileobj  # it cannot go back, but the block counts as read
            is_cut = stream.tell() < archive.offset + tarfile.BLOCKSIZE
        if is_cut:
            _warn_of_end(path)

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes | UnreadableImageError]]:
        wanted = {self.members[name]: name for name in names}
        if not wanted:
            return
        last = max(wanted)
        with open_unpacked(self.path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for number, member in enumerate(archive):
                if number in wanted and (content := archive.extractfile(member)) is not None:
                    yield wanted[number], content.read()
                if number == last:
                    return


def _warn_of_end(path: Path) -> None:
    """Say that a tar archive has no block of zeros at its end, about which tarfile is silent."""
    warn(f"{path.name} ends without its end mark: it may be cut short")


def _add_member(archive: Archive, member: tarfile.TarInfo, place: Any) -> None:
    if member.issym() or member.islnk():
        archive.passed_over["links"] += 1
    elif member.isreg() and not member.issparse():
        archive.add(member.name, place)
    elif not member.isdir():
        archive.passed_over["devices and the like"] += 1


def open_archive(path: Path) -> Archive:
    """Find out what is in an archive.

    Raises:
        DataError: It is not an archive, or damaged.
    """
    is_zip = path.name.lower().endswith(".zip") or _starts_as_zip(path)
    try:
        if is_zip:
            return _Zip(path)
        return _CompressedTar(path) if is_compressed(path) else _Tar(path)
    except (*UNREADABLE, NotImplementedError, tarfile.TarError) as error:
        raise unreadable(path, "ZIP" if is_zip else "TAR", error) from error


def _starts_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def list_archive(archive: Archive, options: ReadOptions) -> Pictures:
    """List the images in an archive, as if they were in a folder.

    If all are in one folder at the top, it means nothing.

    Raises:
        DataError: It has no images, or only pickled ones.
        UsageError: ``--key`` is given, but no ``--labels``.
    """
    path = archive.path
    if options.labels is None:
        refuse_key(path, options)
    names = sorted(name for name in archive.members if is_image(name))
    pickled = sorted(filter(is_pickle, archive.members))
    if pickled and not names:
        refuse_pickle(path / pickled[0])
    passed_over = archive.passed_over + Counter(
        kind_of_file(name) for name in archive.members if not is_image(name)
    )
    tables = sorted(name for name in archive.members if inner_ending(Path(name)) in _TABLES)
    if tables and not names:
        raise DataError(
            f"{path} holds no images, but {list_some(tables)}, which ae does not read within "
            "archives",
            f"unpack it and give {to_text(tables[0])}",
        )
    if not names and not archive.failures:
        raise DataError(
            f"{path} holds no images{f', but {list_kinds(passed_over)}' if passed_over else ''}",
            "give an archive of images, or unpack it and give a file in it",
        )
    shown = [to_text(name) for name in names]
    top = shown[0].partition("/")[0] + "/" if shown else ""
    nested = bool(shown) and all(name.startswith(top) for name in shown)
    described = [name for name in tables if METADATA.fullmatch(name.removeprefix(top * nested))]
    if described and options.labels is None:
        warn(
            f"{list_some(described)} in {path.name} is not used; unpack the archive and give the "
            "folder, or name a table with --labels"
        )
    return make_pictures(
        archive,
        names,
        places=arrange([name.removeprefix(top) for name in shown] if nested else shown),
        passed_over=passed_over,
        understood=(
            "an archive of images",
            *([f"all are in the folder {top}, which is no class"] if nested else []),
        ),
    )


def make_pictures(archive: Archive, names: list[str], **details: Any) -> Pictures:
    """Make pictures of some files of an archive.

    Args:
        archive: The archive.
        names: The names of the files.
        details: Further fields of `Pictures`.
    """

    def read(chosen: Collection[int]) -> Iterator[Encoded]:
        position = {names[i]: i for i in chosen}
        try:
            for name, content in archive.read(position):
                whole: Content = content
                yield Encoded(whole, name, {0: position[name]})
        except (*UNREADABLE, tarfile.TarError) as error:
            raise unreadable(archive.path, "an archive", error) from error

    state = archive.path.stat()
    text = f"{state.st_size} {state.st_mtime_ns}"
    return Pictures(
        source=str(archive.path),
        names=names,
        read=read,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        failures=archive.failures,
        **details,
    )
