"""Training: a generator of progress events. It prints nothing and opens no file."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ae_cli.config import Engine, Loss, TrainConfig
from ae_cli.data import Images, scale
from ae_cli.errors import TrainingError, UsageError
from ae_cli.fused import FusedStep
from ae_cli.model import AutoEncoder, enough_memory
from ae_cli.optimizer import Adam, Moments

EVALUATION_BATCH = 1000
GATHERED_BATCHES = 16


@dataclass
class TrainState:
    """Where training stands: with the model's weights, all that is needed to go on.

    Attributes:
        epoch: The current epoch, from 1. After the last one, its number plus 1.
        step: Updates made in it.
        seconds: Time spent on them.
        loss_sum: float32 (): this epoch's loss so far, summed over images and pixels.
        moments: Adam's, in the order of the model's parameters; None before the first update.
    """

    epoch: int = 1
    step: int = 0
    seconds: float = 0.0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    moments: Moments | None = None

    def updates(self, steps: int) -> int:
        """Updates made since training began, where a whole epoch has so many steps."""
        return (self.epoch - 1) * steps + self.step


@dataclass(frozen=True)
class Step:
    """One optimiser update.

    Attributes:
        epoch: The current epoch, from 1.
        step: Updates made in this epoch.
        steps: Updates in a whole epoch.
        images: Images seen in this epoch.
        seconds: Time spent on them.
        learning_rate: Of this step.
        loss_sum: (): this epoch's loss so far, summed over images and pixels. The next step adds
            to it.
        input_size: Number of values in one image.
    """

    epoch: int
    step: int
    steps: int
    images: int
    seconds: float
    learning_rate: float
    loss_sum: Tensor
    input_size: int

    @property
    def updates(self) -> int:
        """Updates made since training began."""
        return (self.epoch - 1) * self.steps + self.step

    def is_due(self, every: int | None) -> bool:
        """Whether something that is done every so many steps is to be done after this one.

        Not after an epoch's last step: the whole epoch follows at once.
        """
        return every is not None and self.updates % every == 0 and self.step < self.steps

    @property
    def train_loss(self) -> float:
        """Mean loss of this epoch up to now. Reading it waits for the device."""
        return self.loss_sum.item() / (self.images * self.input_size)

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
        test_errors: float32 (test images,): their reconstruction errors, after the epoch.
        learning_rate: Of the epoch's last step.
        images_per_second: Training speed.
        seconds: Time of the epoch's training alone, without evaluation.
    """

    epoch: int
    step: int
    train_loss: float
    test_loss: float
    test_errors: NDArray[np.float32]
    learning_rate: float
    images_per_second: float
    seconds: float

    @property
    def test_error(self) -> float:
        """Mean reconstruction error over the test images, after the epoch."""
        return float(self.test_errors.mean(dtype=np.float64))


def fit(
    model: AutoEncoder,
    train: Images,
    test: Images,
    config: TrainConfig,
    *,
    device: torch.device,
    state: TrainState | None = None,
) -> Iterator[Step | Epoch]:
    """Train a model in place, yielding a `Step` after every update and an `Epoch` after each epoch.

    Training that stops at an event and begins again, with the weights and the state of then, goes
    on as if it had not stopped: on the same machine, to the same weights, bit for bit.

    The time that the caller spends on an event counts as no training time. The order of the images
    depends on the seed and the epoch's number alone. Until the last event, torch flushes denormal
    numbers to zero, and has as many threads as a step is worth.

    Args:
        model: Moved to `device` and trained.
        train: The images to learn from; `config.limit` keeps the first ones.
        test: The images that the test loss is measured on.
        config: The recipe.
        device: Where to train.
        state: Where to begin; the beginning, if there is none. Kept up to date: at every event, it
            says where training stands.

    Raises:
        TrainingError: The loss is no longer a finite number.
        UsageError: There is not enough memory.
    """
    threads = torch.get_num_threads()
    # Moments that decay to almost nothing, as those of pixels at the border do, would otherwise
    # become denormal numbers, with which a CPU is many times slower.
    torch.set_flush_denormal(True)
    try:
        with enough_memory("training"):
            yield from _epochs(model.to(device), train, test, config, device, state or TrainState())
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def choose_engine(name: Engine, device: torch.device) -> Engine:
    """Find the engine that ``--engine`` means.

    Args:
        name: ``auto`` takes the fused step where it applies.
        device: Where to train.

    Raises:
        UsageError: The engine does not work there.
    """
    if name == "fused" and device.type != "cpu":
        raise UsageError("--engine fused is for the CPU", "use --device cpu or --engine auto")
    if name == "auto":
        return "fused" if device.type == "cpu" else "autograd"
    return name


def _epochs(
    model: AutoEncoder,
    train: Images,
    test: Images,
    config: TrainConfig,
    device: torch.device,
    state: TrainState,
) -> Iterator[Step | Epoch]:
    pixels = train.pixels[: config.limit].flatten(1).to(device)  # uint8 (n, input_size)
    steps = math.ceil(len(pixels) / config.batch_size)
    step_kind = FusedStep if choose_engine(config.engine, device) == "fused" else AutogradStep
    take_step = step_kind(model, config.loss)
    _restore(take_step, state, steps)
    state.loss_sum = state.loss_sum.to(device)
    threads = torch.get_num_threads()

    while state.epoch <= config.epochs:
        epoch = state.epoch
        order = torch.from_numpy(image_order(len(pixels), config.seed, epoch)).to(device)
        left_to_see = order[state.step * config.batch_size :]
        away = 0.0  # seconds spent by the caller
        started = time.perf_counter() - state.seconds
        for batch in _gather(pixels, left_to_see, config.batch_size):
            lr = learning_rate(config, state.updates(steps) + 1, config.epochs * steps)
            state.loss_sum += take_step(batch, lr)
            state.step += 1
            left = time.perf_counter()
            state.seconds = left - started - away
            yield Step(
                epoch=epoch,
                step=state.step,
                steps=steps,
                images=min(state.step * config.batch_size, len(pixels)),
                seconds=state.seconds,
                learning_rate=lr,
                loss_sum=state.loss_sum,
                input_size=pixels.shape[1],
            )
            away += time.perf_counter() - left
        train_loss = state.loss_sum.item() / pixels.numel()  # waits for the device: comes first
        seconds = time.perf_counter() - started - away

        torch.set_num_threads(threads)  # the fused step may need fewer
        test_loss, test_errors = evaluate(model, test, config.loss, device=device)
        if not math.isfinite(train_loss) or not math.isfinite(test_loss):
            raise TrainingError(
                f"the loss is no longer a finite number in epoch {epoch}",
                f"choose a smaller --lr than {config.lr:g}",
            )
        state.epoch, state.step, state.seconds = epoch + 1, 0, 0.0
        state.loss_sum = torch.zeros((), device=device)
        yield Epoch(
            epoch=epoch,
            step=epoch * steps,
            train_loss=train_loss,
            test_loss=test_loss,
            test_errors=test_errors,
            learning_rate=learning_rate(config, epoch * steps, config.epochs * steps),
            images_per_second=len(pixels) / seconds,
            seconds=seconds,
        )


def _restore(take_step: FusedStep | AutogradStep, state: TrainState, steps: int) -> None:
    """Let an engine go on from a state, and the state follow the engine.

    Args:
        take_step: The engine, for a model with the weights of then.
        state: Where to begin.
        steps: Updates in a whole epoch.
    """
    if state.moments is not None:
        for views, values in zip(take_step.moments, state.moments, strict=True):
            for view, value in zip(views, values, strict=True):
                view.copy_(value)
    state.moments = take_step.moments
    take_step.optimizer.count.fill_(state.updates(steps))


def _gather(pixels: Tensor, order: Tensor, size: int) -> Iterator[Tensor]:
    """Yield batches, uint8 (up to `size`, input_size), in this order.

    Several are gathered at once: rows far apart in memory arrive sooner when many are asked for.
    """
    if not len(order):
        return
    rows = min(len(order), size * GATHERED_BATCHES)
    gathered = pixels.new_empty(rows, pixels.shape[1])
    for index in order.split(rows):
        torch.index_select(pixels, 0, index, out=gathered[: len(index)])
        yield from gathered[: len(index)].split(size)


class AutogradStep:
    """Optimisation steps with Adam by torch's autograd: for any device, and to compare with.

    Args:
        model: On any device.
        loss: What to minimise, as a mean over pixels.

    Attributes:
        optimizer: Of the model's parameters.
        moments: Its moments.
    """

    def __init__(self, model: AutoEncoder, loss: Loss) -> None:
        self._loss = loss
        self._encoder = model.encoder
        # What the loss is computed from: see _loss.
        self._decoder = model.decoder if loss == "mse" else model.decoder[:-1]
        self._parameters = list(model.parameters())
        self.optimizer = Adam(self._parameters)
        self.moments = self.optimizer.moments

    def __call__(self, images: Tensor, lr: float) -> Tensor:
        """Take one step.

        Args:
            images: uint8 (batch, input_size), on the model's device.
            lr: Learning rate.

        Returns:
            (): the loss, summed over images and pixels.
        """
        x = scale(images)
        loss = _loss(self._loss, self._decoder(self._encoder(x)), x)
        self.optimizer.update(torch.autograd.grad(loss, self._parameters), lr)
        return loss.detach() * x.numel()


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of one step: first rising in proportion to the step, then as scheduled.

    Args:
        config: The recipe.
        step: Number of the step, from 1.
        steps: Steps in the whole of training.
    """
    rising = round(config.warmup * steps)
    if step <= rising:
        return config.lr * step / rising
    left = (steps - step + 1) / (steps - rising)  # from 1 down to almost 0
    if config.schedule == "linear":
        return config.lr * left
    if config.schedule == "cosine":
        return config.lr * (1 - math.cos(math.pi * left)) / 2
    return config.lr


def image_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order, (count,), in which an epoch sees the images: a function of seed and epoch alone.

    By numpy, since torch's CPU generator keeps 32 bits of a seed: no room for both numbers.
    """
    return np.random.default_rng((seed, epoch)).permutation(count)


def evaluate(
    model: AutoEncoder, images: Images, loss: Loss, *, device: torch.device
) -> tuple[float, NDArray[np.float32]]:
    """Measure a model on images.

    Returns:
        The mean loss, and the reconstruction error of every image, float32 (n,).
    """
    logits, sigmoid = model.decoder[:-1], model.decoder[-1]
    loss_sum = 0.0
    errors = []
    with torch.inference_mode():
        for batch in images.batches(EVALUATION_BATCH):
            x = batch.flatten(1).to(device)
            output = logits(model.encoder(x))
            reconstruction = sigmoid(output)
            loss_sum += len(x) * _loss(loss, reconstruction if loss == "mse" else output, x).item()
            errors.append((reconstruction - x).square_().mean(1).cpu())
    return loss_sum / len(images), torch.cat(errors).numpy()


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
