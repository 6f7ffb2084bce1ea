"""Batches of images, in the order in which an epoch sees them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.data.images import Images
from ae_cli.data.store import PixelStore

GATHERED_BATCHES = 16
# Of a set that does not fit in memory, so many bytes are read from the disk in a row, and so many
# such blocks are in memory at once.
NEARBY_BYTES, BLOCKS = 2**20, 256


class Loader(Protocol):
    """Where `fit` gets its batches from.

    Attributes:
        images: Images in an epoch.
        steps: Batches in an epoch.
        shape: Channels, height and width of an image.
    """

    images: int
    steps: int
    shape: tuple[int, int, int]

    def batches(self, epoch: int, first: int) -> Iterator[Tensor]:
        """Yield an epoch's batches, uint8 (batch, channels, height, width).

        They are on the training device. A batch may be overwritten by the next one.

        Args:
            epoch: The epoch's number, from 1.
            first: Number of batches to skip.
        """


class StoreLoader:
    """Shuffled batches from a pixel store. The order depends only on the seed and the epoch.

    Args:
        images: The training images. They are copied to the device, unless it is the CPU.
        batch_size: Images in a batch; the last one of an epoch may have fewer.
        seed: Decides the order.
        device: Where the batches are wanted.
    """

    def __init__(self, images: Images, *, batch_size: int, seed: int, device: torch.device) -> None:
        self.images, self.shape = len(images), images.shape
        self.steps = math.ceil(self.images / batch_size)
        self._batch_size, self._seed, self._device = batch_size, seed, device
        if device.type == "cpu":
            self._store = images.store
            places = np.arange(self.images) if images.places is None else images.places
        else:
            pixels = torch.empty(self.images, *self.shape, dtype=torch.uint8, device=device)
            filled = 0
            for batch in images.raw_batches():
                pixels[filled : filled + len(batch)] = batch
                filled += len(batch)
            self._store, places = PixelStore(pixels), np.arange(self.images)
        # Images that lie beside each other are read together where not all of them fit in memory.
        nearby = max(1, NEARBY_BYTES // math.prod(self.shape))
        is_larger = device.type == "cpu" and self.images * math.prod(self.shape) > find_memory() / 2
        self._nearby = nearby if is_larger else 1
        self._places = torch.from_numpy(np.sort(places) if is_larger else places).to(device)

    def batches(self, epoch: int, first: int) -> Iterator[Tensor]:
        """Yield an epoch's batches; see `Loader`.

        Several batches are gathered at once, as rows far apart in memory are then read faster.
        """
        order = torch.from_numpy(
            image_order(self.images, self._seed, epoch, nearby=self._nearby)
        ).to(self._device)
        left = self._places[order[first * self._batch_size :]]
        if not len(left):
            return
        rows = min(len(left), self._batch_size * GATHERED_BATCHES)
        gathered = torch.empty(rows, *self.shape, dtype=torch.uint8, device=self._device)
        for places in left.split(rows):
            self._store.gather(places, out=gathered[: len(places)])
            yield from gathered[: len(places)].split(self._batch_size)


def image_order(count: int, seed: int, epoch: int, *, nearby: int = 1) -> NDArray[np.int64]:
    """The order, (count,), in which an epoch sees the images. It depends on seed and epoch only.

    It comes from numpy, as torch's CPU generator keeps only 32 bits of a seed, too few for both.

    Args:
        count: Number of images.
        seed: The run's.
        epoch: The epoch's number.
        nearby: How many images in a row stay together: then blocks of so many are shuffled, and
            after that the images of every `BLOCKS` blocks among themselves.
    """
    random = np.random.default_rng((seed, epoch))
    if nearby == 1:
        return random.permutation(count)
    blocks = random.permutation(math.ceil(count / nearby))
    order = (blocks[:, None] * nearby + np.arange(nearby)).ravel()
    order = order[order < count]
    for start in range(0, count, BLOCKS * nearby):
        random.shuffle(order[start : start + BLOCKS * nearby])
    return order


def find_memory() -> int:
    """The memory that this process can have, in bytes: the machine's, or less in a container."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of version 2 and 1
        with suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(limits)
