"""How much memory training needs, measured in separate processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.photos import random_crops
from conftest import TUTORIAL

LAUNCH = Path(__file__).parents[1] / "benchmarks" / "launch.py"
SIDE = 64


def write_images(path: Path, count: int) -> int:
    """Write `count` random images, and return the size of their pixels in bytes."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE, SIDE))
    rng = np.random.default_rng(0)
    for start in range(0, count, 5000):
        part = images[start : start + 5000]
        part[:] = rng.integers(0, 256, part.shape, dtype=np.uint8)
    images.flush()
    return images.nbytes


def peak_memory(*arguments: str | Path) -> int:
    """The peak memory of Python with these arguments, in bytes."""
    command = [sys.executable, LAUNCH, "output", sys.executable, *arguments]
    answer = subprocess.run(command, capture_output=True, check=True)
    memory: int = json.loads(answer.stdout)["memory"]
    return memory


@pytest.mark.slow
def test_training_keeps_the_pixels_in_memory_once(tmp_path):
    """Splitting and shuffling copy no pixels. A batch needs the same memory with both sets."""
    few, many = (write_images(tmp_path / f"{n}.npy", n) for n in (30_000, 150_000))
    recipe = ("--epochs", "1", "--batch-size", "1000", "--hidden", "16", "--quiet")
    small, large = (
        peak_memory(
            "-m", "ae_cli", *TUTORIAL, "--data", f"{n}.npy", *recipe, "--out", f"{n}.safetensors"
        )
        for n in (30_000, 150_000)
    )
    assert large - small <= 1.2 * (many - few)


def test_training_on_photos_needs_little_memory(tmp_path):
    """A batch of 128 photos of 64 × 64 pixels: at most 600 MB more than torch itself."""
    np.save("photos.npy", random_crops(384))
    trained = peak_memory(
        *("-m", "ae_cli", "train", "--data", "photos.npy", "--epochs", "2", "--quiet"),
        *("--batch-size", "128", "--model", "conv"),
    )
    assert trained - peak_memory("-c", "import torch") <= 600e6
