"""Images as the rest of the program knows them, whatever they came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Images of one size, with what is known of each.

    Attributes:
        pixels: uint8, (n, channels, height, width).
        labels: int64, (n,), positions in `classes`; None where images have no labels.
        names: n file names; None where images have none.
        classes: The labels' names; None where there are no labels.
    """

    pixels: Tensor
    labels: Tensor | None = None
    names: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def select(self, positions: NDArray[np.int64]) -> Images:
        """The images at some positions, (m,), in that order."""
        index = torch.from_numpy(positions)
        return replace(
            self,
            pixels=self.pixels[index],
            labels=None if self.labels is None else self.labels[index],
            names=None if self.names is None else tuple(self.names[i] for i in positions),
        )

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, float32 (up to `size`, channels, height, width) in [0, 1]."""
        for batch in self.pixels.split(size):
            yield scale(batch)

    def label_values(self) -> NDArray[np.int64] | NDArray[np.str_] | None:
        """What a person calls each image's class, (n,); None without labels.

        Class names, or the label itself where the classes are called 0, 1, 2, …
        """
        if self.labels is None or self.classes is None:
            return None
        labels: NDArray[np.int64] = self.labels.numpy()
        if self.classes == tuple(str(i) for i in range(len(self.classes))):
            return labels
        return np.array(self.classes)[labels]


def scale(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels into float32 in [0, 1], of the same shape, on the same device."""
    return pixels.float().div_(255)


@dataclass(frozen=True)
class DataSet:
    """A training and a test split from one source.

    Attributes:
        source: The word for ``--data`` that means these images.
        train: The training split.
        test: The test split.
        warning: What a person should know about how the source was chosen, or None.
    """

    source: str
    train: Images
    test: Images
    warning: str | None = None
