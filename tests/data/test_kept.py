"""Decoded pixels in files of the cache folder, which may be larger than memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import Run, error_line, write_images
from hypothesis import given, settings
from hypothesis import strategies as st
from training.test_crashes import small_disk

from ae_cli.data import cache, scratch
from ae_cli.data.cache import keep, make_kept, read_kept
from ae_cli.data.load import load
from ae_cli.errors import DataError

ORIGIN = {"fingerprint": "x"}
SHAPE = (5, 1, 4, 3)


def fill(pixels: np.ndarray) -> tuple[int, dict[str, torch.Tensor]]:
    """Fill the first four images."""
    pixels[:4] = np.arange(48, dtype=np.uint8).reshape(4, 1, 4, 3)
    return 4, {"texts": torch.tensor([1, 2, 3], dtype=torch.uint8)}


@pytest.mark.parametrize("room", [10**9, 0])
def test_what_is_made_is_what_is_read(tmp_path, monkeypatch, room):
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: SimpleNamespace(free=room))
    path = tmp_path / "images" / "kept.safetensors"
    made = make_kept(path, ORIGIN, SHAPE, fill)
    assert made["pixels"].flatten().tolist() == list(range(48))
    assert made["texts"].tolist() == [1, 2, 3]
    read = read_kept(path, ORIGIN, lambda _: True)
    if not room:
        assert read is None
        assert not path.exists()
        return
    assert read.keys() == made.keys() == safetensors.torch.load_file(path).keys()
    assert all(torch.equal(read[name], made[name]) for name in made)
    assert read_kept(path, {"fingerprint": "y"}, lambda _: True) is None
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fail(pixels: np.ndarray) -> tuple[int, dict[str, torch.Tensor]]:
        raise DataError("all is lost", "weep")

    with pytest.raises(DataError, match="all is lost"):
        make_kept(tmp_path / "kept.safetensors", ORIGIN, SHAPE, fail)
    assert list(tmp_path.iterdir()) == []


def test_many_pixels_need_room_on_the_disk(tmp_path, monkeypatch, run: Run, digits):
    write_images(digits.train, tmp_path / "photos", count=20)
    monkeypatch.setattr(scratch, "MOST_IN_MEMORY", 1000)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: SimpleNamespace(free=5000))
    line = error_line(run("data", "photos", "--image-size", "64", "--grey"), 3)
    assert line.startswith("error: as pixels, the images take 0 MB, but there is room for 0 MB in ")
    np.save("floats.npy", np.random.default_rng(0).random((50, 8, 64)))
    assert "there is room for" in error_line(run("data", "floats.npy"), 3)


def test_a_full_disk_is_no_bus_error(tmp_path, monkeypatch):
    """The room is reserved, even if another program takes it after it was looked up."""
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    with small_disk(tmp_path, 2_000_000), pytest.raises(Exception, match="No space left"):
        make_kept(tmp_path / "kept.safetensors", ORIGIN, (3_000_000, 1, 1, 1), fill)


def test_converted_pixels_are_in_a_file_that_vanishes(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "MOST_IN_MEMORY", 1000)
    array = np.random.default_rng(0).integers(0, 256, (40, 8, 8))
    np.save("x.npy", array / 255)
    images = load("x.npy", data_dir=tmp_path / "cache").train
    order = images.index()
    np.testing.assert_array_equal(images.pixels[:, 0].numpy(), array[order])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == []


@settings(max_examples=50)
@given(st.integers(0, 99), st.integers(1, 255))
def test_damage_is_noticed(place, change):
    path = Path("kept.safetensors")
    keep(path, ORIGIN, {"pixels": torch.zeros(100, dtype=torch.uint8)})
    content = bytearray(path.read_bytes())
    content[len(content) - 100 + place] ^= change
    path.write_bytes(content)
    assert read_kept(path, ORIGIN, lambda _: True) is None


def test_of_many_bytes_the_checksum_takes_blocks_from_the_first_to_the_last(monkeypatch):
    monkeypatch.setattr(cache, "MOST_CHECKED", 40)
    monkeypatch.setattr(cache, "BLOCK", 10)
    values = np.arange(100, dtype=np.uint8)
    blocks = [block.tolist() for block in cache._blocks(values)]
    assert [block[0] for block in blocks] == [0, 30, 60, 90]
    assert all(len(block) == 10 for block in blocks)
    assert [block.tolist() for block in cache._blocks(values[:40])] == [list(range(40))]
