"""What images are like: counts, brightness, and some examples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ae_cli.data.images import DataSet, Images


class PixelStatistics(NamedTuple):
    """The values of pixels, in [0, 1].

    Attributes:
        minimum: The smallest.
        maximum: The largest.
        mean: Their mean.
        deviation: Their standard deviation.
        black: Share that is 0.
        white: Share that is 1.
    """

    minimum: float
    maximum: float
    mean: float
    deviation: float
    black: float
    white: float


def measure_pixels(images: DataSet) -> PixelStatistics:
    """Measure all pixels of both splits."""
    counts = np.zeros(256)
    for part in images.splits.values():
        counts += torch.bincount(part.pixels.flatten(), minlength=256).numpy()
    shares = counts / counts.sum()
    values = np.arange(256) / 255
    present = values[counts > 0]
    mean = float(shares @ values)
    return PixelStatistics(
        minimum=float(present[0]),
        maximum=float(present[-1]),
        mean=mean,
        deviation=float(np.sqrt(shares @ (values - mean) ** 2)),
        black=float(shares[0]),
        white=float(shares[255]),
    )


def count_classes(images: Images) -> dict[str, int] | None:
    """How many images each class has, by its name; None without labels."""
    if images.labels is None or images.classes is None:
        return None
    counts = torch.bincount(images.labels, minlength=len(images.classes))
    return dict(zip(images.classes, counts.tolist(), strict=True))


def choose_examples(images: Images, count: int) -> list[tuple[str, Images]]:
    """The first images of each class that has any, at most `count`, beside its name.

    Without labels, the first five times `count` images, in rows without a name.
    """
    if images.labels is None or images.classes is None:
        rows = np.split(np.arange(len(images)), range(count, len(images), count))
        return [("", images.select(row)) for row in rows[:5]]
    members = ((name, np.flatnonzero(images.labels == i)) for i, name in enumerate(images.classes))
    return [(name, images.select(some[:count])) for name, some in members if len(some)]
