"""A page of images sorted by how unusual they are, with a threshold that the user moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.files import atomic_write
from ae_cli.page import assemble
from ae_cli.page.sheet import MOST_PIXELS, draw_sheet

MOST_SHOWN = 1000  # images in the page
LARGEST_SHEET = 3_000_000  # bytes of each of its three pictures of all images

# In the order of the cascade
STYLES = ("base.css", "details.css", "anomalies.css")
# In an order in which each script needs only those before it
SCRIPTS = (
    "dom.js",
    "theme.js",
    "csv.js",
    "sheet.js",
    "pictures.js",
    "histogram.js",
    "anomalies.js",
)


@dataclass(frozen=True)
class JudgedImages:
    """What the page shows of the n images with the highest scores.

    Attributes:
        title: The name of the images' source.
        summary: A line about the images and the score.
        count: Number of images that were judged, in the page or not.
        threshold: The score above which an image is an anomaly, until the user moves it.
        held_out: The scores of normal images, or quantiles of them, ascending; at least one.
        held_out_images: How many normal images these scores are of.
        known: How many of the images that were judged are known to be anomalous, and normal; None
            if that is not known.
        columns: ``index, split, error, score``, and ``name`` and ``label`` if there are any, each
            (n,), the highest score first.
        titles: A short name of each image.
        anomalous: Whether each is known to be an anomaly (True) or normal (False); None where that
            is not known.
        originals: uint8 (n, channels, height, width).
        reconstructions: Shaped like `originals`.
        overlays: uint8 (n, 3, height, width): where they are unusual, in colours over them.
        overlay_caption: What the overlays show.
    """

    title: str
    summary: str
    count: int
    threshold: float
    held_out: Sequence[float]
    held_out_images: int
    known: tuple[int, int] | None
    columns: dict[str, NDArray[Any]]
    titles: Sequence[str]
    anomalous: Sequence[bool | None]
    originals: NDArray[np.uint8]
    reconstructions: NDArray[np.uint8]
    overlays: NDArray[np.uint8]
    overlay_caption: str


def most_shown(height: int, width: int) -> int:
    """How many images of this size the page can hold."""
    return max(1, min(MOST_SHOWN, MOST_PIXELS // (height * width)))


def write_anomalies(path: Path, judged: JudgedImages) -> None:
    """Write the page atomically.

    Raises:
        UsageError: The file cannot be written.
    """
    columns = {name: values.tolist() for name, values in judged.columns.items()}
    rows = zip(*columns.values(), strict=True)
    known = zip(rows, judged.titles, judged.anomalous, strict=True)
    sheets = {
        "original": judged.originals,
        "reconstruction": judged.reconstructions,
        "overlay": judged.overlays,
    }
    data = {
        "title": judged.title,
        "summary": judged.summary,
        "count": judged.count,
        "threshold": judged.threshold,
        "heldOut": list(judged.held_out),
        "heldOutImages": judged.held_out_images,
        "known": judged.known and dict(zip(("anomalous", "normal"), judged.known, strict=True)),
        "named": "name" in columns,
        "images": [
            {
                "label": None,
                **dict(zip(columns, row, strict=True)),
                "name": title,
                "anomalous": is_one,
            }
            for row, title, is_one in known
        ],
        "overlayCaption": judged.overlay_caption,
        "sheets": {
            name: draw_sheet(pixels, LARGEST_SHEET).as_data() for name, pixels in sheets.items()
        },
    }
    page = assemble("anomalies.html", f"{judged.title} – anomalies", STYLES, SCRIPTS, data)
    with atomic_write(path) as file:
        file.write(page)
