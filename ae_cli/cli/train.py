"""``ae train``."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ae_cli.cli.inputs import read_as_asked
from ae_cli.cli.options import (
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
    checkpoint_argument,
    parse_image_size,
    parse_whole_numbers,
)
from ae_cli.cli.watching import FilmOfOption, FilmOption, LiveOption, Watch, WatchChoice
from ae_cli.config import (
    CHECKPOINT,
    FIT,
    PRESETS,
    Activation,
    DataConfig,
    DataOptions,
    Engine,
    Loss,
    Metrics,
    ModelConfig,
    Preset,
    Schedule,
    TrainConfig,
    make_recipe,
)
from ae_cli.console import Reporter, format_shape
from ae_cli.errors import Interrupted, TrainingError, UsageError
from ae_cli.files import back_up, backup_path, check_output

if TYPE_CHECKING:
    from ae_cli.data import DataSet

# The share of the mean image's error above which a model has learned next to nothing.
COLLAPSED = 0.98


def _join(sizes: tuple[int, ...]) -> str:
    return ",".join(map(str, sizes))


def _describe_presets() -> str:
    """What each preset changes, as options that one could type."""

    def options(values: dict[str, Any]) -> str:
        return " ".join(
            f"--{name.replace('_', '-')} {_join(value) if isinstance(value, tuple) else value}"
            for name, value in values.items()
        )

    return "; ".join(
        f"{preset}: {options(values) or 'the defaults here'}" for preset, values in PRESETS.items()
    )


def _or_preset(default: object) -> str:
    return f"{default}, or the preset's"


def train(
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="Images to learn from: a name that `ae data` lists; a folder; an .npy, .npz, IDX, "
            ".csv or .parquet file; or auto (MNIST if it can be had, and otherwise digits).",
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
            help=f"The recipe; an option given beside it goes first. {_describe_presets()}."
        ),
    ] = TrainConfig.preset,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="How often to see every image.", show_default=_or_preset(TrainConfig.epochs)
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images per step.", show_default=_or_preset(TrainConfig.batch_size)),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Adam's learning rate, at its highest.", show_default=_or_preset(TrainConfig.lr)
        ),
    ] = None,
    schedule: Annotated[
        Schedule | None,
        typer.Option(
            help="What becomes of the learning rate: it stays, or falls to 0 along a line or half "
            "a cosine.",
            show_default=_or_preset(TrainConfig.schedule),
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the steps, from 0 to 1, in which the learning rate rises from 0 first.",
            show_default=_or_preset(TrainConfig.warmup),
        ),
    ] = None,
    latent_dim: Annotated[
        int, typer.Option(help="Latent values per image.")
    ] = ModelConfig.latent_dim,
    hidden: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES",
            help="The encoder's hidden layers; the decoder has them in reverse.",
            show_default=_or_preset(_join(ModelConfig.hidden)),
        ),
    ] = None,
    activation: Annotated[
        Activation | None,
        typer.Option(
            help="What stands between the layers.", show_default=_or_preset(ModelConfig.activation)
        ),
    ] = None,
    loss: Annotated[
        Loss, typer.Option(help="Mean squared error or binary cross-entropy.")
    ] = TrainConfig.loss,
    seed: Annotated[
        int, typer.Option(help="Decides the first weights and the order of the images.")
    ] = TrainConfig.seed,
    device: DeviceOption = "auto",
    engine: Annotated[
        Engine,
        typer.Option(
            help="What computes a step: auto takes the fused step on a CPU, and autograd elsewhere."
        ),
    ] = TrainConfig.engine,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Train on the first N images only.", show_default="all"),
    ] = TrainConfig.limit,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Where to write the model, after every epoch. One that is there already is kept "
            "as NAME.bak.safetensors.",
        ),
    ] = CHECKPOINT,
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
    )
    check_output(out, (CHECKPOINT.suffix,))
    check_output(backup_path(out), (CHECKPOINT.suffix,))
    choice = WatchChoice(film, film_of, live)
    choice.check()

    # torch takes a second or two to import: not before the options are known to be right.
    from ae_cli.anomalies import error_quantiles
    from ae_cli.data import kind_of
    from ae_cli.model import (
        Checkpoint,
        build,
        choose_device,
        count_parameters,
        save_checkpoint,
    )
    from ae_cli.train import Epoch, choose_engine, mean_image_error
    from ae_cli.train import fit as fit_model

    where = choose_device(device)
    training = replace(training, engine=choose_engine(engine, where))
    images, selected = read_as_asked(
        data, options, data_dir, reporter, classes=classes, exclude_classes=exclude_classes
    )
    if data == "auto" and images.source == "digits":
        reporter.say("hint", "so few images do better with --epochs 50 --activation silu")
    used = min(limit or len(images.train), len(images.train))
    model = build(replace(layers, shape=images.train.shape), seed=seed)
    source = DataConfig(
        source=images.source,
        data_dir=None if data_dir is None else str(data_dir.resolve()),
        train_images=used,
        test_images=len(images.test),
        classes=images.train.classes,
        selected_classes=selected,
        val_fraction=images.val_fraction,
        fit=(fit or FIT) if kind_of(data) == "folder" else None,
        key=key,
    )
    sizes, parameters = model.config.sizes, count_parameters(model)
    reporter.say("data", _describe(images, used, selected))
    reporter.say(
        "model",
        f"{'-'.join(map(str, sizes))}, {layers.activation}, {parameters:,} parameters, on {where}",
    )
    reporter.emit(
        "start",
        data={**asdict(source), "shape": model.config.shape},
        model={**asdict(model.config), "sizes": sizes, "parameters": parameters},
        training=asdict(training),
        device=str(where),
        checkpoint=str(out),
    )

    saved: Metrics | None = None
    backup: Path | None = None
    seconds = 0.0

    def keep_what_there_is(*problem: str) -> str:
        """Write the film of a training that ends early, and say after its problem what there is."""
        has_film = False
        try:
            has_film = watch.write_film()
        except UsageError as error:
            reporter.warn(str(error))  # and no more: why training has ended matters more
        except KeyboardInterrupt:
            pass  # once more: whoever is in such a hurry does without the film
        if saved is not None:
            stays = f"{out} holds epoch {saved.epoch}"
        elif out.exists():
            stays = f"{out} is as it was before"
        else:
            stays = "there is no model yet" if has_film else "nothing was written"
        clauses = [*problem, stays, *([f"{film} holds what was recorded"] if has_film else [])]
        return ", and ".join(filter(None, [", ".join(clauses[:-1]), clauses[-1]]))

    watch = Watch(
        choice, model, images.test, epochs=training.epochs, device=where, reporter=reporter
    )
    try:
        with reporter.training(training.epochs) as show:
            for event in fit_model(model, images.train, images.test, training, device=where):
                show(event)
                if not isinstance(event, Epoch):
                    watch(event)
                    continue
                seconds += event.seconds
                reached = Metrics(
                    epoch=event.epoch,
                    step=event.step,
                    train_loss=event.train_loss,
                    test_loss=event.test_loss,
                    test_error=event.test_error,
                    seconds=seconds,
                    error_quantiles=error_quantiles(event.test_errors),
                )
                if saved is None:
                    backup = back_up(out)
                save_checkpoint(Checkpoint(model, training, source, reached), out)
                saved = reached
                fields = asdict(event)
                del fields["test_errors"]
                reporter.emit("epoch", **fields)
    except KeyboardInterrupt:
        epoch = 1 if saved is None else saved.epoch + 1
        raise Interrupted(
            f"interrupted in epoch {epoch} of {training.epochs}", keep_what_there_is()
        ) from None
    except TrainingError as error:
        raise TrainingError(keep_what_there_is(error.problem), error.remedy) from error

    if saved is None:
        raise AssertionError("training has at least one epoch")
    reporter.say(
        "done",
        f"{saved.epoch} epoch{'s' * (saved.epoch > 1)} in {seconds:.1f} s of training: "
        f"train loss {saved.train_loss:.4f}, test loss {saved.test_loss:.4f}",
    )
    if saved.test_error > COLLAPSED * mean_image_error(images.test):
        reporter.warn(
            "the model reconstructs images no better than their mean would; "
            "try another --seed, more --epochs or --activation silu"
        )
    reporter.say("checkpoint", f"{out}" + (f" (the one before: {backup})" if backup else ""))
    no_film: UsageError | Interrupted | None = None
    try:
        watch.write_film()
    except UsageError as error:
        no_film = error
    except KeyboardInterrupt:
        no_film = Interrupted(
            f"interrupted while writing {film}", f"{out} holds epoch {saved.epoch}"
        )
    if no_film is None:
        reporter.say("next", "ae reconstruct --n 5" + checkpoint_argument(out))
    reporter.emit(
        "end",
        epochs=saved.epoch,
        step=saved.step,
        train_loss=saved.train_loss,
        test_loss=saved.test_loss,
        test_error=saved.test_error,
        seconds=saved.seconds,
        checkpoint=str(out),
        backup=None if backup is None else str(backup),
        film=None if film is None or no_film else str(film),
    )
    if no_film is not None:  # only now: the model is whole, and whoever reads the events learns it
        raise no_film
    watch.linger()


def _describe(images: DataSet, used: int, selected: tuple[str, ...] | None) -> str:
    """What is trained on, in one line."""
    there = len(images.train)
    training = f"{there:,}" if used == there else f"the first {used:,} of {there:,}"
    held_out = "" if images.val_fraction is None else " (held out)"
    classes = images.train.classes
    labels = ", no labels" if classes is None else f", {len(classes)} classes"
    if selected is not None:
        labels = f", {len(selected)} of {len(classes or ())} classes"
    return (
        f"{images.name}: {training} training + {len(images.test):,} test images{held_out}, "
        f"{format_shape(images.train.shape)}{labels}"
    )
