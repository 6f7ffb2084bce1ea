"""A folder of images, decoded in parallel and kept decoded."""

# For thousands of files, paths as text are several times as fast as objects.
# ruff: noqa: PTH116, PTH118, PTH122

from __future__ import annotations

import hashlib
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ae_cli.config import FIT, IMAGE_SIZE, DataOptions
from ae_cli.data.cache import keep, read_kept
from ae_cli.data.decode import ENDINGS, UnreadableImageError, decode, quiet_pillow
from ae_cli.data.images import DataSet, Images, hold_out, sort_classes
from ae_cli.data.layout import arrange
from ae_cli.data.progress import Progress
from ae_cli.errors import DataError

# Raised by one whenever the same file would be decoded to other pixels.
DECODER_VERSION = "1"

MOST_UNREADABLE = 0.1  # share of the files
MOST_NAMED = 10  # unreadable files, each in a warning of its own
REPORT_EVERY = 50  # images


class _Listing(NamedTuple):
    """The image files of a folder.

    Attributes:
        names: Paths within the folder, with slashes, in order.
        fingerprint: A text that changes when a file is added, removed, renamed or changed.
        failures: Why folders, and what is no file, cannot be read, by name.
    """

    names: list[str]
    fingerprint: str
    failures: dict[str, str]


class _Decoded(NamedTuple):
    """What became of the files of a listing.

    Attributes:
        pixels: uint8 (readable files, channels, height, width), in the listing's order.
        failures: Why the other files cannot be read, by name.
    """

    pixels: Tensor
    failures: dict[str, str]


def load_folder(
    path: Path, options: DataOptions, *, cache_folder: Path, progress: Progress
) -> DataSet:
    """Read the images of a folder and of all folders in it; `arrange` says what these mean.

    Args:
        path: The folder, absolute.
        options: How to read them.
        cache_folder: What is decoded is kept in its folder ``images``.
        progress: Called while images are decoded.

    Raises:
        DataError: There are too few images, or more than `MOST_UNREADABLE` of them cannot be read,
            or any with ``strict``.
    """
    listing = _list_images(path)
    if not listing.names and not listing.failures:
        raise DataError(
            f"{path} holds no images ({', '.join(sorted(ENDINGS))})", "name another folder"
        )
    decoded = _decode_or_recall(path, listing, options, cache_folder, progress)
    failures = {**listing.failures, **decoded.failures}
    files = len(listing.names) + len(listing.failures)
    warnings = _judge(path, failures, files, strict=options.strict)
    readable = [name for name in listing.names if name not in failures]
    # A name that is no UTF-8 could not be printed, or written to a table.
    names = [os.fsencode(name).decode(errors="replace") for name in readable]
    places = arrange(names)
    classes = sort_classes({place.label for place in places if place.label is not None})
    number = {label: i for i, label in enumerate(classes)}
    labels = torch.tensor([number.get(place.label or "", 0) for place in places])

    def members(split: str | None) -> Images:
        chosen = [i for i, place in enumerate(places) if place.split == split]
        return Images(
            pixels=decoded.pixels[chosen],
            labels=labels[chosen] if classes else None,
            names=tuple(names[i] for i in chosen),
            classes=classes or None,
        )

    if not any(place.split for place in places):
        return replace(hold_out(str(path), members(None), options), warnings=warnings)
    if unused := sum(place.split is None for place in places):
        warnings += (f"{unused:,} images of {path.name} lie outside its two splits; not used",)
    train, test = (members(split).shuffle(options.seed) for split in ("train", "test"))
    return DataSet(str(path), train, test, warnings=warnings)


def _list_images(root: Path) -> _Listing:
    """Find the image files in a folder and in all folders in it, but for hidden ones."""
    states: dict[str, str] = {}
    failures: dict[str, str] = {}
    seen: set[tuple[int, int]] = set()  # or a symbolic link to a folder above would have no end

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
            if file.startswith(".") or os.path.splitext(file)[1].lower() not in ENDINGS:
                continue
            try:
                state = os.stat(os.path.join(folder, file))
            except OSError as error:  # a symbolic link to nothing, say
                fail(error)
                continue
            if stat.S_ISREG(state.st_mode):
                states[prefix + file] = f"{state.st_size} {state.st_mtime_ns}"
            else:
                failures[prefix + file] = "no regular file"  # reading a pipe might never end
    names = sorted(states)
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(f"{name}\0{states[name]}\0"))
    return _Listing(names, digest.hexdigest(), failures)


def _decode_or_recall(
    path: Path, listing: _Listing, options: DataOptions, cache_folder: Path, progress: Progress
) -> _Decoded:
    """Decode the images, unless the same files were decoded before in the same way."""
    size = options.image_size or (IMAGE_SIZE, IMAGE_SIZE)
    what = f"{path}\0{size}\0{options.color}\0{options.fit or FIT}"
    kept = cache_folder / "images" / f"{hashlib.sha256(os.fsencode(what)).hexdigest()}.safetensors"
    origin = {"fingerprint": listing.fingerprint, "decoder_version": DECODER_VERSION}
    shape = (3 if options.color else 1, *size)

    def fit(tensors: dict[str, Tensor]) -> bool:
        pixels, failures = tensors["pixels"], _parse_failures(tensors)
        readable = [name for name in listing.names if name not in failures]
        return (
            pixels.dtype == torch.uint8
            and pixels.shape == (len(readable), *shape)
            and len(failures) == len(listing.names) - len(readable)
        )

    tensors = read_kept(kept, origin, fit)
    if tensors is not None:
        return _Decoded(tensors["pixels"], _parse_failures(tensors))
    decoded = _decode_all(path, listing.names, size, options, progress)
    text = np.frombuffer(json.dumps(decoded.failures).encode(), np.uint8)
    keep(kept, origin, {"pixels": decoded.pixels, "failures": torch.from_numpy(text.copy())})
    return decoded


def _parse_failures(tensors: dict[str, Tensor]) -> dict[str, str]:
    """The failures among the tensors that are kept.

    Raises:
        ValueError, TypeError, RecursionError: They are something else.
    """
    failures = json.loads(tensors["failures"].numpy().tobytes())
    if isinstance(failures, dict) and all(isinstance(cause, str) for cause in failures.values()):
        return failures
    raise TypeError("no failures by name")


def _decode_all(
    path: Path, names: list[str], size: tuple[int, int], options: DataOptions, progress: Progress
) -> _Decoded:
    """Decode all images, in as many threads as torch has: Pillow works outside Python's lock."""
    shape = (len(names), 3 if options.color else 1, *size)
    try:
        pixels = np.empty(shape, np.uint8)
    except MemoryError as error:
        raise DataError(
            f"{len(names):,} images of {shape[1]} × {size[0]} × {size[1]} do not fit in memory",
            "choose a smaller --image-size",
        ) from error

    def work(position: int) -> str | None:
        try:
            pixels[position] = decode(
                path / names[position], size=size, color=options.color, fit=options.fit or FIT
            )
        except UnreadableImageError as error:
            return str(error)
        return None

    failures: dict[str, str] = {}
    executor = ThreadPoolExecutor(torch.get_num_threads())
    try:
        with quiet_pillow():
            causes = executor.map(work, range(len(names)))
            for done, (name, cause) in enumerate(zip(names, causes, strict=True), start=1):
                if cause is not None:
                    failures[name] = cause
                if done % REPORT_EVERY == 0 or done == len(names):
                    progress(path.name, done, len(names), "images")
    finally:
        executor.shutdown(cancel_futures=True)  # or Ctrl-C would wait for all images
    readable = [i for i, name in enumerate(names) if name not in failures]
    return _Decoded(torch.from_numpy(pixels[readable] if failures else pixels), failures)


def _judge(path: Path, failures: dict[str, str], files: int, *, strict: bool) -> tuple[str, ...]:
    """Turn what cannot be read into warnings.

    Args:
        path: The folder.
        failures: Why, by name.
        files: How many files there are in all.
        strict: Whether one is too many.

    Raises:
        DataError: There are more than `MOST_UNREADABLE`, or any with `strict`.
    """
    if not failures:
        return ()
    lines = [f"{path / name} cannot be read ({cause})" for name, cause in failures.items()]
    if strict:
        raise DataError(lines[0], "mend or remove it, or leave out --strict")
    count = f"{len(failures):,} of {files:,} images in {path} cannot be read"
    if len(failures) > MOST_UNREADABLE * files:
        name, cause = next(iter(failures.items()))
        raise DataError(f"{count}, such as {name} ({cause})", "mend or remove them")
    return (*lines[:MOST_NAMED], f"{count} and are left out")
