"""The known sets other than MNIST and digits: downloaded and decoded once, then kept decoded."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.config import Progress
from ae_cli.data.cache import keep, read_kept
from ae_cli.data.catalog import KNOWN_SETS, KnownSet
from ae_cli.data.download import fetch_published
from ae_cli.data.idx import parse_idx, read_idx
from ae_cli.data.images import DataSet, Images
from ae_cli.data.store import PixelStore
from ae_cli.errors import DataError


class _File(NamedTuple):
    """An IDX file, and the published file that contains it."""

    name: str  # unpacked
    urls: tuple[str, ...]  # of the published file, in the order in which to try them
    md5: str  # of the published file

    @property
    def published(self) -> str:
        """The name of the published file."""
        return self.urls[0].rpartition("/")[2]


def load_known(name: str, data_dir: Path, progress: Progress) -> DataSet:
    """Read a known set, and download what is missing.

    The published files are read, or their unpacked versions if only those exist. The decoded pixels
    are kept, and the next time only they are read.

    Args:
        name: A name from the catalog, but neither ``mnist`` nor ``digits``.
        data_dir: The folder with torchvision's folder for the set, which is created if needed.
        progress: Called during a download.

    Returns:
        The two splits, with upright images and labels that count from 0.

    Raises:
        DataError: A file is missing or damaged and cannot be downloaded, or cannot be read.
    """
    known = KNOWN_SETS[name]
    folder = data_dir / known.folder
    decoded = data_dir / known.kept
    origin = {"set": name, "classes": json.dumps(known.classes)}
    tensors = read_kept(decoded, origin, lambda kept: _fit(known, kept))
    if tensors is None:
        decode = _decode_usps if name == "usps" else _decode_idx
        try:
            tensors = decode(name, folder, progress)
        except OSError as error:
            raise cannot_read(name, folder, error) from error
        keep(decoded, origin, tensors)

    def images(split: str) -> Images:
        return Images(
            PixelStore(tensors[f"{split}_pixels"]),
            labels=tensors[f"{split}_labels"],
            classes=known.classes,
        )

    return DataSet(source=name, train=images("train"), test=images("test"))


def cannot_read(name: str, folder: Path, error: OSError) -> DataError:
    """Turn an operating system's error about a known set's files into a `DataError`."""
    return DataError(
        f"{name} cannot be read from {folder} ({error.strerror or error})",
        "check its permissions, or name another folder with --data-dir",
    )


def _fit(known: KnownSet, tensors: dict[str, Tensor]) -> bool:
    """Whether these tensors are the pixels and the labels of both splits."""
    return all(
        tensors[f"{split}_labels"].dtype == torch.int64
        and are_labelled(
            tensors[f"{split}_pixels"].numpy(),
            tensors[f"{split}_labels"].numpy(),
            shape=known.shape,
            classes=len(known.classes),
        )
        for split in ("train", "test")
    )


def are_labelled(
    pixels: NDArray[Any], labels: NDArray[Any], *, shape: tuple[int, ...], classes: int
) -> bool:
    """Whether two arrays, of any type and shape, are images of one shape and their labels.

    Args:
        pixels: Expected to be uint8 (n, *shape), with n at least 1.
        labels: Expected to be whole numbers (n,), each from 0 to `classes` - 1.
        shape: The shape of an image.
        classes: The number of classes.
    """
    return bool(
        pixels.dtype == np.uint8
        and labels.ndim == 1
        and labels.dtype.kind in "iu"
        and pixels.shape == (len(labels), *shape)
        and len(labels) > 0
        and 0 <= labels.min() <= labels.max() < classes
    )


def _decode_usps(name: str, folder: Path, progress: Progress) -> dict[str, Tensor]:
    """Pixels, uint8 (n, 1, 16, 16), and labels, int64 (n,), of each split."""
    from torchvision.datasets import USPS

    for url, published, md5 in USPS.split_list.values():
        path = folder / published
        if not _is_there(path, md5):
            fetch_published(name, [url], path, md5=md5, progress=progress)
    tensors = {}
    for split in ("train", "test"):
        images = USPS(folder, train=split == "train")
        tensors[f"{split}_pixels"] = torch.from_numpy(images.data).unsqueeze(1)
        tensors[f"{split}_labels"] = torch.tensor(images.targets)
    return tensors


def _decode_idx(name: str, folder: Path, progress: Progress) -> dict[str, Tensor]:
    """Pixels, uint8 (n, 1, height, width), and labels, int64 (n,), of each split."""
    known, raw = KNOWN_SETS[name], folder / "raw"
    files = _files(known)
    paths = _locate(name, files, raw, progress)
    tensors = {}
    for split in ("train", "test"):
        pixels, labels = (
            _read(name, files[split, kind], paths[split, kind]) for kind in ("images", "labels")
        )
        if name == "qmnist" and labels.size:
            labels = labels[..., 0]  # the other columns say who wrote it, and where
        elif name == "emnist-letters":
            labels = labels.astype(np.int64) - 1  # published as 1 to 26
        _check(name, raw, split, pixels, labels)
        if known.folder == "EMNIST":
            pixels = pixels.swapaxes(1, 2)  # published transposed
        tensors[f"{split}_pixels"] = torch.from_numpy(np.array(pixels, order="C")).unsqueeze(1)
        tensors[f"{split}_labels"] = torch.from_numpy(labels.astype(np.int64))
    return tensors


def _files(known: KnownSet) -> dict[tuple[str, str], _File]:
    """The IDX files of a set, as torchvision has them, by split and kind."""
    from torchvision import datasets

    keys = [(split, kind) for split in ("train", "test") for kind in ("images", "labels")]
    if known.folder == "EMNIST":
        names = [
            f"emnist-{known.division}-{split}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
            for split, kind in keys
        ]
        published = [((datasets.EMNIST.url,), datasets.EMNIST.md5)] * len(keys)
    else:
        if known.folder == "QMNIST":
            resources = datasets.QMNIST.resources
            published = [((url,), md5) for url, md5 in (*resources["train"], *resources["test"])]
        else:
            dataset = getattr(datasets, known.folder)
            published = [
                (tuple(mirror + file for mirror in dataset.mirrors), md5)
                for file, md5 in dataset.resources
            ]
        names = [Path(urls[0]).stem for urls, _ in published]
    return {
        key: _File(name, urls, md5)
        for key, name, (urls, md5) in zip(keys, names, published, strict=True)
    }


def _locate(
    name: str, files: dict[tuple[str, str], _File], raw: Path, progress: Progress
) -> dict[tuple[str, str], Path]:
    """Find each file: the published one if undamaged, or an unpacked one, or else download it."""
    whole = {
        published
        for published, md5 in {(file.published, file.md5) for file in files.values()}
        if _is_there(raw / published, md5)
    }
    paths = {}
    for key, file in files.items():
        path = raw / file.published
        if file.published not in whole:
            if _is_there(raw / file.name):
                path = raw / file.name
            else:
                fetch_published(name, file.urls, path, md5=file.md5, progress=progress)
                whole.add(file.published)
        paths[key] = path
    return paths


def _is_there(path: Path, md5: str | None = None) -> bool:
    """Whether a file exists and can be read, and has the right checksum if one is given."""
    from torchvision.datasets.utils import check_integrity

    with suppress(OSError):
        return bool(check_integrity(path, md5))
    return False


def _read(name: str, file: _File, path: Path) -> NDArray[Any]:
    """Read an IDX file, as published or unpacked."""
    try:
        if path.suffix != ".zip":
            return read_idx(path)
        with zipfile.ZipFile(path) as archive:
            return parse_idx(archive.read(f"gzip/{file.name}.gz"))
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{name}'s {path.name} in {path.parent} is damaged ({error})",
            "delete that file and try again",
        ) from error


def _check(name: str, raw: Path, split: str, pixels: NDArray[Any], labels: NDArray[Any]) -> None:
    """Make sure that these are images of the right size, (n, height, width), and n labels.

    Raises:
        DataError: They are not. Unpacked files have no known checksum, so this can happen.
    """
    known = KNOWN_SETS[name]
    height, width = known.shape[1:]
    if not are_labelled(pixels, labels, shape=(height, width), classes=len(known.classes)):
        raise DataError(
            f"{name}'s {split} files in {raw} are damaged "
            f"(they are not images of {width}×{height} pixels with one label each)",
            "delete them and try again",
        )
