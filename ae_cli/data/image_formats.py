"""The formats of image files: those that Pillow decodes, by the endings of their names."""

from __future__ import annotations

import functools
import os
from contextlib import suppress

from PIL import Image

# In this order they are looked for in a file, whatever its ending.
USUAL = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "AVIF", "PPM")
# What Pillow registers but cannot decode, or only with another program, which a file could exploit.
_NEVER = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}
# Of other formats, such as the two views of a camera's MPO, the further images are no pages.
WITH_FRAMES = ("TIFF", "GIF", "WEBP", "AVIF", "PNG")


@functools.cache
def image_formats() -> dict[str, str]:
    """The formats that Pillow decodes, by the endings of their files, with the dot."""
    with suppress(ImportError):  # it is an extra
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    endings = Image.registered_extensions().items()
    return {end: kind for end, kind in endings if kind in Image.OPEN and kind not in _NEVER}


def is_image(name: str) -> bool:
    """Whether a file's name has an image's ending."""
    return ending_of(name) in image_formats()


def may_have_frames(name: str) -> bool:
    """Whether a file of this name may have several pages or frames."""
    return image_formats().get(ending_of(name)) in WITH_FRAMES


def ending_of(name: str) -> str:
    """The ending of a file's name in lower case, with the dot."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - several times as fast as pathlib
