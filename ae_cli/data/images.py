"""Images as the rest of the program sees them, whatever their source."""

from __future__ import annotations

import html
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.config import VAL_FRACTION, Fit, ReadOptions
from ae_cli.data.paths import short_name
from ae_cli.data.store import PixelStore, join_stores
from ae_cli.errors import DataError, UsageError
from ae_cli.results import format_shape

MOST_IN_BATCH, LEAST_IN_BATCH = 1000, 32
VALUES_IN_BATCH = 2**20
WHITE = 128  # of a mask that was scaled, a pixel that is at least half covered counts


def batch_size(shape: tuple[int, int, int]) -> int:
    """How many images of this shape are handled at once where the number does not matter.

    There are fewer of large ones, so that a batch of floats takes a few megabytes.
    """
    return min(max(VALUES_IN_BATCH // math.prod(shape), LEAST_IN_BATCH), MOST_IN_BATCH)


@dataclass(frozen=True)
class Images:
    """Images of one size, with their labels and names: a view of a pixel store.

    Selecting, shuffling, splitting and concatenating make new views, and copy no pixels.

    Attributes:
        store: The pixels of these images, and possibly of others.
        labels: int64 (n,), positions in `classes`; None if the images have no labels.
        names: n file names; None if the images have none.
        classes: The names of the labels; None without labels.
        positions: int64 (n,): the position of each image in its split, or in a source without
            splits; None for 0, 1, 2, …
        places: int64 (n,): the position of each image in the store; None if the view shows the
            whole store, in its order.
        columns: What else the source says about each image, by name, each (n,).
        mask_places: int64 (n,): the position in the store of the mask that shows where an image has
            defects, or -1 for an image without one; None if the source has no masks.
    """

    store: PixelStore
    labels: Tensor | None = field(default=None, repr=False)
    names: tuple[str, ...] | None = field(default=None, repr=False)
    classes: tuple[str, ...] | None = None
    positions: NDArray[np.int64] | None = field(default=None, repr=False)
    places: NDArray[np.int64] | None = field(default=None, repr=False)
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    mask_places: NDArray[np.int64] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.store) if self.places is None else len(self.places)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return self.store.shape

    @property
    def pixels(self) -> Tensor:
        """All pixels at once, uint8 (n, channels, height, width). They must fit in memory."""
        if self.places is None:
            return self.store.view(0, len(self))
        return self.gather(np.arange(len(self)))

    def gather(self, chosen: NDArray[np.int64], *, out: Tensor | None = None) -> Tensor:
        """Copy the pixels of some of these images.

        Args:
            chosen: int64 (m,), their positions in this view, in any order.
            out: uint8 (m, channels, height, width), the tensor to fill; a new one by default.

        Returns:
            uint8 (m, channels, height, width).
        """
        places = chosen if self.places is None else self.places[chosen]
        return self.store.gather(torch.from_numpy(places), out=out)

    def select(self, chosen: NDArray[np.int64]) -> Images:
        """A view of some of these images: `chosen` is int64 (m,), their positions in this view."""
        return replace(
            self,
            labels=None if self.labels is None else self.labels[torch.from_numpy(chosen)],
            names=None if self.names is None else tuple(self.names[i] for i in chosen),
            positions=self.index()[chosen],
            places=chosen if self.places is None else self.places[chosen],
            columns={name: values[chosen] for name, values in self.columns.items()},
            mask_places=None if self.mask_places is None else self.mask_places[chosen],
        )

    def head(self, count: int) -> Images:
        """A view of the first `count` images, or of all if there are fewer."""
        return self.select(np.arange(min(count, len(self))))

    def spread(self, count: int) -> Images:
        """A view of at most `count` images, evenly spaced from the first to the last."""
        count = min(count, len(self))
        return self.select(np.arange(count) * len(self) // max(count, 1))

    def shuffle(self, seed: int) -> Images:
        """A view in another order, which depends only on the seed and the number of images."""
        # RandomState, because its stream is frozen: every version of numpy gives the same order.
        return self.select(np.random.RandomState(seed).permutation(len(self)))

    def index(self) -> NDArray[np.int64]:
        """The index of each image in tables, int64 (n,): its position in its split or source."""
        return np.arange(len(self)) if self.positions is None else self.positions

    def captions(self) -> list[str]:
        """A short text for each image: its label, its file's name, or both; or else its index."""
        labels = self.label_values()
        if self.names is None:
            return [str(text) for text in (self.index() if labels is None else labels)]
        files = [name.rpartition("/")[2] for name in self.names]
        if labels is None:
            return files
        return [f"{label}: {file}" for label, file in zip(labels, files, strict=True)]

    def raw_batches(self, first: int = 0, every: int = 1) -> Iterator[Tensor]:
        """Yield all images in order, uint8 (batch, channels, height, width), read-only.

        Args:
            first: The first of the batches to yield.
            every: Yield each so-manieth batch from there on.
        """
        size = batch_size(self.shape)
        for start in range(first * size, len(self), every * size):
            stop = min(start + size, len(self))
            if self.places is None:
                yield self.store.view(start, stop)
            else:
                yield self.gather(np.arange(start, stop))

    def batches(self, first: int = 0, every: int = 1) -> Iterator[Tensor]:
        """Yield what `raw_batches` does, as float32 (batch, channels, height, width) in [0, 1]."""
        for batch in self.raw_batches(first, every):
            yield scale(batch)

    def masks(self) -> NDArray[np.bool_]:
        """Where the images have defects by their masks, (n, height, width). For a few images.

        Images without a mask have none.
        """
        _, height, width = self.shape
        masks = np.zeros((len(self), height, width), bool)
        if self.mask_places is not None:
            there = np.flatnonzero(self.mask_places >= 0)
            pixels = self.store.gather(torch.from_numpy(self.mask_places[there]))
            masks[there] = pixels.numpy().max(1) >= WHITE
        return masks

    def floats(self) -> NDArray[np.float32]:
        """All pixels at once, float32 (n, channels, height, width) in [0, 1]. For a few images."""
        pixels: NDArray[np.float32] = scale(self.pixels).numpy()
        return pixels

    def label_values(self) -> NDArray[np.int64] | NDArray[np.str_] | None:
        """The class of each image as people write it, (n,); None without labels.

        These are class names, or the labels themselves if the classes are named 0, 1, 2, …
        """
        if self.labels is None or self.classes is None:
            return None
        labels: NDArray[np.int64] = self.labels.numpy()
        if self.classes == tuple(str(i) for i in range(len(self.classes))):
            return labels
        return np.array(self.classes)[labels]

    def checksum(self, crc: int = 0) -> int:
        """The CRC-32 of all pixels in order, continuing from `crc`."""
        for batch in self.raw_batches():
            crc = zlib.crc32(batch.numpy().data, crc)
        return crc

    def mean_image_error(self) -> float:
        """The mean reconstruction error of a model that outputs the mean image for every image.

        A model that is no better has collapsed: its latents do not distinguish the images.
        """
        mean = sum(batch.sum(0) for batch in self.batches()) / len(self)
        errors = (float((b - mean).square().mean((1, 2, 3)).sum()) for b in self.batches())
        return sum(errors) / len(self)


def concatenate(parts: Sequence[Images]) -> Images:
    """Join views of images from one source, without a copy. Each image keeps its index."""
    stores = list({id(part.store): part.store for part in parts}.values())
    begins = dict(zip(map(id, stores), np.cumsum([0, *map(len, stores)]), strict=False))
    places = [
        begins[id(part.store)] + (np.arange(len(part)) if part.places is None else part.places)
        for part in parts
    ]
    labels = [part.labels for part in parts if part.labels is not None]
    names = [part.names for part in parts if part.names is not None]
    return Images(
        store=join_stores(stores),
        labels=torch.cat(labels) if labels else None,
        names=tuple(name for some in names for name in some) if names else None,
        classes=parts[0].classes,
        positions=np.concatenate([part.index() for part in parts]),
        places=np.concatenate(places),
        columns={
            name: np.concatenate([part.columns[name] for part in parts])
            for name in parts[0].columns
            if all(name in part.columns for part in parts)
        },
        mask_places=_join_mask_places(parts, [begins[id(part.store)] for part in parts]),
    )


def _join_mask_places(parts: Sequence[Images], begins: Sequence[int]) -> NDArray[np.int64] | None:
    """`mask_places` of several views in a store where those of each begin elsewhere."""
    if all(part.mask_places is None for part in parts):
        return None
    return np.concatenate(
        [
            np.full(len(part), -1)
            if part.mask_places is None
            else np.where(part.mask_places < 0, -1, part.mask_places + begin)
            for part, begin in zip(parts, begins, strict=True)
        ]
    )


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Sort class names without duplicates: as numbers if all of them are numbers, else as text."""
    different = sorted(set(names))
    if all(name.isdecimal() for name in different):
        different.sort(key=int)
    return tuple(different)


def scale(pixels: Tensor) -> Tensor:
    """Convert uint8 pixels to float32 in [0, 1], with the same shape and on the same device."""
    return pixels.float().div_(255)


@dataclass(frozen=True)
class DataSet:
    """A training and a test split from one source.

    Attributes:
        source: What to give as ``--data`` to get these images: a name, or an absolute path.
        train: The training split.
        test: The test split: the held-out images.
        val_fraction: The share of the images that was held out as the test split; None if the
            source has its own test split.
        selected_classes: The classes that were selected; None for all.
        changes: What was done to the images of a folder to give them one size, or other colours,
            in a few words; None if they are as they were, or if the options determined both.
        fit: How images were brought to one size; None for arrays and known sets.
        understood: How the source was understood, a line per decision.
    """

    source: str
    train: Images
    test: Images
    val_fraction: float | None = None
    selected_classes: tuple[str, ...] | None = None
    changes: str | None = None
    fit: Fit | None = field(default=None, repr=False)
    understood: tuple[str, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """A short name of the source for people."""
        return short_name(self.source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return self.train.shape

    @property
    def has_unlearned_classes(self) -> bool:
        """Whether there are classes that are not learned from.

        Either some were selected, or the test split has classes that training has not, as in sets
        for visual inspection.
        """
        if self.selected_classes is not None:
            return True
        train, test = self.train.labels, self.test.labels
        return train is not None and test is not None and bool((~torch.isin(test, train)).any())

    @property
    def splits(self) -> dict[str, Images]:
        """The two splits by name."""
        return {"train": self.train, "test": self.test}

    def split(self, name: str) -> Images:
        """The split of that name.

        Raises:
            UsageError: It has no images.
        """
        if not len(self.splits[name]):
            raise UsageError(
                f"{self.name} has no {name} images", "give more images, or choose the other split"
            )
        return self.splits[name]

    def choose_splits(self, split: str) -> dict[str, Images]:
        """The named split, or for ``all`` those that have images.

        Raises:
            UsageError: The named split has no images.
        """
        if split != "all":
            return {split: self.split(split)}
        return {name: images for name, images in self.splits.items() if len(images)}

    def join_splits(self, split: str) -> tuple[Images, NDArray[np.str_]]:
        """The images of a split, or of ``all``, one after the other, and the split of each, (n,).

        Raises:
            UsageError: The named split has no images.
        """
        splits = self.choose_splits(split)
        names = np.repeat(list(splits), [len(members) for members in splits.values()])
        return concatenate(list(splits.values())), names

    def checksum(self, limit: int | None = None) -> int:
        """The CRC-32 of all pixels that a run uses: `limit` training images, and the test split."""
        train = self.train if limit is None else self.train.head(limit)
        return self.test.checksum(train.checksum())

    def _repr_html_(self) -> str:
        return (
            f"<b>{html.escape(self.name)}</b>: {len(self.train):,} training + {len(self.test):,} "
            f"test images, {format_shape(self.shape, self.changes)}"
        )


def hold_out(source: str, images: Images, options: ReadOptions) -> DataSet:
    """Shuffle images that have no test split, and hold some of them out as one.

    Files are often sorted by class; after shuffling, the first images are a fair sample. A single
    image, if that is enough, is the test split.

    Args:
        source: What to give as ``--data`` to get these images.
        images: At least `options.fewest` images.
        options: `val_fraction` is the share of the images to hold out; at least one image is held
            out, and at least one is not. Which ones depends only on `seed` and the number of
            images.

    Raises:
        DataError: There are fewer images.
    """
    if len(images) < options.fewest:
        raise DataError(
            f"{source} holds {'one image' if len(images) else 'no images'}",
            "give at least two, such as a folder of them: one to learn from, one to test on",
        )
    if len(images) == 1:
        return DataSet(source=source, train=images.select(np.arange(0)), test=images)
    val_fraction = VAL_FRACTION if options.val_fraction is None else options.val_fraction
    count = min(max(1, round(len(images) * val_fraction)), len(images) - 1)
    shuffled = images.shuffle(options.seed)
    return DataSet(
        source=source,
        train=shuffled.select(np.arange(count, len(images))),
        test=shuffled.head(count),
        val_fraction=val_fraction,
    )
