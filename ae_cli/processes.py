"""Several processes that do one piece of work, as torchrun starts them.

Each of them runs the same command, and finds its place in the environment. They exchange tensors by
torch.distributed: by gloo between CPUs, by NCCL between GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from ae_cli.errors import Interrupted, LostProcessError, Terminated, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Place(NamedTuple):
    """Which of how many processes this one is.

    Attributes:
        rank: Its number, from 0. The first one alone prints and writes.
        size: Number of processes.
        local_rank: Its number among those on the same machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def share(self, count: int) -> slice:
        """Which of `count` items are this process's: as many as the others', or one more."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)


def find_place() -> Place:
    """Find the place that torchrun gave this process; the only one, if it did not start it.

    Raises:
        UsageError: The environment makes no sense.
    """
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR")
    if not all(name in os.environ for name in names):
        return Place()
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        place = Place(rank, size, int(os.environ.get("LOCAL_RANK", rank)))
    except ValueError:
        place = Place(-1, 0)
    if not 0 <= place.rank < place.size:
        raise UsageError(
            "RANK and WORLD_SIZE in the environment are not those of a process",
            "start several processes with torchrun, or unset these variables",
        )
    return place


def is_first() -> bool:
    """Whether this is the process that prints, whatever the environment says."""
    try:
        return find_place().rank == 0
    except UsageError:
        return True


class Team:
    """The processes that train one model: only one, which shares nothing.

    Attributes:
        place: Which of them this one is.
    """

    place = Place()

    def add(
        self, gradients: Sequence[Tensor], loss: Tensor, weight: float
    ) -> tuple[Sequence[Tensor], Tensor]:
        """Add up what the processes computed for their shares of a batch.

        Args:
            gradients: Those of the mean loss of the share.
            loss: (), the summed loss of the share.
            weight: The share's part of the batch.

        Returns:
            The gradients of the mean loss of the batch, and its summed loss.
        """
        return gradients, loss

    def average(self, value: Tensor, weight: float) -> Tensor:
        """The mean of a value, (), over the batch, from its mean over the share."""
        return value

    def total(self, *tensors: Tensor) -> None:
        """Replace tensors by their sums over the processes."""

    def agree(self, stop: type[Interrupted] | None) -> type[Interrupted] | None:
        """Agree on stopping after a step: all processes stop after the same one.

        Args:
            stop: Why this process is to stop; None if it is not.

        Returns:
            Why all of them stop now; None if they do not.
        """
        return stop

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Run a block in the first process, and only then in the others.

        What the first one puts into the cache, the others find there.
        """
        yield

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Give tensors the values that they have in the first process."""

    def close(self) -> None:
        """End the exchange."""


class _Several(Team):
    """More than one process."""

    def __init__(self, place: Place, device: torch.device) -> None:
        import torch
        import torch.distributed as exchange

        self.place, self._exchange, self._cat = place, exchange, torch.cat
        self._wish = self._stops = 0.0
        with self._connected():
            exchange.init_process_group("nccl" if device.type == "cuda" else "gloo")

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Turn torch's errors about a connection into a `LostProcessError`."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            raise LostProcessError from error

    def add(
        self, gradients: Sequence[Tensor], loss: Tensor, weight: float
    ) -> tuple[Sequence[Tensor], Tensor]:
        # One message for all: the loss and the wish to stop travel along.
        flat = [gradient.reshape(-1) for gradient in gradients]
        bucket = self._cat([*flat, loss.view(1), loss.new_full((1,), self._wish)])
        if weight:
            bucket[:-2] *= weight
        else:  # the mean over no images is not a number
            bucket[:-1] = 0
        self.total(bucket)
        self._stops = bucket[-1].item()
        parts = bucket[:-2].split([part.numel() for part in flat])
        summed = [part.view_as(g) for part, g in zip(parts, gradients, strict=True)]
        return summed, bucket[-2]

    def average(self, value: Tensor, weight: float) -> Tensor:
        weighted = value * weight if weight else value.new_zeros(())
        self.total(weighted)
        return weighted

    def total(self, *tensors: Tensor) -> None:
        with self._connected():
            for tensor in tensors:
                self._exchange.all_reduce(tensor)

    def agree(self, stop: type[Interrupted] | None) -> type[Interrupted] | None:
        self._wish = float(stop is not None)  # the others learn it with the next step
        return (stop or Terminated) if self._stops else None

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        if self.place.rank:
            with self._connected():
                self._exchange.barrier()
        yield
        if not self.place.rank:
            with self._connected():
                self._exchange.barrier()

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        with self._connected():
            for tensor in tensors:
                self._exchange.broadcast(tensor, 0)

    def close(self) -> None:
        self._exchange.destroy_process_group()


def find_team(device: torch.device) -> Team:
    """Meet the other processes, if torchrun started several.

    Args:
        device: Where this process computes.

    Raises:
        LostProcessError: They cannot be reached.
        UsageError: The environment makes no sense.
    """
    place = find_place()
    return Team() if place.size == 1 else _Several(place, device)
