"""Shared fixtures and helpers: real digits, a small trained model, and a way to run commands.

Slow imports are made inside the functions that need them, because the pytest-xdist process that
only distributes the tests reads this file too.
"""

from __future__ import annotations

import os

# Each pytest-xdist worker has a core to itself.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import functools
import operator
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from ae_cli.cli import app

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from ae_cli.data.images import DataSet, Images

# Begins a command that trains the tutorial's small model, in tests that are not about the recipe
TUTORIAL = ("train", "--preset", "tutorial")

# A shell without job control starts commands in the background with this signal ignored, and the
# commands that tests start and interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REFUSED = "http://127.0.0.1:9/"  # nothing listens on the discard port

Run = Callable[..., Result]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of pages in one process, so that the browser starts once."""
    for item in items:
        if "_browser" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(autouse=True)
def _isolated(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give each test an empty working folder and data folder, no display and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AE_DATA_DIR", str(tmp_path_factory.mktemp("data")))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    from torchvision import datasets as known

    for kind in (known.MNIST, known.FashionMNIST, known.KMNIST):
        monkeypatch.setattr(kind, "mirrors", [REFUSED])
    monkeypatch.setattr(known.EMNIST, "url", REFUSED + "gzip.zip")
    for split, files in known.QMNIST.resources.items():
        refused = [(REFUSED + url.rpartition("/")[2], md5) for url, md5 in files]
        monkeypatch.setitem(known.QMNIST.resources, split, refused)
    for split, (_, name, md5) in known.USPS.split_list.items():
        monkeypatch.setitem(known.USPS.split_list, split, [REFUSED + name, name, md5])


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="ae")


@pytest.fixture
def run() -> Run:
    """Run an ae command in this process: ``run("train", "--epochs", "1")``."""
    return invoke


def start(*arguments: str, **options) -> subprocess.Popen:
    """Start an ae command as a separate process."""
    return subprocess.Popen(
        [sys.executable, "-m", "ae_cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def error_line(result: Result, code: int) -> str:
    """Return the error line of a command that failed as expected; otherwise fail the test."""
    lines = result.stderr.splitlines()
    tag = "stopped: " if code in (130, 143) else "error: "
    errors = [line for line in lines if line.startswith(tag)]
    assert (result.exit_code, len(errors)) == (code, 1), result.output
    assert errors[0] == lines[-1]
    assert "; " in errors[0], "an error must say what to do"
    assert "bug in ae" not in errors[0]
    assert result.stdout == ""
    return errors[0]


@pytest.fixture(scope="session", autouse=True)
def _digits_are_read_once() -> Iterator[None]:
    """Load the digits only once: nothing modifies them, so all commands can share them."""
    from ae_cli.data import digits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "load_digits", functools.cache(digits.load_digits))
        yield


@pytest.fixture(scope="session")
def digits() -> DataSet:
    from ae_cli.data.load import load

    return load("digits")


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on digits for ten epochs, with its table of latents in the same folder."""
    folder = tmp_path_factory.mktemp("trained")
    checkpoint = folder / "ae.safetensors"
    for arguments in (
        (*TUTORIAL, "--data", "digits", "--out", checkpoint),
        ("embed", "--checkpoint", checkpoint, "--out", folder / "latents.csv"),
    ):
        assert invoke(*arguments).exit_code == 0
    return folder


@pytest.fixture
def checkpoint(_trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained model in the working folder, under its default name."""
    return Path(shutil.copy(_trained / "ae.safetensors", tmp_path))


@pytest.fixture
def table(_trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained model's table of latents in the working folder."""
    return Path(shutil.copy(_trained / "latents.csv", tmp_path))


def write_images(
    images: Images,
    folder: Path,
    *,
    count: int | None = None,
    labelled: bool = True,
    ending: str = ".png",
    size: tuple[int, int] = (28, 28),
) -> None:
    """Write images of this size (width, height) as ``LABEL/NUMBER.png`` or ``NUMBER.png``."""
    from PIL import Image

    for i, pixels in enumerate(images.pixels[:count]):
        parent = folder / images.classes[images.labels[i]] if labelled else folder
        parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(pixels[0].numpy())
        if size != picture.size:
            picture = picture.resize(size)
        picture.save(parent / f"{i:04}{ending}")


def write_inspection_set(digits: DataSet, folder: Path, *, defects: int = 7) -> None:
    """Write a set as for visual inspection: ones are good; each defect has a mask of its ink.

    Args:
        digits: scikit-learn's digits.
        folder: The folder to make.
        defects: The digit that stands for defects.
    """
    from PIL import Image

    numbers = digits.train.labels.numpy()
    good, bad = (digits.train.select(np.flatnonzero(numbers == k)) for k in (1, defects))
    write_images(good.select(np.arange(20, len(good))), folder / "train" / "good", labelled=False)
    write_images(good, folder / "test" / "good", count=20, labelled=False)
    write_images(bad, folder / "test" / "cracked", count=40, labelled=False)
    masks = folder / "ground_truth" / "cracked"
    masks.mkdir(parents=True)
    for i, pixels in enumerate(bad.pixels[:40, 0].numpy()):
        Image.fromarray(255 * (pixels > 128).astype(np.uint8)).save(masks / f"{i:04}_mask.png")


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file with this array's values, in the IDX type that matches its dtype."""
    code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[array.dtype.str[1:]]
    shape = np.array(array.shape, ">u4").tobytes()
    values = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return bytes([0, 0, code, array.ndim]) + shape + values


def spoil(folder: Path) -> None:
    """Overwrite a folder's .jpg files with zeros, but keep their sizes and times."""
    for path in folder.rglob("*.jpg"):
        state = path.stat()
        path.write_bytes(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@contextmanager
def full_disk() -> Iterator[None]:
    """Limit files to 1000 bytes while the block runs."""
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old_limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)


def rewrite(
    path: Path,
    *,
    metadata: Callable[[dict], None] = lambda metadata: None,
    tensors: Callable[[dict], None] = lambda tensors: None,
) -> None:
    """Change the metadata or tensors of a checkpoint in place."""
    import safetensors.torch

    with safetensors.safe_open(path, "pt") as file:
        changed = file.metadata()
    weights = {key: value.clone() for key, value in safetensors.torch.load_file(path).items()}
    metadata(changed)
    tensors(weights)
    path.write_bytes(safetensors.torch.save(weights, changed))


@pytest.fixture(scope="session")
def _browser() -> Iterator[Browser]:
    from browser import launch

    yield from launch()


@pytest.fixture
def browser(_browser: Browser) -> Iterator[Browser]:
    """A headless Chromium. Pages that a test opens with `browser.visit` are closed after it."""
    before = _browser.contexts
    yield _browser
    for context in _browser.contexts:
        if context not in before:
            context.close()


@pytest.fixture(scope="session")
def mnist_raw() -> Path:
    """The folder with the four MNIST files as published."""
    folder = os.environ.get("AE_TEST_MNIST")
    if not folder:
        pytest.skip("AE_TEST_MNIST does not name a folder with MNIST/raw")
    return Path(folder) / "MNIST" / "raw"


@pytest.fixture(scope="session")
def mnist_dir(mnist_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary data folder with a copy of MNIST."""
    folder = tmp_path_factory.mktemp("mnist")
    shutil.copytree(mnist_raw, folder / "MNIST" / "raw", copy_function=shutil.copyfile)
    yield folder
    shutil.rmtree(folder)


def contrast(color: str, other: str) -> float:
    """The contrast of two colours, each #rrggbb, from 1 to 21, as in WCAG 2."""

    def luminance(text: str) -> float:
        levels = (int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))
        linear = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in levels)
        return sum(map(operator.mul, (0.2126, 0.7152, 0.0722), linear))

    dark, light = sorted((luminance(color), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
