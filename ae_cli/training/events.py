"""The state of training, and the events of a run from its beginning to its end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.config import Metrics, TrainConfig
from ae_cli.results import Result
from ae_cli.training.optimizer import Moments


@dataclass
class TrainState:
    """The state of training: together with the model's weights, all that is needed to continue.

    Attributes:
        epoch: The current epoch, from 1. After the last one, its number plus 1.
        step: Steps taken in this epoch.
        seconds: Training time of these steps.
        loss_sum: float32 (): this epoch's loss so far, summed over images and pixels.
        moments: Adam's moments, in the order of the model's parameters; None before the first step.
    """

    epoch: int = 1
    step: int = 0
    seconds: float = 0.0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    moments: Moments | None = None

    def updates(self, steps: int) -> int:
        """Steps taken since training began; `steps` is the number in a whole epoch."""
        return (self.epoch - 1) * steps + self.step


@dataclass(frozen=True)
class Step:
    """One optimiser update.

    Attributes:
        epoch: The current epoch, from 1.
        step: Steps taken in this epoch.
        steps: Steps in a whole epoch.
        images: Images seen in this epoch.
        seconds: Training time of this epoch so far.
        learning_rate: The learning rate of this step.
        loss_sum: (): this epoch's loss so far, summed over images and pixels. The next step adds
            to it in place.
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
        """Steps taken since training began."""
        return (self.epoch - 1) * self.steps + self.step

    def as_json(self) -> dict[str, float | None]:
        """The values of a line in the log; None for those that are not finite."""
        values = {
            "epoch": self.epoch,
            "step": self.updates,
            "train_loss": self.train_loss,
            "learning_rate": self.learning_rate,
            "images_per_second": self.images_per_second,
            "seconds": self.seconds,
        }
        return {name: value if math.isfinite(value) else None for name, value in values.items()}

    def is_due(self, every: int | None) -> bool:
        """Whether something that is done every `every` steps is due after this step.

        It is never due after an epoch's last step, as the `Epoch` follows at once.
        """
        return every is not None and self.updates % every == 0 and self.step < self.steps

    @property
    def train_loss(self) -> float:
        """Mean loss of this epoch so far. Reading it waits for the device."""
        return self.loss_sum.item() / (self.images * self.input_size)

    @property
    def images_per_second(self) -> float:
        """Training speed in this epoch so far."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Epoch:
    """A whole epoch.

    Attributes:
        epoch: Its number, from 1; 0 for the model that training starts from, if it is PCA.
        step: Steps taken since training began.
        train_loss: Mean loss over the training images, each measured at its own step; before
            training, over the first batch.
        test_loss: Mean loss over the test images, after the epoch.
        val_loss: Mean loss over the training images that are held out to choose an epoch, after the
            epoch; None if there are none.
        test_errors: float32 (test images,): their reconstruction errors, after the epoch.
        latents_in_use: How many of the latents the test images differ in, in effect; None if there
            are too few of them to tell.
        kl: Mean divergence of the test images' latents from the prior, in nats, after the epoch;
            None if the model is not variational.
        learning_rate: The learning rate of the epoch's last step.
        images_per_second: Training speed.
        seconds: Training time of the epoch, without evaluation.
    """

    epoch: int
    step: int
    train_loss: float
    test_loss: float
    val_loss: float | None
    test_errors: NDArray[np.float32]
    latents_in_use: float | None
    kl: float | None
    learning_rate: float
    images_per_second: float
    seconds: float

    @property
    def test_error(self) -> float:
        """Mean reconstruction error over the test images, after the epoch."""
        return float(self.test_errors.mean(dtype=np.float64))

    def as_json(self) -> dict[str, Any]:
        """All fields except the errors."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del values["test_errors"]
        return values


@dataclass(frozen=True)
class Begun(Result):
    """A run starts, or is resumed.

    Attributes:
        data: What it is trained on, the ``shape`` of an image, and the ``changes`` of
            `ae_cli.data.images.DataSet`.
        model: The model's configuration, the ``sizes`` of its layers and the number of its
            ``parameters``.
        training: How it is trained.
        device: Where it computes.
        checkpoint: The file that will hold the model.
        resumed: Where a resumed run continues: ``epoch``, its whole epochs, and ``step``, its steps
            so far; None for a new run.
        architecture: The model's architecture in a few words.
        objective: What is minimised, in a few words.
        steps: Steps in an epoch.
        name: A short name of the images' source.
        there: Number of training images in the source, of which the run may use fewer.
        place: Where the run continues, in words.
        is_over: Whether all epochs are already trained.
        has_stopped_early: Whether the run had already stopped early.
        test_loss: Test loss of the last whole epoch of a resumed run; None if it has none.
    """

    data: dict[str, Any]
    model: dict[str, Any]
    training: TrainConfig
    device: str
    checkpoint: Path
    resumed: dict[str, int] | None
    architecture: str = field(repr=False)
    objective: str = field(repr=False)
    steps: int = field(repr=False)
    name: str = field(repr=False)
    there: int = field(repr=False)
    place: str = field(repr=False)
    is_over: bool = field(repr=False)
    has_stopped_early: bool = field(repr=False)
    test_loss: float | None = field(repr=False)


@dataclass(frozen=True)
class Trained:
    """The last epoch has ended, and the model is saved.

    Attributes:
        reached: Figures of the last epoch.
        kept: Figures of the epoch whose model the checkpoint holds.
        best: Figures of the epoch with the lowest test loss.
        has_stopped_early: Whether training stopped as the test loss no longer decreased.
        keeps_best: Whether the best epoch's model is kept, rather than the last one's.
        judged: The images that the test figures come from, in a few words.
        pca_error: Mean reconstruction error over the same images of PCA with as many components,
            fitted to the training images.
        problems: What is wrong with the model and what would help, in a sentence each.
        backup: The copy of the previous checkpoint; None if there was none.
        log_backup: The copy of the previous log; None if there was none.
    """

    reached: Metrics
    kept: Metrics
    best: Metrics
    has_stopped_early: bool
    keeps_best: bool
    judged: str
    pca_error: float
    problems: list[str]
    backup: Path | None
    log_backup: Path | None


@dataclass(frozen=True)
class Written:
    """A film, a picture, TensorBoard's folder, or what is normal, in the checkpoint, was written.

    Attributes:
        what: ``film``, ``curve`` for the picture of the losses, ``curves`` for TensorBoard's
            folder, or ``normal``.
        path: The file or folder.
        note: The size of the film, the number of epochs in the picture, or what is normal in a few
            words.
    """

    what: Literal["film", "curve", "curves", "normal"]
    path: Path
    note: str = ""


@dataclass(frozen=True)
class Finished(Result):
    """A run has ended, and everything is written.

    Attributes:
        epochs: Whole epochs trained.
        step: Steps taken.
        kept_epoch: The epoch whose model the checkpoint holds.
        stopped_early: Whether training stopped as the test loss no longer decreased.
        train_loss: Mean loss over the training images in that epoch.
        test_loss: Mean loss over the test split after that epoch.
        test_error: Mean reconstruction error over the test split after that epoch.
        pca_error: The same of PCA with as many components, fitted to the training images.
        latents_in_use: How many of the latents the test images differ in, in effect; None if there
            are too few of them to tell.
        kl: Mean divergence of their latents from the prior, in nats; None if the model is not
            variational.
        seconds: Training time of all epochs.
        checkpoint: The model's file.
        backup: The copy of the previous checkpoint; None if there was none.
        film: The film; None if none was written.
        curve: The picture of the losses; None if none was written.
        is_complete: Whether all outputs that were asked for were written as well.
    """

    epochs: int
    step: int
    kept_epoch: int
    stopped_early: bool
    train_loss: float
    test_loss: float
    test_error: float
    pca_error: float
    latents_in_use: float | None
    kl: float | None
    seconds: float
    checkpoint: Path
    backup: Path | None
    film: Path | None
    curve: Path | None
    is_complete: bool = field(repr=False)


Event: TypeAlias = "Begun | Step | Epoch | Trained | Written | Finished"
