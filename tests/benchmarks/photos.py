"""The speed of training on photos, against the loop that a user would write.

Usage: python -m tests.benchmarks.photos

All train the same network on the same images, epoch by epoch in turn, and the ratios within each
turn are compared, so that it does not matter when a machine is slower for a while.
"""

from __future__ import annotations

import copy
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
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import ae_cli
from ae_cli.analysis.components import find_components
from ae_cli.config import Facts, ModelConfig, Recipe, make_recipe
from ae_cli.data.images import DataSet
from ae_cli.models import AutoEncoder, build
from ae_cli.models.pca import PcaAutoEncoder
from ae_cli.training.events import Epoch
from ae_cli.training.fit import fit

# Relative, since pytest has the folder `tests` on its path, and not the one above
from .machine import describe_machine

CPU = torch.device("cpu")
IMAGES, SIDE, BATCH_SIZE, LATENTS = 1280, 64, 128, 16


def main(
    repetitions: Annotated[int, typer.Option(help="Epochs of each, at least 3.", min=3)] = 7,
) -> None:
    """Measure images per second of the loops, and their ratios."""
    print(", ".join(f"{key}: {value}" for key, value in describe_machine().items()))
    share = BATCH_SIZE / (IMAGES + BATCH_SIZE)
    images, recipe = ae_cli.load(random_crops(IMAGES + BATCH_SIZE), val_fraction=share), _recipe()
    model = _start(images, recipe)
    runs = {
        "ae": _ours(images, recipe),
        "plain loop, ae's network": _plain(copy.deepcopy(model), images, recipe),
        "plain loop, torch's layers": _plain(_Textbook(model, recipe.model), images, recipe),
    }
    for run in runs.values():
        run()  # the first epoch allocates memory
    seconds = [[run() for run in runs.values()] for _ in range(repetitions)]
    for name, times in zip(runs, zip(*seconds, strict=True), strict=True):
        rates = [IMAGES / s for s in times]
        ratios = [s / ours for s, (ours, *_) in zip(times, seconds, strict=True)]
        print(f"{name}: {spread(rates, 0)} images/s, {spread(ratios, 2)} times as long")


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
        "auto",
        facts,
        latent_dim=LATENTS,
        batch_size=BATCH_SIZE,
        epochs=1000,
        keep="last",
        augment=(),
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


def _plain(model: nn.Module, images: DataSet, recipe: Recipe) -> Callable[[], float]:
    """A plain loop: float32, contiguous tensors, `DataLoader` and `torch.optim.Adam`."""
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


class _Residual(nn.Module):
    """Two 3 × 3 convolutions, whose output is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = x + self.layers(x)
        return output


class _Textbook(nn.Module):
    """The same network in torch's own layers, of contiguous images, (n, channels, height, width).

    Args:
        model: Has the same layers, except that in it the pixels of a patch have biases of their
            own; its PCA is used.
    """

    def __init__(self, model: AutoEncoder, config: ModelConfig) -> None:
        super().__init__()
        if not isinstance(model, PcaAutoEncoder) or config.patch is None:
            raise AssertionError("the recipe for photos has PCA and patches")
        (first, second, third, dense), patch = config.hidden, config.patch
        side = SIDE // patch // 4
        flat = third * side * side
        self.model = (model.encoder, model.decoder)  # in a tuple, they are not trained
        self.encoder = nn.Sequential(
            nn.Conv2d(3, first, patch, stride=patch),
            _Residual(first),
            nn.SiLU(),
            nn.Conv2d(first, second, 2, stride=2),
            _Residual(second),
            nn.SiLU(),
            nn.Conv2d(second, third, 2, stride=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(flat, dense),
            nn.SiLU(),
            nn.Linear(dense, config.latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.latent_dim, dense),
            nn.SiLU(),
            nn.Linear(dense, flat),
            nn.Unflatten(1, (third, side, side)),
            nn.SiLU(),
            nn.ConvTranspose2d(third, second, 2, stride=2),
            _Residual(second),
            nn.SiLU(),
            nn.ConvTranspose2d(second, first, 2, stride=2),
            _Residual(first),
            nn.SiLU(),
            nn.ConvTranspose2d(first, 3, patch, stride=patch),
        )
        ours, here = ([p.numel() for p in m.parameters()] for m in (model, self))
        if not 0.99 * sum(ours) <= sum(here) <= sum(ours):
            raise AssertionError(f"the networks differ: {sum(here)} and {sum(ours)} parameters")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents, (n, latent_dim), and reconstructions, shaped like `x`."""
        encoder, decoder = self.model
        centred = x - encoder.mean
        latent = functional.linear(centred.flatten(1), encoder.line)
        latent = latent + self.encoder(centred / encoder.unit)
        pca = functional.linear(latent, decoder.line).view_as(x)
        return latent, decoder.mean + pca + decoder.unit * self.decoder(latent)


def spread(values: list[float], digits: int) -> str:
    """Median, least and most."""
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"


if __name__ == "__main__":
    typer.run(main)
