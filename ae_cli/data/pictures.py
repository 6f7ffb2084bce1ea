"""Encoded images, wherever they are stored, before they are decoded."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ae_cli.data.decode import UnreadableImageError, count_frames
from ae_cli.data.image_formats import may_have_frames
from ae_cli.data.layout import Place, find_file_splits, find_used
from ae_cli.data.paths import short_name
from ae_cli.data.quiet import quiet_pillow
from ae_cli.data.sample import Encoded
from ae_cli.errors import DataError, warn
from ae_cli.files.reading import most_unpacked

FRAMES_AT_ONCE = 256  # pages of one file that one thread decodes, one after the other
_FRAME_BYTES = 64 * 64  # of an image in memory, at least


@dataclass(frozen=True)
class Pictures:
    """The encoded images of a source: a folder, an archive, a table, a file with pages.

    Attributes:
        source: What to give as ``--data`` to get them.
        names: Their names, each once: paths within the source, with slashes.
        places: The split and the class of each.
        read: Reads some of them, by their positions: yields them in the order in which that is
            fastest. What is yielded is used before the next one is asked for.
        fingerprint: A text that changes when any of them changes.
        are_named: Whether the names mean something to people.
        failures: Why further images cannot be read (a pipe, a broken link), by name.
        passed_over: The number of files that are no images, by what they are, such as ``.txt``.
        others: The names of the files that are no images, sorted.
        columns: What else is known about each image, by name, each (n,).
        understood: How the source was understood, a line per decision.
    """

    kind: ClassVar[Literal["pictures"]] = "pictures"

    source: str
    names: list[str]
    places: list[Place]
    read: Callable[[Collection[int]], Iterator[Encoded]] = field(repr=False)
    fingerprint: str
    are_named: bool = True
    failures: Mapping[str, str] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)
    others: Sequence[str] = field(default=(), repr=False)
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    understood: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A short name for people."""
        return short_name(self.source)


def to_text(name: str) -> str:
    """A file's name that can be printed or written to a table, even if it is not valid UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def are_labelled(places: Sequence[Place]) -> bool:
    """Whether every image that is used has a label."""
    return all(places[i].label is not None for i in find_used(places))


def join_pictures(source: str, parts: Sequence[Pictures]) -> Pictures:
    """Join the pictures of several sources, one after the other.

    Args:
        source: What to give as ``--data`` to get all of them.
        parts: The pictures. If there are none of a split among them, their names decide.
    """
    if len(parts) == 1:
        return replace(parts[0], source=source)
    by_name = find_file_splits([Path(part.source) for part in parts])
    if any(by_name):
        parts, by_name = _drop_unlabelled(parts, by_name)
    has_splits = any(place.split for part in parts for place in part.places)
    starts = [int(n) for n in np.cumsum([0, *(len(part.names) for part in parts)])]

    def read(chosen: Collection[int]) -> Iterator[Encoded]:
        ordered = sorted(chosen)
        for part, start in zip(parts, starts, strict=False):
            begin = bisect_left(ordered, start)
            end = bisect_left(ordered, start + len(part.names))
            own = [i - start for i in ordered[begin:end]]
            if own:
                for content, name, positions in part.read(own):
                    yield Encoded(content, name, {f: i + start for f, i in positions.items()})

    prefixes = _tell_apart([part.source for part in parts])
    shared = set.intersection(*(set(part.columns) for part in parts))
    digest = hashlib.sha256("\0".join(part.fingerprint for part in parts).encode())
    return Pictures(
        source=source,
        names=[
            f"{p}/{name}" for p, part in zip(prefixes, parts, strict=True) for name in part.names
        ],
        places=[
            place if has_splits else place._replace(split=split)
            for part, split in zip(parts, by_name, strict=True)
            for place in part.places
        ],
        read=read,
        fingerprint=digest.hexdigest(),
        are_named=all(part.are_named for part in parts),
        failures={
            f"{prefix}/{name}": why
            for prefix, part in zip(prefixes, parts, strict=True)
            for name, why in part.failures.items()
        },
        passed_over=sum((part.passed_over for part in parts), Counter()),
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in shared},
        understood=(f"{len(parts):,} sources, one after the other", *parts[0].understood),
    )


def _drop_unlabelled(
    parts: Sequence[Pictures], splits: Sequence[str | None]
) -> tuple[list[Pictures], list[str | None]]:
    """Leave out sources without labels if others have them: many test sets have none."""
    labelled = [any(place.label is not None for place in part.places) for part in parts]
    if any(labelled):
        for part, has_labels in zip(parts, labelled, strict=True):
            if not has_labels:
                warn(f"the images of {part.name} have no labels and are not used")
    kept = [i for i in range(len(parts)) if labelled[i] or not any(labelled)]
    return [parts[i] for i in kept], find_file_splits([Path(parts[i].source) for i in kept])


def _tell_apart(sources: Sequence[str]) -> list[str]:
    """A different short name for each source: its last part, or more where that is not enough."""
    for count in (1, 2, 3):
        names = ["/".join(Path(source).parts[-count:]) for source in sources]
        if len(set(names)) == len(names):
            return names
    return [str(number) for number in range(1, len(sources) + 1)]


def expand_frames(pictures: Pictures) -> Pictures:
    """Make an image of each page or frame of a file, called ``stack.tif#1`` and so on.

    Raises:
        DataError: There are far more of them than the size of the file suggests.
    """
    counts = [1] * len(pictures.names)
    candidates = [i for i, name in enumerate(pictures.names) if may_have_frames(name)]
    with quiet_pillow():
        for content, name, positions in pictures.read(candidates):
            if isinstance(content, UnreadableImageError):
                continue
            try:
                frames = count_frames(content, name)
            except UnreadableImageError:  # whoever decodes it will say so
                continue
            where = content if isinstance(content, Path) else f"{name} in {pictures.source}"
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            if frames * _FRAME_BYTES > most_unpacked(size):
                raise DataError(
                    f"{where} has {frames:,} pages or frames, absurdly many for its size",
                    "leave it out, or read the first only: --frames first",
                )
            (position,) = positions.values()
            counts[position] = max(frames, 1)
    origins = [i for i, count in enumerate(counts) for _ in range(count)]
    starts = np.cumsum([0, *counts])

    def read(chosen: Collection[int]) -> Iterator[Encoded]:
        wanted: dict[int, dict[int, int]] = {}
        for position in sorted(chosen):
            origin = origins[position]
            wanted.setdefault(origin, {})[position - int(starts[origin])] = position
        for content, name, positions in pictures.read(list(wanted)):
            (origin,) = positions.values()
            frames = list(wanted[origin].items())
            for first in range(0, len(frames), FRAMES_AT_ONCE):
                yield Encoded(content, name, dict(frames[first : first + FRAMES_AT_ONCE]))

    more = sum(count > 1 for count in counts)
    return replace(
        pictures,
        names=[
            f"{name}#{frame}" if count > 1 else name
            for name, count in zip(pictures.names, counts, strict=True)
            for frame in range(1, count + 1)
        ],
        places=[pictures.places[i] for i in origins],
        read=read,
        fingerprint=f"{pictures.fingerprint} frames",
        columns={name: values[origins] for name, values in pictures.columns.items()},
        understood=(
            *pictures.understood,
            *([f"every page or frame of {count_files(more)} is an image"] if more else []),
        ),
    )


def count_files(count: int) -> str:
    """A number of files in words."""
    return f"{count:,} file{'s' * (count != 1)}"


def list_kinds(kinds: Counter[str]) -> str:
    """Kinds of files and how many there are of each, the most frequent first."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(ordered) - 8:,} other kinds" if len(ordered) > 8 else ""
    return ", ".join(f"{count:,} {kind}" for kind, count in ordered[:8]) + more


def list_some(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    shown = ", ".join(map(to_text, names[:most]))
    return shown + (f" and {more:,} more" if more > 0 else "")
