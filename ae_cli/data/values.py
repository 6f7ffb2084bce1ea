"""Interpret the values, shapes and labels of arrays, in the same way for all file formats."""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.data.columns import flat_shape
from ae_cli.data.scratch import Scratch, split
from ae_cli.errors import DataError

_SLICE = 1 << 18  # pixels to convert at once


class Part(NamedTuple):
    """The images of a file, or of one of its splits, of any type and shape."""

    name: str  # for errors
    images: NDArray[Any]
    labels: NDArray[Any] | None = None
    split: str | None = None  # train or test; None if the source has no splits
    columns: Mapping[str, NDArray[Any]] = MappingProxyType({})  # what else is known, each (n,)


def find_white(parts: Sequence[Part]) -> int:
    """The whole number that is white: 65535 in 16 bits if any is above 255, and otherwise 255."""
    if not all(part.images.dtype.kind == "u" and part.images.itemsize == 2 for part in parts):
        return 255
    brightest = max((_find_brightest(part.images) for part in parts), default=0)
    return 65535 if brightest > 255 else 255


def is_whole(array: NDArray[Any]) -> bool:
    """Whether floats are whole numbers, of which some are above 1."""
    if not array.size or not array.max() > 1:
        return False
    lying = array.T if array.flags.f_contiguous else array
    return all(bool((lying[part] == np.rint(lying[part])).all()) for part in split(lying))


def _find_brightest(array: NDArray[Any]) -> int:
    """The largest value; a mapped file is never in memory as a whole."""
    step = max(1, _SLICE // max(1, math.prod(array.shape[1:])))
    starts = range(0, len(array) if array.ndim and array.size else 0, step)
    brightest = 0
    for start in starts:
        brightest = max(brightest, int(array[start : start + step].max()))
        forget_pages(array)
    return brightest


def forget_pages(array: NDArray[Any]) -> None:
    """Give back the memory of a mapped file's pages that were read so far."""
    if (mapped := _find_mapping(array)) is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def to_pixels(
    part: Part,
    size: tuple[int, int] | None,
    *,
    grey: bool = False,
    white: int = 255,
    scratch: Scratch,
) -> Tensor:
    """Convert images of any shape and type to uint8 (n, channels, height, width).

    Bytes stay where they are, in memory or in a mapped file: the tensor is a view of the array.
    Others are converted in slices, so that a file of floats is never in memory as a whole.

    Args:
        part: The images.
        size: Height and width of images in flat rows; None for squares.
        grey: Whether colours become ITU-R 601 luma, as in `ae_cli.data.decode`.
        white: The whole number that becomes 255; see `find_white`.
        scratch: Where the converted images are.

    Raises:
        DataError: The values or the shape are not those of images.
    """
    array = part.images
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{part.name} has values of type {array.dtype}, which are not pixels",
            "save whole numbers from 0 to 255, or floats from 0 to 1",
        )
    if not array.ndim or not len(array):
        raise DataError(f"{part.name} holds no images", "give at least two")
    shape, order = _find_layout(part, size)
    channels, height, width = (shape[i] for i in order)
    turn_grey = grey and channels == 3
    flags = array.flags
    # A tensor would allow writing even if the array's memory is read-only.
    if array.dtype == np.uint8 and flags.c_contiguous and flags.writeable and not turn_grey:
        view = torch.from_numpy(array.reshape(len(array), *shape))
        return view.permute(0, *(1 + i for i in order))
    pixels = scratch.new((len(array), 1 if turn_grey else channels, height, width))
    step = max(1, _SLICE // math.prod(shape))
    for start in range(0, len(array), step):
        values = to_bytes(part, array[start : start + step], start, white)
        some = values.reshape(-1, *shape).transpose(0, *(1 + i for i in order))
        pixels[start : start + step] = _to_luma(some) if turn_grey else some
        forget_pages(array)
    return torch.from_numpy(pixels)


def _to_luma(colors: NDArray[Any]) -> NDArray[Any]:
    """The ITU-R 601 luma of colours from 0 to 255, (n, 3, height, width), rounded like Pillow's."""
    red, green, blue = colors.astype(np.uint32).transpose(1, 0, 2, 3)
    luma: NDArray[Any] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return luma[:, None]


def _find_mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """The mapped file that an array is a read-only view of, if any."""
    if array.flags.writeable:  # changes in a private mapping would be lost
        return None
    base = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _find_layout(
    part: Part, size: tuple[int, int] | None
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """An image's shape in the file, and the axes that are its channels, height and width."""
    first, last = (0, 1, 2), (2, 0, 1)
    shape = part.images.shape[1:]
    if 0 not in shape:
        if len(shape) == 3 and shape[2] in (1, 3):
            return shape, last
        if len(shape) == 3 and shape[0] in (1, 3):
            return shape, first
        if len(shape) == 2:
            return (1, *shape), first
        if len(shape) == 1 and (image := flat_shape(shape[0], size)):
            channels, height, width = image
            return (height, width, channels), last
    if len(shape) == 1:
        if size is None:
            raise DataError(
                f"{part.name} has {shape[0]} values per image, which do not make a square, in "
                "grey or in colour",
                "give height and width with --image-size",
            )
        grey = math.prod(size)
        raise DataError(
            f"{part.name} has {shape[0]} values per image, but images of {size[0]} × {size[1]} "
            f"pixels have {grey}, or {3 * grey} in colour",
            "give another --image-size",
        )
    if len(shape) == 3 and shape[2] == 4:
        remedy = "leave out the fourth channel, transparency: images[..., :3]"
    else:
        remedy = "save grey images as (n, height, width), colour as (n, height, width, 3)"
    raise DataError(
        f"{part.name} has the shape {part.images.shape}, which images cannot have", remedy
    )


def to_bytes(part: Part, values: NDArray[Any], start: int, white: int) -> NDArray[Any]:
    """Convert the values of some images, the first of which is `start`, to 0 to 255."""
    if white == 65535:
        deep: NDArray[Any] = (values.astype(np.uint32) * 255 + 32767) // 65535
        return deep
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values * np.uint8(255)
    floats = values.dtype.kind == "f"
    highest = 1 if floats else 255
    valid = (values >= 0) & (values <= highest)  # NaN is not
    if not valid.all():
        image = int(np.argwhere(~valid)[0, 0])
        value = values[image][~valid[image]][0]
        kind = "floats" if floats else "whole numbers"
        remedy = f"scale them to the range from 0 to {highest}"
        if not np.isfinite(value):
            remedy = "replace it by a number"
        elif floats and part.images.min() >= 0 and part.images.max() <= 255:
            remedy = "divide them by 255"
        raise DataError(
            f"{part.name} has {value} in image {start + image} (counted from 0), but {kind} must "
            f"be from 0 to {highest}",
            remedy,
        )
    if not floats:
        return values
    wide = values.astype(np.float32) if values.dtype.itemsize < 4 else values
    rounded: NDArray[Any] = np.rint(wide * 255)
    return rounded


def to_labels(parts: list[Part]) -> tuple[list[Tensor | None], tuple[str, ...] | None]:
    """Convert the labels of all splits, numbers or text, to classes and positions, int64 (n,).

    Classes are sorted as numbers if all of them are whole numbers, and otherwise as text.
    """
    found = [_distinct(part, part.labels) for part in parts if part.labels is not None]
    if not found:
        return [None] * len(parts), None
    names = {name for values, _ in found for name in values}
    number = r"(-?(?:0|[1-9]\d{0,18}))(?:\.0*)?"
    if all(re.fullmatch(number, name) for name in names):
        short = {name: name.split(".")[0] for name in names}
        classes = sorted(set(short.values()), key=int)
    else:
        short = {name: name for name in names}
        classes = sorted(names)
    place = {name: i for i, name in enumerate(classes)}
    labels = [np.array([place[short[name]] for name in values])[index] for values, index in found]
    return [torch.from_numpy(positions) for positions in labels], tuple(classes)


def _distinct(part: Part, labels: NDArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct labels of a split as text, and for each image which of them it has, (n,)."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"the labels of {part.name} have the shape {labels.shape}",
            "save one label for each image",
        )
    if part.images.ndim and len(labels) != len(part.images):
        raise DataError(
            f"{part.name} holds {len(part.images)} images and {len(labels)} labels",
            "save one label for each image",
        )
    if labels.dtype.kind not in "biufU":
        raise DataError(
            f"the labels of {part.name} are of type {labels.dtype}", "save whole numbers or text"
        )
    values, index = np.unique(labels, return_inverse=True)
    if values.dtype.kind == "f":
        # Beyond 2^53, a float cannot represent every whole number.
        bad = values[~((values == np.rint(values)) & (abs(values) <= 2**53))]
        if len(bad):
            raise DataError(f"{part.name} has the label {bad[0]}", "save whole numbers or text")
        values = values.astype(np.int64)
    names = [str(value) for value in values.tolist()]
    if not all(name.strip() for name in names):
        row = int(np.flatnonzero(index == [bool(name.strip()) for name in names].index(False))[0])
        raise DataError(
            f"{part.name} has no label for image {row} (counted from 0)",
            "give each image a label, or leave the labels out",
        )
    return names, index
