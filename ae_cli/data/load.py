"""Load images from any source: a set's name, a folder or a file; in Python, also an array."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.config import LoadOptions, ReadOptions, Source, takes
from ae_cli.data.catalog import KNOWN_SETS
from ae_cli.data.classes import choose_classes, select_classes
from ae_cli.data.images import DataSet, Images, hold_out
from ae_cli.data.paths import find_paths
from ae_cli.data.scratch import Scratch
from ae_cli.data.values import Part
from ae_cli.errors import DataError, UsageError, warn
from ae_cli.files import suggest_near
from ae_cli.files.cache import cache_folder

ARRAY = "array"  # the `source` of a data set that was an array in memory

WordKind: TypeAlias = Literal["known", "path"]
Kind: TypeAlias = Literal["known", "pictures", "arrays"]


def kind_of(source: str, option: str = "--data") -> WordKind:
    """Find out what a value of ``--data`` is: the name of a known set, or else files or folders.

    Args:
        source: The value.
        option: The option that it is the value of, for the error.

    Raises:
        DataError: It is neither.
    """
    if source in KNOWN_SETS or source == "auto":
        return "known"
    if find_paths(source):
        return "path"
    path = Path(source)
    if path.name != source or path.suffix:
        raise DataError(
            f"{option} {source}: there is no such file or folder",
            suggest_near(path, "check the path, or see `ae data`"),
        )
    known = difflib.get_close_matches(source.lower(), ("auto", *KNOWN_SETS), n=1)
    raise DataError(
        f"{option} {source} is neither a data set that ae knows, nor a file or folder",
        f"did you mean {known[0]}?"
        if known
        else suggest_near(path, "see `ae data` for the names, or give a path"),
    )


def to_word(source: Source) -> Source:
    """One text for several paths, as `find_paths` reads it; anything else as it is.

    Raises:
        UsageError: A path cannot be part of such a text.
    """
    if not isinstance(source, (list, tuple)) or not source:
        return source
    if not all(isinstance(part, (str, Path)) for part in source):
        return source
    for part in source:
        if len(source) > 1 and os.pathsep in str(part):
            raise UsageError(
                f"--data {part} has {os.pathsep!r} in it, which separates several paths",
                "rename it, or give it alone",
            )
        if len(source) > 1 and kind_of(str(part)) == "known":
            raise UsageError(f"--data {part} is a known set", "give it alone")
    return os.pathsep.join(map(str, source))


def _check_options(source: str, kind: Kind, options: ReadOptions) -> None:
    """Refuse options that have no meaning for a kind of source.

    Raises:
        UsageError: Such an option is given.
    """
    files: set[Kind] = {"arrays", "pictures"}
    given: dict[str, tuple[object, set[Kind], str]] = {
        "--color": (options.color, {"pictures"}, "a folder of images"),
        "--fit": (options.fit, {"pictures"}, "a folder of images"),
        "--image-size": (options.size, files, "a folder or flat rows of pixels"),
        "--key": (options.key, files, "a file or a table with names in it"),
        "--labels": (options.labels, {"pictures"}, "a folder or an archive of images"),
        "--frames": (options.frames, {"pictures"}, "image files"),
        "--val-fraction": (options.val_fraction, files, "images without a test split"),
    }
    for option, (value, kinds, what) in given.items():
        if value and kind not in kinds:
            raise UsageError(f"{option} applies only to {what}, not to {source}", "leave it out")


@takes(LoadOptions)
def load(source: Source, options: LoadOptions) -> DataSet:
    """Load images of the selected classes, and download or decode them if needed.

    Args:
        source: One of these:

            - the name of a known set;
            - ``auto``: MNIST if it is on disk or can be downloaded, and otherwise digits, with a
              warning that says why;
            - the path of a folder or an archive of images, or of a file with an array or a table;
              a pattern such as ``shards/*.tar``, or a list of paths;
            - an array or tensor, uint8 or float in [0, 1], of the shape (n, height, width),
              (n, height, width, 1 or 3), (n, 1 or 3, height, width) or (n, values), or a pair of
              it and labels, (n,). Contiguous, writable uint8 is used without a copy, and must not
              change afterwards; in a mapped file (``np.load(…, mmap_mode="c")``), it may be larger
              than memory;
            - a `DataSet`.
        options: See `LoadOptions`.

    Raises:
        DataError: The source does not exist, cannot be read or downloaded, or has no images of the
            selected classes.
        UsageError: An option has no meaning for the source, or the classes do not exist.

    Example:
        ``load("photos/", image_size=96, color=False)``
    """
    source = to_word(source)
    if isinstance(source, DataSet):
        images = source
    elif isinstance(source, (str, Path)):
        images = read(str(source), options, options.data_dir, check=True)
    else:
        _check_options("an array", "arrays", options)
        if options.key is not None:
            raise UsageError(
                "--key applies only to a file or a table with names in it, not to an array",
                "leave it out",
            )
        images = from_array(source, options)
    _check_fulfilled(options, images)
    selected = choose_classes(images, options.classes, options.exclude_classes)
    return images if selected is None else select_classes(images, selected)


def from_array(array: Any, options: ReadOptions) -> DataSet:
    """Make a data set of an array, a pair of images and labels, or `Images`; hold some out.

    Raises:
        DataError: It is not an array of images.
    """
    if isinstance(array, Images):
        return hold_out(ARRAY, array, options)
    from ae_cli.data.arrays import Arrays, to_data_set

    return to_data_set(Arrays(ARRAY, [_to_part(array)]), options, Scratch(None))


def in_order(source: Any, options: ReadOptions) -> DataSet:
    """Make a data set of an array or of `Images`, all of them in its test split, in their order.

    This is for using a trained model, where no images have to be held out.

    Raises:
        DataError: It is not an array of images.
    """
    if not isinstance(source, Images):
        from ae_cli.data.arrays import to_images

        (source,) = to_images(ARRAY, [_to_part(source)], options, Scratch(None))
    nothing = source.select(np.arange(0))
    return DataSet(ARRAY, train=nothing, test=source)


def _to_part(array: Any) -> Part:
    """An array of images, or a pair of one and its labels."""
    pixels, labels = array if isinstance(array, tuple) and len(array) == 2 else (array, None)
    images = _to_numpy(pixels)
    if images is None or images.dtype == object:
        raise DataError(
            f"{type(pixels).__name__} is not an array of images",
            "give a name, a path, or an array such as (n, height, width)",
        )
    if labels is None:
        return Part("the array", images)
    classes = _to_numpy(labels)
    if classes is None:
        raise DataError(
            f"{type(labels).__name__} is not an array of labels",
            "give one whole number or text for each image",
        )
    if classes.dtype == object and all(isinstance(label, str) for label in classes.flat):
        classes = classes.astype(str)  # this is how pandas stores texts
    return Part("the array", images, classes)


def _to_numpy(values: Any) -> NDArray[Any] | None:
    """Convert values to an array, without a copy where possible; None if that fails."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        if values.dtype == torch.bfloat16:  # numpy has no such type
            values = values.float()
    try:
        return np.asarray(values)
    except (TypeError, ValueError):  # such as rows of different lengths
        return None


def read(
    source: str, options: ReadOptions, data_dir: Path | str | None, *, check: bool = False
) -> DataSet:
    """Read all images of a source that is a name or a path.

    Args:
        source: The name or the path.
        options: How to read the images.
        data_dir: As in `LoadOptions`.
        check: Whether to refuse options that have no meaning for the source.

    Returns:
        The data set. Its `source` is never ``auto``, and never a relative path.

    Raises:
        DataError: The source does not exist, or cannot be read or downloaded.
        UsageError: An option has no meaning for the source.
    """
    kind = kind_of(source)
    folder = cache_folder(data_dir)
    progress = options.progress
    # Imported here, since each reader imports much that the others do not need.
    if kind == "path":
        from ae_cli.data.sources import finish, read_source

        scratch = Scratch(folder)
        found = read_source(source, options, scratch)
        if check:
            _check_options(source, found.kind, options)
        return finish(found, options, folder, scratch)
    if check:
        _check_options(source, kind, options)
    if source == "digits":
        from ae_cli.data.digits import load_digits

        return load_digits()
    if source not in ("auto", "mnist"):
        from ae_cli.data.known import load_known

        return load_known(source, folder, progress)

    from ae_cli.data.mnist import load_mnist

    try:
        return load_mnist(folder, progress)
    except DataError as error:
        if source == "mnist":
            raise
        why = error.problem
    warn(f"{why}; using scikit-learn's 1,797 digits instead")
    return read("digits", options, data_dir)


def _check_fulfilled(options: ReadOptions, images: DataSet) -> None:
    """Make sure that the images are as the options say.

    Raises:
        UsageError: The source determines something else.
    """
    channels, height, width = images.shape
    if options.size not in (None, (height, width)):
        raise UsageError(
            f"--image-size differs from the size of {images.name}'s images, "
            f"{height} × {width} pixels",
            "leave it out",
        )
    if options.color and channels == 1:
        raise UsageError(
            f"--color is given, but the images of {images.name} are grey", "leave it out"
        )
    if options.color is False and channels == 3:
        raise UsageError(
            f"--grey is given, but the images of {images.name} are already read in colour",
            "leave it out, or load them again in grey",
        )
    if options.val_fraction is not None and images.val_fraction is None:
        raise UsageError(
            f"--val-fraction is given, but {images.name} has its own test split",
            "leave it out",
        )
