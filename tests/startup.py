"""What a command must not import before it needs it."""

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
