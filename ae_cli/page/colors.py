"""Colours of points on the pages, by reconstruction error."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

SHADES = 64
# The part of one of Matplotlib's scales that stands out from the background of each theme, with
# blue for the smallest error
SCALES = {"light": ("plasma", 0.0, 0.6), "dark": ("viridis", 0.4, 1.0)}


def error_colors() -> dict[str, list[str]]:
    """The colours of each theme as #rrggbb, from the smallest error to the largest."""
    return {
        theme: [
            to_hex(color) for color in matplotlib.colormaps[name](np.linspace(low, high, SHADES))
        ]
        for theme, (name, low, high) in SCALES.items()
    }
