"""What measurements depend on."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

import sklearn
import torch
import torchvision

import ae_cli


def describe_machine() -> dict[str, Any]:
    """The machine, the versions and the date."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "scikit-learn": sklearn.__version__,
        "ae": ae_cli.__version__,
        "date": date.today().isoformat(),
    }


def _processor() -> str:
    """The processor's name, as far as the system reports it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = (line.partition(":") for line in information.read_text().splitlines())
        fields = {key.strip(): value.strip() for key, _, value in lines}
        instructions = fields.get("flags", "").split()
        name = fields.get("model name", platform.machine())
        return f"{name}{', AVX-512' * ('avx512f' in instructions)}"
    return platform.processor() or platform.machine()
