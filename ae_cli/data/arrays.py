"""Images from arrays: their values, shapes and labels mean the same in all formats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from ae_cli.config import ReadOptions
from ae_cli.data.images import DataSet, Images, concatenate, hold_out
from ae_cli.data.scratch import Scratch
from ae_cli.data.store import PixelStore
from ae_cli.data.values import Part, find_white, to_labels, to_pixels
from ae_cli.errors import DataError, UsageError, warn

SPLITS = ("train", "test")
LOOKED_AT = 64  # images at once


class Arrays(NamedTuple):
    """The arrays of a source, as they are in the file.

    Attributes:
        source: What to give as ``--data`` to get them.
        parts: The images, in one part or several.
        understood: How the source was understood, a line per decision.
    """

    source: str
    parts: list[Part]
    understood: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["arrays"]:
        """The kind of source; see `Pictures`."""
        return "arrays"


def to_data_set(arrays: Arrays, options: ReadOptions, scratch: Scratch) -> DataSet:
    """Make a data set of arrays: of their splits, or of all, part of which is held out.

    In an array, grey images are (n, height, width), (n, height, width, 1) or (n, 1, height, width),
    colour images are (n, height, width, 3) or (n, 3, height, width), and flat rows (n, d) are
    squares unless `image_size` says otherwise. The values of a colour image's flat row are in the
    order of (height, width, 3), as in image files. Integers are from 0 to 255, or from 0 to 65535
    in 16 bits, floats from 0 to 1, and bool is black and white.

    Args:
        arrays: The arrays; some of each split, or all of none.
        options: `image_size` (only for flat rows of pixels), `color` (False for luma in place of
            colours), `val_fraction` and `seed`.
        scratch: Where converted pixels are.

    Raises:
        DataError: The arrays are not images, or not of one shape.
    """
    source, parts, understood = arrays
    images = to_images(source, parts, options, scratch)
    for part, own in zip(parts, images, strict=True):
        if own.shape != images[0].shape:
            raise DataError(
                f"the images of {parts[0].name} have the shape {images[0].shape} (channels, "
                f"height, width), but those of {part.name} have {own.shape}",
                "save both splits with the same shape",
            )
    if find_white(parts) > 255:
        understood = (*understood, "whole numbers of 16 bits: 65535 is white")
    of_split = {split: _join(parts, images, split) for split in (None, *SPLITS)}
    everything, train, test = of_split.values()
    if everything is not None:
        held_out = hold_out(source, everything, options)
        return replace(held_out, understood=understood)
    if train is None or test is None:
        raise DataError(
            f"{source} holds images of only one split", "give those of train and test, or of none"
        )
    return DataSet(source, train, test, understood=understood)


def _join(parts: list[Part], images: list[Images], split: str | None) -> Images | None:
    """The images of one split, without a copy; None if there are none."""
    chosen = [own for part, own in zip(parts, images, strict=True) if part.split == split]
    if len(chosen) < 2:
        return chosen[0] if chosen else None
    return replace(concatenate(chosen), positions=None, places=None)


def to_images(
    source: str, parts: list[Part], options: ReadOptions, scratch: Scratch
) -> list[Images]:
    """Convert arrays to images, in the order of the arrays; see `to_data_set`."""
    labels, classes = to_labels(parts)
    grey, white = options.color is False, find_white(parts)
    stores = [
        to_pixels(part, options.size, grey=grey, white=white, scratch=scratch) for part in parts
    ]
    if all(part.images.dtype.kind in "iu" for part in parts) and all(map(_is_dark, stores)):
        warn(
            f"no pixel of {Path(source).name} is brighter than 1 of 255; save 0 and 1 as float or "
            "bool if they mean black and white"
        )
    return [
        Images(PixelStore(pixels), part_labels, classes=classes, columns=part.columns)
        for part, pixels, part_labels in zip(parts, stores, labels, strict=True)
    ]


def refuse_key(path: Path, options: ReadOptions) -> None:
    """Refuse ``--key`` for a source that has no names in it.

    Raises:
        UsageError: It is given.
    """
    if options.key is not None:
        raise UsageError(
            f"--key applies only to a file or a table with names in it, not to {path}",
            "leave it out",
        )


def _is_dark(pixels: Tensor) -> bool:
    """Whether no pixel is brighter than 1; a large file is read only until there is one."""
    return all(int(some.max()) <= 1 for some in pixels.split(LOOKED_AT))
