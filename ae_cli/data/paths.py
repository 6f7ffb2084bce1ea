"""Which files and folders a value of ``--data`` means."""

from __future__ import annotations

import glob
import os
import re
from itertools import product
from pathlib import Path

from ae_cli.errors import warn

_MOST_MATCHES = 100_000  # names that one pattern may stand for


def find_paths(source: str) -> list[Path] | None:
    """Find the files and folders that a value of ``--data`` means.

    Args:
        source: A path; several, with what separates paths in the variable ``PATH`` between them; or
            a pattern such as ``shards/*.tar`` or ``shard-{000..012}.tar``.

    Returns:
        Their paths, at least one; None if one does not exist.
    """
    paths: list[Path] = []
    for part in [source] if _exists(source) else source.split(os.pathsep):
        found = [part] if _exists(part) else _match(part)
        if not found:
            return None
        paths += map(Path, found)
    return paths


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except (OSError, ValueError):  # a name that is too long, or contains a null byte
        return False


def _match(pattern: str) -> list[str]:
    """The paths that match a pattern, sorted."""
    choices = [_expand(text) for text in re.split(r"(\{[^{}]*\})", pattern)]
    if len(choices) == 1 and not glob.has_magic(pattern):
        return []
    matches: set[str] = set()
    for some, _ in zip(product(*choices), range(_MOST_MATCHES), strict=False):
        name = "".join(some)
        try:
            found = glob.glob(name, recursive=True) if glob.has_magic(name) else [name]  # noqa: PTH207
            matches.update(found)
        except (OSError, ValueError, re.error):
            return []
    return sorted(path for path in matches if _exists(path))


def _expand(text: str) -> list[str]:
    """What a part of a pattern stands for: ``{000..012}`` for numbers, ``{a,b}`` for words."""
    numbers = re.fullmatch(r"\{(\d{1,9})\.\.(\d{1,9})\}", text)
    if numbers is not None:
        low, high = numbers.groups()
        count = min(int(high) - int(low) + 1, _MOST_MATCHES)
        return [str(int(low) + i).zfill(len(low)) for i in range(count)]
    return text[1:-1].split(",") if text.startswith("{") and text.endswith("}") else [text]


def short_name(source: str) -> str:
    """A short name for people: the last part of a path, and how many more there are."""
    first, *more = [source] if _exists(source) else source.split(os.pathsep)
    return Path(first).name + (f" and {len(more):,} more" if more else "")


def to_absolute(source: str) -> str:
    """A value of ``--data`` that means the same in every folder."""
    if _exists(source):
        return str(Path(source).resolve())
    return os.pathsep.join(str(Path(part).absolute()) for part in source.split(os.pathsep))


def warn_of_output(source: str, out: Path) -> None:
    """Warn if an output is in the folder of the images: with pictures there, the images change."""
    folders = [Path(part) for part in source.split(os.pathsep)]
    if any(f.is_absolute() and f.is_dir() and out.resolve().is_relative_to(f) for f in folders):
        warn(
            f"{out} is in the folder of the images, where pictures that ae makes would be read as "
            "images; better work in another folder"
        )
