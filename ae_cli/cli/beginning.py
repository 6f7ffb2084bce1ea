"""Where a training begins: with a new model, or where an earlier run left it."""

from __future__ import annotations

import uuid
from collections.abc import Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ae_cli.cli.inputs import Choice, choose_classes, read_as_asked, read_as_recorded
from ae_cli.config import FIT, DataConfig, DataOptions, ModelConfig, TrainConfig, option_name
from ae_cli.console import Reporter
from ae_cli.data import DataSet, kind_of, select_classes
from ae_cli.errors import CheckpointError, UsageError
from ae_cli.model import build, load_checkpoint
from ae_cli.resume import Run, checksum, load_run
from ae_cli.train import TrainState, choose_engine

if TYPE_CHECKING:
    import torch

# Fields of the recipe that may be others than before when training goes on.
CHANGEABLE = ("epochs", "patience", "checkpoint_every")


def begin(
    layers: ModelConfig,
    training: TrainConfig,
    options: DataOptions,
    choice: Choice,
    device: torch.device,
    reporter: Reporter,
) -> tuple[Run, DataSet]:
    """Read images and make a model for them.

    Args:
        layers: The model, but for the images' shape.
        training: The recipe.
        options: How to read the images.
        choice: Which.
        device: Where to train.
        reporter: Shows downloads, decoding and warnings.

    Returns:
        The training, and the images.

    Raises:
        AeError: As everything here does that it calls.
    """
    source = "auto" if choice.data is None else choice.data
    training = replace(training, engine=choose_engine(training.engine, device))
    images, selected = read_as_asked(
        source,
        options,
        choice.data_dir,
        reporter,
        classes=choice.classes,
        exclude_classes=choice.exclude_classes,
    )
    if source == "auto" and images.source == "digits":
        reporter.say("hint", "so few images do better with --epochs 50 --activation silu")
    data = DataConfig(
        source=images.source,
        data_dir=None if choice.data_dir is None else str(choice.data_dir.resolve()),
        train_images=min(training.limit or len(images.train), len(images.train)),
        test_images=len(images.test),
        classes=images.train.classes,
        selected_classes=selected,
        val_fraction=images.val_fraction,
        fit=(options.fit or FIT) if kind_of(source) == "folder" else None,
        key=choice.key,
    )
    model = build(replace(layers, shape=images.train.shape), seed=training.seed)
    crc32 = checksum(images, training.limit)
    return Run(uuid.uuid4().hex, model, training, data, crc32, TrainState()), images


class Asked(NamedTuple):
    """What a person asked for beside ``--resume``.

    Attributes:
        given: The parameters that were given: of the others, nothing counts.
        layers: The model.
        training: The recipe.
        options: How to read the images.
        choice: Which.
    """

    given: Set[str]
    layers: ModelConfig
    training: TrainConfig
    options: DataOptions
    choice: Choice


def resume_run(
    checkpoint: Path, asked: Asked, device: torch.device, reporter: Reporter
) -> tuple[Run, DataSet]:
    """Read a training to go on with, and the same images as before.

    Args:
        checkpoint: Whose training.
        asked: What a person asked for.
        device: Where to train.
        reporter: Shows downloads, decoding and warnings.

    Returns:
        The training, and the images.

    Raises:
        CheckpointError: There is nothing to go on with, or the images are others.
        DataError: The images cannot be read.
        UsageError: Something was asked for that contradicts the training.
    """
    run = load_run(checkpoint)
    _check_same(checkpoint, run, asked)
    changed = {name: getattr(asked.training, name) for name in CHANGEABLE if name in asked.given}
    trained = run.state.epoch - 1
    if "epochs" in changed and changed["epochs"] < trained + (run.state.step > 0):
        raise UsageError(
            f"--epochs is {changed['epochs']}, and {checkpoint} has been trained for {trained}"
            f"{' and a part of one' if run.state.step else ''} already",
            "give how many there should be in all",
        )
    # A device without the fused step goes on with the other one.
    engine = run.training.engine
    if device.type != "cpu":
        engine = choose_engine("auto", device)
    run.training = replace(run.training, engine=engine, **changed)

    shape, seed, choice = run.model.config.shape, run.training.seed, asked.choice
    data = choice.data if "data" in asked.given and choice.data != "auto" else None
    if data is not None and kind_of(data) == "known" and data != run.data.source:
        raise _contradiction(checkpoint, "--data", data, run.data.source)
    same = Choice(data, choice.data_dir, None, None, run.data.key, choice.strict)
    images = read_as_recorded(checkpoint, run.data, shape, seed, same, reporter)
    _check_classes(checkpoint, run, images, choice)
    if run.data.selected_classes is not None:
        images = select_classes(images, run.data.selected_classes)
    if checksum(images, run.training.limit) != run.images_crc32:
        if images.source != run.data.source:
            raise _contradiction(checkpoint, "--data", images.source, run.data.source)
        raise CheckpointError(
            f"{images.name} has other images than when the training of {checkpoint} began",
            "put them back, or train anew without --resume",
        )
    # The same images may lie elsewhere by now.
    run.data = replace(run.data, source=images.source)
    if choice.data_dir is not None:
        run.data = replace(run.data, data_dir=str(choice.data_dir.resolve()))
    if run.training.keep == "best":
        _find_best(checkpoint, run, reporter)
    return run, images


def _check_same(checkpoint: Path, run: Run, asked: Asked) -> None:
    """Make sure that what a person gave is what the training began with.

    Raises:
        UsageError: It is something else.
    """
    channels, height, width = run.model.config.shape
    recorded = {
        **asdict(run.model.config),
        **asdict(run.training),
        "image_size": (height, width),
        "color": channels == 3,
        "fit": run.data.fit,
        "val_fraction": run.data.val_fraction,
        "key": run.data.key,
    }
    wanted = {
        **asdict(asked.layers),
        **asdict(asked.options),
        **asdict(asked.training),
    }
    for name in sorted(asked.given & recorded.keys() - set(CHANGEABLE)):
        if wanted[name] not in (recorded[name], "auto"):
            raise _contradiction(checkpoint, option_name(name), wanted[name], recorded[name])


def _check_classes(checkpoint: Path, run: Run, images: DataSet, choice: Choice) -> None:
    """Make sure that the classes which a person gave are those that the training began with.

    Raises:
        UsageError: They are others.
    """
    if choice.classes is None and choice.exclude_classes is None:
        return
    chosen = choose_classes(images, choice.classes, choice.exclude_classes)
    every = images.train.classes or ()
    recorded = run.data.selected_classes
    if set(chosen or every) != set(recorded or every):
        option = "--classes" if choice.exclude_classes is None else "--exclude-classes"
        given = choice.classes or choice.exclude_classes
        raise _contradiction(
            checkpoint, option, given, "all classes" if recorded is None else recorded
        )


def _contradiction(checkpoint: Path, option: str, given: Any, recorded: Any) -> UsageError:
    def write(value: Any) -> str:
        if value is None:
            return "none"
        if isinstance(value, bool):
            return "on" if value else "off"
        separator = "x" if option == "--image-size" else ","
        return separator.join(map(str, value)) if isinstance(value, tuple) else str(value)

    return UsageError(
        f"{option} is {write(given)}, and the training of {checkpoint} began with "
        f"{write(recorded)}",
        "leave it out to go on, or leave out --resume to train anew",
    )


def _find_best(checkpoint: Path, run: Run, reporter: Reporter) -> None:
    """Make sure that the best epoch's weights are there, which the checkpoint may hold alone.

    Where they are not, the best of the epochs to come is kept.

    Raises:
        CheckpointError: They are not, and no epochs are to come.
    """
    if run.best is None or run.has_weights_of(run.best):
        return
    try:
        trained = load_checkpoint(checkpoint)
        is_there = trained.run_id == run.id and trained.metrics == run.best
    except CheckpointError:
        is_there = False
    if not is_there:
        if run.is_over:
            raise CheckpointError(
                f"{checkpoint} no longer holds epoch {run.best.epoch}, the best one",
                "add --epochs, and the best of those that follow will be kept",
            )
        reporter.warn(
            f"{checkpoint} no longer holds epoch {run.best.epoch}, the best one up to now; the "
            "best of those that follow will be kept"
        )
        run.best = None
