from __future__ import annotations

import gzip
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.datasets import load_digits

from ae_cli.data.images import Images, scale
from ae_cli.data.load import load
from ae_cli.data.mnist import FILES
from ae_cli.data.store import PixelStore
from ae_cli.errors import AeWarning, DataError


def test_digits_come_from_scikit_learn(digits):
    assert digits.source == "digits"
    assert (len(digits.train), len(digits.test)) == (1500, 297)
    assert digits.train.shape == digits.test.shape == (1, 28, 28)
    assert digits.train.pixels.dtype == torch.uint8
    assert digits.train.classes == tuple("0123456789")
    original = load_digits()
    labels = torch.cat([digits.train.labels, digits.test.labels])
    assert labels.bincount().tolist() == np.bincount(original.target).tolist()
    # Apart from edge effects, enlarging keeps an image's mean brightness, so the means agree.
    means = torch.cat([digits.train.pixels, digits.test.pixels]).float().mean((1, 2, 3))
    expected = torch.from_numpy(original.images).float().mean((1, 2)) * (255 / 16)
    assert (means.sort().values - expected.sort().values).abs().max() < 5


def test_digits_are_always_split_the_same_way(digits):
    again = load("digits")
    assert torch.equal(again.train.pixels, digits.train.pixels)
    assert digits.test.labels[:10].tolist() == [2, 2, 9, 8, 8, 3, 6, 0, 4, 4]


def test_scaled_pixels_go_from_zero_to_one():
    pixels = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    scaled = scale(pixels)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled, torch.tensor([[0, 0.2, 1]]))
    assert pixels.tolist() == [[0, 51, 255]]


def test_batches_contain_all_images_in_order(digits):
    batches = list(digits.train.batches())
    assert [len(batch) for batch in batches] == [1000, 500]
    assert torch.equal(torch.cat(batches), scale(digits.train.pixels))


@pytest.mark.parametrize(("side", "size"), [(8, 1000), (64, 256), (200, 32)])
def test_large_images_come_in_small_batches(side, size):
    images = Images(PixelStore(torch.zeros(1010, 1, side, side, dtype=torch.uint8)))
    assert len(next(images.batches())) == size


def test_select_keeps_the_name_and_label_of_each_image(digits):
    images = Images(
        PixelStore(digits.test.pixels),
        labels=digits.test.labels,
        names=tuple(f"{i}.png" for i in range(len(digits.test))),
        classes=digits.test.classes,
    )
    selected = images.select(np.array([7, 3, 3]))
    assert selected.names == ("7.png", "3.png", "3.png")
    assert torch.equal(selected.pixels[1], images.pixels[3])
    assert selected.labels.tolist() == images.labels[[7, 3, 3]].tolist()


def test_label_values_are_names_or_numbers(digits):
    pixels = PixelStore(digits.test.pixels[:3])
    labels = torch.tensor([1, 0, 1])
    assert Images(pixels).label_values() is None
    assert Images(pixels, labels, classes=("0", "1")).label_values().tolist() == [1, 0, 1]
    assert Images(pixels, labels, classes=("cat", "dog")).label_values().tolist() == [
        "dog",
        "cat",
        "dog",
    ]
    assert Images(pixels, labels, classes=("1", "2")).label_values().tolist() == ["2", "1", "2"]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("minst", "did you mean mnist?"),
        ("digit", "did you mean digits?"),
        ("MNIST", "did you mean mnist?"),
        ("photographs", "see `ae data` for the names, or give a path"),
    ],
)
def test_the_error_for_an_unknown_source_suggests_the_nearest_name(name, remedy):
    with pytest.raises(DataError) as caught:
        load(name)
    assert str(caught.value) == (
        f"--data {name} is neither a data set that ae knows, nor a file or folder; {remedy}"
    )


def test_auto_uses_digits_if_mnist_is_unavailable(tmp_path):
    with pytest.warns(AeWarning) as warned:
        images = load("auto", data_dir=tmp_path)
    assert images.source == "digits"
    (message,) = [str(warning.message) for warning in warned]
    assert "127.0.0.1: Connection refused" in message
    assert "; using scikit-learn's 1,797 digits instead" in message


def test_mnist_by_name_is_never_replaced(tmp_path):
    with pytest.raises(DataError, match=r"127\.0\.0\.1: Connection refused"):
        load("mnist", data_dir=tmp_path)


def test_mnist_is_read_and_cached(mnist_dir, mnist_raw):
    with warnings.catch_warnings():
        warnings.simplefilter("error", AeWarning)
        images = load("auto", data_dir=mnist_dir)
    assert images.source == "mnist"
    assert images.train.pixels.shape == (60000, 1, 28, 28)
    assert images.test.pixels.shape == (10000, 1, 28, 28)
    assert images.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # Read the published format independently, to compare with.
    content = gzip.decompress((mnist_raw / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert struct.unpack(">4i", content[:16]) == (2051, 10000, 28, 28)
    assert images.test.pixels.numpy().tobytes() == content[16:]

    decoded = mnist_dir / "MNIST" / "decoded.safetensors"
    kept = decoded.stat().st_mtime_ns
    again = load("mnist", data_dir=mnist_dir)
    assert decoded.stat().st_mtime_ns == kept
    assert torch.equal(again.train.pixels, images.train.pixels)
    assert torch.equal(again.train.labels, images.train.labels)


def test_a_damaged_cache_file_is_rebuilt(mnist_dir):
    before = load("mnist", data_dir=mnist_dir)
    decoded = mnist_dir / "MNIST" / "decoded.safetensors"
    whole = decoded.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (bytes(flipped), whole[:-1], b""):
        decoded.unlink()  # images loaded earlier are mapped from it
        decoded.write_bytes(damaged)
        again = load("mnist", data_dir=mnist_dir)
        assert torch.equal(again.train.pixels, before.train.pixels)
        kept = safetensors.torch.load_file(decoded)
        assert torch.equal(kept["train_images"], before.train.pixels.squeeze(1))


@pytest.fixture
def own_mnist(mnist_dir, tmp_path):
    """A data folder that a test can damage."""
    return shutil.copytree(mnist_dir, tmp_path / "own")


def test_unpacked_files_alone_are_enough(own_mnist):
    (own_mnist / "MNIST" / "decoded.safetensors").unlink(missing_ok=True)
    raw = own_mnist / "MNIST" / "raw"
    for file in FILES.values():
        path = raw / file.name
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert len(load("mnist", data_dir=own_mnist).train) == 60000


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_file_on_disk_is_named(own_mnist, damage):
    path = own_mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[1000:]
    else:
        content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"t10k-labels-idx1-ubyte\.gz is damaged and cannot be down"
    ):
        load("mnist", data_dir=own_mnist)


def test_files_that_vanish_while_being_read_are_a_data_error(own_mnist, monkeypatch):
    """As when someone clears the cache at the same time."""

    def vanish(*_: object) -> None:
        shutil.rmtree(own_mnist / "MNIST" / "raw")

    monkeypatch.setattr("ae_cli.data.mnist.read_kept", vanish)
    with pytest.raises(DataError, match=r"mnist cannot be read from .*raw \(No such file or dir"):
        load("mnist", data_dir=own_mnist)


def test_a_data_folder_that_cannot_be_created_is_named():
    with pytest.raises(DataError, match=r"cannot be saved in /proc/ae/MNIST/raw"):
        load("mnist", data_dir=Path("/proc/ae"))
