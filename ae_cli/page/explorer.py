"""A walk through the latent space: one HTML page with images, latents and the decoder in it.

The page needs no network and no other file. What it shows is in `explorer.html`, `explorer.css` and
the scripts beside them.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isqrt, sqrt
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from PIL import Image

from ae_cli.config import Activation
from ae_cli.figures.latents import palette
from ae_cli.figures.strips import tile
from ae_cli.files import atomic_write
from ae_cli.latents import Latents
from ae_cli.page import allow, encode, fill, pack, read_part

LARGEST = 12_000_000  # bytes that the page should not have more of
MOST_PIXELS = 16_000_000  # of all thumbnails together: what a phone's browser can take apart
LEAST_SHEET = 2_000_000  # bytes for thumbnails, however large the decoder is
JPEG_QUALITY = 90
MOST_HALF = 65_504  # what half precision can hold
ERROR_COLORS = 64
SPLIT_COLORS = ("#4477aa", "#ee7733")

# In an order in which each needs only those before it
SCRIPTS = (
    "dom.js",
    "decoder.js",
    "space.js",
    "pictures.js",
    "projection.js",
    "box.js",
    "gestures.js",
    "cloud.js",
    "choices.js",
    "way.js",
    "explorer.js",
)

Color = Literal["label", "error", "split"]


@dataclass(frozen=True)
class LatentSpace:
    """What the page shows.

    Attributes:
        title: The name of the images' source.
        summary: A line about them and the model.
        rows: The images' rows of the table of latents, with index, split and error.
        pixels: uint8 (n, channels, height, width), the images.
        layers: The decoder's weights, float32 (outputs, inputs), and biases, float32 (outputs,).
        activation: What stands between the decoder's layers.
        heat_most: The squared error of a pixel that gets the brightest colour of the heat maps.
        axes: The positions of the two or three latents to draw; None for the first three, or where
            there are more, for their principal components.
        color: What to colour by at first.
    """

    title: str
    summary: str
    rows: Latents
    pixels: NDArray[np.uint8]
    layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
    activation: Activation
    heat_most: float
    axes: tuple[int, ...] | None
    color: Color


class Page(NamedTuple):
    """What a page has become.

    Attributes:
        size: Its bytes.
        thumbnail: Height and width of the images in it.
        lossless: Whether they are otherwise as they were, and not a JPEG.
        half: Whether the decoder's weights have half precision.
    """

    size: int
    thumbnail: tuple[int, int]
    lossless: bool
    half: bool


def write_explorer(path: Path, space: LatentSpace) -> Page:
    """Write the page whole, or leave what stood there.

    Where it would become larger than `LARGEST`, the decoder's weights are kept in half precision,
    and then the images as JPEG, and smaller. Only a decoder that is too large by itself makes a
    larger page.

    Raises:
        UsageError: The file cannot be written.
    """
    half = _choose_half(space.layers)
    data = _describe(space) | {
        "half": half,
        "layers": [
            {"weight": pack(weight, "<f2" if half else "<f4"), "bias": pack(bias, "<f4")}
            for weight, bias in space.layers
        ],
    }
    room = LARGEST - len(_assemble(space.title, data))
    sheet = _draw_sheet(space.pixels, max(LEAST_SHEET, room * 3 // 4))  # base64 adds a third
    data["thumbnails"] = {
        "source": f"data:image/{sheet.kind};base64,{encode(sheet.content)}",
        "columns": sheet.columns,
        "height": sheet.height,
        "width": sheet.width,
    }
    page = _assemble(space.title, data)
    with atomic_write(path) as file:
        file.write(page)
    return Page(len(page), (sheet.height, sheet.width), sheet.kind == "png", half)


def _choose_half(layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> bool:
    """Whether the weights are so many that half precision, good to three digits, must do."""
    count = sum(weight.size for weight, _ in layers)
    most = max(float(np.abs(weight).max()) for weight, _ in layers)
    return count * 4 * 4 / 3 > LARGEST / 3 and most <= MOST_HALF


def _describe(space: LatentSpace) -> dict[str, Any]:
    """Everything but the decoder and the images, as the script in `space.js` expects it."""
    rows = space.rows
    if rows.index is None or rows.split is None or rows.error is None:
        raise ValueError("the rows lack their index, split or error")
    count, dimensions = rows.z.shape
    split_names, splits = np.unique(rows.split, return_inverse=True)
    classes, labels = (
        (None, None) if rows.label is None else np.unique(rows.label, return_inverse=True)
    )
    inferno = matplotlib.colormaps["inferno"](np.arange(256))[:, :3]
    viridis = matplotlib.colormaps["viridis"](np.linspace(0, 1, ERROR_COLORS))
    return {
        "title": space.title,
        "summary": space.summary,
        "count": count,
        "dimensions": dimensions,
        "shape": space.pixels.shape[1:],
        "activation": space.activation,
        "latents": pack(rows.z, "<f4"),
        "errors": pack(rows.error, "<f4"),
        "index": pack(rows.index, "<i4"),
        "splits": pack(splits, "u1"),
        "splitNames": split_names.tolist(),
        "splitColors": SPLIT_COLORS,
        "names": None if rows.name is None else rows.name.tolist(),
        "labels": None if labels is None else pack(labels, "<i4"),
        "classes": None if classes is None else [str(name) for name in classes],
        "classColors": None
        if classes is None
        else [to_hex(color) for color in palette(len(classes))(np.arange(len(classes)))],
        "errorColors": [to_hex(color) for color in viridis],
        "heatColors": pack(np.round(inferno * 255), "u1"),
        "heatMost": space.heat_most,
        "axes": space.axes or list(range(min(dimensions, 3))),
        "chosen": space.axes is not None,
        "pca": _find_components(rows.z) if dimensions > 3 else None,
        "color": space.color,
        "ends": _choose_ends(rows.z, rows.error),
    }


def _find_components(z: NDArray[np.float32]) -> dict[str, Any]:
    """The mean and the first three principal components of latents, (n, k)."""
    mean = z.mean(axis=0, dtype=np.float64)
    centred = z - mean
    # Of the covariance, which is small however many images there are
    values, vectors = np.linalg.eigh(centred.T @ centred / len(z))
    total = max(float(values.sum()), np.finfo(float).tiny)
    return {
        "mean": mean.tolist(),
        "components": vectors.T[:-4:-1].tolist(),
        "shares": (np.maximum(values[:-4:-1], 0) / total).tolist(),
    }


def _choose_ends(z: NDArray[np.float32], errors: NDArray[np.float32]) -> list[int]:
    """Two images to walk between at first: well reconstructed ones that are far apart."""
    good = np.argsort(errors, kind="stable")[: max(1, len(errors) // 4)]
    far = np.square(z[good].astype(np.float64) - z[good[0]]).sum(axis=1).argmax()
    return [int(good[0]), int(good[far])]


class _Sheet(NamedTuple):
    """Images side by side in one picture.

    Attributes:
        kind: ``png`` or ``jpeg``.
        content: The encoded picture.
        columns: Images in a row.
        height: Of an image, in pixels.
        width: Of an image, in pixels.
    """

    kind: str
    content: bytes
    columns: int
    height: int
    width: int


def _draw_sheet(pixels: NDArray[np.uint8], most: int) -> _Sheet:
    """Put images, (n, channels, height, width), into one picture of at most so many bytes.

    They are as they are if that fits, or a JPEG, or else reduced until it does.
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
            # A pixel is the mean of what it covers, and so of one image alone.
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
                return _Sheet(kind, content, columns, tall, wide)
        scale *= max(0.3, 0.95 * sqrt(most / len(content)))


def _assemble(title: str, data: dict[str, Any]) -> bytes:
    """Put the template, the style, the scripts and the data together."""
    style = read_part("explorer.css")
    script = '"use strict";\n' + "".join(_as_script(read_part(name)) for name in SCRIPTS)
    return fill(
        "explorer.html",
        title=f"{title} – latent space",
        # No other script or style may run than these two.
        policy=f"img-src data:; script-src {allow(script)}; style-src {allow(style)}",
        style=style,
        script=script,
        # In a script element, only `<` could end the data or begin something else.
        data=json.dumps(data, allow_nan=False).replace("<", r"\u003c"),
    )


def _as_script(module: str) -> str:
    """Turn a module into a part of one script, in which all names are known."""
    return re.sub(r"^(import .*;\n|export (?=\w))", "", module, flags=re.MULTILINE)
