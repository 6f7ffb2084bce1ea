"""Pixels that took long to decode, kept in a file of the user's cache folder."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from ae_cli.errors import UsageError
from ae_cli.files import atomic_write


def read_kept(
    path: Path, origin: dict[str, str], fits: Callable[[dict[str, Tensor]], bool]
) -> dict[str, Tensor] | None:
    """Read tensors that `keep` wrote.

    Args:
        path: The file.
        origin: What they were made from; another origin makes them worthless.
        fits: Whether they are of the names, types and shapes that the caller keeps, and their
            values in range: a checksum does not tell who wrote it. An exception means no.

    Returns:
        The tensors by name, or None if they are not there, not whole, or of another origin, or do
        not fit.
    """
    # Whatever is wrong with the file, and whatever a library says of it, it will be made again.
    with suppress(Exception), safetensors.safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if file.metadata() == _metadata(origin, tensors) and fits(tensors):
            return tensors
    return None


def keep(path: Path, origin: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Keep tensors for `read_kept`, if the disk allows it.

    A folder that cannot be written to costs time at the next start, and nothing else.
    """
    with suppress(UsageError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(safetensors.torch.save(tensors, _metadata(origin, tensors)))


def _metadata(origin: dict[str, str], tensors: dict[str, Tensor]) -> dict[str, str]:
    """What the tensors came from, and the checksum of what they are."""
    checksum = 0
    for _, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(tensor.numpy().data, checksum)
    return {**origin, "crc32": f"{checksum:08x}"}
