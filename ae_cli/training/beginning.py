"""Preparing a run: a new one, or one that is resumed."""

from __future__ import annotations

import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ae_cli.config import FIT, DataConfig, option_name
from ae_cli.config.training import TrainOptions
from ae_cli.data.classes import choose_classes, select_classes
from ae_cli.data.images import DataSet
from ae_cli.data.load import from_array, kind_of, load
from ae_cli.errors import CheckpointError, UsageError, warn
from ae_cli.latents.inputs import read_as_recorded
from ae_cli.models import build
from ae_cli.models.checkpoint import load_checkpoint
from ae_cli.training.events import TrainState
from ae_cli.training.fit import choose_engine
from ae_cli.training.resume import Run, load_run

if TYPE_CHECKING:
    import torch

# Fields of the recipe that may change when a run is resumed
CHANGEABLE = ("epochs", "patience", "checkpoint_every")


def begin(options: TrainOptions, device: torch.device) -> tuple[Run, DataSet]:
    """Read images, and build a model for them.

    Returns:
        The run, and the images.

    Raises:
        AeError: An option is invalid, or the images cannot be read.
    """
    layers, training = options.make_recipe()
    training = replace(training, engine=choose_engine(training.engine, device))
    source, reading = options.source, options.read_options(training.seed)
    images = load(
        source,
        data_dir=options.data_dir,
        classes=options.classes,
        exclude_classes=options.exclude_classes,
        **{name: getattr(reading, name) for name in reading.__dataclass_fields__},
    )
    is_folder = isinstance(source, (str, Path)) and kind_of(str(source)) == "folder"
    data = DataConfig(
        source=images.source,
        data_dir=None if options.data_dir is None else str(Path(options.data_dir).resolve()),
        train_images=min(training.limit or len(images.train), len(images.train)),
        test_images=len(images.test),
        classes=images.train.classes,
        selected_classes=images.selected_classes,
        val_fraction=images.val_fraction,
        fit=(options.fit or FIT) if is_folder else None,
        key=options.key,
    )
    model = build(replace(layers, shape=images.shape), seed=training.seed)
    crc32 = images.checksum(training.limit)
    return Run(uuid.uuid4().hex, model, training, data, crc32, TrainState()), images


def resume(checkpoint: Path, options: TrainOptions, device: torch.device) -> tuple[Run, DataSet]:
    """Read a run to continue, and the same images as before.

    Args:
        checkpoint: The checkpoint of the run.
        options: The options that were given.
        device: Where to train.

    Returns:
        The run, and the images.

    Raises:
        CheckpointError: There is no run to continue, or the images have changed.
        DataError: The images cannot be read.
        UsageError: An option contradicts the run.
    """
    run = load_run(checkpoint)
    given, training = options.given, options.make_recipe().training
    _check_same(checkpoint, run, options)
    changed = {name: getattr(training, name) for name in CHANGEABLE if name in given}
    trained = run.state.epoch - 1
    if "epochs" in changed and changed["epochs"] < trained + (run.state.step > 0):
        raise UsageError(
            f"--epochs is {changed['epochs']}, and {checkpoint} has already been trained for "
            f"{trained}{' and part of the next' if run.state.step else ''}",
            "give the total number of epochs",
        )
    # A device without the fused step continues with autograd.
    engine = run.training.engine
    if device.type != "cpu":
        engine = choose_engine("auto", device)
    run.training = replace(run.training, engine=engine, **changed)
    images = _read_same(checkpoint, run, options)
    # The same images may have moved.
    run.data = replace(run.data, source=images.source)
    if options.data_dir is not None:
        run.data = replace(run.data, data_dir=str(Path(options.data_dir).resolve()))
    if run.training.keep == "best":
        _find_best(checkpoint, run)
    return run, images


def _read_same(checkpoint: Path, run: Run, options: TrainOptions) -> DataSet:
    """Read the images that a run began with.

    Raises:
        AeError: The images are not found or have changed, or an option contradicts the run.
    """
    data = None if isinstance(options.data, str) and options.data == "auto" else options.data
    is_word = isinstance(data, (str, Path))
    if is_word and kind_of(str(data)) == "known" and data != run.data.source:
        raise _contradiction(checkpoint, "--data", data, run.data.source)
    if data is not None and not is_word and not isinstance(data, DataSet):
        reading = replace(
            options.read_options(run.training.seed),
            val_fraction=run.data.val_fraction,
            color=run.model.config.shape[0] == 3,
        )
        data = from_array(data, reading)
    images = read_as_recorded(
        str(checkpoint),
        run.data,
        run.model.config.shape,
        seed=run.training.seed,
        source=data,
        data_dir=options.data_dir,
        key=run.data.key,
        strict=options.strict,
        progress=options.progress,
    )
    _check_classes(checkpoint, run, images, options)
    if run.data.selected_classes is not None:
        images = select_classes(images, run.data.selected_classes)
    if images.checksum(run.training.limit) != run.images_crc32:
        if images.source != run.data.source:
            raise _contradiction(checkpoint, "--data", images.source, run.data.source)
        raise CheckpointError(
            f"{images.name} has changed since the run of {checkpoint} began",
            "restore the images, or start a new run without --resume",
        )
    return images


def _check_same(checkpoint: Path, run: Run, options: TrainOptions) -> None:
    """Make sure that the options that were given do not contradict the run.

    Raises:
        UsageError: An option contradicts the run.
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
    layers, training = options.make_recipe()
    wanted = {
        **{name: getattr(options, name) for name in recorded.keys() & options.given},
        **asdict(layers),
        **asdict(training),
        "image_size": options.size,
    }
    for name in sorted(options.given & recorded.keys() - set(CHANGEABLE)):
        if wanted[name] not in (recorded[name], "auto"):
            option, given, began = options.option_of(name), wanted[name], recorded[name]
            if option != option_name(name):  # it switches off what the field is named after
                given, began = not given, not began
            raise _contradiction(checkpoint, option, given, began)


def _check_classes(checkpoint: Path, run: Run, images: DataSet, options: TrainOptions) -> None:
    """Make sure that the classes that were given are those that the run began with.

    Raises:
        UsageError: The classes differ.
    """
    if options.classes is None and options.exclude_classes is None:
        return
    chosen = choose_classes(images, options.classes, options.exclude_classes)
    every = images.train.classes or ()
    recorded = run.data.selected_classes
    if set(chosen or every) != set(recorded or every):
        option = "--classes" if options.exclude_classes is None else "--exclude-classes"
        given = options.classes or options.exclude_classes
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
        f"{option} is {write(given)}, and the run of {checkpoint} began with {write(recorded)}",
        "leave it out to continue, or leave out --resume to start a new run",
    )


def _find_best(checkpoint: Path, run: Run) -> None:
    """Make sure that the best epoch's weights exist, which may be in the checkpoint only.

    If they are missing, the best of the remaining epochs will be kept.

    Raises:
        CheckpointError: They are missing, and no epochs remain.
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
        warn(
            f"{checkpoint} no longer holds epoch {run.best.epoch}, the best one so far; the "
            "best of those that follow will be kept"
        )
        run.best = None
