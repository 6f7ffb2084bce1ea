"""The speed of reading photos, against torchvision's folder and torch's loader.

Usage: python -m tests.benchmarks.decoding

Both read the same JPEG files of 500 × 375 pixels as 64 × 64 pixels in colour, in turn. Ours are
also written to the cache on the way, from which later commands, and all epochs, read them again.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

import ae_cli
from ae_cli.training.loader import StoreLoader

from .machine import describe_machine
from .photos import spread

SIZE, SIDE, WORKERS = (500, 375), 64, 2


def main(
    files: Annotated[int, typer.Option(help="How many photos.", min=100)] = 4000,
    repetitions: Annotated[int, typer.Option(help="At least 3.", min=3)] = 5,
) -> None:
    """Measure images per second, their ratio, and bytes per second from the store."""
    print(", ".join(f"{key}: {value}" for key, value in describe_machine().items()))
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name) / "photos"
        write_photos(photos / "all", files)
        for run in (decode, load_by_torchvision):
            run(photos)  # into the system's cache
        pairs = [(decode(photos), load_by_torchvision(photos)) for _ in range(repetitions)]
        ours, theirs = ([files / seconds for seconds in some] for some in zip(*pairs, strict=True))
        print(f"ae: {spread(ours, 0)} images/s")
        print(f"ImageFolder, DataLoader(num_workers={WORKERS}): {spread(theirs, 0)} images/s")
        print(f"ratio: {spread([b / a for a, b in pairs], 2)}")
        rates = [read_store(photos, Path(name)) for _ in range(repetitions)]
        print(f"batches from the store: {spread(rates, 2)} GB/s")


def write_photos(folder: Path, count: int) -> None:
    """Write random crops of scikit-learn's two photos as JPEG files."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    photos = load_sample_images().images
    for i in range(count):
        photo = photos[i % 2]
        left, top = (
            random.integers(0, length - side + 1)
            for length, side in zip(photo.shape[1::-1], SIZE, strict=True)
        )
        crop = photo[top : top + SIZE[1], left : left + SIZE[0]]
        Image.fromarray(crop).save(folder / f"{i:05}.jpg", quality=90)


def decode(photos: Path) -> float:
    """Seconds to read all photos, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        ae_cli.load(photos, image_size=SIDE, data_dir=cache)
        return time.perf_counter() - started


def load_by_torchvision(photos: Path) -> float:
    """Seconds of the loop that a user would write."""
    steps = [transforms.Resize(SIDE), transforms.CenterCrop(SIDE), transforms.ToTensor()]
    started = time.perf_counter()
    folder = ImageFolder(photos, transforms.Compose(steps))
    for _ in DataLoader(folder, batch_size=128, num_workers=WORKERS):
        pass
    return time.perf_counter() - started


def read_store(photos: Path, cache: Path) -> float:
    """Gigabytes per second of an epoch's batches, shuffled, from decoded photos."""
    images = ae_cli.load(photos, image_size=SIDE, data_dir=cache).train
    loader = StoreLoader(images, batch_size=128, seed=0, device=torch.device("cpu"))
    epochs = 10
    started = time.perf_counter()
    total = sum(batch.numel() for k in range(1, epochs + 1) for batch in loader.batches(k, 0))
    return total / (time.perf_counter() - started) / 1e9


if __name__ == "__main__":
    typer.run(main)
