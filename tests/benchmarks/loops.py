"""One epoch of the tutorial's recipe on MNIST, with each loop to compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from ae_cli.config import ModelConfig, TrainConfig
from ae_cli.data.images import DataSet, scale
from ae_cli.models import build
from ae_cli.training.events import Epoch
from ae_cli.training.fit import fit
from ae_cli.training.loader import image_order
from tests.benchmarks.tutorial import Tutorial

Run = Callable[[], tuple[float, float | None]]  # seconds of an epoch and its mean loss, if any

RECIPE = TrainConfig(epochs=1_000)
CPU = torch.device("cpu")


def contestants(images: DataSet, folder: Path, *, compile: bool) -> dict[str, Run]:
    """What to measure: each call runs the loop's next epoch.

    Args:
        images: MNIST.
        folder: MNIST for torchvision.
        compile: Whether to measure ``torch.compile`` too.
    """
    runs = {
        "tutorial's loop": _timed(Tutorial(folder).run_epoch),
        "autograd, in memory": _timed(_plain_epochs(images, compiled=False)),
        "ae, autograd": _ours(images, "autograd"),
        "ae, fused": _ours(images, "fused"),
        "matrix products alone": _timed(_products(len(images.train))),
    }
    if compile:
        runs["autograd, compiled"] = _timed(_plain_epochs(images, compiled=True))
    return runs


def _timed(run_epoch: Callable[[], float | None]) -> Run:
    def run() -> tuple[float, float | None]:
        started = time.perf_counter()
        loss = run_epoch()
        return time.perf_counter() - started, loss

    return run


def _ours(images: DataSet, engine: Literal["fused", "autograd"]) -> Run:
    """`fit` itself, which times its epochs.

    While it waits for its next turn, torch flushes denormal numbers to zero, which makes the other
    loops with Adam faster.
    """

    def epochs() -> Iterator[tuple[float, float]]:
        config = TrainConfig(epochs=RECIPE.epochs, engine=engine)
        # Use few test images, because the time of the evaluation is not measured.
        test = images.test.select(image_order(1000, 0, 0))
        for event in fit(build(ModelConfig(), seed=0), images.train, test, config, device=CPU):
            if isinstance(event, Epoch):
                yield event.seconds, event.train_loss

    made = epochs()
    return lambda: next(made)


def _plain_epochs(images: DataSet, *, compiled: bool) -> Callable[[], float]:
    """The loop that a user would write with all images in one tensor."""
    model = build(ModelConfig(), seed=0)
    pixels = images.train.pixels
    loss_function = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=RECIPE.lr, fused=True)

    def compute_loss(x: torch.Tensor) -> torch.Tensor:
        return loss_function(model(x)[1], x)

    if compiled:
        compute_loss = torch.compile(compute_loss)

    def run_epoch() -> float:
        loss_sum = torch.zeros(())
        for index in torch.randperm(len(pixels)).split(RECIPE.batch_size):
            loss = compute_loss(scale(pixels[index]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(index)
        return loss_sum.item() / len(pixels)

    return run_epoch


def _products(images: int) -> Callable[[], None]:
    """The 23 matrix products of a step, one by one, with torch's default threads."""
    batch = RECIPE.batch_size
    sizes = ModelConfig().sizes
    values, gradients = ([torch.rand(batch, size) for size in sizes] for _ in range(2))
    # Small enough that values stay finite through all products
    weights = [torch.rand(outputs, inputs) / inputs for inputs, outputs in pairwise(sizes)]
    by_weight = [torch.empty_like(weight) for weight in weights]

    def run_epoch() -> None:
        with torch.inference_mode():
            for _ in range(-(-images // batch)):
                for k, weight in enumerate(weights):
                    torch.mm(values[k], weight.t(), out=values[k + 1])
                for k in range(len(weights) - 1, -1, -1):
                    torch.mm(gradients[k + 1].t(), values[k], out=by_weight[k])
                    if k > 0:
                        torch.mm(gradients[k + 1], weights[k], out=gradients[k])

    return run_epoch
