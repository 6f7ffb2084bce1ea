"""Encoded images, wherever they are stored: decode them in parallel, and keep the result."""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.config import FIT, ReadOptions
from ae_cli.data.cache import keep, read_kept
from ae_cli.data.decode import (
    CUT,
    UnreadableImageError,
    count_frames,
    decode_frames,
    may_have_frames,
    quiet_pillow,
)
from ae_cli.data.images import DataSet, Images, hold_out, sort_classes
from ae_cli.data.layout import Place, find_file_splits, find_used
from ae_cli.data.paths import short_name
from ae_cli.data.sample import (
    Encoded,
    choose_size,
    describe_changes,
    map_in_turn,
    recall_sample,
)
from ae_cli.data.store import PixelStore
from ae_cli.errors import DataError, warn
from ae_cli.files.reading import check_unpacked
from ae_cli.results import format_shape

# To be increased by one whenever the same files would be decoded to different pixels, or a sample
# of them judged differently.
DECODER_VERSION = "2"

MOST_UNREADABLE = 0.1  # share of the files
MOST_NAMED = 10  # unreadable files that get a warning of their own
REPORT_EVERY = 50  # images
FRAMES_AT_ONCE = 256  # pages of one file that one thread decodes, one after the other


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


class _Decoded(NamedTuple):
    """The result of decoding pictures.

    Attributes:
        pixels: uint8 (readable images, channels, height, width), in the order of their names.
        failures: Why the others cannot be read, by name.
        remarks: What is to be said of those that could be read, by name.
    """

    pixels: Tensor
    failures: dict[str, str]
    remarks: dict[str, str]


def load_pictures(pictures: Pictures, options: ReadOptions, *, cache_folder: Path) -> DataSet:
    """Decode pictures, and arrange them in a training and a test split.

    Args:
        pictures: What is to be decoded.
        options: How to read the images.
        cache_folder: Decoded images are kept in its subfolder ``images``.

    Raises:
        DataError: There are too few images; or more than `MOST_UNREADABLE` of them, with ``strict``
            any of them, cannot be read.
    """
    shape, changes = _choose_shape(pictures, options, cache_folder)
    decoded = _decode_or_recall(pictures, shape, options, cache_folder)
    failures = {**pictures.failures, **decoded.failures}
    _warn_of(pictures, failures, strict=options.strict)
    _say_remarks(pictures, decoded.remarks)
    everything, splits = _assemble(pictures, decoded)
    understood = (*pictures.understood, *_describe_classes(pictures))
    if not any(splits):
        held_out = hold_out(pictures.source, everything, options)
        return replace(held_out, changes=changes, fit=options.fit or FIT, understood=understood)

    def members(split: str) -> Images:
        chosen = np.flatnonzero([own == split for own in splits])
        # In the table of latents, an index counts within the split.
        return replace(everything.select(chosen), positions=None).shuffle(options.seed)

    if unused := splits.count(None):
        warn(f"{unused:,} images of {pictures.name} are in neither split and are not used")
    for split in ("train", "test"):
        if split not in splits:
            raise DataError(
                f"no image of the {split} split of {pictures.source} can be read", "repair some"
            )
    return DataSet(
        pictures.source,
        members("train"),
        members("test"),
        changes=changes,
        fit=options.fit or FIT,
        understood=understood,
    )


def _assemble(pictures: Pictures, decoded: _Decoded) -> tuple[Images, list[str | None]]:
    """Put pixels, names, labels and columns together; and the split of each image."""
    readable = [i for i, name in enumerate(pictures.names) if name not in decoded.failures]
    places = [pictures.places[i] for i in readable]
    classes: tuple[str, ...] = ()
    if are_labelled(pictures.places):
        classes = sort_classes({place.label for place in places if place.label is not None})
    number = {label: i for i, label in enumerate(classes)}
    labels = torch.tensor([number.get(place.label or "", 0) for place in places])
    names = tuple(to_text(pictures.names[i]) for i in readable)
    everything = Images(
        PixelStore(decoded.pixels),
        labels=labels if classes else None,
        names=names if pictures.are_named else None,
        classes=classes or None,
        columns={name: values[readable] for name, values in pictures.columns.items()},
    )
    return everything, [place.split for place in places]


def to_text(name: str) -> str:
    """A file's name that can be printed or written to a table, even if it is not valid UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def are_labelled(places: Sequence[Place]) -> bool:
    """Whether every image that is used has a label."""
    return all(places[i].label is not None for i in find_used(places))


def _describe_classes(pictures: Pictures) -> list[str]:
    """Say how many splits and classes there are."""
    splits = Counter(place.split for place in pictures.places if place.split is not None)
    counts = [f"{count:,} {split}" for split, count in sorted(splits.items(), reverse=True)]
    labels = {place.label for place in pictures.places} - {None}
    has_labels = are_labelled(pictures.places)
    return [
        *([f"splits: {' + '.join(counts)}"] if splits else []),
        *([f"{len(labels):,} classes"] if has_labels else []),
        *(["no classes: some images have no label"] if labels and not has_labels else []),
    ]


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
            try:
                frames = count_frames(content, name)
            except UnreadableImageError:  # whoever decodes it will say so
                continue
            (position,) = positions.values()
            check_unpacked(Path(pictures.source), frames * _FRAME_BYTES)
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
            *([f"every page or frame of {_files(more)} is an image"] if more else []),
        ),
    )


_FRAME_BYTES = 64 * 64  # of an image in memory, at least
_LARGEST_CHECKED = 3 * 64 * 64  # bytes of an image; whoever wants larger ones may have them


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count != 1)}"


def _choose_shape(
    pictures: Pictures, options: ReadOptions, cache_folder: Path
) -> tuple[tuple[int, int, int], str | None]:
    """Find out which channels, height and width the images get.

    Returns:
        The shape, and what it changes; see `DataSet.changes`.
    """
    if options.size is not None and options.color is not None:
        return (3 if options.color else 1, *options.size), None
    kept = _place_in(cache_folder, f"{pictures.source}\0sample")
    used = find_used(pictures.places)
    sample = recall_sample(pictures.read, used, kept, _origin(pictures))
    color = sample.has_colors if options.color is None else options.color
    shape = (3 if color else 1, *(options.size or choose_size(sample)))
    return shape, describe_changes(sample, shape, options.fit or FIT)


def _place_in(cache_folder: Path, what: str) -> Path:
    """Where something about a source is kept."""
    return cache_folder / "images" / f"{hashlib.sha256(os.fsencode(what)).hexdigest()}.safetensors"


def _origin(pictures: Pictures) -> dict[str, str]:
    """What must be unchanged for something that was kept to be used again."""
    return {"fingerprint": pictures.fingerprint, "decoder_version": DECODER_VERSION}


def _decode_or_recall(
    pictures: Pictures, shape: tuple[int, int, int], options: ReadOptions, cache_folder: Path
) -> _Decoded:
    """Decode the images, or read them from the cache if nothing has changed since."""
    channels, *size = shape
    what = f"{pictures.source}\0{tuple(size)}\0{channels == 3}\0{options.fit or FIT}"
    kept, origin = _place_in(cache_folder, what), _origin(pictures)

    def fit(tensors: dict[str, Tensor]) -> bool:
        pixels, failures = tensors["pixels"], _parse(tensors["failures"])
        readable = [name for name in pictures.names if name not in failures]
        return (
            pixels.dtype == torch.uint8
            and pixels.shape == (len(readable), *shape)
            and len(failures) == len(pictures.names) - len(readable)
            and _parse(tensors["remarks"]).keys() <= set(readable)
        )

    tensors = read_kept(kept, origin, fit)
    if tensors is not None:
        return _Decoded(tensors["pixels"], _parse(tensors["failures"]), _parse(tensors["remarks"]))
    decoded = _decode_all(pictures, shape, options)
    keep(
        kept,
        origin,
        {
            "pixels": decoded.pixels,
            "failures": _to_tensor(decoded.failures),
            "remarks": _to_tensor(decoded.remarks),
        },
    )
    return decoded


def _to_tensor(texts: dict[str, str]) -> Tensor:
    """Texts by name as JSON, uint8 (bytes,)."""
    return torch.from_numpy(np.frombuffer(json.dumps(texts).encode(), np.uint8).copy())


def _parse(tensor: Tensor) -> dict[str, str]:
    """Read texts that `_to_tensor` wrote.

    Raises:
        ValueError, TypeError, RecursionError: They are not valid.
    """
    texts = json.loads(tensor.numpy().tobytes())
    if isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values()):
        return texts
    raise TypeError("not texts by name")


def _decode_all(pictures: Pictures, shape: tuple[int, int, int], options: ReadOptions) -> _Decoded:
    """Decode all images, in as many threads as torch uses: Pillow releases Python's lock."""
    channels, height, width = shape
    count = len(pictures.names)
    source = Path(pictures.source)
    if source.is_file():  # in which one image may be many times, though it takes no room
        check_unpacked(source, count * min(channels * height * width, _LARGEST_CHECKED))
    try:
        pixels = np.empty((count, *shape), np.uint8)
    except MemoryError as error:
        raise DataError(
            f"{count:,} images of {format_shape(shape)} do not fit in memory",
            "choose a smaller --image-size",
        ) from error
    failures: dict[int, str] = {}
    remarks: dict[int, str] = {}

    def work(encoded: Encoded) -> int:
        content, name, positions = encoded
        left = list(positions.items())
        images = decode_frames(
            content,
            [frame for frame, _ in left],
            size=(height, width),
            color=channels == 3,
            fit=options.fit or FIT,
            name=name,
        )
        try:
            for image in images:
                _, position = left.pop(0)
                pixels[position] = image.pixels
                if image.remark:
                    remarks[position] = image.remark
        except UnreadableImageError as error:  # what comes after it in the file is lost too
            failures.update((position, str(error)) for _, position in left)
        return len(positions)

    done = reported = 0
    executor = ThreadPoolExecutor(torch.get_num_threads())
    try:
        with quiet_pillow():
            for some in map_in_turn(executor, work, pictures.read(range(count))):
                done += some
                if done - reported >= REPORT_EVERY or done == count:
                    options.progress(pictures.name, done, count, "files")
                    reported = done
    finally:
        executor.shutdown(cancel_futures=True)  # otherwise Ctrl-C would wait for all images
    readable = [i for i in range(count) if i not in failures]
    names = pictures.names
    return _Decoded(
        torch.from_numpy(pixels[readable] if failures else pixels),
        {names[i]: failures[i] for i in sorted(failures)},
        {names[i]: remarks[i] for i in sorted(remarks)},
    )


def _warn_of(pictures: Pictures, failures: dict[str, str], *, strict: bool) -> None:
    """Warn about images that cannot be read.

    Args:
        pictures: All images.
        failures: Why some cannot be read, by name.
        strict: Whether a single such image is an error.

    Raises:
        DataError: More than `MOST_UNREADABLE` of them cannot be read, or any with `strict`.
    """
    if not failures:
        return
    path, total = Path(pictures.source), len(pictures.names) + len(pictures.failures)
    is_folder = path.is_dir()
    lines = [
        f"{path / name if is_folder else f'{name} in {path}'} cannot be read ({cause})"
        for name, cause in failures.items()
    ]
    if strict:
        raise DataError(lines[0], "repair or remove it, or leave out --strict")
    count = f"{len(failures):,} of {total:,} images in {path} cannot be read"
    if len(failures) > MOST_UNREADABLE * total:
        name, cause = next(iter(failures.items()))
        raise DataError(f"{count}, such as {name} ({cause})", "repair or remove them")
    for line in lines[:MOST_NAMED]:
        warn(line)
    warn(f"{count} and are left out")


def _say_remarks(pictures: Pictures, remarks: dict[str, str]) -> None:
    """Say what was passed over, and what was read only in part: a line for each kind."""
    if pictures.passed_over:
        total = pictures.passed_over.total()
        warn(
            f"{_files(total)} of {pictures.name} {'are' if total > 1 else 'is'} not in a format of "
            f"images that ae reads, and passed over: {list_kinds(pictures.passed_over)}"
        )
    cut = [name for name, remark in remarks.items() if remark == CUT]
    if cut:
        warn(
            f"{_files(len(cut))} of {pictures.name} without an end, read as far as "
            f"{'they go' if len(cut) > 1 else 'it goes'}: {list_some(cut)}"
        )
    if several := [name for name, remark in remarks.items() if remark != CUT]:
        warn(
            f"{_files(len(several))} of {pictures.name} with several pages or frames, of which the "
            f"first is read ({list_some(several)}); --frames all reads all"
        )


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
