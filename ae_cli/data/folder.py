"""Read a folder of images: decode them in parallel, and keep the result in the cache folder."""

# For thousands of files, os.path is several times as fast as pathlib.
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

from ae_cli.config import FIT, ReadOptions
from ae_cli.data.cache import keep, read_kept
from ae_cli.data.decode import ENDINGS, UnreadableImageError, decode, quiet_pillow
from ae_cli.data.images import DataSet, Images, hold_out, sort_classes
from ae_cli.data.layout import arrange
from ae_cli.data.sample import choose_size, describe_changes, recall_sample
from ae_cli.data.store import PixelStore
from ae_cli.errors import DataError, warn
from ae_cli.results import format_shape

# To be increased by one whenever the same files would be decoded to different pixels, or a sample
# of them judged differently.
DECODER_VERSION = "1"

MOST_UNREADABLE = 0.1  # share of the files
MOST_NAMED = 10  # unreadable files that get a warning of their own
REPORT_EVERY = 50  # images


class _Listing(NamedTuple):
    """The image files of a folder.

    Attributes:
        names: Paths within the folder, with slashes, sorted.
        fingerprint: A text that changes when a file is added, removed, renamed or changed.
        failures: Why something in the folder cannot be read (a folder, a pipe), by name.
    """

    names: list[str]
    fingerprint: str
    failures: dict[str, str]


class _Decoded(NamedTuple):
    """The result of decoding the files of a listing.

    Attributes:
        pixels: uint8 (readable files, channels, height, width), in the listing's order.
        failures: Why the other files cannot be read, by name.
    """

    pixels: Tensor
    failures: dict[str, str]


def load_folder(path: Path, options: ReadOptions, *, cache_folder: Path) -> DataSet:
    """Read the images of a folder and its subfolders; see `arrange` for what the subfolders mean.

    Args:
        path: The folder, as an absolute path.
        options: How to read the images.
        cache_folder: Decoded images are kept in its subfolder ``images``.

    Raises:
        DataError: There are too few images; or more than `MOST_UNREADABLE` of them, with ``strict``
            any of them, cannot be read.
    """
    listing = _list_images(path)
    if not listing.names and not listing.failures:
        raise DataError(
            f"{path} holds no images ({', '.join(sorted(ENDINGS))})", "name another folder"
        )
    shape, changes = _choose_shape(path, listing, options, cache_folder)
    decoded = _decode_or_recall(path, listing, shape, options, cache_folder)
    failures = {**listing.failures, **decoded.failures}
    files = len(listing.names) + len(listing.failures)
    _warn_of(path, failures, files, strict=options.strict)
    readable = [name for name in listing.names if name not in failures]
    # A name that is not valid UTF-8 could not be printed or written to a table.
    names = [os.fsencode(name).decode(errors="replace") for name in readable]
    places = arrange(names)
    classes = sort_classes({place.label for place in places if place.label is not None})
    number = {label: i for i, label in enumerate(classes)}
    labels = torch.tensor([number.get(place.label or "", 0) for place in places])

    everything = Images(
        PixelStore(decoded.pixels),
        labels=labels if classes else None,
        names=tuple(names),
        classes=classes or None,
    )
    if not any(place.split for place in places):
        return replace(hold_out(str(path), everything, options), changes=changes)

    def members(split: str) -> Images:
        chosen = np.flatnonzero([place.split == split for place in places])
        # In the table of latents, an index counts within the split.
        return replace(everything.select(chosen), positions=None).shuffle(options.seed)

    if unused := sum(place.split is None for place in places):
        warn(f"{unused:,} images of {path.name} are in neither split and are not used")
    return DataSet(str(path), members("train"), members("test"), changes=changes)


def _list_images(root: Path) -> _Listing:
    """Find the image files in a folder and its subfolders, except hidden ones."""
    states: dict[str, str] = {}
    failures: dict[str, str] = {}
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
            if file.startswith(".") or os.path.splitext(file)[1].lower() not in ENDINGS:
                continue
            try:
                state = os.stat(os.path.join(folder, file))
            except OSError as error:  # such as a broken symbolic link
                fail(error)
                continue
            if stat.S_ISREG(state.st_mode):
                states[prefix + file] = f"{state.st_size} {state.st_mtime_ns}"
            else:
                failures[prefix + file] = "not a regular file"  # reading a pipe might never end
    names = sorted(states)
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(f"{name}\0{states[name]}\0"))
    return _Listing(names, digest.hexdigest(), failures)


def _choose_shape(
    path: Path, listing: _Listing, options: ReadOptions, cache_folder: Path
) -> tuple[tuple[int, int, int], str | None]:
    """Find out which channels, height and width the images get.

    Returns:
        The shape, and what it changes; see `DataSet.changes`.
    """
    if options.size is not None and options.color is not None:
        return (3 if options.color else 1, *options.size), None
    kept = _place_in(cache_folder, f"{path}\0sample")
    sample = recall_sample(path, listing.names, kept, _origin(listing))
    color = sample.has_colors if options.color is None else options.color
    shape = (3 if color else 1, *(options.size or choose_size(sample)))
    return shape, describe_changes(sample, shape, options.fit or FIT)


def _place_in(cache_folder: Path, what: str) -> Path:
    """Where something about a folder is kept."""
    return cache_folder / "images" / f"{hashlib.sha256(os.fsencode(what)).hexdigest()}.safetensors"


def _origin(listing: _Listing) -> dict[str, str]:
    """What must be unchanged for something that was kept to be used again."""
    return {"fingerprint": listing.fingerprint, "decoder_version": DECODER_VERSION}


def _decode_or_recall(
    path: Path,
    listing: _Listing,
    shape: tuple[int, int, int],
    options: ReadOptions,
    cache_folder: Path,
) -> _Decoded:
    """Decode the images, or read them from the cache if nothing has changed since."""
    channels, *size = shape
    what = f"{path}\0{tuple(size)}\0{channels == 3}\0{options.fit or FIT}"
    kept, origin = _place_in(cache_folder, what), _origin(listing)

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
    decoded = _decode_all(path, listing.names, shape, options)
    text = np.frombuffer(json.dumps(decoded.failures).encode(), np.uint8)
    keep(kept, origin, {"pixels": decoded.pixels, "failures": torch.from_numpy(text.copy())})
    return decoded


def _parse_failures(tensors: dict[str, Tensor]) -> dict[str, str]:
    """Read the failures from the tensors in the cache.

    Raises:
        ValueError, TypeError, RecursionError: They are not valid.
    """
    failures = json.loads(tensors["failures"].numpy().tobytes())
    if isinstance(failures, dict) and all(isinstance(cause, str) for cause in failures.values()):
        return failures
    raise TypeError("not texts by name")


def _decode_all(
    path: Path, names: list[str], shape: tuple[int, int, int], options: ReadOptions
) -> _Decoded:
    """Decode all images, in as many threads as torch uses: Pillow releases Python's lock."""
    channels, height, width = shape
    try:
        pixels = np.empty((len(names), *shape), np.uint8)
    except MemoryError as error:
        raise DataError(
            f"{len(names):,} images of {format_shape(shape)} do not fit in memory",
            "choose a smaller --image-size",
        ) from error

    def work(position: int) -> str | None:
        try:
            pixels[position] = decode(
                path / names[position],
                size=(height, width),
                color=channels == 3,
                fit=options.fit or FIT,
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
                    options.progress(path.name, done, len(names), "files")
    finally:
        executor.shutdown(cancel_futures=True)  # otherwise Ctrl-C would wait for all images
    readable = [i for i, name in enumerate(names) if name not in failures]
    return _Decoded(torch.from_numpy(pixels[readable] if failures else pixels), failures)


def _warn_of(path: Path, failures: dict[str, str], files: int, *, strict: bool) -> None:
    """Warn about files that cannot be read.

    Args:
        path: The folder.
        failures: Why they cannot be read, by name.
        files: The number of all files.
        strict: Whether a single such file is an error.

    Raises:
        DataError: More than `MOST_UNREADABLE` of the files cannot be read, or any with `strict`.
    """
    if not failures:
        return
    lines = [f"{path / name} cannot be read ({cause})" for name, cause in failures.items()]
    if strict:
        raise DataError(lines[0], "repair or remove it, or leave out --strict")
    count = f"{len(failures):,} of {files:,} images in {path} cannot be read"
    if len(failures) > MOST_UNREADABLE * files:
        name, cause = next(iter(failures.items()))
        raise DataError(f"{count}, such as {name} ({cause})", "repair or remove them")
    for line in lines[:MOST_NAMED]:
        warn(line)
    warn(f"{count} and are left out")
