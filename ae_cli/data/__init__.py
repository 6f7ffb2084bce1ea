"""Images and where they come from: one word, ``--data``, for every source."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ae_cli.catalog import KNOWN_SETS
from ae_cli.config import DataOptions
from ae_cli.data.classes import is_member, parse_classes, select_classes
from ae_cli.data.images import DataSet, Images, concatenate, scale
from ae_cli.data.progress import Progress, Unit
from ae_cli.data.summary import choose_examples, count_classes, measure_pixels
from ae_cli.errors import DataError, UsageError
from ae_cli.files import cache_folder

__all__ = [
    "DataSet",
    "Images",
    "Progress",
    "Unit",
    "check_options",
    "choose_examples",
    "concatenate",
    "count_classes",
    "is_member",
    "kind_of",
    "load",
    "measure_pixels",
    "parse_classes",
    "scale",
    "select_classes",
]

Kind = Literal["known", "folder", "file"]


def kind_of(source: str) -> Kind:
    """Find out what ``--data`` means: the name of a known set, or else a path.

    Raises:
        DataError: It is neither.
    """
    if source in KNOWN_SETS or source == "auto":
        return "known"
    path = Path(source)
    try:
        if source and path.is_dir():
            return "folder"
        if source and path.exists():
            return "file"
    except (OSError, ValueError):  # a name too long, or with a null byte in it
        pass
    names = ("auto", *KNOWN_SETS)
    if path.name != source or path.suffix:
        raise DataError(
            f"--data {source}: there is no such file or folder", "check the path, or see `ae data`"
        )
    near = difflib.get_close_matches(source.lower(), names, n=1)
    raise DataError(
        f"--data {source} is neither a data set that ae knows, nor a file or folder",
        f"did you mean {near[0]}?" if near else "see `ae data` for the names, or give a path",
    )


def check_options(source: str, options: DataOptions) -> None:
    """Refuse options that have no meaning for a source.

    Raises:
        DataError: There is no such source.
        UsageError: An option is given in vain.
    """
    kind = kind_of(source)
    for option, given, kinds, what in (
        ("--color", options.color, {"folder"}, "a folder of images"),
        ("--fit", options.fit, {"folder"}, "a folder of images"),
        ("--image-size", options.image_size, {"folder", "file"}, "a folder or flat rows of pixels"),
        ("--key", options.key, {"file"}, "an .npz file or a table of pixels"),
        ("--val-fraction", options.val_fraction, {"folder", "file"}, "images without a test split"),
    ):
        if given and kind not in kinds:
            raise UsageError(f"{option} is for {what}, and {source} is none", "leave it out")


def load(
    source: str = "auto",
    options: DataOptions | None = None,
    *,
    data_dir: Path | None = None,
    progress: Progress | None = None,
) -> DataSet:
    """Read images, downloading or decoding them where that is needed.

    Args:
        source: The name of a known set; ``auto``: MNIST if it can be had, and otherwise digits,
            with a warning in the result that says why; or the path of a folder of images or of a
            file with an array or a table of pixels.
        options: How to read them, where the source leaves it open.
        data_dir: The folder for downloads and decoded images; the user's cache folder by default.
        progress: Called while something takes long.

    Returns:
        The data set, whose `source` is never ``auto``, and an absolute path where it is a path.

    Raises:
        DataError: There is no such source, or it cannot be read or downloaded.
    """
    kind = kind_of(source)
    folder = cache_folder(data_dir)
    options = options or DataOptions()
    progress = progress or (lambda name, done, total, unit: None)
    # Each imports much that the others do not need.
    if kind == "folder":
        from ae_cli.data.folder import load_folder

        path = Path(source).resolve()
        return load_folder(path, options, cache_folder=folder, progress=progress)
    if kind == "file":
        from ae_cli.data.arrays import load_file

        return load_file(Path(source).resolve(), options)
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
    warning = f"{why}; using scikit-learn's 1,797 digits instead"
    return replace(load("digits"), warnings=(warning,))
