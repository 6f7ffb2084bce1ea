"""How long the commands take on a million images, how much memory, and what one image more costs.

Usage: python -m tests.benchmarks.million PHOTOS FOLDER

PHOTOS is a folder of photos, of which random crops are the images: 64 × 64 pixels in colour. They
are kept in FOLDER as an array, 12.3 GB as a million, and made once.
"""

from __future__ import annotations

import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from .commands import MEBIBYTE, ae, run
from .machine import describe_machine

SIDE, LATENTS = 64, 16
EMBED = ("embed", "--split", "all", "--quiet", "--out")


def main(
    photos: Annotated[Path, typer.Argument(help="A folder of photos.")],
    folder: Annotated[Path, typer.Argument(help="Where to work.")],
    images: Annotated[int, typer.Option(help="How many.", min=1000)] = 1_000_000,
    repetitions: Annotated[int, typer.Option(help="Runs for the slope.", min=1)] = 3,
) -> None:
    """Print seconds, memory, and seconds for each further image."""
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    crops = folder / "crops.npy"
    if not crops.exists() or len(np.load(crops, mmap_mode="r")) != images:
        cut(sorted(photos.rglob("*.jpg")), images, crops)
    os.environ["AE_DATA_DIR"] = str(folder / "cache")
    print(", ".join(f"{key}: {value}" for key, value in describe_machine().items()))
    torch_alone = run(["-c", "import torch"], folder=folder).private
    for command in (
        ("train", "--data", "crops.npy", "--latent-dim", str(LATENTS), "--quiet"),
        (*EMBED, "latents.csv"),
        ("evaluate", "--quiet"),
        ("anomalies", "--quiet"),
        ("plot3d", "latents.csv", "--n", "all", "--quiet"),
        ("explore", "--quiet"),
    ):
        process = run(ae(*command), folder=folder)
        more = (process.private - torch_alone) * MEBIBYTE / 1e6
        line = f"{process.seconds:.1f} s, {more:+.0f} MB compared with import torch"
        print(f"ae {' '.join(command)}: {line}", flush=True)
        if command[0] == "embed":
            measure_slope(crops, images, process.seconds, repetitions)


def cut(photos: list[Path], count: int, path: Path) -> None:
    """Write random square crops of all photos, each scaled to the size, (count, SIDE, SIDE, 3)."""
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE, SIDE, 3))
    bounds = np.linspace(0, count, len(photos) + 1).astype(int)

    def work(number: int) -> None:
        random = np.random.default_rng(number)
        with Image.open(photos[number]) as opened:
            photo = opened.convert("RGB")
        for i in range(bounds[number], bounds[number + 1]):
            pixels[i] = _crop(photo, random)

    with ThreadPoolExecutor(os.cpu_count()) as executor:
        list(executor.map(work, range(len(photos))))
    pixels.flush()


def _crop(photo: Image.Image, random: np.random.Generator) -> NDArray[np.uint8]:
    shorter = min(photo.size)
    side = int(random.integers(shorter // 2, shorter + 1))
    left, top = (int(random.integers(0, length - side + 1)) for length in photo.size)
    box = (left, top, left + side, top + side)
    return np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box, 2.0))


def measure_slope(crops: Path, images: int, whole: float, repetitions: int) -> None:
    """Embed some of the images, and print what each image takes beyond the first thousandth.

    Args:
        crops: All images.
        images: How many they are.
        whole: Seconds that embedding all of them took.
        repetitions: How often to embed a part of them.
    """
    pixels = np.load(crops, mmap_mode="r")
    least, *others = (images // share for share in (1000, 100, 10))
    seconds: dict[int, list[float]] = {}
    for size in (least, *others):
        path = crops.with_name(f"{size}.npy")
        np.save(path, pixels[:size])
        command = ae(*EMBED, f"{size}.csv", "--data", path)
        seconds[size] = [run(command, folder=crops.parent).seconds for _ in range(repetitions)]
        path.unlink()
    seconds[images] = [whole]
    start = statistics.median(seconds[least])
    for size in (*others, images):
        took = statistics.median(seconds[size])
        spread = f"{min(seconds[size]):.1f} to {max(seconds[size]):.1f} s"
        each = 1e6 * (took - start) / (size - least)
        print(f"ae embed of {size:,}: {took:.1f} s ({spread}), {each:.0f} µs for each image")


if __name__ == "__main__":
    typer.run(main)
