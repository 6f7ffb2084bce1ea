"""Augmentation: small sets are seen in many variations, so that they are not learned by heart."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from ae_cli.config import Augmentation, TrainConfig

SHIFT = 1 / 32  # of the side, at most and at least one pixel
BRIGHTNESS = 0.1  # of the pixels' values, at most


def last_epoch_of(kind: Augmentation, config: TrainConfig) -> int:
    """The last epoch, from 1, that uses a variation."""
    return config.epochs if kind == "flip" else math.ceil((1 - config.settle) * config.epochs)


def kinds_in(epoch: int, config: TrainConfig) -> tuple[Augmentation, ...]:
    """Which variations an epoch, from 1, uses of those that the run has."""
    return tuple(kind for kind in config.augment if epoch <= last_epoch_of(kind, config))


def augment(images: Tensor, kinds: Collection[Augmentation], key: tuple[int, int, int]) -> Tensor:
    """Vary images at random.

    Args:
        images: uint8 (n, channels, height, width).
        kinds: ``shift`` moves each image by a few pixels, and repeats those at its border;
            ``flip`` swaps left and right in half of them; ``brightness`` multiplies their pixels.
        key: Seed, epoch and step, on which the variations depend.

    Returns:
        New images of the same shape, or `images` themselves if there is nothing to vary.
    """
    if not kinds:
        return images
    random = np.random.default_rng(key)
    n, _, height, width = images.shape
    if "flip" in kinds:
        flipped = torch.from_numpy(random.random(n) < 0.5).to(images.device)
        images = torch.where(flipped[:, None, None, None], images.flip(3), images)
    if "shift" in kinds:
        down, right = (max(1, round(side * SHIFT)) for side in (height, width))
        padded = images
        for dimension, more in ((2, down), (3, right)):  # torch's own padding takes no uint8
            first, last = padded.narrow(dimension, 0, 1), padded.narrow(dimension, -1, 1)
            padded = torch.cat([*[first] * more, padded, *[last] * more], dimension)
        tops, lefts = random.integers(0, (2 * down + 1, 2 * right + 1), (n, 2)).T.tolist()
        images = torch.stack(
            [
                image[:, top : top + height, left : left + width]
                for image, top, left in zip(padded, tops, lefts, strict=True)
            ]
        )
    if "brightness" in kinds:
        factors = 1 + BRIGHTNESS * torch.from_numpy(random.uniform(-1, 1, n)).float()
        varied = images * factors.to(images.device)[:, None, None, None]
        images = varied.round_().clamp_(0, 255).to(torch.uint8)
    return images
