"""Compare `ae train` with PCA and a textbook's network on any images, and print Markdown tables.

Usage: python -m tests.benchmarks.images --data FOLDER --data digits

All contestants see the same images, at the size and in the colours that ae chooses by itself, and
are judged by the mean squared error of the test split's pixels, which are in [0, 1]. The textbook's
network is trained for as many seconds as the whole process of `ae train` took.
"""

from __future__ import annotations

import json as jsonlib
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain, pairwise, repeat
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ae_cli
from ae_cli.analysis.pca import to_matrix
from ae_cli.config.checks import parse_whole_numbers
from ae_cli.data.images import DataSet, Images
from ae_cli.models import choose_device

# Relative, since pytest has the folder `tests` on its path, and not the one above
from . import commands
from .machine import describe_machine

MEAN, PRINCIPAL, TEXTBOOK = "mean image", "PCA", "textbook"
TRAIN, BEST = "ae train", "ae train --preset best"

# The textbook's recipe
CHANNELS = (32, 64, 128)
BATCH_SIZE = 64
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Trial:
    """One run of one contestant.

    Attributes:
        error: The mean squared error on the test split.
        seconds: How long it took; 0 for what is not trained.
        details: What else is known about the run, for the file with all values.
    """

    error: float
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """All contestants on one set with one number of latents.

    Attributes:
        set: Name of the set.
        latents: Values per image.
        trials: For each contestant, a trial per seed.
    """

    set: str
    latents: int
    trials: dict[str, list[Trial]]

    def error(self, name: str) -> float:
        """The mean over the seeds."""
        return statistics.mean(trial.error for trial in self.trials[name])

    def share(self, name: str, of: str) -> float:
        """The error as a share of another contestant's."""
        other = self.error(of)
        return self.error(name) / other if other else math.inf

    def lost_to(self, name: str) -> list[str]:
        """Of PCA and the textbook's network, those whose error is below that of a run of ae."""
        if name not in (TRAIN, BEST):
            return []
        return [other for other in (PRINCIPAL, TEXTBOOK) if self.error(other) < self.error(name)]


def main(
    data: Annotated[list[str], typer.Option(help="As for ae train; may be given several times.")],
    data_dir: Annotated[
        Path | None, typer.Option(envvar="AE_DATA_DIR", help="Holds known sets and the cache.")
    ] = None,
    latents: Annotated[str, typer.Option(help="Numbers of latents.")] = "3,16,64",
    repeats: Annotated[int, typer.Option(help="Seeds, from 0.", min=1)] = 1,
    without_best: Annotated[
        bool, typer.Option("--without-best", help="Leave out --preset best.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(help="Write all values to this file, after every row.")
    ] = None,
) -> None:
    """Measure every contestant on every set, with every number of latents and every seed."""
    numbers = parse_whole_numbers("--latents", latents, example="3,16,64")
    if data_dir is not None:
        data_dir = data_dir.resolve()
        os.environ["AE_DATA_DIR"] = str(data_dir)  # for the commands
    runs: dict[str, tuple[str, ...]] = {TRAIN: ()}
    if not without_best:
        runs[BEST] = ("--preset", "best")
    device = choose_device("auto")
    machine = {**describe_machine(), "device": str(device), "seeds": repeats}
    print(", ".join(f"{key}: {value}" for key, value in machine.items()))
    sets: list[dict[str, Any]] = []
    cells: list[Cell] = []
    for source in data:
        # The seed decides which images are held out, unless the set has a test split. Reading them
        # here also means that no command has to decode them.
        images = [ae_cli.load(source, data_dir=data_dir, seed=seed) for seed in range(repeats)]
        sets.append(describe_set(images[0]))
        print("\n{name}: {train:,} training and {test:,} test images, {shape}\n".format(**sets[-1]))
        print("\n".join(head(runs, repeats)), flush=True)
        for cell in measure(images, numbers, runs, device):
            cells.append(cell)
            print(row(cell), flush=True)
            if json is not None:
                values = {
                    "machine": machine,
                    "sets": sets,
                    "cells": [asdict(cell) for cell in cells],
                }
                json.write_text(jsonlib.dumps(values, indent=2) + "\n")
    print()
    print("\n".join(losses(cells)) or "ae's error is nowhere above PCA's or the textbook's.")


def describe_set(images: DataSet) -> dict[str, Any]:
    """Name, number of images in each split, and shape (channels × height × width)."""
    shape = " × ".join(map(str, images.shape))
    return {
        "name": images.name,
        "train": len(images.train),
        "test": len(images.test),
        "shape": shape if images.changes is None else f"{shape} ({images.changes})",
    }


def measure(
    images: Sequence[DataSet],
    numbers: Sequence[int],
    runs: dict[str, tuple[str, ...]],
    device: torch.device,
) -> Iterable[Cell]:
    """Measure one set, and yield a cell for each number of latents.

    Args:
        images: The set, for each seed.
        numbers: Numbers of latents.
        runs: Names and further options of the runs of ae; `TRAIN` is one of them.
        device: Where to train the textbook's network: where ae trains by itself.
    """
    mean = [Trial(mean_image_error(some)) for some in images]
    principal = [pca_errors(some, numbers) for some in images]
    for place, latents in enumerate(numbers):
        trials: dict[str, list[Trial]] = {
            MEAN: mean,
            PRINCIPAL: [Trial(errors[place]) for errors in principal],
            TEXTBOOK: [],
            **{name: [] for name in runs},
        }
        for seed, some in enumerate(images):
            for name, options in runs.items():
                trials[name].append(run_ae(some, latents, seed, options))
            seconds = trials[TRAIN][-1].seconds
            trials[TEXTBOOK].append(run_textbook(some, latents, seed, seconds, device))
        yield Cell(images[0].name, latents, trials)


def test_error(reconstruct: Callable[[Tensor], Tensor], images: Images) -> float:
    """The mean squared error over all pixels of all images.

    Args:
        reconstruct: Takes and returns float32 (batch, channels, height, width).
        images: The test split.
    """
    total = 0.0
    with torch.inference_mode():
        for x in images.batches():
            total += (reconstruct(x) - x).square().mean((1, 2, 3)).sum().item()
    return total / len(images)


def mean_image_error(images: DataSet) -> float:
    """The error if every reconstruction is the mean of the training images."""
    total = torch.zeros(images.shape)
    for batch in images.train.batches():
        total += batch.sum(0)
    mean = total / len(images.train)
    return test_error(lambda x: mean.expand_as(x), images.test)


def pca_errors(images: DataSet, numbers: Sequence[int]) -> list[float]:
    """PCA's error for each number of components, fitted to all training images.

    As in textbooks, reconstructed pixels are not limited to [0, 1]. Fewer components are only the
    first of more, so it is fitted once. It is not randomized, as scikit-learn's default would be:
    that error is above the exact one, on 64 × 64 photographs by 0.03 % with 64 components.
    """
    matrix = to_matrix(images.train)
    count, values = matrix.shape
    solver = "covariance_eigh" if count >= values else "full"
    pca = PCA(min(max(numbers), count, values), svd_solver=solver).fit(matrix)
    mean = torch.from_numpy(pca.mean_)  # (values,)
    directions = torch.from_numpy(pca.components_)  # (components, values)

    def project(x: Tensor, number: int) -> Tensor:
        first = directions[:number]
        latents = (x.flatten(1) - mean) @ first.T
        return (latents @ first + mean).view_as(x)

    return [test_error(partial(project, number=number), images.test) for number in numbers]


def run_ae(images: DataSet, latents: int, seed: int, options: Sequence[str]) -> Trial:
    """Run `ae train` as a user would, and judge the model that it wrote."""
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name), "model.safetensors"
        arguments = ("--data", images.source, "--latent-dim", str(latents), "--seed", str(seed))
        command = commands.ae("train", *arguments, *options, "--out", out, "--quiet", "--json")
        process = commands.run(command, folder=folder)
        network = ae_cli.load_model(folder / out).model
        error = test_error(lambda x: network(x)[1], images.test)
    return Trial(error, process.seconds, process.answer)


class Textbook(nn.Module):
    """Three strided convolutions and a linear layer, and the same in reverse.

    Args:
        shape: Channels, height and width of an image, of any size.
        latents: Values per image.
    """

    def __init__(self, shape: tuple[int, int, int], latents: int) -> None:
        super().__init__()
        channels = (shape[0], *CHANNELS)
        sizes = [shape[1:]]
        for _ in CHANNELS:
            height, width = sizes[-1]
            sizes.append(((height + 1) // 2, (width + 1) // 2))
        grid = (channels[-1], *sizes[-1])
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            down += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
        for (outputs, inputs), (large, small) in reversed(
            list(zip(pairwise(channels), pairwise(sizes), strict=True))
        ):
            # A transposed convolution makes 2 × half - 1 of half a side: an even side lacks one.
            more = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
            transposed = nn.ConvTranspose2d(
                inputs, outputs, 3, stride=2, padding=1, output_padding=more
            )
            up += [nn.ReLU(), transposed]
        size = math.prod(grid)
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(size, latents))
        self.decoder = nn.Sequential(
            nn.Linear(latents, size), nn.Unflatten(1, grid), *up, nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(self.encoder(x))
        return reconstruction


def run_textbook(
    images: DataSet, latents: int, seed: int, seconds: float, device: torch.device
) -> Trial:
    """Train the textbook's network for so many seconds, at least one step, and judge it.

    The time begins when all images are in memory, and ends before the network is judged.
    """
    network, taken, epochs = train_textbook(images.train, latents, seed, seconds, device)
    return Trial(test_error(network, images.test), taken, {"epochs": epochs})


def train_textbook(
    images: Images, latents: int, seed: int, seconds: float, device: torch.device
) -> tuple[Textbook, float, float]:
    """Train the textbook's network for so many seconds, at least one step.

    Returns:
        The network, on the CPU; the seconds since all images were in memory; and the epochs.
    """
    torch.manual_seed(seed)
    pixels = torch.from_numpy(images.floats())
    started = time.perf_counter()
    network = Textbook(images.shape, latents).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    loss_function = nn.MSELoss()
    loader = DataLoader(TensorDataset(pixels), batch_size=BATCH_SIZE, shuffle=True)
    steps = 0
    for (batch,) in chain.from_iterable(repeat(loader)):
        x = batch.to(device)
        loss = loss_function(network(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        taken = time.perf_counter() - started
        if taken >= seconds:
            break
    return network.cpu(), taken, steps / len(loader)


def head(runs: Iterable[str], repeats: int) -> list[str]:
    """The first lines of a set's table."""
    columns = ["latents", MEAN, PRINCIPAL, f"{TEXTBOOK} (share of PCA's)"]
    for name in runs:
        columns += [f"{name} (share of PCA's)", "seconds"]
    if repeats > 1:
        columns[0] += f", mean ± standard deviation of {repeats} seeds"
    return [_join(columns), _join(["---"] * len(columns))]


def row(cell: Cell) -> str:
    """A cell as a line of its set's table."""
    texts = [str(cell.latents)]
    for name, trials in cell.trials.items():
        text = _spread([trial.error for trial in trials], digits=4)
        if name not in (MEAN, PRINCIPAL):
            text += f" ({cell.share(name, PRINCIPAL):.2f})"
        if lost := cell.lost_to(name):
            text = f"**{text} > {', '.join(lost)}**"
        texts.append(text)
        if name in (TRAIN, BEST):
            texts.append(_spread([trial.seconds for trial in trials], digits=1))
    return _join(texts)


def losses(cells: Iterable[Cell]) -> list[str]:
    """A line for each run of ae whose error is above PCA's or that of the textbook's network."""
    return [
        f"{cell.set}, {cell.latents} latents: {name} {cell.error(name):.5g} > {other} "
        f"{cell.error(other):.5g} ({cell.share(name, other):.3f})"
        for cell in cells
        for name in cell.trials
        for other in cell.lost_to(name)
    ]


def _spread(values: Sequence[float], *, digits: int) -> str:
    """The mean and, of several values, their standard deviation."""
    text = f"{statistics.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.{digits}f}"


def _join(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


if __name__ == "__main__":
    typer.run(main)
