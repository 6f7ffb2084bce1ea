"""Files of pickled Python objects, which are never read: only recognised, to say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from ae_cli.errors import DataError

ENDINGS = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
_CIFAR = ("data_batch_", "test_batch")  # they have no ending


def is_pickle(name: str) -> bool:
    """Whether a file of this name is pickled."""
    return Path(name).suffix.lower() in ENDINGS or Path(name).name.startswith(_CIFAR)


def refuse_pickle(path: Path, *_: object) -> NoReturn:
    """Refuse a file of pickled Python objects, such as CIFAR's and PyTorch's.

    Raises:
        DataError: Always.
    """
    raise DataError(
        f"{path} is a Python pickle, which ae never reads, since it can run any program",
        "give the same images in another form (CIFAR: the Parquet files on Hugging Face), or load "
        "it yourself and save an .npz file with images and labels",
    )
