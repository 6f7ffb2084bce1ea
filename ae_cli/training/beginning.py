"""Preparing a run: a new one, or one that is resumed."""

from __future__ import annotations

import uuid
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ae_cli.analysis.components import find_components, pca_error
from ae_cli.config import (
    VAL_FRACTION,
    Augmentation,
    DataConfig,
    Facts,
    TrainConfig,
    option_name,
)
from ae_cli.config.training import TrainOptions
from ae_cli.data.catalog import KNOWN_SETS
from ae_cli.data.classes import choose_classes, select_classes
from ae_cli.data.images import DataSet, Images
from ae_cli.data.load import from_array, kind_of, load, to_word
from ae_cli.errors import CheckpointError, DataError, UsageError, warn
from ae_cli.latents.inputs import read_as_recorded
from ae_cli.models import AutoEncoder, Line, build
from ae_cli.models.checkpoint import load_checkpoint
from ae_cli.training.events import TrainState
from ae_cli.training.fit import choose_engine, evaluate
from ae_cli.training.resume import Run, load_run

# The known sets that the tutorial's recipe is for: 28 × 28 pixels, grey
LIKE_MNIST = tuple(
    name for name, known in KNOWN_SETS.items() if known.folder and known.shape == (1, 28, 28)
)

# Of images that a model for anomalies learns from, at least so many are held out, as long as these
# are not more than this share of them: the threshold depends on the most unusual ones among them.
ENOUGH_NORMAL, MOST_NORMAL = 200, 0.2

# Fields of the recipe that may change when a run is resumed
CHANGEABLE = ("epochs", "patience", "checkpoint_every")


def begin(options: TrainOptions, device: torch.device) -> tuple[Run, DataSet]:
    """Read images, and build a model for them.

    Returns:
        The run, and the images.

    Raises:
        AeError: An option is invalid, or the images cannot be read.
    """
    checked = options.make_recipe()
    choose_engine(checked.model, checked.training, device)
    source, reading = options.source, options.read_options(checked.training.seed)
    images = load(
        source,
        data_dir=options.data_dir,
        classes=options.classes,
        exclude_classes=options.exclude_classes,
        **{field.name: getattr(reading, field.name) for field in fields(reading)},
    )
    for_anomalies = _is_for_anomalies(options, images)
    there = min(checked.training.limit or len(images.train), len(images.train))
    share = VAL_FRACTION if options.val_fraction is None else options.val_fraction
    held_out = min(max(1, round(share * there)), there - 1)
    if for_anomalies:
        if options.val_fraction is None:
            held_out = min(max(held_out, ENOUGH_NORMAL), round(MOST_NORMAL * there))
        if held_out < 1:
            raise DataError(
                f"{images.name} has {there} training image{'s' * (there > 1)}",
                "give more of them: some are needed to tell which errors are normal",
            )
    facts = Facts(
        shape=images.shape,
        images=there,
        judged=held_out if for_anomalies else len(images.test),
        is_like_mnist=images.source in LIKE_MNIST,
        for_anomalies=for_anomalies,
    )
    layers, training = options.make_recipe(facts)
    training = replace(training, engine=choose_engine(layers, training, device))
    if not for_anomalies and not (training.chooses and images.val_fraction is None):
        held_out = 0
    data = DataConfig(
        source=images.source,
        data_dir=None if options.data_dir is None else str(Path(options.data_dir).resolve()),
        train_images=there - held_out,
        val_images=held_out,
        test_images=len(images.test),
        classes=images.train.classes,
        selected_classes=images.selected_classes,
        val_fraction=images.val_fraction,
        fit=images.fit,
        key=options.key,
        labels=_place_of_labels(options),
        frames=options.frames,
        for_anomalies=for_anomalies,
    )
    model = build(layers, seed=training.seed).to(device)
    crc32 = images.checksum(training.limit)
    run = Run(uuid.uuid4().hex, model, training, data, crc32, TrainState())
    train, val, test = choose_images(run, images)
    run.data = replace(data, mean_error=test.mean_image_error())
    if model.has_start:
        options.progress("fitting PCA", 0, None, "")
        flips = training.augment if options.augment is not None else None
        judge = test if val is None else val
        run.training, pca = start(model, training, train, judge, flips, device)
        run.data = replace(run.data, pca_error=pca_error(pca, test))
    return run, images


def _is_for_anomalies(options: TrainOptions, images: DataSet) -> bool:
    """Whether a model is to find anomalies: if nothing else is said, if it learns some classes."""
    if options.for_ is not None:
        return options.for_ == "anomalies"
    return options.preset == "anomalies" or images.has_unlearned_classes


def _place_of_labels(options: TrainOptions) -> str | None:
    """The table of ``--labels`` as a checkpoint records it."""
    return None if options.labels is None else str(Path(options.labels).resolve())


class Chosen(NamedTuple):
    """The images of a run.

    Attributes:
        train: Those that it learns from.
        val: Those that its epochs are compared on; None for `test`.
        test: Those that the model is measured on.
    """

    train: Images
    val: Images | None
    test: Images


def choose_images(run: Run, images: DataSet) -> Chosen:
    """Choose the images of a run: some of the training split may be held out."""
    train, held_out = images.train, run.data.val_images
    if run.training.limit is not None:
        train = train.head(run.training.limit)
    if not held_out:
        return Chosen(train, None, images.test)
    # RandomState, because its stream is frozen: every version of numpy gives the same order.
    order = np.random.RandomState(run.training.seed).permutation(len(train))
    learned, val = train.select(np.sort(order[held_out:])), train.select(np.sort(order[:held_out]))
    return (
        Chosen(learned, None, val) if run.data.for_anomalies else Chosen(learned, val, images.test)
    )


def start(
    model: AutoEncoder,
    training: TrainConfig,
    train: Images,
    judge: Images,
    given: tuple[Augmentation, ...] | None,
    device: torch.device,
) -> tuple[TrainConfig, Line]:
    """Start a model from PCA of the training images or of their mirror images as well.

    Photos of most things look alike when they are mirrored, and PCA of twice as many images is then
    better. Digits and hands do not: which PCA is better on images it has not seen shows whether
    images should be flipped.

    Args:
        model: The model to start.
        training: How it will be trained.
        train: The training images.
        judge: The images that the better start is chosen on.
        given: The augmentation that the user asked for; None to choose it.
        device: Where to compute.

    Returns:
        `training`, with flips where these help and `given` does not say otherwise; and PCA of the
        training images.
    """

    def error(line: Line) -> float:
        model.start_from(line)
        return evaluate(model, judge, training, device=device).error

    plain = find_components(train, model.config.latent_dim)
    if training.augment if given is None else "flip" in given:
        mirrored = find_components(train, model.config.latent_dim, mirrored=True)
        if error(mirrored) < error(plain):
            model.start_from(mirrored)
            if given is None:
                training = replace(training, augment=("shift", "flip"))
            return training, plain
    model.start_from(plain)
    return training, plain


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
        engine = choose_engine(run.model.config, replace(run.training, engine="auto"), device)
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
    data = to_word(options.data)
    data = None if isinstance(data, str) and data == "auto" else data
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
        labels=run.data.labels,
        frames=run.data.frames,
        strict=options.strict,
        workers=options.workers,
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
        "labels": run.data.labels,
        "frames": run.data.frames,
        "for_": "anomalies" if run.data.for_anomalies else "latents",
    }
    layers, training = options.make_recipe()
    wanted = {
        **{name: getattr(options, name) for name in recorded.keys() & options.given},
        **asdict(layers),
        **asdict(training),
        "image_size": options.size,
        "labels": _place_of_labels(options),
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
        if value is None or value == ():
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
