"""Broken files of every kind that ae reads: commands succeed, or fail with one line that says why.

All tests here are marked ``slow``, because the guarded process takes seconds to start. The broken
files are the same in every run; set ``AE_HOSTILE_SEED=NUMBER`` to try others.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import pickle
import re
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import hostile
import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from conftest import idx_bytes
from hostile import Guard, Pairs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from ae_cli.analysis.scores import learn_normal
from ae_cli.config import DataConfig, Metrics, ModelConfig, TrainConfig
from ae_cli.data.images import DataSet
from ae_cli.data.mnist import FILES
from ae_cli.data.quiet import quiet_pillow
from ae_cli.models import build
from ae_cli.models.checkpoint import Checkpoint, save_checkpoint

pytestmark = pytest.mark.slow

CASES = 2000  # files of each kind
SEED = os.environ.get("AE_HOSTILE_SEED")

Seeds = Mapping[str, list[bytes]]


# ---- Intact files, to be broken ------------------------------------------------------------------


def _pixels(digits: DataSet, count: int = 12) -> np.ndarray:
    """Real digits, made small because pixels rarely matter here: uint8 (count, 7, 7)."""
    return digits.train.pixels[:count, 0, 2::4, 2::4].numpy()


def _checkpoint(digits: DataSet, path: Path) -> bytes:
    images = (len(digits.train), len(digits.test))
    classes = digits.train.classes
    model = build(ModelConfig(hidden=(4,), latent_dim=3), seed=0)
    save_checkpoint(
        Checkpoint(
            model,
            TrainConfig(),
            DataConfig("digits", None, *images, classes),
            Metrics(10, 240, 0.05, 0.05, 0.05, 1.5, (0.01, 0.05, 0.2)),
            normal=learn_normal(
                model, digits.train.head(20), digits.test.head(20), device=torch.device("cpu")
            ),
        ),
        path,
    )
    return path.read_bytes()


def _table(ending: str, columns: Mapping[str, np.ndarray], **options) -> bytes:
    content = io.BytesIO()
    if ending == ".npz":
        np.savez(content, **columns)
    elif ending == ".csv":
        pyarrow.csv.write_csv(pa.table(columns), content)
    else:
        pq.write_table(pa.table(columns), content, **options)
    return content.getvalue()


def _npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def _image(pixels: np.ndarray, kind: str, **options) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def _images(pixels: np.ndarray) -> list[bytes]:
    """Images in all formats, and in several variants where a format has them."""
    grey, second = pixels[:2]
    colour = np.stack([grey] * 3, axis=-1)
    clear = np.concatenate([colour, grey[..., None]], axis=-1)
    frames = {"save_all": True, "append_images": [Image.fromarray(second)]}
    return [
        _image(grey, "PNG"),
        _image(clear, "PNG"),
        _image(grey.astype(np.uint16) * 257, "PNG"),
        _image(grey, "JPEG"),
        _image(colour, "JPEG", progressive=True),
        _image(grey, "GIF", **frames),
        _image(grey, "BMP"),
        _image(clear, "BMP"),
        _image(colour, "WEBP", lossless=True),
        _image(clear, "WEBP", **frames),
        *[
            _image(colour, "TIFF", compression=compression)
            for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        ],
        _image(grey.astype(np.float32) / 255, "TIFF", **frames),
    ]


@pytest.fixture(scope="module")
def seeds(digits: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    """Intact files of each kind."""
    pixels, labels = _pixels(digits), digits.train.labels[:12].numpy()
    large = digits.train.pixels[:12, 0].numpy()
    flat = {f"p{i}": column for i, column in enumerate(pixels.reshape(12, -1).T)}
    latents = {f"z{i}": np.linspace(-i, i, 12, dtype=np.float32) for i in (1, 2, 3)}
    table = {"index": np.arange(12), "split": np.array(["train", "test"] * 6), "label": labels}
    table |= {**latents, "error": np.full(12, 0.05, np.float32)}
    compressed = io.BytesIO()
    np.savez_compressed(compressed, images=pixels, labels=labels)
    return {
        "checkpoint": [_checkpoint(digits, tmp_path_factory.mktemp("seed") / "ae.safetensors")],
        "latents.csv": [_table(".csv", table)],
        "latents.npz": [_table(".npz", table)],
        "latents.parquet": [_table(".parquet", table), _table(".parquet", latents)],
        "data.npy": [_npy(pixels)],
        "data.npz": [_table(".npz", {"x": pixels, "y": labels}), compressed.getvalue()],
        "data.csv": [_table(".csv", {"label": labels, **flat}), _table(".csv", flat)[-800:]],
        "data.parquet": [
            _table(".parquet", {"label": labels.astype(str), **flat}),
            _table(".parquet", {"p1": pixels[:, 3, 3]}, compression="gzip"),
        ],
        "data.idx": [idx_bytes(pixels), gzip.compress(idx_bytes(pixels))],
        "kmnist.idx": [idx_bytes(large), gzip.compress(idx_bytes(large))],
        "deep.npy": [_npy(pixels.astype(kind) * 257) for kind in ("<u2", ">u2")],
        "data_batch_1": [pickle.dumps({b"data": pixels, b"labels": labels.tolist()}, protocol=2)],
        "pictures": _images(digits.train.pixels[:2, 0].numpy()),
        **_other_images(digits.train.pixels[0, 0].numpy()),
        "stack.tif": _stacks(pixels),
        **_archives(digits),
        **_seeds_of_sources(pixels, labels),
    }


def _other_images(grey: np.ndarray) -> dict[str, list[bytes]]:
    """Images in formats that are told by their endings, too."""
    both = (grey, np.stack([grey, 255 - grey, grey // 2], axis=-1))
    plain = f"P2\n# a comment\n28 28\n255\n{' '.join(map(str, grey.ravel()))}\n".encode()
    return {
        "broken.ppm": [*(_image(image, "PPM") for image in both), plain],
        "broken.avif": [_image(image, "AVIF") for image in both],
        "broken.jp2": [_image(image, "JPEG2000") for image in both],
        "broken.tga": [
            *(_image(image, "TGA") for image in both),
            *(_image(image, "TGA", compression="tga_rle") for image in both),
        ],
    }


def _stacks(pixels: np.ndarray) -> list[bytes]:
    """Image files with several pages."""
    frames = {"save_all": True, "append_images": [Image.fromarray(image) for image in pixels[1:]]}
    return [
        _image(pixels[0], "TIFF", **frames),
        _image(pixels[0], "TIFF", compression="tiff_lzw", **frames),
        _image(pixels[0], "GIF", **frames),
        _image(pixels[0], "WEBP", **frames),
        _image(pixels[0], "PNG", **frames),
        _image(pixels[0], "AVIF", **frames),
    ]


def _seeds_of_sources(pixels: np.ndarray, labels: np.ndarray) -> dict[str, list[bytes]]:
    """Intact tables, and files of MATLAB and in HDF5's format."""
    import h5py
    import scipy.io

    texts = [" ".join(map(str, image.ravel())) for image in pixels]
    uses = ["Training"] * 8 + ["PublicTest"] * 4
    names = [f"{i}.png" for i in range(12)]
    listed = {"file_name": names, "label": labels.astype(str), "age": np.arange(12) / 2}
    encoded = [
        {"bytes": _image(image, "PNG"), "path": f"{i}.png"} for i, image in enumerate(pixels)
    ]
    features = {"label": {"names": [str(i) for i in range(10)], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"image": encoded, "label": labels, "split": ["train", "test"] * 6})
    whole = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), whole, row_group_size=5)
    matlab = []
    for compressed in (False, True):
        content = io.BytesIO()
        arrays = {"X": pixels.transpose(1, 2, 0), "y": labels[:, None], "note": "words"}
        scipy.io.savemat(content, arrays, do_compression=compressed)
        matlab.append(content.getvalue())
    hdf5 = []
    for options in ({}, {"chunks": (5, 7, 7), "compression": "gzip"}):
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            file.create_dataset("images", data=pixels, **options)
            file["labels"] = labels
            file["group/note"] = "words"
        hdf5.append(content.getvalue())
    rows = [
        dict(zip(listed, map(str, row), strict=True)) for row in zip(*listed.values(), strict=True)
    ]
    return {
        "texts.csv": [_table(".csv", {"emotion": labels, "pixels": texts, "Usage": uses})],
        "texts.parquet": [_table(".parquet", {"emotion": labels, "pixels": texts, "Usage": uses})],
        "listed.csv": [
            _table(".csv", listed),
            _table(".csv", listed).replace(b",", b";").replace(b'"', b""),
        ],
        "listed.jsonl": ["\n".join(map(json.dumps, rows)).encode()],
        "encoded.parquet": [whole.getvalue()],
        "data.mat": matlab,
        "data.h5": hdf5,
    }


def _archives(digits: DataSet) -> dict[str, list]:
    """Intact archives, and the files in each."""
    files, samples = _members(digits), _members(digits, shard=True)
    return {
        "data.zip": [hostile.npz(files, method=zipfile.ZIP_DEFLATED), files],
        "data.tar": [hostile.tar(files), files],
        "data.tar.gz": [gzip.compress(hostile.tar(files)), files],
        "shard.tar": [hostile.tar(samples), samples],
    }


def _members(digits: DataSet, *, shard: bool = False) -> list[tuple[str, bytes]]:
    """The files of an archive, or of a shard of a WebDataset."""
    files = []
    for i, image in enumerate(_pixels(digits)):
        content = _image(image, "PNG" if i % 2 else "JPEG")
        name = f"{i:06}" if shard else f"set/{i % 3}/{i}"
        files.append((f"{name}.{'png' if i % 2 else 'jpg'}", content))
        if shard:
            files.append((f"{name}.cls", str(i % 3).encode()))
            files.append((f"{name}.json", json.dumps({"width": 7, "text": "é"}).encode()))
    return files


# ---- What reads them -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A kind of file, and the commands that read it.

    Attributes:
        name: Its name in this test.
        path: Where to put the broken file in the working folder.
        files: Makes broken files from the intact ones.
        commands: What a user types. The first is tried most often, because it is quick.
        codes: The exit codes with which the commands may refuse the file.
        without: Files to remove before each command.
        made: Whether the intact file is one that ae makes in the working folder.
    """

    name: str
    path: str
    files: Callable[[Seeds], st.SearchStrategy[bytes]]
    commands: tuple[str, ...]
    codes: tuple[int, ...] = (3,)
    without: tuple[str, ...] = ()
    made: bool = False


def _latents(ending: str, files: Callable[[Seeds], st.SearchStrategy[bytes]]) -> Target:
    path = f"latents{ending}"
    decode = f"decode -q {path} --out out/a.npy --checkpoint good.safetensors"
    return Target(path, path, files, (decode, f"plot3d -q {path} --out out/a.png"))


def _data(path: str, files: Callable[[Seeds], st.SearchStrategy[bytes]]) -> Target:
    return Target(path, path, files, (f"data -q {path}",))


LATENT_NAMES = ("z2", "index", "label", "error")
TARGETS = [
    Target(
        "checkpoint",
        "broken.safetensors",
        lambda seeds: hostile.bad_safetensors(seeds["checkpoint"]),
        ("info broken.safetensors",),
        (4,),
    ),
    Target(
        "checkpoint in use",
        "broken.safetensors",
        lambda seeds: hostile.bad_safetensors(seeds["checkpoint"]),
        (
            "decode -q good.csv --checkpoint broken.safetensors --out out/a.npy",
            "reconstruct -q --n 1 --checkpoint broken.safetensors --out out/a.png",
        ),
        (3, 4),  # 3: an intact checkpoint, but for other images
    ),
    _latents(".csv", lambda seeds: hostile.bad_csv(seeds["latents.csv"])),
    _latents(".parquet", lambda seeds: hostile.bad_parquet(seeds["latents.parquet"], LATENT_NAMES)),
    _latents(".npz", lambda seeds: hostile.bad_npz(seeds["latents.npz"])),
    _data("data.npy", lambda seeds: hostile.bad_npy_file(seeds["data.npy"])),
    _data("data.npz", lambda seeds: hostile.bad_npz(seeds["data.npz"])),
    _data("data.csv", lambda seeds: hostile.bad_csv(seeds["data.csv"])),
    _data("data.parquet", lambda seeds: hostile.bad_parquet(seeds["data.parquet"], ("p", "y"))),
    _data("data.idx", lambda seeds: hostile.bad_idx(seeds["data.idx"])),
    _data("data.csv.gz", lambda s: hostile.bad_compressed(hostile.bad_csv(s["data.csv"]))),
    _data("data.csv.zst", lambda s: hostile.bad_compressed(hostile.bad_csv(s["data.csv"]), "zstd")),
    _data("deep.npy", lambda seeds: hostile.bad_npy_file(seeds["deep.npy"])),
    _data("texts.csv", lambda seeds: hostile.bad_csv(seeds["texts.csv"])),
    _data("texts.parquet", lambda s: hostile.bad_parquet(s["texts.parquet"], ("pixels", "y"))),
    _data("images/listed.csv", lambda seeds: hostile.bad_csv(seeds["listed.csv"])),
    _data("images/listed.jsonl", lambda seeds: hostile.bad_lines(seeds["listed.jsonl"])),
    Target(
        "labels",
        "labels.csv",
        lambda seeds: hostile.bad_csv(seeds["listed.csv"]),
        ("data -q images --labels labels.csv",),
    ),
    Target(
        "metadata",
        "images/metadata.jsonl",
        lambda seeds: hostile.bad_lines(seeds["listed.jsonl"]),
        ("data -q images",),
    ),
    _data("encoded.parquet", lambda s: hostile.bad_parquet(s["encoded.parquet"], ("image", "y"))),
    *[
        _data(
            path,
            lambda seeds, path=path, kind=kind: hostile.bad_archive(*seeds[path], kind),
        )
        for path, kind in (
            ("data.zip", "zip"),
            ("data.tar", "tar"),
            ("data.tar.gz", "tar.gz"),
            ("shard.tar", "tar"),
        )
    ],
    _data("data.mat", lambda s: hostile.damaged(s["data.mat"], bytes(range(124, 220, 4)))),
    _data("data.h5", lambda s: hostile.damaged(s["data.h5"], bytes(range(8, 100, 4)))),
    _data("stack.tif", lambda seeds: hostile.bad_images(seeds["stack.tif"])),
    Target(
        "images",
        "images/broken.png",
        lambda s: hostile.bad_images(s["pictures"]),
        ("data -q images",),
    ),
    *[
        Target(
            name,
            f"images/{name}",
            lambda s, name=name: hostile.damaged(s[name], bytes(range(2, 60))),
            ("data -q images",),
        )
        for name in ("broken.ppm", "broken.avif", "broken.jp2", "broken.tga")
    ],
    Target(
        "pickle",
        "cifar/data_batch_1",
        lambda s: hostile.damaged(s["data_batch_1"]),
        ("data -q cifar", "data -q cifar/data_batch_1"),
    ),
    *[
        Target(
            f"cached {name}",
            path,
            lambda s, name=name: hostile.bad_safetensors(s[f"cached {name}"], checksum=True),
            (f"data -q {name}",),
            (),  # a cache file can always be rebuilt
            made=True,
        )
        for name, path in (
            ("mnist", "data/MNIST/decoded.safetensors"),
            ("kmnist", "data/KMNIST/decoded.safetensors"),
            ("images", "data/images/*.safetensors"),
        )
    ],
    Target(
        "resume",
        "broken.resume.safetensors",
        lambda seeds: hostile.bad_safetensors(seeds["resume"]),
        (
            "train -q --resume --checkpoint broken.safetensors --epochs 3 --out out/a.safetensors",
            "train -q --resume --checkpoint broken.safetensors --out out/a.safetensors",
        ),
        (2, 3, 4, 5),  # it may not fit --epochs or the images, or the run may diverge
        made=True,
    ),
    Target(
        "unpacked kmnist",
        "data/KMNIST/raw/t10k-images-idx3-ubyte",
        lambda seeds: hostile.bad_idx(seeds["kmnist.idx"]),
        ("data -q kmnist",),
        without=(
            "data/KMNIST/decoded.safetensors",
            "data/KMNIST/raw/t10k-images-idx3-ubyte.gz",
        ),
    ),
]


@pytest.fixture(scope="module")
def whole(digits: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with intact files: a checkpoint, a table, images, and small known sets."""
    folder = tmp_path_factory.mktemp("whole")
    for name in ("out", "data", "images", "cifar", "data/MNIST/raw", "data/KMNIST/raw"):
        (folder / name).mkdir(parents=True)
    _checkpoint(digits, folder / "good.safetensors")
    (folder / "good.csv").write_text("z1,z2,z3\n1,2,3\n")
    pixels, labels = digits.train.pixels[:12, 0].numpy(), digits.train.labels[:12].numpy()
    np.savez(folder / "pixels.npz", images=pixels)
    for i, image in enumerate(pixels):
        (folder / f"images/{i}.png").write_bytes(_image(image[::4, ::4], "PNG"))
    for file in FILES.values():
        array = pixels if "idx3" in file.name else labels.astype(np.uint8)
        for name in ("MNIST", "KMNIST"):
            published = folder / "data" / name / "raw" / file.name
            published.write_bytes(gzip.compress(idx_bytes(array)))
    return folder


@pytest.fixture(scope="module")
def guard(whole: Path) -> Iterator[Guard]:
    guard = Guard(published=whole / "data")
    yield guard
    guard.close()


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    """A copy of the working folder with intact files."""
    return Path(shutil.copytree(whole, tmp_path / "place"))


def prepare(guard: Guard, place: Path) -> None:
    """Cache each set, and train a model whose run can be resumed."""
    for source in ("mnist", "kmnist", "images"):
        assert guard.run(place, "data", "-q", source).faults(()) == []
    train = (
        "train -q --preset tutorial --data pixels.npz --epochs 2 --batch-size 4 --hidden 4 "
        "--out out/a.safetensors"
    )
    assert guard.run(place, *train.split()).faults(()) == []
    (place / "out/a.resume.safetensors").rename(place / "broken.resume.safetensors")
    (place / "out/a.safetensors").unlink()


def find_largest(place: Path, pattern: str) -> Path:
    """Of a folder's two files in the cache, its pixels, not what a sample of it showed."""
    return max(place.glob(pattern), key=lambda path: path.stat().st_size)


def break_files(target: Target, seeds: Seeds, guard: Guard, place: Path) -> None:
    """Try broken files of one kind.

    Raises:
        AssertionError: A command misbehaved. The file that caused it is left in place.
    """
    path = place / target.path
    if target.made:
        prepare(guard, place)
        path = find_largest(place, target.path)
        seeds = {**seeds, target.name: [path.read_bytes()]}
    first, *others = target.commands
    commands = st.sampled_from([first] * 100 + others)

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=SEED is None,
        phases=[Phase.generate],  # shrinking a failing file would take minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(target.files(seeds), commands)
    def attempt(content: bytes, command: str) -> None:
        for name in target.without:
            (place / name).unlink(missing_ok=True)
        path.write_bytes(content)
        outcome = guard.run(place, *command.split())
        faults = outcome.faults(target.codes)
        assert not faults, f"{path}, {len(content)} bytes, {faults}\n{outcome}"
        for file in (place / "out").iterdir():
            file.unlink()

    if SEED is not None:
        attempt = hypothesis.seed(int(SEED))(attempt)
    attempt()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name.replace(" ", "-"))
def test_broken_files_succeed_or_fail_with_one_line(target, seeds, guard, place):
    break_files(target, seeds, guard, place)


# ---- Known cases: each once caused a traceback, a hang, or gigabytes of memory use ---------------


def _zeros(**arrays: tuple[str, tuple[int, ...]]) -> bytes:
    """An NPZ file of a few kilobytes with arrays of zeros of these types and shapes."""
    members = []
    for name, (kind, shape) in arrays.items():
        size = np.dtype(kind).itemsize * math.prod(shape)
        members.append((f"{name}.npy", hostile.npy(kind, shape, bytes(min(size, 2 * 10**8)))))
    return hostile.npz(members, method=zipfile.ZIP_DEFLATED)


def _parquet(**columns: pa.Array | pa.ChunkedArray | np.ndarray) -> bytes:
    return _table(".parquet", columns)


def _repeated(value: str | bytes, count: int) -> pa.DictionaryArray:
    """A column of `count` equal rows, whose value is stored only once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value]))


def _header(text: str) -> bytes:
    """An NPY file with this header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _wide(names: str, count: int) -> bytes:
    """A CSV file with these columns and `count` more."""
    more = ",".join(f"p{i}" for i in range(count))
    return f"{names},{more}\n{','.join(['1'] * (count + names.count(',') + 1))}\n".encode()


def _damaged_lzma() -> bytes:
    content = bytearray(hostile.npz([("z1.npy", bytes(range(256)))], method=zipfile.ZIP_LZMA))
    content[60:80] = bytes(20)
    return bytes(content)


Z = {f"z{i}": np.zeros(10**5, np.float32) for i in (1, 2, 3)}
Z_ZIPPED = {f"z{i}": ("<f4", (12,)) for i in (1, 2, 3)}
LATENTS = "decode -q {} --n 5 --checkpoint good.safetensors --out out/a.npy"
DATA = "data -q {}"
TOO_LARGE = r"would take [\d,]+ MB of memory, more than 100 times its size"
UNREADABLE = "cannot be read as "

FOUND: dict[str, tuple[str, Callable[[], bytes], str, str]] = {
    "column name that is no text": ("a.csv", lambda: b"z1,z\x80\n1,2\n", LATENTS, UNREADABLE),
    "long label among short ones": (
        "a.csv",
        lambda: b"z1,z2,z3,label\n1,2,3," + b"x" * 10**6 + b"\n" + b"1,2,3,a\n" * 10**4,
        LATENTS,
        TOO_LARGE,
    ),
    "long label of an image": (
        "a.csv",
        lambda: b"p,label\n1," + b"x" * 10**6 + b"\n" + b"1,a\n" * 10**4,
        DATA,
        TOO_LARGE,
    ),
    "wide table": ("a.csv", lambda: _wide("z1,z2,z3", 10**5), LATENTS, TOO_LARGE),
    "wide table of pixels": ("a.csv", lambda: _wide("p", 10**6), DATA, TOO_LARGE),
    "a member that is no array": ("a.npz", lambda: hostile.npz([("z1.npy", b"")]), LATENTS, ""),
    "a header without end": (
        "a.npz",
        lambda: hostile.npz([("z1.npy", _header("{'descr': '<f4', 'shape': (("))]),
        LATENTS,
        UNREADABLE,
    ),
    "a deep header": (
        "a.npz",
        lambda: hostile.npz([("z1.npy", _header("-" * 9000))]),
        LATENTS,
        UNREADABLE,
    ),
    "a size below zero": ("a.npy", lambda: hostile.npy("<U0", (-1,), bytes(99)), DATA, UNREADABLE),
    "damaged LZMA": ("a.npz", _damaged_lzma, LATENTS, UNREADABLE),
    "an array beyond memory": (
        "a.npz",
        lambda: hostile.npz([("z1.npy", hostile.npy("<f8", (2**45,), b""))]),
        LATENTS,
        UNREADABLE,
    ),
    "texts without room": (
        "a.npz",
        lambda: _zeros(**Z_ZIPPED, label=("<U0", (2**40,))),
        LATENTS,
        "not columns of the same",
    ),
    "arrays that are all zeros": (
        "a.npz",
        lambda: _zeros(images=("|u1", (10**5, 28, 28))),
        DATA,
        TOO_LARGE,
    ),
    "many images of one pixel": (
        "a.npz",
        lambda: _zeros(images=("|u1", (2 * 10**7, 1, 1))),
        DATA,
        TOO_LARGE,
    ),
    "many cells": ("a.npz", lambda: _zeros(z1=("|b1", (6 * 10**7,))), LATENTS, TOO_LARGE),
    "gzip of zeros": (
        "a.idx.gz",
        lambda: gzip.compress(
            bytes([0, 0, 8, 3]) + struct.pack(">3I", 10**6, 10, 20) + bytes(2 * 10**8)
        ),
        DATA,
        "it unpacks to more than a hundred times its size",
    ),
    "many equal rows": (
        "a.parquet",
        lambda: _parquet(p=np.zeros(2 * 10**7, np.uint8)),
        DATA,
        TOO_LARGE,
    ),
    "many equal labels": (
        "a.parquet",
        lambda: _parquet(p=np.zeros(10**5, np.uint8), label=_repeated("x" * 10**5, 10**5)),
        DATA,
        TOO_LARGE,
    ),
    "many equal bytes": (
        "a.parquet",
        lambda: _parquet(p=np.zeros(10**5, np.uint8), label=_repeated(b"x" * 10**5, 10**5)),
        DATA,
        TOO_LARGE,
    ),
    "many equal latents": (
        "a.parquet",
        lambda: _parquet(**{f"z{i}": np.zeros(10**7) for i in (1, 2, 3)}),
        LATENTS,
        TOO_LARGE,
    ),
    "numbers as many long texts": (
        "a.parquet",
        lambda: _parquet(z1=Z["z1"], z2=Z["z2"], z3=_repeated("z" * 10**5, 10**5)),
        LATENTS,
        "where a number should be",
    ),
    "many equal lists": (
        "a.parquet",
        lambda: _parquet(
            **Z, label=pa.FixedSizeListArray.from_arrays(np.zeros(2 * 10**7, np.int8), 200)
        ),
        LATENTS,
        "has values of type fixed_size_list",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_known_cases_are_refused(name, guard, place):
    file, content, command, message = FOUND[name]
    (place / file).write_bytes(content())
    outcome = guard.run(place, *command.format(file).split())
    assert (outcome.code, outcome.faults((3,))) == (3, []), outcome
    assert re.search(message, outcome.stderr), outcome.stderr


def _blank(mode: str, size: tuple[int, int], kind: str, **options) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size).save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (lambda: _blank("L", (1, 49 * 10**6), "PNG"), "--fit stretch", "too many"),
        (lambda: _blank("RGB", (13_000, 13_000), "JPEG", progressive=True), "", "too many"),
        (lambda: _blank("RGBA", (16_000, 3000), "WEBP", lossless=True, quality=0), "", "too many"),
        (lambda: _blank("RGBA", (7000, 7000), "PNG"), "", ""),
        (lambda: _blank("I;16", (7000, 7000), "PNG"), "--color", ""),
        (lambda: _blank("RGB", (49, 10**6), "PNG"), "--fit stretch --image-size 512 --color", ""),
    ],
    ids=["tower", "progressive JPEG", "WebP", "transparent", "deep", "stretched tower"],
)
def test_large_images_need_little_memory(content, options, message, guard, place, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    large = content()
    (place / "large").mkdir()
    for i in range(3):
        (place / f"large/{i}.png").write_bytes(large)
    outcome = guard.run(place, *f"data -q large {options}".split())
    assert (outcome.code, outcome.faults((3,))) == (3 if message else 0, []), outcome
    assert message in outcome.stderr


def test_libraries_print_nothing_about_broken_images(guard, place, digits):
    colour = np.stack([digits.train.pixels[0, 0].numpy()] * 3, axis=-1)
    for kind in ("tiff_adobe_deflate", "tiff_lzw", "packbits"):
        content = bytearray(_image(colour, "TIFF", compression=kind))
        content[20:60] = bytes(40)
        (place / f"images/{kind}.tif").write_bytes(content)
    outcome = guard.run(place, "data", "-q", "images")
    assert (outcome.code, outcome.noise) == (3, "")
    assert len(outcome.stderr.splitlines()) == 1


def test_python_output_is_shown_while_libraries_are_quiet(capfd):
    with quiet_pillow():
        os.write(2, b"libtiff says\n")
        print("ae says", file=sys.stderr)
    os.write(2, b"the end\n")
    assert capfd.readouterr().err == "ae says\nthe end\n"


def _recompute(tensors: dict[str, tuple[str, list[int], bytes]], metadata: Pairs) -> bytes:
    """A cache file with a correct checksum."""
    crc = 0
    for _, (_, _, content) in sorted(tensors.items()):
        crc = zlib.crc32(content, crc)
    right = [(name, f"{crc:08x}" if name == "crc32" else value) for name, value in metadata]
    return hostile.write_safetensors(tensors, Pairs(right))


def _without(name: str) -> Callable[[dict], None]:
    return lambda tensors: tensors.pop(name, None)


def _with(name: str, kind: str, shape: list[int], content: bytes) -> Callable[[dict], None]:
    return lambda tensors: tensors.update({name: (kind, shape, content)})


FAILURES = b'{"0.png": ["a"]}'


@pytest.mark.parametrize(
    ("source", "path", "change"),
    [
        ("mnist", "data/MNIST/decoded.safetensors", _without("test_images")),
        ("mnist", "data/MNIST/decoded.safetensors", _with("train_labels", "U8", [2], b"12")),
        ("mnist", "data/MNIST/decoded.safetensors", _with("x", "BF16", [1], b"12")),
        ("kmnist", "data/KMNIST/decoded.safetensors", _without("train_labels")),
        (
            "kmnist",
            "data/KMNIST/decoded.safetensors",
            _with("train_labels", "I64", [12], b"\x7f" * 96),
        ),
        (
            "kmnist",
            "data/KMNIST/decoded.safetensors",
            _with("test_pixels", "BOOL", [12, 1, 28, 28], bytes(12 * 784)),
        ),
        ("images", "data/images/*.safetensors", _without("failures")),
        ("images", "data/images/*.safetensors", _without("pixels")),
        ("images", "data/images/*.safetensors", _with("failures", "U8", [9000], b"[" * 9000)),
        (
            "images",
            "data/images/*.safetensors",
            _with("failures", "U8", [len(FAILURES)], FAILURES),
        ),
        ("images", "data/images/*.safetensors", _with("pixels", "U8", [784], bytes(784))),
    ],
)
def test_inconsistent_cached_pixels_are_rebuilt(source, path, change, guard, place):
    """Even though their checksum is correct."""
    prepare(guard, place)
    kept = find_largest(place, path)
    whole, command = safetensors.torch.load(kept.read_bytes()), ("data", "-q", "--json", source)
    expected = guard.run(place, *command)
    header, body = hostile.split_safetensors(kept.read_bytes())
    (_, metadata), *entries = header
    tensors = {}
    for name, value in entries:
        entry = dict(value)
        tensors[name] = (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
    change(tensors)
    kept.write_bytes(_recompute(tensors, metadata))
    outcome = guard.run(place, *command)
    assert (outcome.code, outcome.faults(())) == (0, []), outcome
    assert outcome.stdout == expected.stdout
    again = safetensors.torch.load(kept.read_bytes())
    assert again.keys() == dict(entries).keys()
    assert all(torch.equal(again[name], value) for name, value in whole.items())
