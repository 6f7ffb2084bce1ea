"""One epoch of the tutorial's recipe on MNIST, by every loop that there is to compare."""

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
    """What to measure: each runs its next epoch whenever it is called.

    Args:
        images: MNIST.
        folder: MNIST for torchvision.
        compile: Whether to take ``torch.compile`` as well.
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

    While it waits for its next turn, torch flushes denormal numbers to zero, which is to the good
    of the other loops with Adam.
    """

    def epochs() -> Iterator[tuple[float, float]]:
        config = TrainConfig(epochs=RECIPE.epochs, engine=engine)
        # Few test images: evaluation is no part of the time, and need not be waited for.
        test = images.test.select(image_order(1000, 0, 0))
        for event in fit(build(ModelConfig(), seed=0), images.train, test, config, device=CPU):
            if isinstance(event, Epoch):
                yield event.seconds, event.train_loss

    made = epochs()
    return lambda: next(made)


def _plain_epochs(images: DataSet, *, compiled: bool) -> Callable[[], float]:
    """What one would write who keeps the images in one tensor."""
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
    """The 23 products of a step, forward and backward, one by one with torch's usual threads."""
    batch = RECIPE.batch_size
    sizes = ModelConfig().sizes
    values, gradients = ([torch.rand(batch, size) for size in sizes] for _ in range(2))
    # Small enough for values to stay finite, in every product anew
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
