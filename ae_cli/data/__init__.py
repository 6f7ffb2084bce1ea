"""Images and where they come from: one word, ``--data``, for every source."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

import platformdirs

from ae_cli.data.download import Progress
from ae_cli.data.images import DataSet, Images, scale
from ae_cli.errors import DataError

__all__ = ["SOURCES", "DataSet", "Images", "Progress", "load", "scale"]

SOURCES = ("auto", "mnist", "digits")


def load(
    source: str = "auto", *, data_dir: Path | None = None, progress: Progress | None = None
) -> DataSet:
    """Read a data set, downloading it where that is needed.

    Args:
        source: ``mnist``, ``digits``, or ``auto``: MNIST if it can be had, and otherwise digits,
            with a warning in the result that says why.
        data_dir: The folder for downloads; the user's cache folder by default.
        progress: Called with a file's name, the bytes that have arrived and the bytes in all.

    Returns:
        The data set, whose `source` is ``mnist`` or ``digits``, never ``auto``.

    Raises:
        DataError: There is no such source, or it cannot be read or downloaded.
    """
    # Each imports much that the other does not need.
    if source == "digits":
        from ae_cli.data.digits import load_digits

        return load_digits()
    if source in ("auto", "mnist"):
        from ae_cli.data.mnist import load_mnist

        folder = data_dir or platformdirs.user_cache_path("ae", appauthor=False)
        try:
            return load_mnist(folder, progress or (lambda name, arrived, total: None))
        except DataError as error:
            if source == "mnist":
                raise
            why = error.problem
        return replace(
            load("digits"),
            warning=f"{why}; using scikit-learn's 1,797 digits instead",
        )
    near = difflib.get_close_matches(source.lower(), SOURCES, n=1)
    raise DataError(
        f"--data {source} is not a data set that ae knows",
        f"did you mean {near[0]}?" if near else f"choose one of {', '.join(SOURCES)}",
    )
