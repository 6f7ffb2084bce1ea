"""Decode images in parallel, and keep the result in the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ae_cli.config import FIT, ReadOptions
from ae_cli.data.cache import keep, read_kept
from ae_cli.data.decode import CUT, UnreadableImageError, decode_frames, quiet_pillow
from ae_cli.data.images import DataSet, Images, hold_out, sort_classes
from ae_cli.data.layout import find_used
from ae_cli.data.pictures import (
    Pictures,
    are_labelled,
    count_files,
    list_kinds,
    list_some,
    to_text,
)
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
_LARGEST_CHECKED = 3 * 64 * 64  # bytes of an image; whoever wants larger ones may have them


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
            f"{count_files(total)} of {pictures.name} {'are' if total > 1 else 'is'} not in a "
            "format of images that ae reads, and passed over: "
            f"{list_kinds(pictures.passed_over)}"
        )
    cut = [name for name, remark in remarks.items() if remark == CUT]
    if cut:
        warn(
            f"{count_files(len(cut))} of {pictures.name} without an end, read as far as "
            f"{'they go' if len(cut) > 1 else 'it goes'}: {list_some(cut)}"
        )
    if several := [name for name, remark in remarks.items() if remark != CUT]:
        warn(
            f"{count_files(len(several))} of {pictures.name} with several pages or frames, of "
            f"which the first is read ({list_some(several)}); --frames all reads all"
        )
