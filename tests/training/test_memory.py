"""How much memory training needs, measured in separate processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from benchmarks.photos import random_crops
from benchmarks.table import make_table
from PIL import Image

LAUNCH = Path(__file__).parents[1] / "benchmarks" / "launch.py"
SIDE = 64
ALLOWED = 600e6  # bytes, beyond those of torch itself


def peak_memory(*arguments: str | Path) -> int:
    """The peak memory of Python with these arguments, in bytes."""
    return _measure(arguments, None)["memory"]


def private_memory(*arguments: str | Path, folder: Path | None = None) -> int:
    """The same without pages of mapped files."""
    return _measure(arguments, folder)["private"]


def _measure(arguments: tuple[str | Path, ...], folder: Path | None) -> dict[str, int]:
    command = [sys.executable, LAUNCH, "output", sys.executable, *arguments]
    answer = subprocess.run(command, capture_output=True, check=True, cwd=folder)
    measured: dict[str, int] = json.loads(answer.stdout)
    return measured


COUNT = 70_000


@pytest.fixture(scope="module")
def model_of_many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of images that take more memory than a command may have."""
    folder = tmp_path_factory.mktemp("many")
    photos = random_crops(1000)
    pixels = np.lib.format.open_memmap(folder / "x.npy", "w+", np.uint8, (COUNT, SIDE, SIDE, 3))
    for start in range(0, COUNT, len(photos)):
        pixels[start : start + len(photos)] = photos ^ np.uint8(start // len(photos) % 8)
    pixels.flush()
    assert pixels.nbytes > ALLOWED
    recipe = ("--data", "x.npy", "--model", "mlp", "--hidden", "16", "--epochs", "1", "--quiet")
    measured = private_memory("-m", "ae_cli", "train", *recipe, folder=folder)
    assert measured - private_memory("-c", "import torch", folder=folder) <= ALLOWED
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        *("embed", "embed --out x.npz", "embed --out x.parquet"),
        *("evaluate", "anomalies", "explore", "reconstruct", "data x.npy"),
    ],
)
def test_commands_need_memory_for_a_part_of_the_images_only(model_of_many, command):
    """At most 600 MB more than torch itself, without the file's pages, which are mapped."""
    measured = private_memory("-m", "ae_cli", *command.split(), "--quiet", folder=model_of_many)
    assert measured - private_memory("-c", "import torch") <= ALLOWED


@pytest.mark.slow
def test_decoded_photos_need_memory_for_a_part_of_them_only(tmp_path):
    """Decoded to 128 × 128 pixels, the photos take twice as much as a command may have."""
    for i, crop in enumerate(random_crops(500)):
        Image.fromarray(crop).save(tmp_path / f"{i:03}.png")
        for copy in range(49):
            (tmp_path / f"{i:03}-{copy}.png").hardlink_to(tmp_path / f"{i:03}.png")
    command = ("-m", "ae_cli", "data", ".", "--image-size", "128", "--quiet")
    for _ in range(2):  # the second time from the cache
        measured = private_memory(*command, folder=tmp_path)
        assert measured - private_memory("-c", "import torch") <= ALLOWED


def test_training_on_photos_needs_little_memory(tmp_path):
    """A batch of 128 photos of 64 × 64 pixels: at most 600 MB more than torch itself."""
    np.save("photos.npy", random_crops(384))
    trained = peak_memory(
        *("-m", "ae_cli", "train", "--data", "photos.npy", "--epochs", "2", "--quiet"),
        *("--batch-size", "128", "--model", "conv"),
    )
    assert trained - peak_memory("-c", "import torch") <= 600e6


@pytest.mark.slow
def test_plotting_a_large_table_needs_little_memory(tmp_path):
    """Five million rows, of which the names alone take 85 MB: at most a gigabyte in all."""
    pyarrow.csv.write_csv(make_table(5_000_000), tmp_path / "latents.csv")
    command = ("-m", "ae_cli", "plot3d", "latents.csv", "--n", "all", "--quiet")
    assert _measure(command, tmp_path)["memory"] <= 1e9
