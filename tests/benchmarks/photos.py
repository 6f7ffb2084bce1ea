"""The speed of training on photos, against the loop that a user would write.

Usage: python -m tests.benchmarks.photos

Both train the same network on the same images, epoch by epoch in turn, and the ratios of each pair
are compared, so that it does not matter when a machine is slower for a while.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ae_cli
from ae_cli.analysis.components import find_components
from ae_cli.config import Facts, Recipe, make_recipe
from ae_cli.data.images import DataSet
from ae_cli.models import AutoEncoder, build
from ae_cli.training.events import Epoch
from ae_cli.training.fit import fit

# Relative, since pytest has the folder `tests` on its path, and not the one above
from .machine import describe_machine

CPU = torch.device("cpu")
IMAGES, SIDE, BATCH_SIZE, LATENTS = 1280, 64, 128, 16


def main(
    repetitions: Annotated[int, typer.Option(help="Epochs of each, at least 3.", min=3)] = 7,
) -> None:
    """Measure images per second of both loops, and their ratio."""
    print(", ".join(f"{key}: {value}" for key, value in describe_machine().items()))
    share = BATCH_SIZE / (IMAGES + BATCH_SIZE)
    images, recipe = ae_cli.load(random_crops(IMAGES + BATCH_SIZE), val_fraction=share), _recipe()
    ours, plain = _ours(images, recipe), _plain(images, recipe)
    for run in (ours, plain):
        run()  # the first epoch allocates memory
    pairs = [(ours(), plain()) for _ in range(repetitions)]
    for name, seconds in zip(("ae", "plain loop"), zip(*pairs, strict=True), strict=True):
        print(f"{name}: {_spread([IMAGES / s for s in seconds], 0)} images/s")
    print(f"ratio: {_spread([slow / fast for fast, slow in pairs], 2)}")


def random_crops(count: int) -> NDArray[np.uint8]:
    """Random crops of scikit-learn's photos of a temple and of a flower, (n, height, width, 3)."""
    random = np.random.default_rng(0)
    photos = load_sample_images().images
    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for i, crop in enumerate(pixels):
        photo = photos[i % 2]
        top, left = (random.integers(0, side - SIDE) for side in photo.shape[:2])
        crop[:] = photo[top : top + SIDE, left : left + SIDE]
    return pixels


def _recipe() -> Recipe:
    facts = Facts((3, SIDE, SIDE), IMAGES, BATCH_SIZE, is_like_mnist=False)
    return make_recipe(
        "auto", facts, latent_dim=LATENTS, batch_size=BATCH_SIZE, epochs=1000, keep="last"
    )


def _start(images: DataSet, recipe: Recipe) -> AutoEncoder:
    model = build(recipe.model, seed=0)
    model.start_from(find_components(images.train, LATENTS))
    return model


def _ours(images: DataSet, recipe: Recipe) -> Callable[[], float]:
    """`fit` itself, which times its epochs; with the variations of small sets."""

    def epochs() -> Iterator[float]:
        model = _start(images, recipe)
        for event in fit(model, images.train, images.test, recipe.training, device=CPU):
            if isinstance(event, Epoch):
                yield event.seconds

    made = epochs()
    return lambda: next(made)


def _plain(images: DataSet, recipe: Recipe) -> Callable[[], float]:
    """A plain loop: float32, contiguous tensors, `DataLoader` and `torch.optim.Adam`."""
    model = _start(images, recipe)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.training.lr)
    loss_function = nn.MSELoss()
    pixels = torch.from_numpy(images.train.floats())
    loader: DataLoader[tuple[Tensor]] = DataLoader(
        TensorDataset(pixels), batch_size=BATCH_SIZE, shuffle=True
    )

    def run() -> float:
        started = time.perf_counter()
        for (x,) in loader:
            loss = loss_function(model(x)[1], x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.perf_counter() - started

    return run


def _spread(values: list[float], digits: int) -> str:
    """Median, least and most."""
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"


if __name__ == "__main__":
    typer.run(main)
