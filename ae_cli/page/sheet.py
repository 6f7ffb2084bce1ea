"""Many images in one picture, for a page."""

from __future__ import annotations

import io
from math import ceil, isqrt, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ae_cli.figures.strips import tile
from ae_cli.page import encode

MOST_PIXELS = 16_000_000  # of a picture: as many as a phone's browser can decode
JPEG_QUALITY = 90


class Sheet(NamedTuple):
    """Images side by side in one picture.

    Attributes:
        kind: ``png`` or ``jpeg``.
        content: The encoded picture.
        columns: The number of images per row.
        height: The height of an image, in pixels.
        width: The width of an image, in pixels.
    """

    kind: str
    content: bytes
    columns: int
    height: int
    width: int

    def as_data(self) -> dict[str, Any]:
        """The sheet as `sheet.js` expects it."""
        return {
            "source": f"data:image/{self.kind};base64,{encode(self.content)}",
            "columns": self.columns,
            "height": self.height,
            "width": self.width,
        }


def draw_sheet(pixels: NDArray[np.uint8], most: int) -> Sheet:
    """Put images, (n, channels, height, width), into one picture of at most `most` bytes.

    The picture is lossless if that fits; otherwise it is a JPEG, and is reduced until it fits.
    """
    count, channels, height, width = pixels.shape
    columns = isqrt(count - 1) + 1
    rows = ceil(count / columns)
    cells = np.zeros((rows * columns, channels, height, width), np.uint8)
    cells[:count] = pixels
    levels = tile(cells, columns)
    picture = Image.fromarray(levels[:, :, 0] if channels == 1 else levels)
    scale = min(1.0, sqrt(MOST_PIXELS / levels[:, :, 0].size))
    while True:
        tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
        reduced = picture
        if scale < 1:
            # With a box filter, a pixel is the mean of pixels of a single image.
            reduced = picture.resize((columns * wide, rows * tall), Image.Resampling.BOX)
        content = b""
        for kind, options in (
            ("png", {}),
            ("jpeg", {"quality": JPEG_QUALITY, "subsampling": 0}),
        ):
            buffer = io.BytesIO()
            reduced.save(buffer, kind, **options)
            content = buffer.getvalue()
            if len(content) <= most or (tall == 1 and wide == 1):
                return Sheet(kind, content, columns, tall, wide)
        scale *= max(0.3, 0.95 * sqrt(most / len(content)))
