"""The inputs of most commands: a trained model, and images of the size it is for."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ae_cli.config import (
    DataConfig,
    Frames,
    Progress,
    ReadForTrainedOptions,
    Source,
    Split,
    UseOptions,
)
from ae_cli.data.classes import choose_classes, select_classes
from ae_cli.data.images import DataSet
from ae_cli.data.load import ARRAY, in_order, kind_of, read, to_word
from ae_cli.errors import CheckpointError, DataError, UsageError, unwarned, warn
from ae_cli.models.checkpoint import Checkpoint, load_checkpoint
from ae_cli.results import format_shape

ModelLike: TypeAlias = "Checkpoint | Path | str"


class Inputs(NamedTuple):
    """A checkpoint and images of the size it is for.

    Attributes:
        trained: The checkpoint.
        images: The images of the chosen classes.
        own: Whether the images have the name of the source that the model was trained on, and a
            training split. Then their test split alone was not learned from.
        name: The checkpoint's name in an error.
    """

    trained: Checkpoint
    images: DataSet
    own: bool
    name: str


def load_trained(model: ModelLike) -> tuple[Checkpoint, str]:
    """Read a checkpoint, unless it is already loaded, and warn of what is wrong with it.

    Returns:
        The checkpoint, and its name in an error.

    Raises:
        CheckpointError: The checkpoint cannot be read.
    """
    if isinstance(model, Checkpoint):
        return model, "the model"
    trained = load_checkpoint(Path(model))
    for problem in trained.problems:
        warn(f"{model}: {problem}")
    return trained, str(model)


def load_inputs(model: ModelLike, options: UseOptions, *, as_trained: bool = True) -> Inputs:
    """Read a checkpoint, and the images that it was trained on or others.

    Images of a folder get the size and colours that the model is for.

    Args:
        model: The checkpoint, or its file.
        options: Which images. A `DataSet` is used unchanged; an array becomes the test split.
        as_trained: Whether the model's own images are restricted by default to the classes that it
            was trained on.

    Raises:
        CheckpointError: The checkpoint cannot be read, or its images are not found.
        DataError: The images cannot be read, or have another size than the model's.
        UsageError: A class does not exist.
    """
    trained, name = load_trained(model)
    recorded, shape = trained.data, trained.model.config.shape
    images = read_as_recorded(
        name,
        recorded,
        shape,
        seed=trained.training.seed,
        source=options.data,
        data_dir=options.data_dir,
        key=options.key,
        labels=options.labels,
        frames=options.frames,
        strict=options.strict,
        workers=options.workers,
        progress=options.progress,
    )
    own = images.source == recorded.source and len(images.train) > 0
    selected = choose_classes(images, options.classes, options.exclude_classes)
    # Arrays have no name by which they could be recognised.
    is_same = own and recorded.source != ARRAY
    if selected is None and options.classes is None and is_same and as_trained:
        selected = recorded.selected_classes
    if selected is not None:
        images = select_classes(images, selected)
    is_same &= selected == recorded.selected_classes and images.val_fraction is not None
    if is_same and len(images.test) != recorded.test_images:
        warn(
            f"{images.name} has changed since {name} was trained on it: "
            "some images that are held out now may have been training images"
        )
    return Inputs(trained, images, own, name)


def read_as_recorded(
    name: str,
    recorded: DataConfig,
    shape: tuple[int, int, int],
    *,
    seed: int,
    source: Source,
    data_dir: Path | str | None,
    key: str | None,
    labels: Path | str | None,
    frames: Frames | None,
    strict: bool,
    workers: int | None,
    progress: Progress,
) -> DataSet:
    """Read the images that a model was trained on, or others in the same way.

    What is wrong with the model's own images was already said when it was trained.

    Args:
        name: The model's name in an error.
        recorded: What its checkpoint records of its images.
        shape: Channels, height and width of the images that it is for.
        seed: The seed it was trained with.
        source: The images; None for those that it was trained on.
        data_dir: As in `UseOptions`.
        key: As in `UseOptions`.
        labels: As in `UseOptions`.
        frames: As in `UseOptions`.
        strict: As in `UseOptions`.
        workers: As in `UseOptions`.
        progress: Called during long operations.

    Raises:
        CheckpointError: The images are not found.
        DataError: The images cannot be read, or have another size.
    """
    source = to_word(source)
    if data_dir is None and recorded.data_dir is not None and Path(recorded.data_dir).is_dir():
        data_dir = Path(recorded.data_dir)
    if source is None:
        _check_source(name, recorded.source)
    channels, height, width = shape
    options = ReadForTrainedOptions(
        image_size=(height, width),
        color=channels == 3,
        fit=recorded.fit,
        val_fraction=recorded.val_fraction,
        seed=seed,
        key=recorded.key if source is None and key is None else key,
        labels=recorded.labels if source is None and labels is None else labels,
        frames=recorded.frames if source is None and frames is None else frames,
        strict=strict,
        workers=workers,
        progress=progress,
    )
    if source is None:
        with unwarned():
            images = read(recorded.source, options, data_dir)
    elif isinstance(source, (str, Path)):
        images = read(str(source), options, data_dir)
    else:
        images = source if isinstance(source, DataSet) else in_order(source, options)
    if images.shape != shape:
        raise DataError(
            f"{name} is for images of {format_shape(shape)}, "
            f"and those of {images.name} have {format_shape(images.shape)}",
            "give the --data that it was trained on, or train again",
        )
    return images


def _check_source(name: str, recorded: str) -> None:
    """Raise a `CheckpointError` unless the images that a model was trained on are still there."""
    if recorded == ARRAY:
        raise CheckpointError(
            f"{name} was trained on an array, which a checkpoint does not hold", "give the images"
        )
    try:
        kind_of(recorded)
    except DataError as error:
        raise CheckpointError(
            f"{name} was trained on {recorded}, which is not found",
            "name images with --data; `ae data` lists the sets that ae knows",
        ) from error


def find_images(
    option: str, index: tuple[int, ...], data: DataSet, split: Split, split_option: str
) -> NDArray[np.int64]:
    """Find images by their index in the table of latents.

    Args:
        option: The option that gave the indices, for the error.
        index: The indices.
        data: Both splits.
        split: The one whose images are wanted.
        split_option: The option that chooses it, for the error.

    Returns:
        Their places in the split, (n,).

    Raises:
        UsageError: An image does not exist.
    """
    there = data.split(split).index()
    place = {int(number): i for i, number in enumerate(there)}
    for number in index:
        if number not in place:
            other: Split = "train" if split == "test" else "test"
            remedy = "give numbers that the index column of `ae embed` has"
            if len(there) and len(there) == there[-1] + 1:  # each split counts its own images
                remedy = f"give numbers from 0 to {there[-1]}"
            elif number in data.splits[other].index():
                remedy = f"it is in the {other} split: add {split_option} {other}"
            raise UsageError(
                f"{option} {number} is not in the {split} split of {len(there):,} images", remedy
            )
    return np.array([place[number] for number in index])
