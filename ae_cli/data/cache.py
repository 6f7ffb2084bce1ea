"""Decoded pixels, kept as files in the user's cache folder, since decoding takes long."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.data import scratch
from ae_cli.data.scratch import find_room, no_room, reserve
from ae_cli.errors import UsageError
from ae_cli.files import atomic_write

Tensors: TypeAlias = dict[str, Tensor]
# Called with uint8 pixels to fill; says how many of them, the first ones, it has filled, and what
# else is to be kept.
Fill: TypeAlias = Callable[[NDArray[np.uint8]], tuple[int, dict[str, Tensor]]]

# Of more bytes, only so many count for a checksum, in blocks, so that a large file is read when its
# pixels are needed, and not before.
MOST_CHECKED, BLOCK = 2**26, 2**20
_HEADER = 4096  # bytes of a file that `make_kept` writes before the pixels


def read_kept(
    path: Path, origin: dict[str, str], fits: Callable[[Tensors], bool]
) -> Tensors | None:
    """Read tensors that `keep` wrote.

    Args:
        path: The file.
        origin: What the tensors must have been made from.
        fits: Whether the tensors have the names, types, shapes and ranges that the caller expects:
            the checksum alone does not prove that this program wrote them. An exception means no.

    Returns:
        The tensors by name; None if the file is missing, damaged or of another origin, or the
        tensors do not fit.
    """
    # Whatever is wrong with the file, and whatever a library raises for it, it is made again.
    with suppress(Exception), safetensors.safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if file.metadata() == _metadata(origin, tensors) and fits(tensors):
            return tensors
    return None


def keep(path: Path, origin: dict[str, str], tensors: Tensors) -> None:
    """Write tensors for `read_kept`, if possible.

    If the folder cannot be written to, the next start takes longer; nothing else is lost.
    """
    with suppress(UsageError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(safetensors.torch.save(tensors, _metadata(origin, tensors)))


def make_kept(path: Path, origin: dict[str, str], shape: tuple[int, ...], fill: Fill) -> Tensors:
    """Make tensors for `read_kept`: ``pixels``, and what `fill` adds.

    The pixels are written to a mapped file, so they may be larger than memory. If the cache folder
    has no room for them, or cannot be written to, they are made in memory.

    Args:
        path: The file.
        origin: As for `read_kept`.
        shape: The shape of the pixels, if all of them are filled.
        fill: Fills the pixels. An exception of it leaves nothing behind.

    Raises:
        DataError: There is no room for the pixels, and they are too many to be in memory.
    """
    size = math.prod(shape)
    free = find_room(path)
    if size > free:
        if size > scratch.MOST_IN_MEMORY:
            raise no_room(size, path.parent, free)
        pixels = np.empty(shape, np.uint8)
        count, others = fill(pixels)
        return {"pixels": torch.from_numpy(pixels[:count]), **others}
    made: Tensors = {}
    try:
        with atomic_write(path) as file:
            reserve(file, _HEADER + size)
            mapped = np.memmap(file, np.uint8, "r+", _HEADER, shape)
            count, others = fill(mapped)
            made = {"pixels": torch.from_numpy(mapped[:count]), **others}
            _finish(file, _metadata(origin, made), made)
    except UsageError:  # the disk may fail even so; what was made is still there
        if not made:
            raise
    return made


def _finish(file: BinaryIO, metadata: dict[str, str], tensors: Tensors) -> None:
    """Complete a file whose pixels are already written, in the format of safetensors.

    The format is described in its documentation: the length of the header, 8 bytes; the header,
    JSON that may end in spaces; the values.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel()
        header[name] = {
            "dtype": "U8",
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        if name != "pixels":
            file.seek(_HEADER + begin)
            file.write(tensor.numpy().data)
    file.truncate(_HEADER + end)
    text = json.dumps(header).encode().ljust(_HEADER - 8)
    if len(text) != _HEADER - 8:
        raise AssertionError("the header is too long")
    file.seek(0)
    file.write(len(text).to_bytes(8, "little") + text)


def _metadata(origin: dict[str, str], tensors: Tensors) -> dict[str, str]:
    """The origin of the tensors, and their checksum."""
    checksum = 0
    for _, tensor in sorted(tensors.items()):
        for block in _blocks(tensor.numpy().reshape(-1).view(np.uint8)):
            checksum = zlib.crc32(block.data, checksum)
    return {**origin, "crc32": f"{checksum:08x}"}


def _blocks(values: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """All values in order; of very many, evenly spaced blocks from the first to the last."""
    if len(values) <= MOST_CHECKED:
        yield values
        return
    for start in np.linspace(0, len(values) - BLOCK, MOST_CHECKED // BLOCK).astype(int):
        yield values[start : start + BLOCK]
