"""The options of ``train``: its images, its recipe and its outputs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ae_cli.config.checks import option_name, parse_whole_numbers
from ae_cli.config.commands import CHECKPOINT
from ae_cli.config.images import Device, LoadOptions, ReadOptions, Source
from ae_cli.config.option import option
from ae_cli.config.recipe import (
    Activation,
    Engine,
    Facts,
    Family,
    Keep,
    Loss,
    ModelConfig,
    Noise,
    Preset,
    Recipe,
    Schedule,
    TrainConfig,
    make_recipe,
)
from ae_cli.errors import UsageError

FilmOf = Literal["reconstructions", "latents"]
Purpose = Literal["latents", "anomalies"]

FILM = Path("film.gif")  # the name that messages suggest

# Headings in the command's help
RECIPE = "Recipe"
KEEPING = "Keeping and resuming"
WATCHING = "Watching"


def _join(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))


# The help shows these options first, and all others below, under their headings.
EVERYDAY = None


def _preset_option(default: object, help: str, **looks: Any) -> Any:
    """Declare a recipe option that a preset may set."""
    looks = {"heading": RECIPE, **looks}
    return option(None, help, default_text=f"{default}, or the preset's", **looks)


def _recipe_option(default: object, help: str, **looks: Any) -> Any:
    """Declare a recipe option that no preset sets; None is the default, or a resumed run's."""
    return option(None, help, usual=default, **{"heading": RECIPE, **looks})


@dataclass(frozen=True)
class TrainOptions(LoadOptions):
    """The images to train on, the recipe, and the outputs.

    Fields of the recipe (see `ModelConfig` and `TrainConfig`) are None for the preset's value, or
    with `resume` for the run's own.

    Attributes:
        data: The images; None for ``auto``, or with `resume` for the run's own.
        for_: What the model is for. For anomalies, some of the training images are held out, from
            which the threshold comes. None for anomalies if the model learns from some of the
            classes only, and for latents otherwise.
        preset: The recipe to start from; None for `for_`'s.
        hidden: Sizes of the encoder's hidden layers; the decoder has them in reverse.
        device: Where to compute; ``auto`` is a GPU if there is one.
        resume: Continue the run of `checkpoint`, or of `out`.
        checkpoint: With `resume`, the checkpoint whose run to continue; None for `out`.
        out: The checkpoint to write after every epoch; None to keep the model in memory only.
        log: The log, to which a line is written after every epoch; None for none.
        log_every: Write and show a line every `log_every` steps as well.
        tensorboard: The folder to write for TensorBoard; None for none.
        live: Show the model in a window while it trains.
        curve: The picture of the losses to draw at the end; None for none.
        film: The film to record; None for none.
        film_of: What the film or the window shows.
    """

    data: Source = option(
        None,
        "Images to train on: a name that `ae data` lists; a folder or an archive of images; a "
        "table or a file of arrays; a pattern such as 'shards/*.tar'; or auto (MNIST if it is on "
        "disk or can be downloaded, and otherwise digits). Given several times, the sources are "
        "joined.",
        kind=str,
        metavar="SOURCE",
        usual="auto",
        several=True,
        heading=EVERYDAY,
    )
    _: KW_ONLY
    for_: Purpose | None = option(
        None,
        "What the model is for. anomalies: hold some training images out, from which the threshold "
        "comes, and take the preset of the same name.",
        default_text="anomalies if it learns from some of the classes only, else latents",
        heading=RECIPE,
    )
    preset: Preset | None = _recipe_option(
        "auto",
        "The recipe to start from; other options take precedence. auto: the tutorial's on MNIST "
        "and sets like it, and otherwise one chosen for the images. fast takes about a quarter of "
        "the time, best four times as much. tutorial: the defaults here, on all images. "
        "anomalies: that of --for anomalies.",
        heading=EVERYDAY,
    )
    epochs: int | None = _preset_option(
        TrainConfig.epochs, "How many times to see every image.", heading=EVERYDAY
    )
    batch_size: int | None = _preset_option(TrainConfig.batch_size, "Images per step.")
    lr: float | None = _preset_option(
        TrainConfig.lr, "Adam's learning rate, at its highest.", heading=EVERYDAY
    )
    schedule: Schedule | None = _preset_option(
        TrainConfig.schedule,
        "How the learning rate changes: not at all, or to 0 along a line or half a cosine.",
    )
    warmup: float | None = _preset_option(
        TrainConfig.warmup,
        "Share of the steps, from 0 to 1, during which the learning rate first rises from 0.",
        metavar="SHARE",
    )
    latent_dim: int | None = _preset_option(
        ModelConfig.latent_dim,
        "Latent values per image. 3 can be plotted; photos need more.",
        heading=EVERYDAY,
    )
    model: Family | None = _preset_option(
        ModelConfig.model,
        "The family: a multilayer perceptron, or convolutions. Both start from PCA, except for the "
        "perceptron on MNIST and sets like it, and with the tutorial's preset.",
    )
    hidden: Collection[int] | str | None = _preset_option(
        _join(ModelConfig.hidden),
        "The encoder's hidden layers; the decoder has them in reverse. With --model conv: the "
        "channels of each grid, and a dense layer.",
        kind=str,
        metavar="SIZES",
    )
    activation: Activation | None = _preset_option(
        ModelConfig.activation, "The activation function between the layers."
    )
    loss: Loss | None = _recipe_option(
        TrainConfig.loss,
        "How to compare images: squared error, binary cross-entropy, absolute error, or structural "
        "similarity, which keeps texture.",
    )
    denoise: float | None = _recipe_option(
        TrainConfig.denoise,
        "Noise on the images that the encoder sees in training, while the clean ones are to be "
        "reconstructed. Each image gets another amount, at most this.",
        metavar="AMOUNT",
    )
    noise: Noise | None = _recipe_option(
        TrainConfig.noise,
        "With --denoise: normal noise with this standard deviation, or a mask that makes this "
        "share of the pixels black.",
    )
    variational: bool = option(
        False,
        "Let the encoder say how sure it is, and the latents be normally distributed, so that "
        "`ae decode --sample` can make new images.",
        default_text="",
        heading=RECIPE,
    )
    beta: float | None = _recipe_option(
        TrainConfig.beta,
        "With --variational: weight of the latents' distribution against the images.",
        metavar="WEIGHT",
    )
    sparse: float | None = _recipe_option(
        TrainConfig.sparse,
        "Weight of the latents' mean absolute value in the loss, so that few are far from 0.",
        metavar="WEIGHT",
    )
    seed: int | None = _recipe_option(  # type: ignore[assignment]
        TrainConfig.seed,
        "Decides the initial weights, the order of the images and which are held out.",
    )
    device: Device = option("auto", "Where to compute; auto takes a GPU if there is one.")
    engine: Engine | None = _recipe_option(
        TrainConfig.engine,
        "What computes a step: auto takes the fused step on a CPU, and autograd elsewhere.",
    )
    augment: Collection[str] | str | None = option(
        None,
        "Vary the training images: shift, flip (left and right), brightness, or none. By default "
        "small sets are shifted, and flipped if that suits them, unless the recipe is the "
        "tutorial's.",
        kind=str,
        metavar="NAMES",
        default_text="the preset's",
        heading=RECIPE,
    )
    settle: float | None = _preset_option(
        TrainConfig.settle,
        "Share of the epochs, at the end, in which images are neither shifted nor brightened.",
        metavar="SHARE",
    )
    limit: int | None = option(
        None, "Train on the first N images only.", metavar="N", default_text="all", heading=RECIPE
    )
    patience: int | None = option(
        None,
        "Stop if the loss on held-out images has not decreased for N epochs.",
        metavar="N",
        default_text="never",
        heading=RECIPE,
    )
    keep: Keep | None = option(
        None,
        "Which epoch's model to keep: the last, or the one with the lowest loss on held-out "
        "images.",
        default_text=f"{TrainConfig.keep}, or the preset's",
        heading=KEEPING,
    )
    resume: bool = option(
        False,
        "Continue the run at --out from where it stopped, or with more --epochs after it has "
        "finished. Data, model and recipe stay the same.",
        default_text="",
        heading=EVERYDAY,
    )
    checkpoint: Path | str | None = option(
        None,
        "With --resume: continue this checkpoint's run, without changing its files.",
        kind=Path,
        metavar="FILE",
        default_text="--out",
        heading=KEEPING,
    )
    out: Path | str | None = option(
        None,
        "Where to write the model after every epoch. An existing file is kept as "
        "NAME.bak.safetensors.",
        kind=Path,
        metavar="FILE",
        command_default=CHECKPOINT,
        heading=EVERYDAY,
    )
    checkpoint_every: int | None = option(
        None,
        "Write what --resume needs every STEPS steps as well, not only after every epoch.",
        metavar="STEPS",
        default_text="epochs only",
        heading=KEEPING,
    )
    log: Path | str | None = option(
        None,
        "Write a line per epoch for other programs: .jsonl or .csv. With --resume, lines are "
        "appended.",
        kind=Path,
        metavar="FILE",
        default_text="",
        heading=WATCHING,
    )
    log_every: int | None = option(
        None,
        "Print and log a line every STEPS steps as well.",
        metavar="STEPS",
        default_text="epochs only",
        heading=WATCHING,
    )
    tensorboard: Path | str | None = option(
        None,
        "Write curves, reconstructions and latents for TensorBoard, which must be installed: pip "
        "install 'ae-cli\\[tensorboard]'.",
        kind=Path,
        metavar="FOLDER",
        default_text="",
        heading=WATCHING,
    )
    curve: Path | str | None = option(
        None,
        "Draw the losses of all epochs when training ends: .png, .svg, .pdf, .jpg and more.",
        kind=Path,
        metavar="FILE",
        default_text="",
        heading=WATCHING,
    )
    live: bool = option(
        False, "Watch the model in a window while it trains.", default_text="", heading=WATCHING
    )
    film: Path | str | None = option(
        None,
        "Record how the model learns: .gif, .webp, .mp4 (needs ffmpeg), or .png for the last frame "
        "only.",
        kind=Path,
        metavar="FILE",
        default_text="",
        heading=WATCHING,
    )
    film_of: FilmOf | None = option(
        None,
        "What the film or the window shows: the first test images above their reconstructions, or "
        "the latents (z1 to z3, if there are more) of up to 2,000.",
        default_text="reconstructions",
        heading=WATCHING,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint is not None and not self.resume:
            raise UsageError(
                "--checkpoint is given without --resume", "add --resume, or leave it out"
            )
        if self.resume and self.checkpoint is None and self.out is None:
            raise UsageError("--resume is given without --out or --checkpoint", "name one of them")
        if self.log_every is not None and self.log_every < 1:
            raise UsageError(
                f"--log-every is {self.log_every}", "give a number of steps, 1 or more"
            )
        if self.film_of is not None and self.film is None and not self.live:
            raise UsageError("--film-of is given without --film", f"add --film {FILM} or --live")
        for name, owner in (("noise", "denoise"), ("beta", "variational")):
            is_alone = getattr(self, name) is not None and not getattr(self, owner)
            if is_alone and not self.resume:
                option, needed = option_name(name), option_name(owner)
                raise UsageError(
                    f"{option} is given without {needed}", f"add {needed}, or leave it out"
                )
        self.make_recipe()  # checks its values

    @property
    def source(self) -> Source:
        """`data`, or ``auto`` if it is None."""
        return "auto" if self.data is None else self.data

    def make_recipe(self, facts: Facts | None = None) -> Recipe:
        """The recipe that these options ask for.

        Args:
            facts: What is known of the images; None to check the options only.
        """
        hidden = self.hidden
        if hidden is not None:
            hidden = parse_whole_numbers("--hidden", hidden, example=_join(ModelConfig.hidden))
        names = {f.name for kind in (ModelConfig, TrainConfig) for f in fields(kind)}
        names -= {"shape", "hidden", "preset", "augment", "variational", "patch", "pca"}
        values = {name: getattr(self, name) for name in names}
        values["variational"] = self.variational or None
        usual: Preset = "anomalies" if facts is not None and facts.for_anomalies else "auto"
        return make_recipe(
            self.preset or usual, facts, hidden=hidden, augment=self.augmentations, **values
        )

    @property
    def augmentations(self) -> tuple[str, ...] | None:
        """`augment` as names; None if it is not given."""
        given = self.augment
        if given is None:
            return None
        names = tuple(given.split(",")) if isinstance(given, str) else tuple(given)
        return () if names == ("none",) else tuple(name.strip() for name in names)

    def read_options(self, seed: int) -> ReadOptions:
        """How to read the images; `seed` decides which are held out."""
        names = {f.name for f in fields(ReadOptions)} - {"seed"}
        return ReadOptions(seed=seed, **{name: getattr(self, name) for name in names})
