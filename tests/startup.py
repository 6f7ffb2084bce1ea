"""Packages that are slow to import, and that a command must not import before it needs them."""

from __future__ import annotations

HEAVY = {
    "torch",
    "torchvision",
    "matplotlib",
    "numpy",
    "pyarrow",
    "sklearn",
    "safetensors",
    "plotly",
}
