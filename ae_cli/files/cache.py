"""The cache folder: finding it, listing the program's files in it, and removing them."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TypeAlias

from ae_cli.errors import UsageError

Kind: TypeAlias = Literal["downloads", "decoded", "leftovers", "link"]

IMAGES = "images"  # the subfolder with the decoded images of folders, also used as `Kept.name`
# A temporary file that was written more recently may belong to a running command, and is kept.
IN_USE_SECONDS = 60.0

_DECODED_IMAGES = re.compile(r"[0-9a-f]{64}\.safetensors")
_TEMPORARY_FILE = re.compile(r"\..+\.tmp")
_TEMPORARY_FOLDER = re.compile(r"\..+\.tmp|tmp[a-z0-9_]{8}")  # the second is `tempfile`'s


def cache_folder(data_dir: Path | str | None) -> Path:
    """Where downloads and decoded images are kept: `data_dir`, or the user's cache folder."""
    import platformdirs

    return Path(data_dir) if data_dir else platformdirs.user_cache_path("ae", appauthor=False)


class CachedSet(NamedTuple):
    """Where a data set's files are. All paths are relative.

    Attributes:
        folder: Its folder within the cache folder; empty if it has none.
        decoded: The file with its decoded pixels, within the cache folder.
        published: The files that are downloaded, within its folder.
    """

    folder: str
    decoded: str
    published: tuple[str, ...]


class Kept(NamedTuple):
    """Files of one kind.

    Attributes:
        name: The data set that they belong to, or `IMAGES`.
        kind: What they are: downloads; decoded pixels; leftovers of a command that was killed; or
            a symbolic link in place of a folder.
        folder: The folder they are in, relative to the cache folder.
        paths: The files, and folders of leftovers.
        size: Total size in bytes.
    """

    name: str
    kind: Kind
    folder: str
    paths: list[Path]
    size: int


class Contents(NamedTuple):
    """What a cache folder holds.

    Attributes:
        folder: The cache folder.
        kept: The program's own files, in the order of the catalog.
        left: Paths of everything else, relative to the folder.
    """

    folder: Path
    kept: list[Kept]
    left: list[str]


def find_kept(folder: Path, sets: Mapping[str, CachedSet], name: str | None = None) -> Contents:
    """Find the files that the program has put into its cache folder.

    They are recognised by their places and names, so that other files in that folder are left
    alone. Symbolic links are not followed.

    Args:
        folder: The cache folder. It need not exist.
        sets: All known data sets, by name.
        name: Look for this set only; None for all of them and the decoded images of folders. An
            archive that several sets share is part of each.

    Raises:
        UsageError: A folder cannot be read.
    """
    layout = _lay_out(sets, sets if name is None else {name: sets[name]})
    if name is None:
        layout.owners[PurePosixPath(IMAGES)] = IMAGES
    groups: dict[tuple[str, Kind, str], list[Path]] = {}
    left = []
    for path, owner, kind in _sort(folder, PurePosixPath(), layout):
        if kind is not None:
            groups.setdefault((owner, kind, str(path.parent)), []).append(folder / path)
        elif name is None or (path.parts[0] == sets[name].folder and len(path.parts) > 1):
            left.append(str(path))
    order = (*sets, IMAGES)
    kept = [
        Kept(*group, groups[group], sum(map(_size, groups[group])))
        for group in sorted(groups, key=lambda group: order.index(group[0]))
    ]
    return Contents(folder, kept, left)


def remove(contents: Contents) -> None:
    """Remove everything that `find_kept` found, and folders that are then empty.

    Raises:
        UsageError: A file cannot be removed. All others are still removed.
    """
    failure = None
    emptied = set()
    for path in (path for kept in contents.kept for path in kept.paths):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            pass  # another command has removed it
        except OSError as error:
            failure = failure or UsageError(
                f"cannot remove {error.filename} ({error.strerror})",
                "check the permissions of its folder",
            )
        emptied |= {path.parent, path.parent.parent}
    for folder in sorted(emptied, reverse=True):  # the inner ones first
        if contents.folder in folder.parents:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
    if failure is not None:
        raise failure


class _Layout(NamedTuple):
    """Where the program's files are expected, relative to the cache folder.

    Attributes:
        owners: The set that each of the program's folders belongs to, or `IMAGES`.
        files: The set that each file belongs to, and what it is.
        downloads: The names of all files that any set downloads.
    """

    owners: dict[PurePosixPath, str]
    files: dict[PurePosixPath, tuple[str, Kind]]
    downloads: frozenset[str]


def _lay_out(sets: Mapping[str, CachedSet], wanted: Mapping[str, CachedSet]) -> _Layout:
    """Find where files of the wanted sets are. A shared file belongs to the first of its sets."""
    files: dict[PurePosixPath, tuple[str, Kind]] = {}
    owners: dict[PurePosixPath, str] = {}
    for name, known in wanted.items():
        if known.folder:
            files.setdefault(PurePosixPath(known.decoded), (name, "decoded"))
            for file in known.published:
                files.setdefault(PurePosixPath(known.folder, file), (name, "downloads"))
    for path, (name, _) in files.items():
        owners.setdefault(path.parent, name)
    downloads = frozenset(Path(file).name for known in sets.values() for file in known.published)
    return _Layout(owners, files, downloads)


def _sort(
    root: Path, folder: PurePosixPath, layout: _Layout
) -> Iterator[tuple[PurePosixPath, str, Kind | None]]:
    """Classify the entries of a folder in the cache, and of the program's folders within it.

    Yields:
        A path relative to the cache folder, the set that it belongs to (or `IMAGES`), and what it
        is; None if it is not the program's.
    """
    owners, files, downloads = layout
    for entry in _entries(root / folder):
        path = folder / entry.name
        owner = owners.get(path) or owners.get(folder, "")
        is_folder = entry.is_dir(follow_symlinks=False)
        if path in owners and is_folder:
            yield from _sort(root, path, layout)
        elif path in owners and entry.is_symlink():
            yield path, owner, "link"
        elif path in files and not is_folder:
            yield path, *files[path]
        elif owner == IMAGES and _DECODED_IMAGES.fullmatch(entry.name) and not is_folder:
            yield path, owner, "decoded"
        else:
            is_leftover = owner and _is_leftover(entry, downloads)
            yield path, owner, "leftovers" if is_leftover else None


def _is_leftover(entry: os.DirEntry[str], downloads: frozenset[str]) -> bool:
    """Whether a killed command left this entry behind; `downloads` are names of files."""
    files = []
    if not entry.is_dir(follow_symlinks=False):
        if not _TEMPORARY_FILE.fullmatch(entry.name):
            return False
    else:
        files = _entries(Path(entry.path))
        if not _TEMPORARY_FOLDER.fullmatch(entry.name) or {f.name for f in files} - downloads:
            return False
    try:
        written = max(item.stat(follow_symlinks=False).st_mtime for item in (entry, *files))
    except FileNotFoundError:  # just moved into place
        return False
    return time.time() - written > IN_USE_SECONDS


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name; none if it does not exist.

    Raises:
        UsageError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(
            f"cannot read {folder} ({error.strerror})", "check its permissions"
        ) from error


def _size(path: Path) -> int:
    """Size of a file or a folder in bytes; 0 if another command has just removed it."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            return sum(map(_size, path.iterdir()))
        return path.lstat().st_size
    return 0
