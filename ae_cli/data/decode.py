"""Decode one image to a given size, or read only its header."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, _imaging

from ae_cli.config import Fit
from ae_cli.data.image_formats import USUAL, WITH_FRAMES, ending_of, image_formats
from ae_cli.errors import brief

MOST_MISSING = 0.99  # of an image's pixels
CUT = "cut short"  # remarks about an image that was read all the same
FIRST = "first of several pages or frames"

# The most pixels of one image, and of all images that are decoded at the same time: a file of a few
# kilobytes can claim to have any number. While it is decoded, a pixel takes up to 8 bytes.
MOST_PIXELS = 50_000_000
LONGEST_SIDE = 1_000_000  # for longer sides, the weights of the filter alone take hundreds of MB
# Pillow allocates memory in blocks. Blocks above 32 MB return to the system when they are freed;
# smaller ones would stay allocated in each thread.
_imaging.set_block_size(1 << 26)  # which Pillow's documentation calls Image.core
_STRIP = 1 << 20  # pixels to convert at once
_LYING = range(5, 9)  # Exif's orientations of images whose width is their height in the file


class UnreadableImageError(Exception):
    """The reason why an image file cannot be used, in a few words."""


# An image's file, what is in it, or why it cannot be read
Content: TypeAlias = "Path | bytes | UnreadableImageError"


class _CutShortError(UnreadableImageError):
    """A JPEG ends before its last pixels."""


class Decoded(NamedTuple):
    """One image.

    Attributes:
        pixels: uint8 (3 or 1, height, width): red, green and blue, or ITU-R 601 luma.
        remark: `CUT` or `FIRST`, or an empty text.
    """

    pixels: NDArray[np.uint8]
    remark: str = ""


class _Room:
    """Limits how many pixels are decoded at the same time, in all threads together."""

    def __init__(self) -> None:
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for this many pixels, up to `MOST_PIXELS`, and reserve it."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken + pixels <= MOST_PIXELS)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


_room = _Room()


def decode(
    content: Content, *, size: tuple[int, int], color: bool, fit: Fit, name: str = ""
) -> Decoded:
    """Read an image: its first frame, turned upright, on a white background if it is transparent.

    A JPEG whose end is missing is read as far as it goes.

    Args:
        content: A file in one of the formats of `image_formats`, or what is in it.
        size: The height and width of the result.
        color: Whether to keep the colours.
        fit: ``crop`` fills the size and cuts off the rest on both sides, ``pad`` adds black
            margins, ``stretch`` changes the image's proportions.
        name: The file's name; None for that of the path.

    Raises:
        UnreadableImageError: The image cannot be read, or is absurdly large.
    """
    (image,) = decode_frames(content, [0], size=size, color=color, fit=fit, name=name)
    return image


def decode_frames(
    content: Content,
    frames: Sequence[int],
    *,
    size: tuple[int, int],
    color: bool,
    fit: Fit,
    name: str = "",
) -> Iterator[Decoded]:
    """Read some pages or frames of an image, in ascending order; see `decode`.

    If the first one is all that is read of several, its remark is `FIRST`.
    """
    try:
        with _open(content, name) as opened:
            further = frames == [0] and _has_further(opened)
            for frame in frames:
                if frame:
                    opened.seek(frame)
                several = len(frames) > 1
                pixels = _read(opened, size, color=color, fit=fit, several=several)
                yield Decoded(pixels, FIRST * further)
    except _CutShortError:
        whole = content.read_bytes() if isinstance(content, Path) else content
        if isinstance(whole, UnreadableImageError):
            raise
        # Two bytes that mark the end let the decoder make do with what is there.
        with _open(whole + b"\xff\xd9", name) as opened:
            pixels = _read(opened, size, color=color, fit=fit)
            # What is missing has the last pixel's value.
            if (pixels == pixels[:, -1:, -1:]).mean() > MOST_MISSING:
                raise _CutShortError("image file is truncated") from None
            yield Decoded(pixels, CUT)


def count_frames(content: Content, name: str = "") -> int:
    """The number of pages or frames of an image.

    Raises:
        UnreadableImageError: It is not an image.
    """
    with _open(content, name) as opened:
        return int(getattr(opened, "n_frames", 1)) if opened.format in WITH_FRAMES else 1


def _has_further(opened: Image.Image) -> bool:
    return opened.format in WITH_FRAMES and bool(getattr(opened, "is_animated", False))


def _read(
    opened: Image.Image, size: tuple[int, int], *, color: bool, fit: Fit, several: bool = False
) -> NDArray[np.uint8]:
    """Decode an opened image's present frame to uint8 (3 or 1, height, width).

    With `several`, the image stays as it is, so that further frames can be read.
    """
    height, width = size
    mode = "RGB" if color else "L"
    whole = opened.size
    # A JPEG's decoder can leave out the finest details, which is faster. With a third more pixels
    # than are wanted, the result differs by less than 2 of 255 from that of all details (the root
    # of the mean square, of 150 photos), no more than by JPEG's own noise.
    opened.draft(mode, (4 * width // 3, 4 * height // 3))
    # A progressive JPEG is decoded at its full size in spite of `draft`.
    columns, rows = whole if opened.info.get("progressive") else opened.size
    # WebP's and AVIF's decoders need memory for two more images.
    room = columns * rows * (2 if opened.format in ("WEBP", "AVIF") else 1)
    if room > MOST_PIXELS or max(columns, rows) > LONGEST_SIDE:
        raise UnreadableImageError(f"{columns} × {rows} pixels are too many")
    with _room.take(room):
        image = opened.copy() if several else opened
        ImageOps.exif_transpose(image, in_place=True)
        image = _fit(_convert(image, mode), width, height, fit)
    pixels = np.asarray(image)
    return pixels.transpose(2, 0, 1) if color else pixels[None]


class Header(NamedTuple):
    """What an image's file says about it before its pixels.

    Attributes:
        size: Its height and width when it is turned upright.
        may_have_colors: Whether its pixels are not plainly grey: they may still be.
    """

    size: tuple[int, int]
    may_have_colors: bool


def read_header(content: Content, name: str = "") -> Header:
    """Read an image's header, which is fast.

    Raises:
        UnreadableImageError: It is not an image, or an empty one.
    """
    with _open(content, name) as opened:
        # PNG's own method decodes the whole image, in case the orientation is behind the pixels.
        exif = Image.Image.getexif(opened)
        width, height = opened.size
        if opened.format == "TIFF":  # some versions of Pillow have turned this size already
            width = int(exif.get(ExifTags.Base.ImageWidth, width))
            height = int(exif.get(ExifTags.Base.ImageLength, height))
        if exif.get(ExifTags.Base.Orientation) in _LYING:
            width, height = height, width
        if min(width, height) < 1:
            raise UnreadableImageError("it has no pixels")
        return Header((height, width), may_have_colors=Image.getmodebase(opened.mode) != "L")


@contextmanager
def _open(content: Content, name: str) -> Iterator[Image.Image]:
    """Open an image, and turn all that goes wrong with it into an `UnreadableImageError`.

    Raises:
        UnreadableImageError: Something is wrong; a `_CutShortError` for a JPEG without an end.
    """
    if isinstance(content, UnreadableImageError):
        raise content
    opened = None
    if not name and isinstance(content, Path):
        name = content.name
    kind = image_formats().get(ending_of(name))
    formats = USUAL if kind is None or kind in USUAL else (*USUAL, kind)
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        with Image.open(file, formats=formats) as opened:
            yield opened
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("it claims to have absurdly many pixels") from error
    # Pillow's many decoders raise all kinds of exceptions: each means that this file is broken.
    except Exception as error:
        is_jpeg = opened is not None and opened.format in ("JPEG", "MPO")
        if is_jpeg and "image file is truncated" in str(error):
            raise _CutShortError("image file is truncated") from error
        raise UnreadableImageError(_cause(error)) from error


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image of any mode to 8 bits, grey or in colour.

    It is converted in strips, since a pixel can take several times its memory on the way.
    """
    if image.mode == mode and not image.has_transparency_data:
        return image
    converted = Image.new(mode, image.size)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        converted.paste(_convert_strip(image.crop(box), mode), box)
    return converted


def _convert_strip(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _from_deep(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)


def _from_deep(values: NDArray[np.generic]) -> Image.Image:
    """Convert 16-bit whole numbers, or floats in [0, 1], (height, width), to an 8-bit image."""
    numbers = values.astype(np.float64)
    white = 1.0 if np.issubdtype(values.dtype, np.floating) else 65535.0
    if not (numbers.min() >= 0 and numbers.max() <= white):
        raise UnreadableImageError(
            f"its pixels go from {numbers.min():g} to {numbers.max():g}, not from 0 to {white:g}"
        )
    return Image.fromarray((numbers * (255 / white)).round().astype(np.uint8))


def _fit(image: Image.Image, width: int, height: int, fit: Fit) -> Image.Image:
    size, method = (width, height), Image.Resampling.BICUBIC
    if fit == "crop":
        return ImageOps.fit(image, size, method)
    if fit == "pad":
        # Not ImageOps.pad, which fails for an image that is a thousand times as wide as high
        scale = min(width / image.width, height / image.height)
        inner = max(1, round(scale * image.width)), max(1, round(scale * image.height))
        padded = Image.new(image.mode, size)  # black
        padded.paste(
            image.resize(inner, method), ((width - inner[0]) // 2, (height - inner[1]) // 2)
        )
        return padded
    if width * image.height > MOST_PIXELS:  # Pillow would resize the width first
        image = image.resize((image.width, height), method)
    return image.resize(size, method)


def _cause(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or an unknown format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return brief(error)
