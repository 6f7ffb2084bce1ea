"""Decode images in parallel, and keep the result in the cache folder."""

from __future__ import annotations

import hashlib
import json
import math
import os
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.config import FIT, ReadOptions
from ae_cli.data.cache import Tensors, make_kept, read_kept
from ae_cli.data.decode import UnreadableImageError, decode_frames
from ae_cli.data.layout import find_used
from ae_cli.data.pictures import Pictures
from ae_cli.data.quiet import quiet_pillow
from ae_cli.data.sample import (
    Encoded,
    choose_size,
    describe_changes,
    map_in_turn,
    recall_sample,
)
from ae_cli.errors import DataError
from ae_cli.files.reading import check_unpacked
from ae_cli.results import format_shape

# To be increased by one whenever the same files would be decoded to different pixels, or a sample
# of them judged differently.
DECODER_VERSION = "4"

REPORT_EVERY = 50  # images
_LARGEST_CHECKED = 3 * 64 * 64  # bytes of an image; whoever wants larger ones may have them


class Decoded(NamedTuple):
    """The result of decoding pictures.

    Attributes:
        pixels: uint8 (readable images, channels, height, width), in the order of their names.
        failures: Why the others cannot be read, by name.
        remarks: What is to be said of those that could be read, by name.
    """

    pixels: Tensor
    failures: dict[str, str]
    remarks: dict[str, str]


def choose_shape(
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
    sample = recall_sample(pictures.read, used, kept, _origin(pictures), options.workers)
    color = sample.has_colors if options.color is None else options.color
    shape = (3 if color else 1, *(options.size or choose_size(sample)))
    return shape, describe_changes(sample, shape, options.fit or FIT)


def _place_in(cache_folder: Path, what: str) -> Path:
    """Where something about a source is kept."""
    return cache_folder / "images" / f"{hashlib.sha256(os.fsencode(what)).hexdigest()}.safetensors"


def _origin(pictures: Pictures) -> dict[str, str]:
    """What must be unchanged for something that was kept to be used again."""
    return {"fingerprint": pictures.fingerprint, "decoder_version": DECODER_VERSION}


def decode_or_recall(
    pictures: Pictures, shape: tuple[int, int, int], options: ReadOptions, cache_folder: Path
) -> Decoded:
    """Decode the images, or read them from the cache if nothing has changed since."""
    channels, *size = shape
    what = f"{pictures.source}\0{tuple(size)}\0{channels == 3}\0{options.fit or FIT}"
    kept, origin = _place_in(cache_folder, what), _origin(pictures)

    def fit(tensors: Tensors) -> bool:
        pixels, failures = tensors["pixels"], _parse(tensors["failures"])
        readable = [name for name in pictures.names if name not in failures]
        return (
            pixels.dtype == torch.uint8
            and pixels.shape == (len(readable), *shape)
            and len(failures) == len(pictures.names) - len(readable)
            and _parse(tensors["remarks"]).keys() <= set(readable)
        )

    tensors = read_kept(kept, origin, fit) or _decode(pictures, shape, options, kept, origin)
    return Decoded(tensors["pixels"], _parse(tensors["failures"]), _parse(tensors["remarks"]))


def _decode(
    pictures: Pictures,
    shape: tuple[int, int, int],
    options: ReadOptions,
    kept: Path,
    origin: dict[str, str],
) -> Tensors:
    """Decode the images, and keep them if possible."""
    count = len(pictures.names)
    source = Path(pictures.source)
    if source.is_file():  # in which one image may be many times, though it takes no room
        check_unpacked(source, count * min(math.prod(shape), _LARGEST_CHECKED))

    def fill(pixels: NDArray[np.uint8]) -> tuple[int, Tensors]:
        failures, remarks = _decode_all(pictures, pixels, options)
        readable = [i for i in range(count) if i not in failures]
        for to, position in enumerate(readable):
            if to != position:
                pixels[to] = pixels[position]
        texts = {"failures": failures, "remarks": remarks}
        return len(readable), {
            kind: _to_tensor({pictures.names[i]: some[i] for i in sorted(some)})
            for kind, some in texts.items()
        }

    try:
        return make_kept(kept, origin, (count, *shape), fill)
    except MemoryError as error:
        raise DataError(
            f"{count:,} images of {format_shape(shape)} do not fit in memory",
            "choose a smaller --image-size",
        ) from error


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


def _decode_all(
    pictures: Pictures, pixels: NDArray[np.uint8], options: ReadOptions
) -> tuple[dict[int, str], dict[int, str]]:
    """Decode all images, in threads: Pillow releases Python's lock.

    Args:
        pictures: n images.
        pixels: (n, channels, height, width), to be filled.
        options: How to read them.

    Returns:
        Why some cannot be read, and what is to be said of others, by position.
    """
    count, channels, height, width = pixels.shape
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
    with (
        quiet_pillow(),
        closing(map_in_turn(work, pictures.read(range(count)), options.workers)) as counts,
    ):
        for some in counts:
            done += some
            if done - reported >= REPORT_EVERY or done == count:
                options.progress(pictures.name, done, count, "files")
                reported = done
    return failures, remarks
