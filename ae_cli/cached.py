"""What the program keeps in its cache folder, and how to be rid of it."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TypeAlias

from ae_cli.catalog import KNOWN_SETS, KnownSet
from ae_cli.errors import UsageError

Kind: TypeAlias = Literal["downloads", "decoded", "leftovers", "link"]

IMAGES = "images"  # the folder with the decoded images of folders, and its name in what is found
# Whatever was written less long ago may be a download of another command, and is left alone.
IN_USE_SECONDS = 60.0

_DECODED_IMAGES = re.compile(r"[0-9a-f]{64}\.safetensors")
_TEMPORARY_FILE = re.compile(r"\..+\.tmp")
_TEMPORARY_FOLDER = re.compile(r"\..+\.tmp|tmp[a-z0-9_]{8}")  # the second is `tempfile`'s


class Kept(NamedTuple):
    """Files of one kind.

    Attributes:
        name: The known set that they are of, or `IMAGES`.
        kind: What they are: downloads; decoded pixels; leftovers of a command that was killed; or
            a symbolic link that stands for a folder.
        folder: Where they lie, within the cache folder.
        paths: The files, and folders of leftovers.
        size: Bytes in all of them.
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
        left: Paths, within the folder, of whatever else is there.
    """

    folder: Path
    kept: list[Kept]
    left: list[str]


def find_kept(folder: Path, name: str | None = None) -> Contents:
    """Find what the program has put into its cache folder.

    Its files are known by their places and names, so that what else a person keeps in that folder
    is told apart. Symbolic links in it are not followed.

    Args:
        folder: The cache folder. It need not exist.
        name: The known set to look for, and nothing else; None for all of them, and the decoded
            images of folders. An archive that several sets share is part of each.

    Raises:
        UsageError: A folder cannot be looked into.
    """
    layout = _lay_out(KNOWN_SETS if name is None else {name: KNOWN_SETS[name]})
    if name is None:
        layout.owners[PurePosixPath(IMAGES)] = IMAGES
    groups: dict[tuple[str, Kind, str], list[Path]] = {}
    left = []
    for path, owner, kind in _sort(folder, PurePosixPath(), layout):
        if kind is not None:
            groups.setdefault((owner, kind, str(path.parent)), []).append(folder / path)
        elif name is None or (path.parts[0] == KNOWN_SETS[name].folder and len(path.parts) > 1):
            left.append(str(path))
    order = (*KNOWN_SETS, IMAGES)
    kept = [
        Kept(*group, groups[group], sum(map(_size, groups[group])))
        for group in sorted(groups, key=lambda group: order.index(group[0]))
    ]
    return Contents(folder, kept, left)


def remove(contents: Contents) -> None:
    """Remove all that `find_kept` found, and the folders that are empty then.

    Raises:
        UsageError: A file cannot be removed. The others are.
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
            pass  # another command was faster
        except OSError as error:
            failure = failure or UsageError(
                f"cannot remove {error.filename} ({error.strerror})",
                "see who may write to its folder",
            )
        emptied |= {path.parent, path.parent.parent}
    for folder in sorted(emptied, reverse=True):  # the inner ones first
        if contents.folder in folder.parents:
            with suppress(OSError):  # there is something else in it
                folder.rmdir()
    if failure is not None:
        raise failure


class _Layout(NamedTuple):
    """Where things are expected, within the cache folder.

    Attributes:
        owners: The set of each folder where something may lie, or `IMAGES`.
        files: The set of each file, and what it is.
    """

    owners: dict[PurePosixPath, str]
    files: dict[PurePosixPath, tuple[str, Kind]]


def _lay_out(sets: dict[str, KnownSet]) -> _Layout:
    """Find where files of these sets are. Of several sets, the first one owns what they share."""
    files: dict[PurePosixPath, tuple[str, Kind]] = {}
    owners: dict[PurePosixPath, str] = {}
    for name, known in sets.items():
        if known.folder:  # digits come with the program
            files.setdefault(PurePosixPath(known.kept), (name, "decoded"))
            for file in _published(known):
                files.setdefault(PurePosixPath(known.folder, file), (name, "downloads"))
    for path, (name, _) in files.items():
        owners.setdefault(path.parent, name)
    return _Layout(owners, files)


def _sort(
    root: Path, folder: PurePosixPath, layout: _Layout
) -> Iterator[tuple[PurePosixPath, str, Kind | None]]:
    """Go through a folder of the cache, and the program's folders in it.

    Yields:
        A path within the cache folder, the set that it belongs to (or `IMAGES`), and what it is;
        None for what is not the program's.
    """
    owners, files = layout
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
            yield path, owner, "leftovers" if owner and _is_leftover(entry) else None


def _is_leftover(entry: os.DirEntry[str]) -> bool:
    """Whether a command that was killed has left this."""
    files = []
    if not entry.is_dir(follow_symlinks=False):
        if not _TEMPORARY_FILE.fullmatch(entry.name):
            return False
    else:
        files = _entries(Path(entry.path))
        published = {Path(name).name for known in KNOWN_SETS.values() for name in _published(known)}
        if not _TEMPORARY_FOLDER.fullmatch(entry.name) or {f.name for f in files} - published:
            return False
    try:
        written = max(item.stat(follow_symlinks=False).st_mtime for item in (entry, *files))
    except FileNotFoundError:  # just moved into place
        return False
    return time.time() - written > IN_USE_SECONDS


def _published(known: KnownSet) -> tuple[str, ...]:
    """The files that are downloaded, in the set's folder."""
    return (known.archive,) if known.archive else known.files


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; nothing where there is none.

    Raises:
        UsageError: It cannot be looked into.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(
            f"cannot look into {folder} ({error.strerror})", "see who may read it"
        ) from error


def _size(path: Path) -> int:
    """Bytes in a file, or in those of a folder; 0 where another command has just removed it."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            return sum(map(_size, path.iterdir()))
        return path.lstat().st_size
    return 0
