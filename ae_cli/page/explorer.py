"""A page to explore the latent space: one HTML file with images, latents and the decoder in it.

The page needs no network and no other file. Its template is `explorer.html`; its styles and scripts
are the files in `STYLES` and `SCRIPTS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from ae_cli.config.commands import PageColor
from ae_cli.figures.latents import palette
from ae_cli.files import atomic_write
from ae_cli.page import Rows, assemble, pack
from ae_cli.page.colors import error_colors
from ae_cli.page.sheet import draw_sheet

LARGEST = 12_000_000  # bytes, the size that the page should not exceed
LEAST_SHEET = 2_000_000  # bytes for thumbnails, even if the decoder is large
MOST_HALF = 65_504  # the largest number in half precision
SPLIT_COLORS = ("#4477aa", "#ee7733")

# In the order of the cascade
STYLES = ("base.css", "stage.css", "cloud.css", "details.css")
# In an order in which each script needs only those before it
SCRIPTS = (
    "dom.js",
    "theme.js",
    "csv.js",
    "packed.js",
    "sheet.js",
    "decoder.js",
    "space.js",
    "pictures.js",
    "projection.js",
    "box.js",
    "gestures.js",
    "legend.js",
    "atlas.js",
    "marks.js",
    "cloud.js",
    "choices.js",
    "sliders.js",
    "worst.js",
    "way.js",
    "explorer.js",
)


class Layer(Protocol):
    """A layer of the decoder, as computed by `decoder.js`; see `ae_cli.models.Layer`."""

    @property
    def kind(self) -> str:
        """``linear``, ``convolution`` or ``expand``."""

    @property
    def weight(self) -> NDArray[np.float32]:
        """The weights, float32 (outputs, inputs), or (outputs, inputs, 3, 3)."""

    @property
    def bias(self) -> NDArray[np.float32]:
        """The biases, float32 (outputs,)."""

    @property
    def activation(self) -> str:
        """The name of the activation."""

    @property
    def grid(self) -> tuple[int, int] | None:
        """Height and width of the input's grid; None for a linear layer."""

    @property
    def factor(self) -> int:
        """Sides of the block that ``expand`` makes of each vector."""

    @property
    def adds_previous(self) -> bool:
        """Whether the input of the layer before is added to the output."""

    @property
    def before(self) -> str:
        """The name of the activation that is applied to the input first."""


class DecoderDescription(Protocol):
    """The decoder; see `ae_cli.models.DecoderDescription`."""

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers from the latent to the image."""

    @property
    def line(self) -> Layer | None:
        """A linear layer from the latent to an image, which is added; None for none."""


class Changes(NamedTuple):
    """What each latent changes in an image, which the page's sliders show.

    Attributes:
        mean: The mean latent, float64 (latent_dim,).
        low: The value of each latent in the first of its two images, float64 (latent_dim,); all
            other latents have their means.
        high: The value of each latent in the second of its two images, float64 (latent_dim,).
        shares: Each latent's share of the squared differences between the two images of all
            latents, float64 (latent_dim,).
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class LatentSpace:
    """What the page shows.

    Attributes:
        title: The name of the images' source.
        summary: A line about the images and the model.
        rows: The images' rows of the table of latents, with index, split and error.
        pixels: uint8 (n, channels, height, width), the images.
        decoder: The decoder's layers.
        changes: What each latent changes, by which the sliders are ordered; None for a few latents,
            whose sliders are in the latents' order.
        heat_most: The squared error of a pixel that gets the brightest colour of the heat maps.
        axes: The positions of the two or three latents to draw. None for all latents, or if there
            are more than three, for their principal components.
        color: What to colour by at first.
    """

    title: str
    summary: str
    rows: Rows
    pixels: NDArray[np.uint8]
    decoder: DecoderDescription
    changes: Changes | None
    heat_most: float
    axes: tuple[int, ...] | None
    color: PageColor


class Page(NamedTuple):
    """A page that was written.

    Attributes:
        size: The number of its bytes.
        thumbnail: Height and width of the images in it.
        lossless: Whether the images are stored without loss, rather than as a JPEG.
        half: Whether the decoder's weights have half precision.
    """

    size: int
    thumbnail: tuple[int, int]
    lossless: bool
    half: bool


def write_explorer(path: Path, space: LatentSpace) -> Page:
    """Write the page atomically.

    If it would be larger than `LARGEST`, the decoder's weights are stored in half precision, and
    then the images as JPEG, and reduced. It only becomes larger if the decoder alone is too large.

    Raises:
        UsageError: The file cannot be written.
    """
    half = _choose_half(space.decoder)
    line = space.decoder.line
    data = _describe(space) | {
        "half": half,
        "layers": [_pack_layer(layer, half) for layer in space.decoder.layers],
        "line": None if line is None else _pack_layer(line, half),
    }
    room = LARGEST - len(_assemble(space.title, data))
    sheet = draw_sheet(space.pixels, max(LEAST_SHEET, room * 3 // 4))  # base64 adds a third
    data["thumbnails"] = sheet.as_data()
    page = _assemble(space.title, data)
    with atomic_write(path) as file:
        file.write(page)
    return Page(len(page), (sheet.height, sheet.width), sheet.kind == "png", half)


def _choose_half(decoder: DecoderDescription) -> bool:
    """Whether there are so many weights that they need half precision, with three digits."""
    layers = [*decoder.layers, *([] if decoder.line is None else [decoder.line])]
    count = sum(layer.weight.size for layer in layers)
    most = max(float(np.abs(layer.weight).max()) for layer in layers)
    return count * 4 * 4 / 3 > LARGEST / 3 and most <= MOST_HALF


def _pack_layer(layer: Layer, half: bool) -> dict[str, Any]:
    """A layer as `space.js` expects it."""
    return {
        "kind": layer.kind,
        "weight": pack(layer.weight, "<f2" if half else "<f4"),
        "bias": pack(layer.bias, "<f4"),
        "activation": layer.activation,
        "grid": layer.grid,
        "factor": layer.factor,
        "addsPrevious": layer.adds_previous,
        "before": layer.before,
    }


def _describe(space: LatentSpace) -> dict[str, Any]:
    """Collect everything except the decoder and the images, as `space.js` expects it."""
    rows = space.rows
    if rows.index is None or rows.split is None or rows.error is None:
        raise ValueError("the rows lack their index, split or error")
    count, dimensions = rows.z.shape
    split_names, splits = np.unique(rows.split, return_inverse=True)
    classes, labels = (
        (None, None) if rows.label is None else np.unique(rows.label, return_inverse=True)
    )
    inferno = matplotlib.colormaps["inferno"](np.arange(256))[:, :3]
    return {
        "title": space.title,
        "summary": space.summary,
        "count": count,
        "dimensions": dimensions,
        "shape": space.pixels.shape[1:],
        "latents": pack(rows.z, "<f4"),
        "errors": pack(rows.error, "<f4"),
        "index": pack(rows.index, "<i4"),
        "splits": pack(splits, "u1"),
        "splitNames": split_names.tolist(),
        "splitColors": SPLIT_COLORS,
        "run": None if rows.run is None else str(rows.run[0]),
        "names": None if rows.name is None else rows.name.tolist(),
        "labels": None if labels is None else pack(labels, "<i4"),
        "classes": None if classes is None else [str(name) for name in classes],
        "classColors": None
        if classes is None
        else [to_hex(color) for color in palette(len(classes))(np.arange(len(classes)))],
        "errorColors": error_colors(),
        "heatColors": pack(np.round(inferno * 255), "u1"),
        "heatMost": space.heat_most,
        "axes": space.axes or list(range(min(dimensions, 3))),
        "chosen": space.axes is not None,
        "pca": _find_components(rows.z) if dimensions > 3 else None,
        "color": space.color,
        "ends": _choose_ends(rows.z, rows.error),
        "changes": None
        if space.changes is None
        else {name: values.tolist() for name, values in space.changes._asdict().items()},
    }


def _find_components(z: NDArray[np.float32]) -> dict[str, Any]:
    """The mean and the first three principal components of latents, (n, k)."""
    mean = z.mean(axis=0, dtype=np.float64)
    centred = z - mean
    # From the covariance, whose size does not depend on the number of images
    values, vectors = np.linalg.eigh(centred.T @ centred / len(z))
    total = max(float(values.sum()), np.finfo(float).tiny)
    return {
        "mean": mean.tolist(),
        "components": vectors.T[:-4:-1].tolist(),
        "shares": (np.maximum(values[:-4:-1], 0) / total).tolist(),
    }


def _choose_ends(z: NDArray[np.float32], errors: NDArray[np.float32]) -> list[int]:
    """Choose the first ends of the path: two well reconstructed images that are far apart."""
    good = np.argsort(errors, kind="stable")[: max(1, len(errors) // 4)]
    far = np.square(z[good].astype(np.float64) - z[good[0]]).sum(axis=1).argmax()
    return [int(good[0]), int(good[far])]


def _assemble(title: str, data: dict[str, Any]) -> bytes:
    return assemble("explorer.html", f"{title} – latent space", STYLES, SCRIPTS, data)
