"""What commands begin with: images, and often a checkpoint that they fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ae_cli.config import DataConfig, DataOptions
from ae_cli.console import Reporter, format_shape
from ae_cli.errors import CheckpointError, DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ae_cli.data import DataSet, Images
    from ae_cli.model import Checkpoint

ALL_CLASSES = "all"  # what --classes says to undo a choice that the checkpoint remembers


class Choice(NamedTuple):
    """What a person said of the images to use; None where nothing.

    Attributes:
        data: ``--data``.
        data_dir: ``--data-dir``.
        classes: ``--classes``.
        exclude_classes: ``--exclude-classes``.
        key: ``--key``.
        strict: ``--strict``.
    """

    data: str | None
    data_dir: Path | None
    classes: str | None
    exclude_classes: str | None
    key: str | None
    strict: bool


class Inputs(NamedTuple):
    """A checkpoint and images of the size it is for.

    Attributes:
        trained: The checkpoint.
        images: The images, of the chosen classes.
        own: Whether they are from the source that it was trained on.
    """

    trained: Checkpoint
    images: DataSet
    own: bool


def _read_images(
    source: str, options: DataOptions, data_dir: Path | None, reporter: Reporter
) -> DataSet:
    """Read images, showing what takes long and what a person should know.

    Raises:
        DataError: They cannot be read.
    """
    from ae_cli.data import load

    with reporter.loading() as progress:
        images = load(source, options, data_dir=data_dir, progress=progress)
    for warning in images.warnings:
        reporter.warn(warning)
    return images


def read_as_asked(
    source: str,
    options: DataOptions,
    data_dir: Path | None,
    reporter: Reporter,
    *,
    classes: str | None,
    exclude_classes: str | None,
) -> tuple[DataSet, tuple[str, ...] | None]:
    """Read images of the chosen classes, where a person says how to read them.

    Returns:
        The images, and the names of the chosen classes; None for all.

    Raises:
        DataError: The images cannot be read, or there are none of these classes.
        UsageError: An option was given in vain, or there are no such classes.
    """
    from ae_cli.data import check_options, select_classes

    check_options(source, options)
    images = _read_images(source, options, data_dir, reporter)
    _check_fulfilled(options, images)
    selected = choose_classes(images, classes, exclude_classes)
    return (images if selected is None else select_classes(images, selected)), selected


def _check_fulfilled(options: DataOptions, images: DataSet) -> None:
    """Make sure that images are as a person asked for.

    Raises:
        UsageError: An option was given in vain, since the source decides.
    """
    channels, height, width = images.train.shape
    if options.image_size not in (None, (height, width)):
        raise UsageError(
            f"--image-size asks for other images than those of {images.name}, "
            f"which have {height} × {width} pixels",
            "leave it out",
        )
    if options.color and channels == 1:
        raise UsageError(
            f"--color is given, and the images of {images.name} are grey", "leave it out"
        )
    if options.val_fraction is not None and images.val_fraction is None:
        raise UsageError(
            f"--val-fraction is given, and {images.name} has a test split of its own",
            "leave it out",
        )


def choose_classes(
    images: DataSet, classes: str | None, exclude_classes: str | None
) -> tuple[str, ...] | None:
    """Find the classes that ``--classes`` or ``--exclude-classes`` leave.

    Returns:
        Their names; None for all.

    Raises:
        UsageError: There is no such class, no class is left, or both options are given.
    """
    from ae_cli.data import parse_classes

    if classes is not None and exclude_classes is not None:
        raise UsageError("--classes and --exclude-classes are both given", "give one of them")
    if exclude_classes is not None:
        excluded = parse_classes("--exclude-classes", exclude_classes, images)
        left = tuple(name for name in images.train.classes or () if name not in excluded)
        if not left:
            raise UsageError(f"--exclude-classes {exclude_classes} leaves no class", "keep some")
        return left
    if classes is None or classes == ALL_CLASSES:
        return None
    return parse_classes("--classes", classes, images)


def load_inputs(
    checkpoint: Path, choice: Choice, reporter: Reporter, *, as_trained: bool = True
) -> Inputs:
    """Read a checkpoint, and the images it was trained on or others that are asked for.

    Images of a folder get the size and colours that the model is for.

    Args:
        checkpoint: The checkpoint's file.
        choice: What a person said of the images.
        reporter: Shows downloads, decoding and warnings.
        as_trained: Whether the images it was trained on are, unless ``choice`` says so, those of
            the classes it was trained on.

    Raises:
        CheckpointError: The checkpoint cannot be read, or its images are not to be found.
        DataError: The images cannot be read, or are of another size than the model's.
        UsageError: There are no such classes.
    """
    from ae_cli.data import select_classes
    from ae_cli.model import load_checkpoint

    trained = load_checkpoint(checkpoint)
    recorded = trained.data
    images = read_as_recorded(
        checkpoint, recorded, trained.model.config.shape, trained.training.seed, choice, reporter
    )
    own = images.source == recorded.source
    selected = choose_classes(images, choice.classes, choice.exclude_classes)
    if selected is None and choice.classes is None and own and as_trained:
        selected = recorded.selected_classes
    if selected is not None:
        images = select_classes(images, selected)
    same = own and selected == recorded.selected_classes and images.val_fraction is not None
    if same and len(images.test) != recorded.test_images:
        reporter.warn(
            f"{images.name} has other images than when {checkpoint} was trained on it: "
            "some that are held out now may have been learned from"
        )
    return Inputs(trained, images, own)


def read_as_recorded(
    checkpoint: Path,
    recorded: DataConfig,
    shape: tuple[int, int, int],
    seed: int,
    choice: Choice,
    reporter: Reporter,
) -> DataSet:
    """Read the images that a model was trained on, or others, as those were read.

    Args:
        checkpoint: The model's file, to be named in an error.
        recorded: What it says of the images.
        shape: Channels, height and width of those that it is for.
        seed: What it was trained with.
        choice: What a person said of the images. Its classes are not looked at.
        reporter: Shows downloads, decoding and warnings.

    Raises:
        CheckpointError: The images are not to be found.
        DataError: They cannot be read, or are of another size.
    """
    from ae_cli.data import kind_of

    data_dir = choice.data_dir
    if data_dir is None and recorded.data_dir is not None and Path(recorded.data_dir).is_dir():
        data_dir = Path(recorded.data_dir)
    source = choice.data
    if source is None:
        source = recorded.source
        try:
            kind_of(source)
        except DataError as error:
            raise CheckpointError(
                f"{checkpoint} was trained on {source}, which is not to be found",
                "name images with --data; `ae data` lists the sets that ae knows",
            ) from error
    channels, height, width = shape
    options = DataOptions(
        image_size=(height, width),
        color=channels == 3,
        fit=recorded.fit,
        val_fraction=recorded.val_fraction,
        seed=seed,
        key=recorded.key if choice.data is None and choice.key is None else choice.key,
        strict=choice.strict,
    )
    images = _read_images(source, options, data_dir, reporter)
    if images.train.shape != shape:
        raise DataError(
            f"{checkpoint} is for images of {format_shape(shape)}, "
            f"and those of {images.name} have {format_shape(images.train.shape)}",
            "give the --data that it was trained on, or train again",
        )
    return images


def find_images(
    option: str, index: tuple[int, ...], images: Images, split: str
) -> NDArray[np.int64]:
    """Find images by what the table of latents calls their index.

    Args:
        option: Where a person gave the numbers, to be named in an error.
        index: The numbers.
        images: The images of one split.
        split: Its name.

    Returns:
        Their places in the split, (n,).

    Raises:
        UsageError: There is no such image.
    """
    import numpy as np

    there = images.index()
    place = {int(number): i for i, number in enumerate(there)}
    for number in index:
        if number not in place:
            all_of_it = len(there) == there[-1] + 1
            raise UsageError(
                f"{option} {number} is not in the {split} split of {len(there):,} images",
                f"give numbers from 0 to {there[-1]}"
                if all_of_it
                else "give numbers that the index column of `ae embed` has",
            )
    return np.array([place[number] for number in index])
