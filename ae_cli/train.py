"""Training: a generator of progress events. It prints nothing and opens no file."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ae_cli.config import Loss, TrainConfig
from ae_cli.data import Images, scale
from ae_cli.errors import TrainingError
from ae_cli.model import AutoEncoder, enough_memory

EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Step:
    """One optimiser update.

    Attributes:
        epoch: The current epoch, from 1.
        step: Updates made in this epoch.
        steps: Updates in a whole epoch.
        images: Images seen in this epoch.
        seconds: Time spent on them.
    """

    epoch: int
    step: int
    steps: int
    images: int
    seconds: float
    loss_sum: Tensor

    @property
    def train_loss(self) -> float:
        """Mean loss of this epoch so far. Reading it waits for the device."""
        return self.loss_sum.item() / self.images

    @property
    def images_per_second(self) -> float:
        """Speed of this epoch so far."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Epoch:
    """A whole epoch.

    Attributes:
        epoch: Its number, from 1.
        step: Updates made since training began.
        train_loss: Mean loss over the training images, each as it was learned from.
        test_loss: Mean loss over the test images, after the epoch.
        test_error: Mean reconstruction error over the test images, after the epoch.
        learning_rate: Of the epoch's last step.
        images_per_second: Training speed.
        seconds: Time of the epoch's training alone, without evaluation.
    """

    epoch: int
    step: int
    train_loss: float
    test_loss: float
    test_error: float
    learning_rate: float
    images_per_second: float
    seconds: float


def fit(
    model: AutoEncoder,
    train: Images,
    test: Images,
    config: TrainConfig,
    *,
    device: torch.device,
) -> Iterator[Step | Epoch]:
    """Train a model in place, yielding a `Step` after every update and an `Epoch` after each epoch.

    The time that the caller spends on an event counts as no training time. The order of the images
    depends on the seed and the epoch's number alone.

    Args:
        model: Moved to `device` and trained.
        train: The images to learn from; `config.limit` keeps the first ones.
        test: The images that the test loss is measured on.
        config: The recipe.
        device: Where to train.

    Raises:
        TrainingError: The loss is no longer a finite number.
        UsageError: There is not enough memory.
    """
    with enough_memory("training"):
        yield from _epochs(model.to(device), train, test, config, device)


def _epochs(
    model: AutoEncoder, train: Images, test: Images, config: TrainConfig, device: torch.device
) -> Iterator[Step | Epoch]:
    pixels = train.pixels[: config.limit].flatten(1).to(device)  # uint8 (n, input_size)
    steps = math.ceil(len(pixels) / config.batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    # What the loss is computed from: see _loss.
    decoder = model.decoder if config.loss == "mse" else model.decoder[:-1]

    for epoch in range(1, config.epochs + 1):
        order = torch.from_numpy(image_order(len(pixels), config.seed, epoch)).to(device)
        loss_sum = torch.zeros((), device=device)
        away = 0.0  # seconds spent by the caller
        started = time.perf_counter()
        for step, index in enumerate(order.split(config.batch_size), start=1):
            x = scale(pixels[index])  # float32 (batch, input_size)
            loss = _loss(config.loss, decoder(model.encoder(x)), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(x)
            left = time.perf_counter()
            images = min(step * config.batch_size, len(pixels))
            yield Step(epoch, step, steps, images, left - started - away, loss_sum)
            away += time.perf_counter() - left
        train_loss = loss_sum.item() / len(pixels)  # waits for the device, so it comes first
        seconds = time.perf_counter() - started - away

        test_loss, test_error = evaluate(model, test, config.loss, device=device)
        if not math.isfinite(train_loss) or not math.isfinite(test_loss):
            raise TrainingError(
                f"the loss is no longer a finite number in epoch {epoch}",
                f"choose a smaller --lr than {config.lr:g}",
            )
        yield Epoch(
            epoch=epoch,
            step=epoch * steps,
            train_loss=train_loss,
            test_loss=test_loss,
            test_error=test_error,
            learning_rate=config.lr,
            images_per_second=len(pixels) / seconds,
            seconds=seconds,
        )


def image_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order, (count,), in which an epoch sees the images: a function of seed and epoch alone.

    By numpy, since torch's CPU generator keeps 32 bits of a seed: no room for both numbers.
    """
    return np.random.default_rng((seed, epoch)).permutation(count)


def evaluate(
    model: AutoEncoder, images: Images, loss: Loss, *, device: torch.device
) -> tuple[float, float]:
    """Measure a model on images.

    Returns:
        The mean loss and the mean reconstruction error.
    """
    logits, sigmoid = model.decoder[:-1], model.decoder[-1]
    loss_sum = error_sum = 0.0
    with torch.inference_mode():
        for batch in images.batches(EVALUATION_BATCH):
            x = batch.flatten(1).to(device)
            output = logits(model.encoder(x))
            reconstruction = sigmoid(output)
            loss_sum += len(x) * _loss(loss, reconstruction if loss == "mse" else output, x).item()
            error_sum += len(x) * _loss("mse", reconstruction, x).item()
    return loss_sum / len(images), error_sum / len(images)


def mean_image_error(images: Images) -> float:
    """Mean reconstruction error over images of a model that always draws their mean.

    A model that comes no lower has collapsed: its latents tell no image from another.
    """
    mean = sum(batch.sum(0) for batch in images.batches(EVALUATION_BATCH)) / len(images)
    batches = images.batches(EVALUATION_BATCH)
    error_sum = sum(float((batch - mean).square().mean((1, 2, 3)).sum()) for batch in batches)
    return error_sum / len(images)


def _loss(loss: Loss, output: Tensor, x: Tensor) -> Tensor:
    """Mean over the batch's pixels.

    Args:
        loss: Which one.
        output: For mse the reconstruction, for bce the logits: before the sigmoid, cross-entropy
            keeps its gradient where the sigmoid is flat.
        x: The images, shaped like `output`.
    """
    if loss == "mse":
        return functional.mse_loss(output, x)
    return functional.binary_cross_entropy_with_logits(output, x)
