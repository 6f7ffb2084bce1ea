"""Images as the rest of the program knows them, whatever they came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.config import VAL_FRACTION, DataOptions
from ae_cli.errors import DataError


@dataclass(frozen=True)
class Images:
    """Images of one size, with what is known of each.

    Attributes:
        pixels: uint8, (n, channels, height, width).
        labels: int64, (n,), positions in `classes`; None where images have no labels.
        names: n file names; None where images have none.
        classes: The labels' names; None where there are no labels.
        positions: int64, (n,): where each image is in what it was taken from (a split, or a source
            without splits); None if they are all of it, in its order.
    """

    pixels: Tensor
    labels: Tensor | None = None
    names: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    positions: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def select(self, places: NDArray[np.int64]) -> Images:
        """The images at some places among these, (m,), in that order."""
        index = torch.from_numpy(places)
        return replace(
            self,
            pixels=self.pixels[index],
            labels=None if self.labels is None else self.labels[index],
            names=None if self.names is None else tuple(self.names[i] for i in places),
            positions=self.index()[places],
        )

    def head(self, count: int) -> Images:
        """The first images, at most `count`."""
        return self.select(np.arange(min(count, len(self))))

    def shuffle(self, seed: int) -> Images:
        """The same images in an order that depends on the seed and their number alone."""
        # RandomState, because its stream is frozen: no numpy will ever shuffle them differently.
        return self.select(np.random.RandomState(seed).permutation(len(self)))

    def index(self) -> NDArray[np.int64]:
        """What a table calls each image, (n,): its position in what it was taken from."""
        return np.arange(len(self)) if self.positions is None else self.positions

    def captions(self) -> list[str]:
        """What to write above each image, n short texts: its label, else its name, else index."""
        labels = self.label_values()
        if labels is not None:
            return [str(label) for label in labels]
        return list(self.names or map(str, self.index()))

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


def concatenate(parts: Sequence[Images]) -> Images:
    """Put images from one source together; each keeps its index."""
    labels = [part.labels for part in parts if part.labels is not None]
    names = [part.names for part in parts if part.names is not None]
    return Images(
        pixels=torch.cat([part.pixels for part in parts]),
        labels=torch.cat(labels) if labels else None,
        names=tuple(name for some in names for name in some) if names else None,
        classes=parts[0].classes,
        positions=np.concatenate([part.index() for part in parts]),
    )


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Put the names of classes in order: as numbers where all are, and otherwise as text."""
    different = sorted(set(names))
    if all(name.isdecimal() for name in different):
        different.sort(key=int)
    return tuple(different)


def scale(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels into float32 in [0, 1], of the same shape, on the same device."""
    return pixels.float().div_(255)


@dataclass(frozen=True)
class DataSet:
    """A training and a test split from one source.

    Attributes:
        source: The word for ``--data`` that means these images: a name, or an absolute path.
        train: The training split.
        test: The test split.
        val_fraction: The share of the images that was held out as the test split; None where the
            source has a test split of its own.
        warnings: What a person should know about how they were read.
    """

    source: str
    train: Images
    test: Images
    val_fraction: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A short name for a person: the source's, or the last part of its path."""
        return Path(self.source).name

    @property
    def splits(self) -> dict[str, Images]:
        """The two splits by name."""
        return {"train": self.train, "test": self.test}

    def choose_splits(self, split: str) -> dict[str, Images]:
        """The split of that name, or with ``all`` both, by name."""
        return self.splits if split == "all" else {split: self.splits[split]}


def hold_out(source: str, images: Images, options: DataOptions) -> DataSet:
    """Split images that have no test split, and shuffle them.

    Files are often in the order of their classes; shuffled, the first of them are a fair sample.

    Args:
        source: The word for ``--data`` that means these images.
        images: At least two.
        options: `val_fraction` is the share of the images to hold out as the test split; at least
            one image is, and at least one is left. `seed` decides which, together with the number
            of images alone.

    Raises:
        DataError: There are fewer than two images.
    """
    if len(images) < 2:
        raise DataError(
            f"{source} holds one image", "give at least two: one to learn from, one to test on"
        )
    val_fraction = VAL_FRACTION if options.val_fraction is None else options.val_fraction
    count = min(max(1, round(len(images) * val_fraction)), len(images) - 1)
    shuffled = images.shuffle(options.seed)
    return DataSet(
        source=source,
        train=shuffled.select(np.arange(count, len(images))),
        test=shuffled.head(count),
        val_fraction=val_fraction,
    )
