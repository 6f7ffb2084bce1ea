"""How much memory training needs, measured in separate processes."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from benchmarks.photos import random_crops
from benchmarks.table import make_table
from PIL import Image

LAUNCH = Path(__file__).parents[1] / "benchmarks" / "launch.py"
SIDE = 64
ALLOWED = 600e6  # bytes, beyond those of torch itself


def peak_memory(*arguments: str | Path) -> int:
    """The peak memory of Python with these arguments, in bytes."""
    return _measure(arguments, None)["memory"]


def private_memory(*arguments: str | Path, folder: Path | None = None) -> int:
    """The same without pages of mapped files."""
    return _measure(arguments, folder)["private"]


def _measure(arguments: tuple[str | Path, ...], folder: Path | None) -> dict[str, int]:
    command = [sys.executable, LAUNCH, "output", sys.executable, *arguments]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=folder)
    measured: dict[str, int] = json.loads(answer.stdout)
    return measured


COUNT = 70_000


@pytest.fixture(scope="module")
def model_of_many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of images that take more memory than a command may have."""
    folder = tmp_path_factory.mktemp("many")
    photos = random_crops(1000)
    pixels = np.lib.format.open_memmap(folder / "x.npy", "w+", np.uint8, (COUNT, SIDE, SIDE, 3))
    for start in range(0, COUNT, len(photos)):
        pixels[start : start + len(photos)] = photos ^ np.uint8(start // len(photos) % 8)
    pixels.flush()
    assert pixels.nbytes > ALLOWED
    recipe = ("--data", "x.npy", "--model", "mlp", "--hidden", "16", "--epochs", "1", "--quiet")
    measured = private_memory("-m", "ae_cli", "train", *recipe, folder=folder)
    assert measured - private_memory("-c", "import torch", folder=folder) <= ALLOWED
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        *("embed", "embed --out x.npz", "embed --out x.parquet"),
        *("evaluate", "anomalies", "explore", "reconstruct", "data x.npy"),
    ],
)
def test_commands_need_memory_for_a_part_of_the_images_only(model_of_many, command):
    """At most 600 MB more than torch itself, without the file's pages, which are mapped."""
    measured = private_memory("-m", "ae_cli", *command.split(), "--quiet", folder=model_of_many)
    assert measured - private_memory("-c", "import torch") <= ALLOWED


@pytest.mark.slow
def test_decoded_photos_need_memory_for_a_part_of_them_only(tmp_path):
    """Decoded to 128 × 128 pixels, the photos take twice as much as a command may have."""
    for i, crop in enumerate(random_crops(500)):
        Image.fromarray(crop).save(tmp_path / f"{i:03}.png")
        for copy in range(49):
            (tmp_path / f"{i:03}-{copy}.png").hardlink_to(tmp_path / f"{i:03}.png")
    command = ("-m", "ae_cli", "data", ".", "--image-size", "128", "--quiet")
    for _ in range(2):  # the second time from the cache
        measured = private_memory(*command, folder=tmp_path)
        assert measured - private_memory("-c", "import torch") <= ALLOWED


def blocks(kind: type) -> Iterator[np.ndarray]:
    """Pixels of photos, in blocks of 1000, which together are more than a command may have."""
    photos = random_crops(1000)
    size = np.dtype(kind).itemsize
    for number in range(COUNT // 1000 // size):
        some = photos ^ np.uint8(number % 8)
        yield some if kind is np.uint8 else (some / 255).astype(kind)


def save_hdf5(path: Path, kind: type) -> None:
    with pytest.importorskip("h5py").File(path, "w") as file:
        shape = (COUNT // 1000 // np.dtype(kind).itemsize * 1000, SIDE, SIDE, 3)
        images = file.create_dataset("images", shape, kind, chunks=(100, *shape[1:]), compression=1)
        for i, some in enumerate(blocks(kind)):
            images[1000 * i : 1000 * i + 1000] = some


def save_npz(path: Path, kind: type, method: int = zipfile.ZIP_DEFLATED) -> None:
    shape = (COUNT // 1000 // np.dtype(kind).itemsize * 1000, SIDE, SIDE, 3)
    header = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for some in blocks(kind):
                file.write(some.tobytes())


def save_mat(path: Path) -> None:
    """As MATLAB does, compressed: the last axis counts the images."""
    name = struct.pack("<HH4s", 1, 1, b"x")
    size = COUNT * SIDE * SIDE * 3
    shape = struct.pack("<2I4i", 5, 16, 3, SIDE, SIDE, COUNT)
    head = struct.pack("<4I", 6, 8, 9, 0) + shape + name + struct.pack("<2I", 2, size)
    compress = zlib.compressobj(1)
    with path.open("wb") as file:
        file.write(b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x100) + b"IM" + bytes(8))
        file.write(compress.compress(struct.pack("<2I", 14, len(head) + size) + head))
        for some in blocks(np.uint8):
            file.write(compress.compress(some.tobytes()))
        file.write(compress.flush())
        length = file.tell() - 136
        file.seek(128)
        file.write(struct.pack("<2I", 15, length))


def save_csv(path: Path, separator: str = ",") -> None:
    """One digit per pixel. As floats, or copied once, the pixels are more than is allowed."""
    photos = random_crops(1000).reshape(1000, -1) // 26
    row = separator.join(map(str, range(photos.shape[1]))) if separator == "," else "pixels"
    text = "\n".join(separator.join(map(str, image)) for image in photos) + "\n"
    with path.open("w") as file:
        file.write(f"{row}\n")
        for _ in range(30):
            file.write(text)


def save_parquet(path: Path) -> None:
    """All rows in one group, as pandas writes a table, with 64 bits for each pixel."""
    names = [f"p{i}" for i in range(1024)]
    photos = random_crops(1000).reshape(-1, 1024).astype(np.int64)
    columns = [pa.array(np.tile(column, COUNT // 1000)) for column in photos.T]
    pq.write_table(pa.table(columns, names), path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("bytes.h5", partial(save_hdf5, kind=np.uint8)),
        ("floats.h5", partial(save_hdf5, kind=np.float32)),
        ("bytes.npz", partial(save_npz, kind=np.uint8)),
        ("floats.npz", partial(save_npz, kind=np.float32)),
        ("stored.npz", partial(save_npz, kind=np.uint8, method=zipfile.ZIP_STORED)),
        ("x.mat", save_mat),
        ("pixels.csv", save_csv),
        ("texts.csv", partial(save_csv, separator=" ")),
        ("x.parquet", save_parquet),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_and_tables_need_memory_for_a_part_of_them_only(tmp_path, name, save):
    save(tmp_path / name)
    measured = private_memory("-m", "ae_cli", "data", name, "--quiet", folder=tmp_path)
    assert measured - private_memory("-c", "import torch") <= ALLOWED


def test_training_on_photos_needs_little_memory(tmp_path):
    """A batch of 128 photos of 64 × 64 pixels: at most 600 MB more than torch itself."""
    np.save("photos.npy", random_crops(384))
    trained = peak_memory(
        *("-m", "ae_cli", "train", "--data", "photos.npy", "--epochs", "2", "--quiet"),
        *("--batch-size", "128", "--model", "conv"),
    )
    assert trained - peak_memory("-c", "import torch") <= 600e6


@pytest.mark.slow
def test_plotting_a_large_table_needs_little_memory(tmp_path):
    """Five million rows, of which the names alone take 85 MB: at most a gigabyte in all."""
    pa.csv.write_csv(make_table(5_000_000), tmp_path / "latents.csv")
    command = ("-m", "ae_cli", "plot3d", "latents.csv", "--n", "all", "--quiet")
    assert _measure(command, tmp_path)["memory"] <= 1e9
