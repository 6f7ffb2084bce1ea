"""Guessing which file or folder was meant by a path that does not exist."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

_DIGITS = re.compile(r"\d")
MOST_WORDS = 10  # of a path with spaces
MOST_LISTED = 10_000  # files and folders that are compared with a misspelt one


def suggest_near(path: Path, otherwise: str) -> str:
    """What to do about a path that does not exist.

    Args:
        path: The path.
        otherwise: What to do if nothing beside it has nearly its name.

    Returns:
        ``did you mean …?``, or `otherwise`.
    """
    while path.parent != path and not _is_folder(path.parent):  # the folder is misspelt
        path = path.parent
    # A number that is not there is no misspelling.
    form = _DIGITS.sub("0", path.name)
    names = [name for name in _list_beside(path) if _DIGITS.sub("0", name) != form]
    # The names must be alike without their endings, too, which make up most of some names.
    stems = difflib.get_close_matches(path.stem, {Path(name).stem for name in names}, n=5)
    near = difflib.get_close_matches(path.name, [n for n in names if Path(n).stem in stems], n=1)
    return f"did you mean {path.with_name(near[0])}?" if near else otherwise


def find_unquoted(words: Sequence[str]) -> Path | None:
    """The path whose spaces a shell took for the ends of words; None if there is none."""
    for first in range(len(words)):
        for last in range(min(len(words), first + MOST_WORDS), first + 1, -1):
            text = " ".join(words[first:last])
            # pathlib raises an error for a name that is too long.
            if os.path.exists(text):  # noqa: PTH110
                return Path(text)
    return None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that is too long, or contains a null byte
        return False


def _list_beside(path: Path) -> list[str]:
    """The names of some files and folders in the folder where a path should be."""
    try:
        with os.scandir(path.parent) as entries:
            return [entry.name for entry in islice(entries, MOST_LISTED)]
    except (OSError, ValueError):  # it does not exist either, or cannot be a path
        return []
