"""Pictures of images, latents and results, drawn with Matplotlib.

The functions draw arrays, and know nothing of their source. Images are floats
(n, channels, height, width) in [0, 1]. Pictures are drawn without pyplot, so that they need no
display, except in a window.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.registry import BackendFilter, backend_registry
from matplotlib.figure import Figure

from ae_cli.figures.anomalies import draw_anomalies
from ae_cli.figures.evaluation import draw_evaluation
from ae_cli.figures.films import FILM_ENDINGS, FRAME_SECONDS, check_film, render, turn, write_film
from ae_cli.figures.images import draw_examples, draw_grid, draw_reconstructions, draw_sheet
from ae_cli.figures.latents import MOST_LEGEND, draw_latents, spread
from ae_cli.figures.losses import draw_losses
from ae_cli.figures.strips import COLUMNS, Floats, as_pixels, draw_strips
from ae_cli.figures.sweep import draw_sweep
from ae_cli.figures.training import LatentView, ReconstructionView, View, Window
from ae_cli.files import atomic_write

__all__ = [
    "COLUMNS",
    "FILM_ENDINGS",
    "FRAME_SECONDS",
    "MOST_LEGEND",
    "RESOLUTION",
    "LatentView",
    "ReconstructionView",
    "View",
    "Window",
    "check_film",
    "draw_anomalies",
    "draw_evaluation",
    "draw_examples",
    "draw_grid",
    "draw_latents",
    "draw_losses",
    "draw_reconstructions",
    "draw_sheet",
    "draw_strips",
    "draw_sweep",
    "endings",
    "new_figure",
    "render",
    "save",
    "save_each",
    "show",
    "spread",
    "to_png",
    "turn",
    "write",
    "write_film",
]

RESOLUTION = 150  # dots per inch
SCREEN_RESOLUTION = 80
MOST_PIXELS = 65_000  # per side of a picture


def endings() -> tuple[str, ...]:
    """The file endings that Matplotlib supports: .png, .svg, .pdf and more."""
    # PGF needs TeX, and hardly any program opens raw pixels.
    formats = FigureCanvasBase.get_supported_filetypes().keys() - {"pgf", "raw", "rgba"}
    return tuple(f".{name}" for name in sorted(formats))


def new_figure(*, window: bool = False) -> tuple[Figure, bool]:
    """Make an empty figure, in a window if `window` is set and there is a display.

    Returns:
        The figure, and whether it is in a window, which `show` opens.
    """
    linux = sys.platform.startswith("linux")
    if window and (not linux or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        from matplotlib import pyplot

        # Each windowing toolkit has its own exception for a missing display.
        with suppress(Exception):
            figure = pyplot.figure()
            backend = pyplot.get_backend().lower()  # such as TkAgg, from MPLBACKEND
            if backend in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
                return figure, True
    return Figure(), False


def show() -> None:
    """Show the window that `new_figure` made, and wait until it is closed."""
    from matplotlib import pyplot

    pyplot.show()


def save(figure: Figure, path: Path) -> None:
    """Write a picture atomically, in the format of the path's ending.

    Raises:
        UsageError: The file cannot be written.
    """
    # Matplotlib draws at most 65,535 pixels per side.
    resolution = min(RESOLUTION, MOST_PIXELS / max(figure.get_size_inches()))
    # In an SVG, titles, axes and legends stay text, which is smaller and can be searched.
    with atomic_write(path) as file, matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=resolution)


def write(path: Path, draw: Callable[[Figure], None]) -> None:
    """Draw a picture, without a display, and write it atomically.

    Raises:
        UsageError: The file cannot be written.
    """
    figure, _ = new_figure()
    draw(figure)
    save(figure, path)


def to_png(draw: Callable[[Figure], None]) -> bytes:
    """Draw a picture as a PNG for a notebook."""
    figure, _ = new_figure()
    draw(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=SCREEN_RESOLUTION)
    return content.getvalue()


def save_each(images: Floats, folder: Path) -> None:
    """Write images as PNG files of their own size: ``00000.png``, ``00001.png`` and so on.

    Args:
        images: float (n, channels, height, width) in [0, 1].
        folder: An empty folder.

    Raises:
        OSError: A file cannot be written.
    """
    from PIL import Image

    for i, image in enumerate(images):
        levels = np.round(as_pixels(image.transpose(1, 2, 0)) * 255).astype(np.uint8)
        Image.fromarray(levels).save(folder / f"{i:05}.png")
