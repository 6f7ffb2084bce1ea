"""What is trained, how, and on what: frozen dataclasses that go into the checkpoint as JSON.

Every default of the command line is a field's default here, and every value is checked here, once,
whether it comes from the command line, from Python or from a checkpoint's metadata.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from ae_cli.errors import UsageError

LARGEST = 2**31 - 1  # of any number of things: beyond all use, and within what torch can count

Activation = Literal["tanh", "relu", "silu", "gelu"]
Loss = Literal["mse", "bce"]
Schedule = Literal["constant", "linear", "cosine"]
Engine = Literal["auto", "fused", "autograd"]
Preset = Literal["tutorial", "fast", "best"]
Keep = Literal["last", "best"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Fit = Literal["crop", "pad", "stretch"]

# What the commands write and read where no file is named.
CHECKPOINT = Path("ae.safetensors")
TABLE = Path("latents.csv")

IMAGE_SIZE = 28  # pixels to the side of a folder's images, as MNIST has
LARGEST_SIDE = 4096  # pixels: beyond it, the first layer alone has billions of weights
FIT: Fit = "crop"
VAL_FRACTION = 0.1
QUANTILE = 0.99  # of the errors of images that were held out: above it, an image is an anomaly


@dataclass(frozen=True)
class ModelConfig:
    """The layers of an autoencoder. The defaults are the tutorial's.

    Attributes:
        shape: Channels, height and width of an image.
        hidden: Sizes of the encoder's hidden layers; the decoder has them in reverse.
        latent_dim: Number of latent values per image.
        activation: What stands between the layers.
    """

    shape: tuple[int, int, int] = (1, 28, 28)
    hidden: tuple[int, ...] = (128, 64, 12)
    latent_dim: int = 3
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple) or len(self.shape) != 3:
            raise UsageError(f"shape is {self.shape!r}", "give channels, height and width")
        for size in self.shape:
            _check_whole("shape", size, minimum=1)
        if not isinstance(self.hidden, tuple):
            raise UsageError(f"--hidden is {self.hidden!r}", "give layer sizes such as 128,64,12")
        for size in self.hidden:
            _check_whole("--hidden", size, minimum=1)
        _check_whole("--latent-dim", self.latent_dim, minimum=1)
        _check_choice("--activation", self.activation, get_args(Activation))

    @property
    def input_size(self) -> int:
        """Number of values in one image."""
        return math.prod(self.shape)

    @property
    def encoder_sizes(self) -> tuple[int, ...]:
        """Layer sizes from the image to the latent: 784, 128, 64, 12, 3 by default."""
        return (self.input_size, *self.hidden, self.latent_dim)

    @property
    def decoder_sizes(self) -> tuple[int, ...]:
        """Layer sizes from the latent to the image: the encoder's in reverse."""
        return self.encoder_sizes[::-1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Layer sizes from the image to its reconstruction, the latent once in the middle."""
        return (*self.encoder_sizes, *self.decoder_sizes[1:])


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults are the tutorial's.

    Attributes:
        epochs: How often every training image is seen.
        batch_size: Images per step.
        lr: Adam's learning rate, the highest that the schedule reaches.
        schedule: What becomes of the learning rate: it stays, or falls to 0 along a line or half a
            cosine.
        warmup: Share of the steps, at the beginning, in which it rises from 0 along a line.
        loss: Mean squared error or binary cross-entropy, averaged over pixels.
        engine: What computes a step.
        seed: Decides the first weights and the order of the images.
        limit: Train on the first so many training images; None for all of them.
        preset: The preset that supplied every value that was not given.
        keep: Which epoch's weights the checkpoint holds: the last one's, or those with the lowest
            test loss.
        patience: Stop when the test loss has not become lower for so many epochs; None for never.
        checkpoint_every: Save what resuming needs every so many steps, and not only after whole
            epochs; None for these alone.
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.005
    schedule: Schedule = "constant"
    warmup: float = 0.0
    loss: Loss = "mse"
    engine: Engine = "auto"
    seed: int = 0
    limit: int | None = None
    preset: Preset = "tutorial"
    keep: Keep = "last"
    patience: int | None = None
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        _check_whole("--epochs", self.epochs, minimum=1)
        _check_whole("--batch-size", self.batch_size, minimum=1)
        # torch seeds its CPU generator with 32 bits: above them, two seeds would be one.
        _check_whole("--seed", self.seed, minimum=0, maximum=2**32 - 1)
        for option in ("limit", "patience", "checkpoint_every"):
            if (value := getattr(self, option)) is not None:
                _check_whole(option_name(option), value, minimum=1)
        if not _is_finite(self.lr) or self.lr <= 0:
            raise UsageError(f"--lr is {self.lr}", "give a learning rate above 0, such as 0.005")
        if not _is_finite(self.warmup) or not 0 <= self.warmup <= 1:
            raise UsageError(f"--warmup is {self.warmup}", "give a share of the steps, from 0 to 1")
        _check_choice("--schedule", self.schedule, get_args(Schedule))
        _check_choice("--loss", self.loss, get_args(Loss))
        _check_choice("--engine", self.engine, get_args(Engine))
        _check_choice("--preset", self.preset, get_args(Preset))
        _check_choice("--keep", self.keep, get_args(Keep))


class Recipe(NamedTuple):
    """A model's layers and how it is trained."""

    model: ModelConfig
    training: TrainConfig


# What each preset has other than the tutorial: fields whose options have no default of their own.
PRESETS: dict[Preset, dict[str, Any]] = {
    "tutorial": {},
    "fast": {
        "epochs": 2,
        "batch_size": 128,
        "lr": 0.01,
        "schedule": "linear",
        "warmup": 0.1,
        "hidden": (128, 64, 32),
        "activation": "silu",
    },
    "best": {
        "epochs": 16,
        "batch_size": 256,
        "lr": 0.005,
        "schedule": "linear",
        "warmup": 0.1,
        "hidden": (256, 384, 256),
        "activation": "silu",
    },
}


def make_recipe(preset: Preset = "tutorial", **options: Any) -> Recipe:
    """Take a preset's values, but for the options that are given.

    Args:
        preset: The recipe to start from.
        options: Fields of `ModelConfig` and `TrainConfig`; None for what the preset says.

    Raises:
        UsageError: There is no such preset, or a value is out of range.
    """
    _check_choice("--preset", preset, get_args(Preset))
    chosen = {name: value for name, value in options.items() if value is not None}
    values = {**PRESETS[preset], **chosen}
    layers = {field.name for field in dataclasses.fields(ModelConfig)} & values.keys()
    model = {name: values.pop(name) for name in layers}
    return Recipe(ModelConfig(**model), TrainConfig(preset=preset, **values))


@dataclass(frozen=True)
class DataOptions:
    """How images are read where their source leaves it open.

    Attributes:
        image_size: Height and width of the images of a folder, and of flat rows of pixels; None
            for `IMAGE_SIZE` and for squares.
        color: Whether the images of a folder are read in colour rather than grey.
        fit: How the images of a folder come to their size: by cutting off what is beyond it, by
            black margins, or stretched; None for `FIT`.
        val_fraction: Share of the images that is held out where there is no test split; None for
            `VAL_FRACTION`.
        seed: Decides which ones are.
        key: What holds the images in an NPZ file and, after a comma, the labels (without one, there
            are none); in a table, the column with the labels. None for the usual names.
        strict: Whether the first file that cannot be read is an error.
    """

    image_size: tuple[int, int] | None = None
    color: bool = False
    fit: Fit | None = None
    val_fraction: float | None = None
    seed: int = TrainConfig.seed
    key: str | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.image_size is not None:
            for side in self.image_size:
                _check_whole("--image-size", side, minimum=1, maximum=LARGEST_SIDE)
        if self.fit is not None:
            _check_choice("--fit", self.fit, get_args(Fit))
        if self.val_fraction is not None:
            _check_share("--val-fraction", self.val_fraction)


@dataclass(frozen=True)
class DataConfig:
    """Which images a model was trained on, and where to find them again.

    Attributes:
        source: What ``--data`` means: the name of a known set, or an absolute path.
        data_dir: The folder given as ``--data-dir``; None for the user's cache folder.
        train_images: Number of images it learned from.
        test_images: Number of images in the test split.
        classes: Names of the labels; None where images have none.
        selected_classes: Those of `classes` that ``--classes`` or ``--exclude-classes`` left; None
            where they did not choose.
        val_fraction: Share of the images that was held out; None where there is a test split.
        fit: As in `DataOptions`.
        key: As in `DataOptions`.
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

    def __post_init__(self) -> None:
        _check_text("source", self.source)
        for field in ("data_dir", "key"):
            if (value := getattr(self, field)) is not None:
                _check_text(field, value)
        _check_whole("train_images", self.train_images, minimum=1)
        _check_whole("test_images", self.test_images, minimum=1)
        for field in ("classes", "selected_classes"):
            if (names := getattr(self, field)) is None:
                continue
            if not isinstance(names, tuple):
                raise UsageError(f"{field} is {names!r}", "give names")
            for name in names:
                _check_text(field, name)
        if not set(self.selected_classes or ()) <= set(self.classes or ()):
            raise UsageError("selected_classes has others than classes", "choose among these")
        if self.val_fraction is not None:
            _check_share("val_fraction", self.val_fraction)
        if self.fit is not None:
            _check_choice("fit", self.fit, get_args(Fit))


@dataclass(frozen=True)
class Metrics:
    """What a model had reached at the end of an epoch.

    Attributes:
        epoch: Whole epochs trained up to then.
        step: Optimiser updates made.
        train_loss: Mean loss over the last epoch's images, each as it was learned from.
        test_loss: Mean loss over the test split after the last epoch.
        test_error: Mean reconstruction error over the test split after the last epoch.
        seconds: Time that training took, without evaluation and saving.
        error_quantiles: Quantiles of the test images' reconstruction errors after the last epoch,
            ascending and evenly spaced from the smallest to the largest error; empty in
            checkpoints older than format version 3.
    """

    epoch: int
    step: int
    train_loss: float
    test_loss: float
    test_error: float
    seconds: float
    error_quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_whole("epoch", self.epoch, minimum=1)
        _check_whole("step", self.step, minimum=1)
        for name in ("train_loss", "test_loss", "test_error", "seconds"):
            value = getattr(self, name)
            if not _is_finite(value) or value < 0:
                raise UsageError(f"{name} is {value}", "give a finite number, 0 or more")
        quantiles = self.error_quantiles
        if (
            not isinstance(quantiles, tuple)
            or len(quantiles) == 1
            or not all(_is_finite(value) and value >= 0 for value in quantiles)
            or list(quantiles) != sorted(quantiles)
        ):
            raise UsageError("error_quantiles are no quantiles", "give ascending numbers")


@dataclass(frozen=True)
class Position:
    """How far training had come when its resume file was written.

    Attributes:
        epoch: The current epoch, from 1. After the last one, its number plus 1.
        step: Updates made in it.
        seconds: Time spent on them.
        images_crc32: Checksum of the images' pixels, to know them again.
    """

    epoch: int
    step: int
    seconds: float
    images_crc32: int

    def __post_init__(self) -> None:
        _check_whole("epoch", self.epoch, minimum=1)
        _check_whole("step", self.step, minimum=0)
        _check_whole("images_crc32", self.images_crc32, minimum=0, maximum=2**32 - 1)
        if not _is_finite(self.seconds) or self.seconds < 0:
            raise UsageError(f"seconds is {self.seconds}", "give a finite number, 0 or more")


Config = TypeVar("Config", ModelConfig, TrainConfig, DataConfig, Metrics, Position)


def to_json(config: ModelConfig | TrainConfig | DataConfig | Metrics | Position) -> str:
    """Write a configuration as one JSON object."""
    return json.dumps(dataclasses.asdict(config))


def from_json(kind: type[Config], text: str) -> Config:
    """Read a configuration that `to_json` wrote.

    Raises:
        ValueError, TypeError: The text is not such an object.
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


def option_name(field: str) -> str:
    """What a field is called on the command line: ``--batch-size`` for ``batch_size``."""
    return f"--{field.replace('_', '-')}"


def _is_finite(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= LARGEST  # a larger int may not fit into a float
    return isinstance(value, float) and math.isfinite(value)


def _check_share(name: str, value: object) -> None:
    if not isinstance(value, float) or not 0 < value < 1:
        raise UsageError(f"{name} is {value}", "give a share between 0 and 1")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{name} is {value!r}", "give text")


def _check_whole(name: str, value: object, *, minimum: int, maximum: int = LARGEST) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise UsageError(f"{name} is {value}", f"give a whole number, {minimum} or more")
    if value > maximum:
        raise UsageError(f"{name} is {value}", f"give a whole number, at most {maximum}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} is {value!r}", f"choose one of {', '.join(choices)}")
