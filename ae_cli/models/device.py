"""Choosing the device that torch computes on, and reporting a lack of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ae_cli.config import Device
from ae_cli.errors import UsageError
from ae_cli.processes import find_place


def choose_device(name: Device) -> torch.device:
    """Find the device that ``--device`` means.

    Args:
        name: ``auto`` takes CUDA or MPS if there is one, and the CPU otherwise.

    Raises:
        UsageError: The device does not exist or is not available.
    """
    there: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if name not in there:
        raise UsageError(f"--device is {name!r}", f"choose one of auto, {', '.join(there)}")
    if not there[name]:
        raise UsageError(f"--device {name} is not available on this machine", "use --device cpu")
    place = find_place()
    if name == "cuda" and place.size > 1:  # each process has a GPU of its own
        return torch.device(name, place.local_rank % torch.cuda.device_count())
    return torch.device(name)


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Turn torch's various out-of-memory errors into one error.

    Args:
        what: What needs the memory, for the error.

    Raises:
        UsageError: The block ran out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On the CPU it is a bare RuntimeError; torch.OutOfMemoryError is a subclass.
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        raise UsageError(
            f"{what} does not fit in memory", "choose smaller --hidden layers or --batch-size"
        ) from error


def supports_half(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 at least as fast as in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
