"""The recipe: a model's layers, and how it is trained."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from ae_cli.config.checks import (
    check_choice,
    check_number,
    check_whole,
    is_finite,
    option_name,
)
from ae_cli.errors import UsageError

Family = Literal["mlp", "conv"]
Activation = Literal["tanh", "relu", "silu", "gelu"]
Loss = Literal["mse", "bce", "l1", "ssim"]
Noise = Literal["gaussian", "mask"]
Schedule = Literal["constant", "linear", "cosine"]
Engine = Literal["auto", "fused", "autograd"]
Preset = Literal["auto", "tutorial", "fast", "best", "anomalies"]
Augmentation = Literal["shift", "flip", "brightness"]
Keep = Literal["last", "best"]


@dataclass(frozen=True)
class ModelConfig:
    """The layers of an autoencoder. The defaults are the tutorial's.

    Attributes:
        shape: Channels, height and width of an image.
        model: The family: a multilayer perceptron, or a convolutional network.
        hidden: Sizes of the encoder's hidden layers; the decoder has them in reverse. In a
            convolutional network, the channels of each grid, and last the size of a dense layer.
        latent_dim: Number of latent values per image.
        activation: The activation function between the layers.
        variational: Whether the encoder also says how sure it is of each latent value: then it
            has a second last layer, and a latent is the mean of a normal distribution.
        patch: In a convolutional network, the side of a patch in pixels: each becomes a vector of
            the first grid. None for a sixteenth of the longer side, rounded up.
        pca: Whether PCA is part of the model, beside the layers, as it always is beside a
            convolutional network.
    """

    shape: tuple[int, int, int] = (1, 28, 28)
    model: Family = "mlp"
    hidden: tuple[int, ...] = (128, 64, 12)
    latent_dim: int = 3
    activation: Activation = "tanh"
    variational: bool = False
    patch: int | None = None
    pca: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple) or len(self.shape) != 3:
            raise UsageError(f"shape is {self.shape!r}", "give channels, height and width")
        for size in self.shape:
            check_whole("shape", size, minimum=1)
        if not isinstance(self.hidden, tuple):
            raise UsageError(f"--hidden is {self.hidden!r}", "give layer sizes such as 128,64,12")
        for size in self.hidden:
            check_whole("--hidden", size, minimum=1)
        check_choice("--model", self.model, get_args(Family))
        if self.model == "conv" and len(self.hidden) < 2:
            raise UsageError(
                f"--hidden has {len(self.hidden)} sizes, too few for --model conv",
                "give the channels of each grid and the size of a dense layer, such as 32,64,256, "
                "or choose --model mlp",
            )
        check_whole("--latent-dim", self.latent_dim, minimum=1)
        check_choice("--activation", self.activation, get_args(Activation))
        if not isinstance(self.variational, bool):
            raise UsageError(f"variational is {self.variational!r}", "give true or false")
        if self.patch is not None:
            check_whole("patch", self.patch, minimum=1)
        if not isinstance(self.pca, bool):
            raise UsageError(f"pca is {self.pca!r}", "give true or false")
        if self.model == "conv":  # not all checkpoints say so
            object.__setattr__(self, "pca", True)

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
        epochs: How many times every training image is seen.
        batch_size: Images per step.
        lr: Adam's learning rate at its highest.
        schedule: How the learning rate changes: it stays constant, or falls to 0 along a line or
            half a cosine.
        warmup: Share of the steps, at the beginning, in which it rises linearly from 0.
        loss: How a reconstruction is compared with its image, as a mean over pixels: squared error,
            binary cross-entropy, absolute error, or structural similarity with absolute error.
        denoise: How much noise the encoder's input gets in training; 0 for none.
        noise: Which noise: normally distributed, with a standard deviation of up to `denoise`; or a
            mask that makes a share of up to `denoise` of the pixels black.
        beta: Weight of the divergence from the prior in the loss of a variational model.
        sparse: Weight of the latents' mean absolute value in the loss.
        engine: What computes a step.
        seed: Decides the initial weights and the order of the images.
        limit: Train on the first `limit` training images; None for all of them.
        preset: The preset that supplied every value that was not given.
        keep: Which epoch's weights the checkpoint holds: those of the last epoch, or those with
            the lowest loss on images that are not learned from (see `Metrics.choosing_loss`).
        patience: Stop if this loss has not decreased for this many epochs; None for never.
        checkpoint_every: Save the resume file every `checkpoint_every` steps as well; None for
            after whole epochs only.
        augment: How the training images are varied whenever they are seen.
        settle: Share of the epochs, at the end, in which they are at most mirrored.
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.005
    schedule: Schedule = "constant"
    warmup: float = 0.0
    loss: Loss = "mse"
    denoise: float = 0.0
    noise: Noise = "gaussian"
    beta: float = 1.0
    sparse: float = 0.0
    engine: Engine = "auto"
    seed: int = 0
    limit: int | None = None
    preset: Preset = "tutorial"
    keep: Keep = "last"
    patience: int | None = None
    checkpoint_every: int | None = None
    augment: tuple[Augmentation, ...] = ()
    settle: float = 0.3

    def __post_init__(self) -> None:
        check_whole("--epochs", self.epochs, minimum=1)
        check_whole("--batch-size", self.batch_size, minimum=1)
        # torch's CPU generator uses only 32 bits of a seed: larger seeds would collide.
        check_whole("--seed", self.seed, minimum=0, maximum=2**32 - 1)
        for option in ("limit", "patience", "checkpoint_every"):
            if (value := getattr(self, option)) is not None:
                check_whole(option_name(option), value, minimum=1)
        if not is_finite(self.lr) or self.lr <= 0:
            raise UsageError(f"--lr is {self.lr}", "give a learning rate above 0, such as 0.005")
        if not is_finite(self.warmup) or not 0 <= self.warmup <= 1:
            raise UsageError(f"--warmup is {self.warmup}", "give a share of the steps, from 0 to 1")
        if not is_finite(self.settle) or not 0 <= self.settle <= 1:
            raise UsageError(
                f"--settle is {self.settle}", "give a share of the epochs, from 0 to 1"
            )
        check_choice("--schedule", self.schedule, get_args(Schedule))
        check_choice("--loss", self.loss, get_args(Loss))
        if not is_finite(self.denoise) or not 0 <= self.denoise < 1:
            raise UsageError(
                f"--denoise is {self.denoise}", "give an amount from 0 to below 1, such as 0.2"
            )
        check_choice("--noise", self.noise, get_args(Noise))
        check_number("--beta", self.beta)
        check_number("--sparse", self.sparse)
        check_choice("--engine", self.engine, get_args(Engine))
        check_choice("--preset", self.preset, get_args(Preset))
        check_choice("--keep", self.keep, get_args(Keep))
        if not isinstance(self.augment, tuple):
            raise UsageError(f"--augment is {self.augment!r}", "give names such as shift,flip")
        for name in self.augment:
            check_choice("--augment", name, get_args(Augmentation))

    @property
    def chooses(self) -> bool:
        """Whether epochs are compared, to keep the best one or to stop."""
        return self.keep == "best" or self.patience is not None

    @property
    def is_plain(self) -> bool:
        """Whether the loss is only the squared error or cross-entropy of clean images."""
        return self.loss in ("mse", "bce") and not self.denoise and not self.sparse


class Recipe(NamedTuple):
    """A model's layers and how it is trained."""

    model: ModelConfig
    training: TrainConfig

    @property
    def objective(self) -> str:
        """What is minimised, in a few words: mse, denoise 0.2 (gaussian)."""
        model, training = self
        return training.loss + "".join(
            [
                f", denoise {training.denoise:g} ({training.noise})" if training.denoise else "",
                f", variational, beta {training.beta:g}" if model.variational else "",
                f", sparse {training.sparse:g}" if training.sparse else "",
            ]
        )


class Facts(NamedTuple):
    """What a recipe depends on.

    Attributes:
        shape: Channels, height and width of an image.
        images: Number of training images.
        judged: Number of images that every epoch is measured on.
        is_like_mnist: Whether they are a known set of 28 × 28 grey images, to which the tutorial's
            recipe applies.
        for_anomalies: Whether the model is to find anomalies, so that by default this is its
            preset.
    """

    shape: tuple[int, int, int]
    images: int
    judged: int
    is_like_mnist: bool
    for_anomalies: bool = False


# How each preset differs from the tutorial's recipe on sets like MNIST
PRESETS: dict[Preset, dict[str, Any]] = {
    "auto": {},
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
    "anomalies": {"latent_dim": 16},
}

# The layers of each family where no preset sets them
LAYERS: dict[Family, dict[str, Any]] = {
    "mlp": {},
    "conv": {"hidden": (32, 64, 128, 256), "activation": "silu"},
}

# The recipe for all other images. It was searched on three small sets of photos, 64 × 64. In the
# same time, 64 images in a step with this rate learned more than 32 with 0.003 at three latents,
# and hardly less than 64 with 0.003 at 16; 32 images with 0.008 learned nothing.
ANY_IMAGES: dict[str, Any] = {
    "model": "conv",
    **LAYERS["conv"],
    "batch_size": 64,
    "lr": 0.002,
    "schedule": "linear",
    "warmup": 0.1,
    "keep": "best",
}
# How many images each preset shows such a model in all its epochs, if its first grid has 16 × 16
# positions; this decides how long it takes. On sets of 761 to 3,303 images of 64 × 64 pixels, auto
# took 20 to 26 s on two cores, and with a seventh more images 46 to 62 s on two slower ones. A
# large set is seen at least once.
IMAGES_SEEN: dict[Preset, int] = {
    "fast": 10_500,
    "auto": 42_000,
    "best": 168_000,
    "anomalies": 42_000,
}
# An epoch of fewer images counts as one of so many: then auto has at most 150 epochs. With more,
# sets of 100 images were learned by heart: of digits with 3 latents, 486 epochs gave an error on
# the 297 test images that was 3 % above PCA's, and 150 one that was 13 % below it (10 other images
# chose the epoch). Of hands, 249 epochs were no better than 150.
FEWEST_COUNTED = 280
POSITIONS, FIXED = 16 * 16, 0.3  # of the time of an image, this share does not depend on its grid
MEASURING = 1 / 3  # of the time of learning from an image
# Positions along the longer side of the first grid. Images below 32 pixels get no more than 8: on
# digits of 28 × 28, patches of 4 × 4 learned more in the same time than patches of 2 × 2.
FEW_POSITIONS, MOST_POSITIONS, LARGEST_SMALL_PATCH = 8, 16, 4
# Smaller training sets are varied, as a model would otherwise learn them by heart.
SMALL_SET = 20_000
# Shifted images are not quite like those that the model will see. On scikit-learn's digits, with 16
# latents, the error on the 297 test images fell from 0.0019 to 0.0014 when the last epochs of auto
# had none, and on photos of flowers and of hands it did not change. (The digits' images chose the
# epoch as well. PCA's error: 0.0047.) Too many such epochs teach the images by heart: with 0.3 of
# those of best, the error on the magnetic tiles' 583 test images, with 64 latents, was 1 to 2 %
# above PCA's, with this share 3 % below it.
SETTLE: dict[Preset, float] = {"fast": 0.3, "auto": 0.3, "best": 0.075, "anomalies": 0.3}


def make_recipe(preset: Preset = "auto", facts: Facts | None = None, **options: Any) -> Recipe:
    """Combine a preset with options, which take precedence.

    Args:
        preset: The recipe to start from.
        facts: What is known of the images; None to check the options only.
        options: Fields of `ModelConfig` and `TrainConfig`; None for the preset's value.

    Raises:
        UsageError: The preset does not exist, or a value is out of range.
    """
    check_choice("--preset", preset, get_args(Preset))
    chosen = {name: value for name, value in options.items() if value is not None}
    if "model" in chosen:
        check_choice("--model", chosen["model"], get_args(Family))
    values = {**_preset_values(preset, facts, chosen.get("model")), **chosen}
    if facts is not None:
        values["shape"] = facts.shape
        if values.get("model") == "conv":
            values["patch"] = choose_patch(facts.shape)
    layers = {field.name for field in dataclasses.fields(ModelConfig)} & values.keys()
    model = {name: values.pop(name) for name in layers}
    recipe = Recipe(ModelConfig(**model), TrainConfig(preset=preset, **values))
    if recipe.model.variational and recipe.training.loss == "ssim":
        raise UsageError(
            "--loss ssim is not a likelihood, which --variational needs",
            "choose --loss mse, bce or l1",
        )
    return recipe


def choose_patch(shape: tuple[int, int, int]) -> int:
    """Choose the side of a convolutional network's patches for images of a shape."""
    side = max(shape[1:])
    small = min(LARGEST_SMALL_PATCH, math.ceil(side / FEW_POSITIONS))
    return max(small, math.ceil(side / MOST_POSITIONS))


def _preset_values(preset: Preset, facts: Facts | None, model: Family | None) -> dict[str, Any]:
    """The fields that a preset sets, where `model` is the family that was asked for."""
    is_like_mnist = facts is None or facts.is_like_mnist
    if preset == "tutorial" or (preset != "anomalies" and model != "conv" and is_like_mnist):
        return {**PRESETS[preset], **(LAYERS[model] if model else {})}
    values: dict[str, Any] = {**ANY_IMAGES}
    if preset == "anomalies":
        values |= PRESETS[preset]
    if model == "mlp":
        values |= {"hidden": PRESETS["best"]["hidden"], "pca": True}
    if facts is not None:
        patch = choose_patch(facts.shape)
        positions = math.prod(math.ceil(side / patch) for side in facts.shape[1:])
        seconds = FIXED + (1 - FIXED) * positions / POSITIONS  # of an image, in units of the usual
        epoch = seconds * (facts.images + MEASURING * facts.judged)
        values["epochs"] = max(1, round(IMAGES_SEEN[preset] / max(epoch, FEWEST_COUNTED)))
        if facts.images < SMALL_SET:
            values |= {"augment": ("shift",), "settle": SETTLE[preset]}
    return values
