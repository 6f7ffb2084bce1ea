"""One image file, decoded to a given size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ae_cli.config import Fit
from ae_cli.errors import brief

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")

# More are not decoded: a file of a few kilobytes can claim to hold any number. At 4 bytes each, two
# such images at a time are 400 MB.
MOST_PIXELS = 50_000_000


class UnreadableImageError(Exception):
    """Why a file is not used, in a few words."""


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow from warning of large and odd files while the block runs: `decode` judges them.

    For the thread that starts the others, since filters of warnings belong to the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(path: Path, *, size: tuple[int, int], color: bool, fit: Fit) -> NDArray[np.uint8]:
    """Read an image: its first frame, turned upright, what is transparent on white.

    Args:
        path: A file of one of the formats that `ENDINGS` stand for.
        size: Height and width that it should have.
        color: Whether to keep its colours.
        fit: ``crop`` fills the size and cuts off what is beyond it on both sides, ``pad`` adds
            black margins, ``stretch`` changes the image's proportions.

    Returns:
        uint8 (3 or 1, height, width): red, green and blue, or ITU-R 601 luma.

    Raises:
        UnreadableImageError: It cannot be read, or is absurdly large.
    """
    height, width = size
    mode = "RGB" if color else "L"
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            # A JPEG can be decoded at half its size, a quarter or an eighth, in as little time.
            opened.draft(mode, (2 * width, 2 * height))
            if opened.width * opened.height > MOST_PIXELS:
                raise UnreadableImageError(f"{opened.width} × {opened.height} pixels are too many")
            image = _fit(_convert(ImageOps.exif_transpose(opened), mode), width, height, fit)
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("it claims to have absurdly many pixels") from error
    # Pillow raises whatever its many decoders happen to meet: each means that this file is broken.
    except Exception as error:
        raise UnreadableImageError(_cause(error)) from error
    pixels = np.asarray(image)
    return pixels.transpose(2, 0, 1) if color else pixels[None]


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Bring an image of any mode to 8 bits, grey or in colour."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _from_deep(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)


def _from_deep(values: NDArray[np.generic]) -> Image.Image:
    """Make an 8-bit image of 16-bit whole numbers, or of floats in [0, 1]; (height, width)."""
    numbers = values.astype(np.float64)
    white = 1.0 if np.issubdtype(values.dtype, np.floating) else 65535.0
    if not (numbers.min() >= 0 and numbers.max() <= white):
        raise UnreadableImageError(
            f"its pixels go from {numbers.min():g} to {numbers.max():g}, not from 0 to {white:g}"
        )
    return Image.fromarray((numbers * (255 / white)).round().astype(np.uint8))


def _fit(image: Image.Image, width: int, height: int, fit: Fit) -> Image.Image:
    size, method = (width, height), Image.Resampling.LANCZOS
    if fit == "crop":
        return ImageOps.fit(image, size, method)
    if fit == "pad":
        # Rather than ImageOps.pad, which makes nothing of an image a thousand times as wide as high
        scale = min(width / image.width, height / image.height)
        inner = max(1, round(scale * image.width)), max(1, round(scale * image.height))
        padded = Image.new(image.mode, size)  # black
        padded.paste(
            image.resize(inner, method), ((width - inner[0]) // 2, (height - inner[1]) // 2)
        )
        return padded
    return image.resize(size, method)


def _cause(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image, or of an unknown format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return brief(error)
