"""Arrays that are too many for memory, and rows whose number is not known before."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import in_order, refusal
from training.test_crashes import small_disk

from ae_cli.data import scratch
from ae_cli.data.load import load
from ae_cli.data.scratch import Rows, Scratch
from ae_cli.errors import DataError


@pytest.fixture
def little(monkeypatch) -> int:
    """Let only this many bytes be in memory, and handle still fewer at once."""
    monkeypatch.setattr(scratch, "MOST_IN_MEMORY", 1000)
    monkeypatch.setattr(scratch, "BLOCK", 150)
    return 1000


def test_arrays_beyond_a_limit_are_in_files_that_vanish(tmp_path, little):
    room = Scratch(tmp_path)
    assert not isinstance(room.new((5, 50), np.uint16), np.memmap)
    assert isinstance(room.new((501,)), np.memmap)  # together, they are more than the limit
    assert not isinstance(Scratch(None).new((little + 1,)), np.memmap)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=50)
@given(
    axes=st.permutations(range(3)),
    folder=st.sampled_from([None, Path("cache")]),
    most=st.sampled_from([10, 10**6]),
)
def test_converted_arrays_are_the_same_in_any_order_of_axes(axes, folder, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch, "MOST_IN_MEMORY", most)
        patch.setattr(scratch, "BLOCK", 50)
        array = np.arange(7 * 5 * 3, dtype=np.int32).reshape(7, 5, 3).transpose(axes)
        converted = Scratch(folder).convert(array, np.uint8)
        assert converted.dtype == np.uint8
        np.testing.assert_array_equal(converted, array)
        rows = np.flatnonzero(np.arange(len(array)) % 3 != 1)
        np.testing.assert_array_equal(Scratch(folder).take(array, rows), array[rows])


@pytest.mark.parametrize("folder", [None, Path("cache")])
@pytest.mark.parametrize("floats_from", [0, 3, 10])
def test_rows_become_floats_when_some_of_them_are(little, folder, floats_from):
    blocks = [np.full((20, 9), i, np.uint8 if i < floats_from else np.float32) for i in range(10)]
    rows = Rows(Scratch(folder))
    for block in blocks:
        rows.add(block)
    array = rows.to_array()
    assert array.dtype == (np.uint8 if floats_from == 10 else np.float32)
    assert isinstance(array, np.memmap) == (folder is not None)
    np.testing.assert_array_equal(array, np.concatenate(blocks))


def test_rows_on_a_full_disk(tmp_path):
    with small_disk(tmp_path, 2_000_000), pytest.raises(DataError, match="there is room for"):
        room = Scratch(tmp_path)
        room.left = 1000
        rows = Rows(room)
        for _ in range(30):
            rows.add(np.ones((100, 1000), np.uint8))


def lines(rows: np.ndarray, separator: str = ",") -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows.tolist())


@pytest.fixture
def rows(digits) -> np.ndarray:
    """Real digits, uint8 (200, 49)."""
    return digits.train.pixels[:200, 0, ::4, ::4].numpy().reshape(200, 49)


@pytest.mark.parametrize(
    "name", ["x.csv", "t.csv", "x.parquet", "t.parquet", "x.npz", "x.h5", "x.mat"]
)
@pytest.mark.parametrize("divisor", [1, 255])
def test_a_source_that_is_too_large_for_memory_is_read(tmp_path, little, rows, name, divisor):
    """Its splits are mixed where it has some."""
    values = rows if divisor == 1 else np.float32(rows / divisor)
    train = np.arange(200) % 3 > 0
    texts = lines(values, " ").splitlines()
    split = ["train" if own else "test" for own in train]
    if name == "x.csv":
        Path(name).write_text(lines(values))
    elif name == "t.csv":
        cells = zip(["pixels", *texts], ["split", *split], strict=True)
        Path(name).write_text("\n".join(map(",".join, cells)))
    elif name == "x.parquet":
        columns = [pa.array(own) for own in values.T]
        pq.write_table(pa.table(columns, [f"p{i}" for i in range(49)]), name, row_group_size=77)
    elif name == "t.parquet":
        pq.write_table(pa.table({"pixels": texts, "split": split}), name, row_group_size=77)
    elif name == "x.npz":
        np.savez_compressed(name, x=np.asfortranarray(values))
    elif name == "x.mat":
        scipy.io.savemat(name, {"x": values.astype(float)}, do_compression=True)
    else:
        with pytest.importorskip("h5py").File(name, "w") as file:
            file.create_dataset("x", data=values, chunks=(30, 20), compression="gzip")
    data = load(name)
    if name[0] == "x":
        np.testing.assert_array_equal(in_order(data)[0].reshape(200, 49), rows)
        return
    for part, chosen in ((data.train, train), (data.test, ~train)):
        np.testing.assert_array_equal(part.pixels.reshape(len(part), 49), rows[chosen])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["0,1,0,1"], ["0,0.2,1,1"], [0, 255, 0, 255, 0, 51, 255, 255]),
        (["0,0.2,1,1"], ["0,1,0,1"], [0, 51, 255, 255, 0, 255, 0, 255]),
        (["0,1,0,1"], ["1,1,0,1"], [0, 255, 0, 255, 255, 255, 0, 255]),
        (["0,1,0,1"], ["2,3,4,5"], [0, 1, 0, 1, 2, 3, 4, 5]),
        (["0,1,0,0.5"], ["2,3,4,5"], "x.csv has 0.5 for 4 in row 1; save pixels as whole"),
        (["2,3,4,5"], ["0,1,0,0.5"], "x.csv has 0.5 for 4 in row 200001; save pixels as whole"),
        (["2,3,4,0.5"], ["0,1,0,256"], "x.csv has 256 for 4 in row 200001; save pixels as whole"),
    ],
)
def test_what_a_later_row_says_counts_for_all_of_a_table(tmp_path, before, after, expected):
    """Whether 1 is white is known only at its end, long after the first rows have been stored."""
    (tmp_path / "x.csv").write_text("\n".join(before * 200_000 + after * 200_000))
    if isinstance(expected, str):
        assert refusal(tmp_path / "x.csv").startswith(expected)
        return
    pixels, _ = in_order(load(tmp_path / "x.csv"))
    assert pixels[[0, -1]].ravel().tolist() == expected


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_within_an_npz_file_is_noticed(tmp_path, rows, method):
    path = tmp_path / "x.npz"
    (np.savez if method == zipfile.ZIP_STORED else np.savez_compressed)(path, x=rows)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    assert refusal(path).startswith("x.npz cannot be read as NPZ (")


def test_an_array_that_is_not_compressed_is_used_where_it_lies(tmp_path, rows):
    np.savez(tmp_path / "x.npz", note="words", x=rows)
    data = load(tmp_path / "x.npz")
    np.testing.assert_array_equal(in_order(data)[0].reshape(200, 49), rows)
    (part,) = data.train.store._parts
    assert part.data_ptr() % 64 == (tmp_path / "x.npz").read_bytes().find(rows.tobytes()) % 64


def test_compressed_tables_of_pixels_are_read_in_blocks_too(tmp_path, little, rows):
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(lines(rows).encode()))
    np.testing.assert_array_equal(in_order(load(tmp_path / "x.csv.gz"))[0].reshape(200, 49), rows)
