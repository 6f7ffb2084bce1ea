"""MNIST: downloaded with torchvision, checked whenever it is read, and kept decoded."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ae_cli.config import Progress
from ae_cli.data.cache import keep, read_kept
from ae_cli.data.catalog import DIGITS, KNOWN_SETS
from ae_cli.data.download import fetch_published
from ae_cli.data.idx import read_idx
from ae_cli.data.images import DataSet, Images
from ae_cli.data.known import are_labelled, cannot_read
from ae_cli.data.store import PixelStore


class _File(NamedTuple):
    """One of the four published files."""

    name: str
    md5: str  # of the file as published, gzipped
    raw_md5: str  # of the unpacked file: older tools leave only that on the disk


FILES = {
    "train_images": _File(
        "train-images-idx3-ubyte.gz",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "6bbc9ace898e44ae57da46a324031adb",
    ),
    "train_labels": _File(
        "train-labels-idx1-ubyte.gz",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "a25bea736e30d166cdddb491f175f624",
    ),
    "test_images": _File(
        "t10k-images-idx3-ubyte.gz",
        "9fb629c4189551a2d022fa330f9573f3",
        "2646ac647ad5339dbf082846283269ea",
    ),
    "test_labels": _File(
        "t10k-labels-idx1-ubyte.gz",
        "ec29112dd5afa0611ce80d1b7f02629c",
        "27ae3e4e09519cfbb04c329615203637",
    ),
}


def load_mnist(data_dir: Path, progress: Progress) -> DataSet:
    """Read MNIST's 60,000 training and 10,000 test images, and download what is missing.

    Args:
        data_dir: The folder with torchvision's ``MNIST/raw``, which is created if needed.
        progress: Called during a download.

    Raises:
        DataError: A file is missing or damaged and cannot be downloaded.
    """
    raw = data_dir / "MNIST" / "raw"
    paths = {key: _find(raw, file) or _download(raw, file, progress) for key, file in FILES.items()}
    decoded = data_dir / KNOWN_SETS["mnist"].kept
    origin = {f"{key}_md5": file.md5 for key, file in FILES.items()}
    tensors = read_kept(decoded, origin, _fit)
    if tensors is None:
        # Their checksums are right, so they are complete.
        try:
            tensors = {key: torch.from_numpy(read_idx(path).copy()) for key, path in paths.items()}
        except OSError as error:  # another program may remove the files at any time
            raise cannot_read("mnist", raw, error) from error
        keep(decoded, origin, tensors)

    def images(split: str) -> Images:
        return Images(
            PixelStore(tensors[f"{split}_images"].unsqueeze(1)),
            labels=tensors[f"{split}_labels"].long(),
            classes=DIGITS,
        )

    return DataSet(source="mnist", train=images("train"), test=images("test"))


def _fit(tensors: dict[str, Tensor]) -> bool:
    """Whether these tensors are the pixels, without channels, and the labels of both splits."""
    return all(
        are_labelled(
            tensors[f"{split}_images"].numpy(),
            tensors[f"{split}_labels"].numpy(),
            shape=KNOWN_SETS["mnist"].shape[1:],
            classes=len(DIGITS),
        )
        for split in ("train", "test")
    )


def _find(folder: Path, file: _File) -> Path | None:
    """The published or the unpacked file, if one of them exists and is undamaged."""
    for path, md5 in (
        (folder / file.name, file.md5),
        (folder / Path(file.name).stem, file.raw_md5),
    ):
        with suppress(OSError):
            if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5:
                return path
    return None


def _download(folder: Path, file: _File, progress: Progress) -> Path:
    """Download a file from the first mirror that has it, and check it."""
    from torchvision.datasets import MNIST

    path = folder / file.name
    urls = [mirror + file.name for mirror in MNIST.mirrors]
    fetch_published("MNIST", urls, path, md5=file.md5, progress=progress)
    return path
