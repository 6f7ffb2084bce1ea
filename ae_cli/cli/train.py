"""``ae train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from ae_cli import metrics_log
from ae_cli.cli.inputs import Choice
from ae_cli.cli.options import (
    IMAGES,
    KEEPING,
    RECIPE,
    WATCHING,
    ClassesOption,
    ColorOption,
    DataDirOption,
    DeviceOption,
    ExcludeClassesOption,
    FitOption,
    ImageSizeOption,
    JsonOption,
    KeyOption,
    QuietOption,
    StrictOption,
    ValFractionOption,
    parse_image_size,
    parse_whole_numbers,
    shell_word,
)
from ae_cli.cli.watching import FilmOfOption, FilmOption, LiveOption, WatchChoice
from ae_cli.config import (
    CHECKPOINT,
    PRESETS,
    Activation,
    DataOptions,
    Engine,
    Keep,
    Loss,
    ModelConfig,
    Preset,
    Schedule,
    TrainConfig,
    make_recipe,
    option_name,
)
from ae_cli.console import Reporter
from ae_cli.errors import UsageError
from ae_cli.files import backup_path, check_output, only_writer, resume_path


class Outputs(NamedTuple):
    """What a training writes.

    Attributes:
        out: ``--out``.
        log: ``--log``.
        log_every: ``--log-every``.
        tensorboard: ``--tensorboard``.
        watch: What is watched.
    """

    out: Path
    log: Path | None
    log_every: int | None
    tensorboard: Path | None
    watch: WatchChoice

    @property
    def growing_files(self) -> list[Path]:
        """The files that are written again and again: two trainings would mix theirs."""
        return [self.out] if self.log is None else [self.out, self.log]

    @property
    def other_files(self) -> list[Path]:
        """What resuming needs, backups, and the film."""
        backups = [backup_path(path) for path in self.growing_files]
        films = [] if self.watch.film is None else [self.watch.film]
        return [*backups, resume_path(self.out), resume_path(backups[0]), *films]

    def arguments(self) -> str:
        """What to add to a suggested ``ae train --resume`` that goes on writing all of it."""
        given = {
            "--out": None if self.out == CHECKPOINT else shell_word(self.out),
            "--log": self.log and shell_word(self.log),
            "--log-every": self.log_every,
            "--tensorboard": self.tensorboard and shell_word(self.tensorboard),
        }
        return "".join(f" {option} {value}" for option, value in given.items() if value)

    def check(self, data: str, *, resumed: bool) -> None:
        """Make sure that all of it can be written, so that no work is done in vain.

        Args:
            data: ``--data``, which is not to be replaced.
            resumed: Whether a training goes on.

        Raises:
            UsageError: Something cannot.
        """
        try:
            str(self.out).encode()
        except UnicodeEncodeError as error:  # safetensors could not open it again
            raise UsageError(f"the name {self.out} is not UTF-8", "choose another") from error
        if self.out.stem.endswith(".resume"):
            raise UsageError(f"{self.out} is the name of a resume file", "choose another")
        check_output(self.out, (CHECKPOINT.suffix,))
        if self.log_every is not None and self.log_every < 1:
            raise UsageError(
                f"--log-every is {self.log_every}", "give a number of steps, 1 or more"
            )
        if self.log is not None:
            check_output(self.log, metrics_log.ENDINGS)
        if self.tensorboard is not None:
            from ae_cli.tensorboard import check_tensorboard

            check_tensorboard(self.tensorboard, resuming=resumed)
        self.watch.check()
        for path in self.other_files:
            check_output(path, (path.suffix.lower(),))
        folders = [] if self.tensorboard is None else [self.tensorboard]
        paths = [*self.growing_files, *self.other_files, *folders]
        names: dict[Path, Path] = {}
        for path in paths:
            if path.resolve() in names:
                raise UsageError(f"two things would be written to {path}", "name another file")
            names[path.resolve()] = path
        if data and Path(data).resolve() in names:
            raise UsageError(f"{data} is to be read and to be replaced", "name another file")


def _join(sizes: tuple[int, ...]) -> str:
    return ",".join(map(str, sizes))


def _describe_presets() -> str:
    """What each preset changes, as options that one could type."""

    def options(values: dict[str, Any]) -> str:
        return " ".join(
            f"{option_name(name)} {_join(value) if isinstance(value, tuple) else value}"
            for name, value in values.items()
        )

    return "; ".join(
        f"{preset}: {options(values) or 'the defaults here'}" for preset, values in PRESETS.items()
    )


def _or_preset(default: object) -> str:
    return f"{default}, or the preset's"


def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="Images to learn from: a name that `ae data` lists; a folder; an .npy, .npz, IDX, "
            ".csv or .parquet file; or auto (MNIST if it can be had, and otherwise digits).",
            rich_help_panel=IMAGES,
        ),
    ] = "auto",
    data_dir: DataDirOption = None,
    image_size: ImageSizeOption = None,
    color: ColorOption = False,
    fit: FitOption = None,
    val_fraction: ValFractionOption = None,
    key: KeyOption = None,
    strict: StrictOption = False,
    classes: ClassesOption = None,
    exclude_classes: ExcludeClassesOption = None,
    preset: Annotated[
        Preset,
        typer.Option(
            help=f"The recipe; an option given beside it goes first. {_describe_presets()}.",
            rich_help_panel=RECIPE,
        ),
    ] = TrainConfig.preset,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="How often to see every image.",
            show_default=_or_preset(TrainConfig.epochs),
            rich_help_panel=RECIPE,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Images per step.",
            show_default=_or_preset(TrainConfig.batch_size),
            rich_help_panel=RECIPE,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Adam's learning rate, at its highest.",
            show_default=_or_preset(TrainConfig.lr),
            rich_help_panel=RECIPE,
        ),
    ] = None,
    schedule: Annotated[
        Schedule | None,
        typer.Option(
            help="What becomes of the learning rate: it stays, or falls to 0 along a line or half "
            "a cosine.",
            show_default=_or_preset(TrainConfig.schedule),
            rich_help_panel=RECIPE,
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the steps, from 0 to 1, in which the learning rate rises from 0 first.",
            show_default=_or_preset(TrainConfig.warmup),
            rich_help_panel=RECIPE,
        ),
    ] = None,
    latent_dim: Annotated[
        int, typer.Option(help="Latent values per image.", rich_help_panel=RECIPE)
    ] = ModelConfig.latent_dim,
    hidden: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES",
            help="The encoder's hidden layers; the decoder has them in reverse.",
            show_default=_or_preset(_join(ModelConfig.hidden)),
            rich_help_panel=RECIPE,
        ),
    ] = None,
    activation: Annotated[
        Activation | None,
        typer.Option(
            help="What stands between the layers.",
            show_default=_or_preset(ModelConfig.activation),
            rich_help_panel=RECIPE,
        ),
    ] = None,
    loss: Annotated[
        Loss,
        typer.Option(help="Mean squared error or binary cross-entropy.", rich_help_panel=RECIPE),
    ] = TrainConfig.loss,
    seed: Annotated[
        int,
        typer.Option(
            help="Decides the first weights and the order of the images.", rich_help_panel=RECIPE
        ),
    ] = TrainConfig.seed,
    device: DeviceOption = "auto",
    engine: Annotated[
        Engine,
        typer.Option(
            help="What computes a step: auto takes the fused step on a CPU, and autograd "
            "elsewhere.",
            rich_help_panel=RECIPE,
        ),
    ] = TrainConfig.engine,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Train on the first N images only.",
            show_default="all",
            rich_help_panel=RECIPE,
        ),
    ] = TrainConfig.limit,
    keep: Annotated[
        Keep,
        typer.Option(
            help="Which epoch's model to keep: the last one's, or the one with the lowest test "
            "loss.",
            rich_help_panel=KEEPING,
        ),
    ] = TrainConfig.keep,
    patience: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Stop when the test loss has not become lower for N epochs.",
            show_default="never",
            rich_help_panel=RECIPE,
        ),
    ] = TrainConfig.patience,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the training at --out: from where it was ended, or with more --epochs "
            "after it was finished. Data, model and recipe stay as they are.",
            show_default=False,
            rich_help_panel=KEEPING,
        ),
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --resume: go on with this checkpoint's training, and leave it as it is.",
            show_default="--out",
            rich_help_panel=KEEPING,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Where to write the model, after every epoch. One that is there already is kept "
            "as NAME.bak.safetensors.",
            rich_help_panel=KEEPING,
        ),
    ] = CHECKPOINT,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS",
            help="Write what --resume needs every so many steps, too, and not only after epochs.",
            show_default="epochs only",
            rich_help_panel=KEEPING,
        ),
    ] = TrainConfig.checkpoint_every,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a line per epoch for other programs: .jsonl or .csv. With --resume, lines "
            "are added.",
            show_default=False,
            rich_help_panel=WATCHING,
        ),
    ] = None,
    log_every: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS",
            help="Print and log a line every so many steps as well.",
            show_default="epochs only",
            rich_help_panel=WATCHING,
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write curves, reconstructions and latents for TensorBoard, which must be "
            "installed: pip install 'ae-cli\\[tensorboard]'.",
            show_default=False,
            rich_help_panel=WATCHING,
        ),
    ] = None,
    live: LiveOption = False,
    film: FilmOption = None,
    film_of: FilmOfOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Train an autoencoder and write it to a checkpoint file.

    By default it is the tutorial's: 784-128-64-12-3 and back, tanh, Adam, mean squared error.
    """
    reporter = Reporter(quiet=quiet, json=json)
    if checkpoint is not None and not resume:
        raise UsageError("--checkpoint is given without --resume", "add --resume, or leave it out")
    options = DataOptions(
        image_size=parse_image_size(image_size),
        color=color,
        fit=fit,
        val_fraction=val_fraction,
        seed=seed,
        key=key,
        strict=strict,
    )
    layers, training = make_recipe(
        preset,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        schedule=schedule,
        warmup=warmup,
        loss=loss,
        engine=engine,
        seed=seed,
        limit=limit,
        latent_dim=latent_dim,
        hidden=None
        if hidden is None
        else parse_whole_numbers("--hidden", hidden, example=_join(ModelConfig.hidden)),
        activation=activation,
        keep=keep,
        patience=patience,
        checkpoint_every=checkpoint_every,
    )
    outputs = Outputs(out, log, log_every, tensorboard, WatchChoice(film, film_of, live))
    outputs.check(data, resumed=resume)

    with only_writer(outputs.growing_files, outputs.other_files):
        # torch takes a second or two to import: not before the options are known to be right.
        from ae_cli.cli.beginning import Asked, begin, resume_run
        from ae_cli.cli.training import Training
        from ae_cli.model import choose_device

        where = choose_device(device)
        choice = Choice(data, data_dir, classes, exclude_classes, key, strict)
        if resume:
            given = {
                name
                for name in context.params
                if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
            }
            asked = Asked(given, layers, training, options, choice)
            run, images = resume_run(checkpoint or out, asked, where, reporter)
        else:
            run, images = begin(layers, training, options, choice, where, reporter)
        begun = (checkpoint or out) if resume else None
        Training(run, images, outputs, where, reporter, source=begun).carry_out()
