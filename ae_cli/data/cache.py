"""Decoded pixels, kept as files in the user's cache folder, since decoding takes long."""

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


def keep(path: Path, origin: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Write tensors for `read_kept`, if possible.

    If the folder cannot be written to, the next start takes longer; nothing else is lost.
    """
    with suppress(UsageError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(safetensors.torch.save(tensors, _metadata(origin, tensors)))


def _metadata(origin: dict[str, str], tensors: dict[str, Tensor]) -> dict[str, str]:
    """The origin of the tensors, and their checksum."""
    checksum = 0
    for _, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(tensor.numpy().data, checksum)
    return {**origin, "crc32": f"{checksum:08x}"}
