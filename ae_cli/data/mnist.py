"""MNIST: fetched by torchvision, checked whenever it is read, and kept decoded."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ae_cli.data.download import DownloadError, Progress, fetch
from ae_cli.data.images import DataSet, Images
from ae_cli.errors import DataError, UsageError
from ae_cli.files import atomic_write


class _File(NamedTuple):
    """One of the four published files."""

    name: str
    md5: str  # of the file as published, gzipped
    raw_md5: str  # of what is inside: older tools leave only that on the disk


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
    """Read MNIST's 60,000 training and 10,000 test images, downloading what is missing.

    Args:
        data_dir: The folder that holds (or will hold) torchvision's ``MNIST/raw``.
        progress: Called while a file downloads.

    Raises:
        DataError: A file is missing or damaged and cannot be downloaded.
    """
    raw = data_dir / "MNIST" / "raw"
    paths = {key: _find(raw, file) or _download(raw, file, progress) for key, file in FILES.items()}
    decoded = data_dir / "MNIST" / "decoded.safetensors"
    tensors = _read_decoded(decoded)
    if tensors is None:
        tensors = {key: _decode(path) for key, path in paths.items()}
        _write_decoded(decoded, tensors)

    def images(split: str) -> Images:
        return Images(
            pixels=tensors[f"{split}_images"].unsqueeze(1),
            labels=tensors[f"{split}_labels"].long(),
            classes=tuple(str(digit) for digit in range(10)),
        )

    return DataSet(source="mnist", train=images("train"), test=images("test"))


def _find(folder: Path, file: _File) -> Path | None:
    """The file as published or unpacked, if one of them is there and undamaged."""
    for path, md5 in (
        (folder / file.name, file.md5),
        (folder / Path(file.name).stem, file.raw_md5),
    ):
        with suppress(OSError):
            if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5:
                return path
    return None


def _download(folder: Path, file: _File, progress: Progress) -> Path:
    """Fetch a file from the first mirror that has it; its checksum is right."""
    from torchvision.datasets import MNIST

    path = folder / file.name
    damaged = " is damaged and" if path.exists() else ""
    causes = []
    for mirror in MNIST.mirrors:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fetch(mirror + file.name, path, md5=file.md5, progress=progress)
            break
        except DownloadError as error:
            causes.append(f"{urlsplit(mirror).hostname}: {error}")
        except OSError as error:
            raise DataError(
                f"MNIST cannot be kept in {folder} ({error.strerror or error})",
                "make room there, or name another folder with --data-dir",
            ) from error
    else:
        raise DataError(
            f"MNIST's {file.name}{damaged} cannot be downloaded ({', '.join(causes)})",
            f"try again later, copy the file into {folder}, or use --data digits",
        )
    return path


def _decode(path: Path) -> Tensor:
    """Read an IDX file whose checksum is right: uint8 (n, height, width) images or (n,) labels."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    # Two zero bytes, the type (8: uint8), the number of dimensions, then each as a big-endian int32
    dimensions = content[3]
    shape = np.frombuffer(content, dtype=">i4", count=dimensions, offset=4)
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions)
    return torch.from_numpy(values.reshape(shape).copy())


def _metadata(tensors: dict[str, Tensor]) -> dict[str, str]:
    """What decoded files came from, and the checksum of what they are."""
    checksum = 0
    for key in FILES:
        checksum = zlib.crc32(tensors[key].numpy().data, checksum)
    return {
        **{f"{key}_md5": file.md5 for key, file in FILES.items()},
        "crc32": f"{checksum:08x}",
    }


def _read_decoded(path: Path) -> dict[str, Tensor] | None:
    """The decoded files, uint8, if they were kept, from the same sources, and are undamaged."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in FILES}
            if file.metadata() == _metadata(tensors):
                return tensors
    except (OSError, safetensors.SafetensorError):
        pass  # not there, or not whole: it will be made again
    return None


def _write_decoded(path: Path, tensors: dict[str, Tensor]) -> None:
    # A folder that cannot be written to costs time at the next start, and nothing else.
    with suppress(UsageError), atomic_write(path) as file:
        file.write(safetensors.torch.save(tensors, _metadata(tensors)))
