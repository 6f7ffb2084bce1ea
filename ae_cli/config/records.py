"""What checkpoints and resume files record besides the recipe, and its conversion to JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, get_args

from ae_cli.config.checks import (
    check_choice,
    check_number,
    check_share,
    check_text,
    check_whole,
    is_finite,
)
from ae_cli.config.images import Fit, Frames
from ae_cli.config.recipe import ModelConfig, TrainConfig
from ae_cli.errors import UsageError

RECENT = 100  # epochs whose losses a checkpoint records


@dataclass(frozen=True)
class DataConfig:
    """Which images a model was trained on, and where to find them again.

    Attributes:
        source: What ``--data`` was: the name of a known set, or an absolute path.
        data_dir: The folder given as ``--data-dir``; None for the user's cache folder.
        train_images: Number of training images that are learned from.
        val_images: Number of further training images, which were held out to choose an epoch, and
            to measure the model if it is for anomalies.
        test_images: Number of images in the test split.
        classes: Names of the classes; None if the images have no labels.
        selected_classes: The classes that ``--classes`` or ``--exclude-classes`` selected; None if
            neither was given.
        val_fraction: Share of the images that was held out; None if the source has a test split.
        fit: As in `ReadOptions`.
        key: As in `ReadOptions`.
        labels: As in `ReadOptions`, as an absolute path.
        frames: As in `ReadOptions`.
        for_anomalies: Whether the model is to find anomalies. Then its test figures are those of
            the `val_images`, which are normal as those that it learned from; the test split is only
            judged.
        mean_error: Mean reconstruction error over the same images of a model that outputs the mean
            image for every image; None in checkpoints older than format version 5.
        pca_error: That of PCA with as many components as latents, fitted to the training images;
            None where the model does not start from PCA, so that the end of training measures it,
            and in checkpoints older than format version 6.
    """

    source: str
    data_dir: str | None
    train_images: int
    test_images: int
    classes: tuple[str, ...] | None
    selected_classes: tuple[str, ...] | None = None
    val_fraction: float | None = None
    fit: Fit | None = None
    key: str | None = None
    val_images: int = 0
    mean_error: float | None = None
    pca_error: float | None = None
    labels: str | None = None
    frames: Frames | None = None
    for_anomalies: bool = False

    def __post_init__(self) -> None:
        check_text("source", self.source)
        for attribute in ("data_dir", "key", "labels"):
            if (value := getattr(self, attribute)) is not None:
                check_text(attribute, value)
        check_whole("train_images", self.train_images, minimum=1)
        check_whole("test_images", self.test_images, minimum=1)
        check_whole("val_images", self.val_images, minimum=0)
        for attribute in ("mean_error", "pca_error"):
            if (error := getattr(self, attribute)) is not None:
                check_number(attribute, error)
        for attribute in ("classes", "selected_classes"):
            if (names := getattr(self, attribute)) is None:
                continue
            if not isinstance(names, tuple):
                raise UsageError(f"{attribute} is {names!r}", "give names")
            for name in names:
                check_text(attribute, name)
        if not set(self.selected_classes or ()) <= set(self.classes or ()):
            raise UsageError("selected_classes are not all in classes", "choose among these")
        if self.val_fraction is not None:
            check_share("val_fraction", self.val_fraction)
        if self.fit is not None:
            check_choice("fit", self.fit, get_args(Fit))
        if self.frames is not None:
            check_choice("frames", self.frames, get_args(Frames))
        if not isinstance(self.for_anomalies, bool):
            raise UsageError(f"for_anomalies is {self.for_anomalies!r}", "give true or false")

    @property
    def judged(self) -> str:
        """The images that the model's test figures come from, in a few words."""
        return "held-out training images" if self.for_anomalies else "test images"

    @property
    def judged_images(self) -> int:
        """How many of them there are."""
        return self.val_images if self.for_anomalies else self.test_images


@dataclass(frozen=True)
class Metrics:
    """A model's figures at the end of an epoch, or before the first one.

    Attributes:
        epoch: Number of whole epochs trained; 0 for a model that starts from PCA, before training.
        step: Steps taken.
        train_loss: Mean loss over the last epoch's images, each measured at its own step; before
            training, over a sample of the training images.
        test_loss: Mean loss over the test split after the last epoch; of a model for anomalies,
            over the normal training images that were held out, as all test figures.
        test_error: Mean reconstruction error over the test split after the last epoch.
        seconds: Training time, without evaluation and saving.
        error_quantiles: Quantiles of the test images' reconstruction errors after the last epoch,
            ascending and evenly spaced from the smallest to the largest error; empty in
            checkpoints older than format version 3.
        val_loss: Mean loss over the training images that were held out to choose an epoch; None if
            there are none.
        latents_in_use: How many of the latents the test images differ in, in effect; None if there
            are too few of them to tell, and in checkpoints older than format version 5.
        kl: Mean divergence of the test images' latents from the prior, in nats; None if the model
            is not variational.
        recent_losses: `choosing_loss` after this and the epochs before it, in order, of which the
            last `RECENT` are kept; empty in checkpoints older than format version 6.
    """

    epoch: int
    step: int
    train_loss: float
    test_loss: float
    test_error: float
    seconds: float
    error_quantiles: tuple[float, ...] = field(default=(), repr=False)
    val_loss: float | None = None
    latents_in_use: float | None = None
    kl: float | None = None
    recent_losses: tuple[float, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_whole("epoch", self.epoch, minimum=0)
        check_whole("step", self.step, minimum=0)
        for name in ("val_loss", "latents_in_use", "kl"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name))
        for name in ("train_loss", "test_loss", "test_error", "seconds"):
            check_number(name, getattr(self, name))
        quantiles = self.error_quantiles
        if (
            not isinstance(quantiles, tuple)
            or len(quantiles) == 1
            or not all(is_finite(value) and value >= 0 for value in quantiles)
            or list(quantiles) != sorted(quantiles)
        ):
            raise UsageError("error_quantiles are not quantiles", "give ascending numbers")
        if not isinstance(self.recent_losses, tuple):
            raise UsageError("recent_losses are not losses", "give numbers")
        for loss in self.recent_losses:
            check_number("recent_losses", loss)

    @property
    def choosing_loss(self) -> float:
        """The loss by which epochs are compared: `val_loss`, or else `test_loss`."""
        return self.test_loss if self.val_loss is None else self.val_loss

    def after(self, before: Metrics | None) -> Metrics:
        """These figures with `recent_losses`, where `before` are those of the previous epoch."""
        earlier = () if before is None else before.recent_losses
        return replace(self, recent_losses=(*earlier, self.choosing_loss)[-RECENT:])


@dataclass(frozen=True)
class Position:
    """How far a run was when its resume file was written.

    Attributes:
        epoch: The current epoch, from 1. After the last one, its number plus 1.
        step: Steps taken in this epoch.
        seconds: Training time of these steps.
        images_crc32: Checksum of the images' pixels, to recognise them.
    """

    epoch: int
    step: int
    seconds: float
    images_crc32: int

    def __post_init__(self) -> None:
        check_whole("epoch", self.epoch, minimum=1)
        check_whole("step", self.step, minimum=0)
        check_whole("images_crc32", self.images_crc32, minimum=0, maximum=2**32 - 1)
        check_number("seconds", self.seconds)


Config = TypeVar("Config", ModelConfig, TrainConfig, DataConfig, Metrics, Position)


def to_json(config: ModelConfig | TrainConfig | DataConfig | Metrics | Position) -> str:
    """Convert a configuration to a JSON object."""
    return json.dumps(vars(config))  # dataclasses.asdict would copy each of 1,001 quantiles


def from_json(kind: type[Config], text: str) -> Config:
    """Read a configuration that `to_json` wrote.

    Raises:
        ValueError, TypeError: The text is not a JSON object with these fields.
        UsageError: A value is out of range.
    """
    values: Any = json.loads(text)
    if not isinstance(values, dict):
        raise TypeError("not a JSON object")
    # JSON has lists only; the dataclasses hold tuples.
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return kind(**fields)
