"""Training: a generator of progress events. It prints nothing and opens no file."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.analysis.components import effective_rank
from ae_cli.config import Engine, ModelConfig, TrainConfig
from ae_cli.data.images import Images, batch_size, scale
from ae_cli.errors import TrainingError, UsageError
from ae_cli.models import AutoEncoder, enough_memory
from ae_cli.models.objectives import Objective
from ae_cli.processes import Team
from ae_cli.training.augment import augment, kinds_in
from ae_cli.training.autograd import AutogradStep
from ae_cli.training.events import Epoch, Step, TrainState
from ae_cli.training.fused import FusedStep
from ae_cli.training.loader import Loader, StoreLoader

# Images for each latent, below which it is not said how many latents are in use. The covariance of
# n images has a lower rank in effect than that of all of them: k latents that vary alike and
# independently seem to be k · exp(-k / 2n).
ENOUGH = 10


def fit(
    model: AutoEncoder,
    train: Images | Loader,
    test: Images,
    config: TrainConfig,
    *,
    val: Images | None = None,
    device: torch.device,
    state: TrainState | None = None,
    team: Team | None = None,
) -> Generator[Step | Epoch]:
    """Train a model in place, yielding a `Step` after every update and an `Epoch` after each epoch.

    If epochs are compared, the model before the first step is one of them: epoch 0.

    Training can stop at any event. Started again with the weights and the state at that event, it
    continues as if it had not stopped: on the same machine, to the same weights, bit for bit.

    The time that the caller spends on an event does not count as training time. The order of the
    images depends only on the seed and the epoch's number. Until the last event, torch flushes
    denormal numbers to zero, and its number of threads may be lower.

    Args:
        model: Moved to `device` and trained.
        train: The training images, limited to the first `config.limit`; or a loader of batches.
        test: The images that the test loss is measured on.
        config: The recipe.
        val: Images that the epochs are compared on; None for `test`.
        device: Where to train.
        state: Where to start; None for the beginning. It is updated in place, and is current at
            every event.
        team: The processes that train the model, each of which calls this; None for this one alone.

    Raises:
        TrainingError: The loss is no longer a finite number, or a process has ended.
        UsageError: Memory is insufficient.
    """
    threads = torch.get_num_threads()
    # The moments of pixels at the border decay to almost 0. Otherwise they would become denormal
    # numbers, which make a CPU many times slower.
    torch.set_flush_denormal(True)
    try:
        with enough_memory("training"):
            if isinstance(train, Images):
                images = train if config.limit is None else train.head(config.limit)
                train = StoreLoader(
                    images, batch_size=config.batch_size, seed=config.seed, device=device
                )
            model.to(device)
            yield from _epochs(
                model, train, test, val, config, device, state or TrainState(), team or Team()
            )
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def choose_engine(model: ModelConfig, config: TrainConfig, device: torch.device) -> Engine:
    """Find the engine that ``--engine`` means.

    ``auto`` is the fused step where it can be used: for a perceptron with a plain loss on a CPU.

    Args:
        model: The model's layers.
        config: The recipe.
        device: Where to train.

    Raises:
        UsageError: The engine that was asked for cannot train this model, or not there.
    """
    is_plain = config.is_plain and not model.variational
    can_fuse = model.model == "mlp" and is_plain and device.type == "cpu"
    if config.engine == "auto":
        return "fused" if can_fuse else "autograd"
    if config.engine == "fused" and not can_fuse:
        if model.model == "mlp" and is_plain:
            raise UsageError("--engine fused is for the CPU", "use --device cpu or --engine auto")
        what = "--model mlp" if is_plain else "--loss mse or bce alone"
        raise UsageError(f"--engine fused is for {what}", "use --engine auto")
    return config.engine


def _epochs(
    model: AutoEncoder,
    loader: Loader,
    test: Images,
    val: Images | None,
    config: TrainConfig,
    device: torch.device,
    state: TrainState,
    team: Team,
) -> Iterator[Step | Epoch]:
    steps, input_size = loader.steps, math.prod(loader.shape)
    take_step = _make_step(model, config, device, team)
    _restore(take_step, state, steps)
    state.loss_sum = state.loss_sum.to(device)
    threads = torch.get_num_threads()

    def finish(epoch: int, train_loss: float, seconds: float) -> Epoch:
        torch.set_num_threads(threads)  # the fused step may need fewer
        tested = evaluate(model, test, config, device=device, team=team)
        val_loss = None
        if val is not None:
            val_loss = evaluate(model, val, config, device=device, team=team).loss
        for loss in (train_loss, tested.loss, val_loss or 0.0):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is no longer a finite number in epoch {epoch}",
                    f"choose a smaller --lr than {config.lr:g}",
                )
        return Epoch(
            epoch=epoch,
            step=epoch * steps,
            train_loss=train_loss,
            test_loss=tested.loss,
            val_loss=val_loss,
            test_errors=tested.errors,
            latents_in_use=tested.latents_in_use,
            kl=tested.kl,
            learning_rate=0.0
            if epoch == 0
            else learning_rate(config, epoch * steps, config.epochs * steps),
            images_per_second=loader.images / seconds if epoch else 0.0,
            seconds=seconds,
        )

    if model.has_start and config.chooses and state.updates(steps) == 0:
        x = scale(next(loader.batches(1, 0)))
        with torch.inference_mode():
            train_loss = Objective(config).measure(model, x).loss.item()
        yield finish(0, train_loss, 0.0)
    while state.epoch <= config.epochs:
        epoch = state.epoch
        varied = kinds_in(epoch, config)
        away = 0.0  # seconds spent by the caller
        started = time.perf_counter() - state.seconds
        for batch in loader.batches(epoch, state.step):
            lr = learning_rate(config, state.updates(steps) + 1, config.epochs * steps)
            key = config.seed, epoch, state.step
            state.loss_sum += take_step(augment(batch, varied, key), lr, key)
            state.step += 1
            left = time.perf_counter()
            state.seconds = left - started - away
            yield Step(
                epoch=epoch,
                step=state.step,
                steps=steps,
                images=min(state.step * config.batch_size, loader.images),
                seconds=state.seconds,
                learning_rate=lr,
                loss_sum=state.loss_sum,
                input_size=input_size,
            )
            away += time.perf_counter() - left
        # This waits for the device, so it must come before the time is taken.
        train_loss = state.loss_sum.item() / (loader.images * input_size)
        finished = finish(epoch, train_loss, time.perf_counter() - started - away)
        state.epoch, state.step, state.seconds = epoch + 1, 0, 0.0
        state.loss_sum = torch.zeros((), device=device)
        yield finished


def _make_step(
    model: AutoEncoder, config: TrainConfig, device: torch.device, team: Team
) -> FusedStep | AutogradStep:
    """Make the engine."""
    if choose_engine(model.config, config, device) == "fused":
        return FusedStep(model, config.loss, team)
    return AutogradStep(model, config, team)


def _restore(take_step: FusedStep | AutogradStep, state: TrainState, steps: int) -> None:
    """Set an engine to a state, and let the state share the engine's moments from then on.

    Args:
        take_step: The engine, for a model that has the weights of the same moment.
        state: Where to start.
        steps: Steps in a whole epoch.
    """
    if state.moments is not None:
        for views, values in zip(take_step.moments, state.moments, strict=True):
            for view, value in zip(views, values, strict=True):
                view.copy_(value)
    state.moments = take_step.moments
    take_step.optimizer.count.fill_(state.updates(steps))


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of one step: first rising in proportion to the step, then as scheduled.

    Args:
        config: The recipe.
        step: Number of the step, from 1.
        steps: Steps in the whole run.
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


class Evaluation(NamedTuple):
    """A model's figures on some images.

    Attributes:
        loss: The mean loss.
        errors: float32 (n,), the reconstruction error of every image.
        latents_in_use: See `effective_rank`; None if there are fewer than `ENOUGH` images for each
            latent.
        kl: The mean divergence from the prior in nats; None if the model is not variational.
    """

    loss: float
    errors: NDArray[np.float32]
    latents_in_use: float | None
    kl: float | None

    @property
    def error(self) -> float:
        """The mean reconstruction error."""
        return float(self.errors.mean(dtype=np.float64))


def evaluate(
    model: AutoEncoder,
    images: Images,
    config: TrainConfig,
    *,
    device: torch.device,
    team: Team | None = None,
) -> Evaluation:
    """Measure a model on images, with the loss that it is trained with.

    Args:
        model: On the device.
        images: The images.
        config: How it is trained.
        device: Where to compute.
        team: The processes that share the batches; None for this one alone.
    """
    objective, team = Objective(config), team or Team()
    rank, processes, _ = team.place
    # Made first: small arrays that stay between large ones that go would keep their memory.
    errors = torch.zeros(len(images))
    size, step = model.config.latent_dim, batch_size(images.shape)
    sums = torch.zeros(2, dtype=torch.float64)  # of the loss and of the divergence
    total = torch.zeros(size, dtype=torch.float64)
    products = torch.zeros(size, size, dtype=torch.float64)
    starts = range(rank * step, len(images), processes * step)
    with torch.inference_mode():
        for start, batch in zip(starts, images.batches(rank, processes), strict=True):
            mean_loss, batch_errors, latents, kl = objective.measure(model, batch.to(device))
            sums[0] += len(batch) * mean_loss.item()
            sums[1] += 0.0 if kl is None else len(batch) * kl.item()
            errors[start : start + len(batch)] = batch_errors.cpu()
            z = (latents / model.latent_scale).cpu().double()
            total += z.sum(0)
            products += z.T @ z
        team.total(errors, sums, total, products)
    loss, kl_mean = (sums / len(images)).tolist()
    mean = total / len(images)
    covariance = products / len(images) - torch.outer(mean, mean)
    return Evaluation(
        loss,
        errors.numpy(),
        effective_rank(covariance) if len(images) >= ENOUGH * size else None,
        kl_mean if model.config.variational else None,
    )
