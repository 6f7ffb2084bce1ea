"""The images in a folder and its subfolders."""

# For thousands of files, os.path is several times as fast as pathlib.
# ruff: noqa: PTH116, PTH118, PTH122

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ae_cli.data.image_formats import is_image
from ae_cli.data.layout import Place, arrange
from ae_cli.data.pictures import Pictures, to_text
from ae_cli.data.sample import Encoded


def list_folder(root: Path) -> Pictures:
    """Find the image files in a folder and its subfolders, except hidden ones.

    See `arrange` for what the subfolders mean. There may be none.
    """
    states: dict[str, str] = {}
    failures: dict[str, str] = {}
    others: list[str] = []
    seen: set[tuple[int, int]] = set()  # a symbolic link may lead to a folder above

    def fail(error: OSError) -> None:
        failures[os.path.relpath(error.filename, root)] = error.strerror or str(error)

    for folder, folders, files in os.walk(root, followlinks=True, onerror=fail):
        here = os.stat(folder)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        within = os.path.relpath(folder, root)
        prefix = "" if within == "." else within.replace(os.sep, "/") + "/"
        for file in files:
            if file.startswith("."):
                continue
            if not is_image(file):
                others.append(prefix + file)
                continue
            look = look_at(os.path.join(folder, file))
            if look.problem:
                failures[prefix + file] = look.problem
            else:
                states[prefix + file] = look.state
    listed = _list_states(root, dict(sorted(states.items())), failures, source=root)
    return replace(
        listed,
        places=arrange([to_text(name) for name in listed.names]),
        passed_over=Counter(map(kind_of_file, others)),
        others=sorted(others),
        understood=("a folder of images",),
    )


def list_files(root: Path, names: Sequence[str], *, source: Path) -> Pictures:
    """List image files by their names, in this order.

    Args:
        root: The folder that they are in.
        names: Their paths within it, each once.
        source: What to give as ``--data`` to get them.
    """
    looks = {name: look_at(os.path.join(root, name)) for name in names}
    states = {name: look.state for name, look in looks.items() if not look.problem}
    failures = {name: look.problem for name, look in looks.items() if look.problem}
    return _list_states(root, states, failures, source=source)


class _Look(NamedTuple):
    """What can be seen of a file without reading it: its size and time, or why it is unreadable."""

    state: str
    problem: str = ""


def look_at(path: str) -> _Look:
    """Look at a file."""
    try:
        state = os.stat(path)
    except OSError as error:  # such as a broken symbolic link
        return _Look("", error.strerror or str(error))
    if not stat.S_ISREG(state.st_mode):
        return _Look("", "not a regular file")  # reading a pipe might never end
    return _Look(f"{state.st_size} {state.st_mtime_ns}")


def _list_states(
    root: Path, states: dict[str, str], failures: dict[str, str], *, source: Path
) -> Pictures:
    """Pictures of files whose sizes and times are known, by name."""
    names = list(states)
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(f"{name}\0{states[name]}\0"))

    def read(chosen: Collection[int]) -> Iterator[Encoded]:
        return (Encoded(root / names[i], names[i], {0: i}) for i in chosen)

    return Pictures(
        source=str(source),
        names=names,
        places=[Place(None, None)] * len(names),
        read=read,
        fingerprint=digest.hexdigest(),
        failures=failures,
    )


def kind_of_file(name: str) -> str:
    """What kind of file this is, by its name: its ending, with the dot."""
    return os.path.splitext(name)[1].lower()[:12] or "without an ending"
