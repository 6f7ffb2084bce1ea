from __future__ import annotations

import gzip
import io
import math
import tracemalloc
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from conftest import idx_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ae_cli.config import ReadOptions
from ae_cli.data.images import DataSet
from ae_cli.data.scratch import Scratch
from ae_cli.data.sources import finish, read_source
from ae_cli.errors import AeWarning, DataError, UsageError


def load(path: Path, **options) -> DataSet:
    chosen = ReadOptions(**options)
    cache = path.parent / "cache"
    scratch = Scratch(cache)
    return finish(read_source(str(path), chosen, scratch), chosen, cache, scratch)


def whole(data: DataSet) -> tuple[np.ndarray, np.ndarray | None]:
    """The pixels and labels of both splits, in the order of the file."""
    order = np.argsort(np.concatenate([data.train.index(), data.test.index()]))
    pixels = torch.cat([data.train.pixels, data.test.pixels]).numpy()[order]
    if data.train.labels is None:
        return pixels, None
    return pixels, torch.cat([data.train.labels, data.test.labels]).numpy()[order]


def error_of(path: Path, **options) -> str:
    """The error message, with the path shortened to its name."""
    with pytest.raises(DataError) as caught:
        load(path, **options)
    return str(caught.value).replace(str(path), path.name)


def write_idx(path: Path, array: np.ndarray) -> None:
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_table(path: Path, columns: dict) -> None:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        pyarrow.csv.write_csv(table, path)


def save(path: Path, pixels: np.ndarray) -> None:
    """Write grey images (n, height, width) in the format that the path's ending names."""
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".npz":
        np.savez_compressed(path, images=pixels)
    elif path.suffix in (".csv", ".parquet"):
        rows = pixels.reshape(len(pixels), -1)
        write_table(path, {f"p{i}": column for i, column in enumerate(rows.T)})
    else:
        write_idx(path, pixels)


@pytest.fixture
def pixels(digits) -> np.ndarray:
    """A hundred real digits, uint8 (100, 28, 28)."""
    return digits.train.pixels[:100, 0].numpy()


@pytest.fixture
def labels(digits) -> np.ndarray:
    return digits.train.labels[:100].numpy()


# Formats and shapes


@pytest.mark.parametrize("ending", [".npy", ".npz", ".idx", ".gz", ".csv", ".parquet"])
@settings(deadline=None, max_examples=25)
@given(
    pixels=hnp.arrays(
        np.uint8, st.tuples(st.integers(2, 6), st.integers(1, 5), st.integers(1, 5))
    ).filter(lambda pixels: pixels.max() > 1)
)
def test_a_grey_array_round_trips_in_every_format(tmp_path_factory, ending, pixels):
    path = tmp_path_factory.mktemp("file") / f"images{ending}"
    save(path, pixels)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        data = load(path, image_size=pixels.shape[1:])
    read, labels = whole(data)
    np.testing.assert_array_equal(read, pixels[:, None])
    assert (read.dtype, labels) == (np.uint8, None)
    assert data.train.pixels.is_contiguous()
    assert (data.train.classes, data.train.names, warned) == (None, None, [])


@settings(deadline=None, max_examples=60)
@given(
    pixels=hnp.arrays(
        np.uint8, st.tuples(st.integers(2, 5), st.just(3), st.integers(4, 9), st.integers(4, 9))
    ),
    layout=st.sampled_from(["first", "last", "flat"]),
    order=st.sampled_from("CF"),
)
def test_a_colour_array_round_trips_in_every_layout(tmp_path_factory, pixels, layout, order):
    last = pixels.transpose(0, 2, 3, 1)
    array = {"first": pixels, "last": last, "flat": last.reshape(len(pixels), -1)}[layout]
    path = tmp_path_factory.mktemp("file") / "images.npy"
    np.save(path, np.array(array, order=order))
    read, _ = whole(load(path, image_size=pixels.shape[2:] if layout == "flat" else None))
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((9, 5, 7), (1, 5, 7)),
        ((9, 5, 7, 1), (1, 5, 7)),
        ((9, 1, 5, 7), (1, 5, 7)),
        ((9, 5, 7, 3), (3, 5, 7)),
        ((9, 3, 5, 7), (3, 5, 7)),
        ((9, 3, 5, 3), (3, 3, 5)),
        ((9, 49), (1, 7, 7)),
        ((9, 147), (3, 7, 7)),
    ],
)
def test_the_shape_of_an_array_gives_the_shape_of_its_images(tmp_path, shape, result):
    path = tmp_path / "images.npy"
    np.save(path, np.full(shape, 200, np.uint8))
    data = load(path)
    assert data.train.shape == data.test.shape == result
    assert (len(data.train), len(data.test), data.val_fraction) == (8, 1, 0.1)
    assert data.source == str(path)


def test_options_set_the_held_out_share_and_the_seed(tmp_path, pixels):
    path = tmp_path / "images.npy"
    np.save(path, pixels)
    data = load(path, val_fraction=0.25, seed=3)
    assert (len(data.train), len(data.test), data.val_fraction) == (75, 25, 0.25)
    places = data.test.index()
    assert set(places) == set(np.random.RandomState(3).permutation(100)[:25])
    np.testing.assert_array_equal(data.test.pixels[:, 0].numpy(), pixels[places])


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        (
            (9, 4, 4, 4),
            "x.npy has the shape (9, 4, 4, 4), which images cannot have; "
            "leave out the fourth channel, transparency: images[..., :3]",
        ),
        (
            (9, 4, 4, 2),
            "x.npy has the shape (9, 4, 4, 2), which images cannot have; "
            "save grey images as (n, height, width), colour as (n, height, width, 3)",
        ),
        (
            (9,),
            "x.npy has the shape (9,), which images cannot have; "
            "save grey images as (n, height, width), colour as (n, height, width, 3)",
        ),
        (
            (9, 0, 4),
            "x.npy has the shape (9, 0, 4), which images cannot have; "
            "save grey images as (n, height, width), colour as (n, height, width, 3)",
        ),
        (
            (9, 50),
            "x.npy has 50 values per image, which do not make a square, in grey or in colour; "
            "give height and width with --image-size",
        ),
        ((0, 4, 4), "x.npy holds no images; give at least two"),
        ((), "x.npy holds no images; give at least two"),
        (
            (1, 4, 4),
            "x.npy holds one image; give at least two, such as a folder of them: "
            "one to learn from, one to test on",
        ),
    ],
)
def test_invalid_shapes_are_refused(tmp_path, shape, line):
    path = tmp_path / "x.npy"
    np.save(path, np.full(shape, 200, np.uint8))
    assert error_of(path) == line


def test_flat_rows_must_fit_the_image_size(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.full((9, 100), 200, np.uint8))
    assert load(path, image_size=(5, 20)).train.shape == (1, 5, 20)
    assert error_of(path, image_size=(8, 8)) == (
        "x.npy has 100 values per image, but images of 8 × 8 pixels have 64, or 192 in colour; "
        "give another --image-size"
    )


# Values


@settings(deadline=None, max_examples=60)
@given(
    shares=st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda kind: hnp.arrays(
            kind, (3, 2, 2), elements=st.floats(0, 1, width=np.dtype(kind).itemsize * 8)
        )
    )
)
def test_floats_are_rounded_to_8_bits(tmp_path_factory, shares):
    path = tmp_path_factory.mktemp("file") / "images.npy"
    np.save(path, shares)
    read, _ = whole(load(path))
    assert np.abs(read[:, 0] / 255 - shares.astype(np.float64)).max() <= 1 / 510 + 1e-7


@pytest.mark.parametrize("kind", ["?", "i1", "i2", ">i4", "i8", "u2", ">u8", "f2", ">f4", "f8"])
def test_every_number_type_is_read(tmp_path, kind):
    path = tmp_path / "images.npy"
    dtype = np.dtype(kind)
    values = {"b": [0, 1], "f": [0, 1], "i": [0, 127], "u": [0, 255]}[dtype.kind]
    np.save(path, np.array(values * 8, dtype).reshape(4, 2, 2))
    read, _ = whole(load(path))
    expected = [0, 255] if dtype.kind in "bf" else values
    assert read.ravel().tolist() == expected * 8


@pytest.mark.parametrize(
    ("value", "kind", "line"),
    [
        (
            7.5,
            "f4",
            "x.npy has 7.5 in image 3 (counted from 0), but floats must be from 0 to 1; "
            "divide them by 255",
        ),
        (
            300.0,
            "f8",
            "x.npy has 300.0 in image 3 (counted from 0), but floats must be from 0 "
            "to 1; scale them to the range from 0 to 1",
        ),
        (
            -0.5,
            "f2",
            "x.npy has -0.5 in image 3 (counted from 0), but floats must be from 0 "
            "to 1; scale them to the range from 0 to 1",
        ),
        (
            math.nan,
            "f4",
            "x.npy has nan in image 3 (counted from 0), but floats must be from 0 "
            "to 1; replace it by a number",
        ),
        (
            math.inf,
            "f8",
            "x.npy has inf in image 3 (counted from 0), but floats must be from 0 "
            "to 1; replace it by a number",
        ),
        (
            256,
            "i2",
            "x.npy has 256 in image 3 (counted from 0), but whole numbers must be "
            "from 0 to 255; scale them to the range from 0 to 255",
        ),
        (
            -1,
            "i8",
            "x.npy has -1 in image 3 (counted from 0), but whole numbers must be "
            "from 0 to 255; scale them to the range from 0 to 255",
        ),
        (
            1j,
            "c8",
            "x.npy has values of type complex64, which are not pixels; "
            "save whole numbers from 0 to 255, or floats from 0 to 1",
        ),
    ],
)
def test_values_out_of_range_are_refused(tmp_path, monkeypatch, value, kind, line):
    path = tmp_path / "x.npy"
    array = np.zeros((5, 4, 4), kind)
    array[3, 1, 2] = value
    np.save(path, array)
    assert error_of(path) == line
    monkeypatch.setattr("ae_cli.data.values._SLICE", 20)  # one image per slice
    assert error_of(path) == line


@pytest.mark.parametrize("ending", [".npy", ".npz", ".idx", ".parquet"])
def test_whole_numbers_that_never_exceed_1_cause_a_warning(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    save(path, np.eye(4, dtype=np.uint8)[None].repeat(3, axis=0))
    with pytest.warns(AeWarning) as warned:
        data = load(path)
    assert [str(warning.message) for warning in warned] == [
        f"no pixel of x{ending} is brighter than 1 of 255; save 0 and 1 as float or bool if "
        "they mean black and white"
    ]
    assert data.train.pixels.max() == 1


def test_a_file_of_floats_is_never_entirely_in_memory(tmp_path):
    path = tmp_path / "images.npy"
    array = np.lib.format.open_memmap(path, "w+", np.float64, (4000, 64, 64))
    array[:] = 1
    array.flush()
    count, size = array.size, array.nbytes
    del array
    tracemalloc.start()
    data = load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert data.train.pixels.min() == 255
    assert count < peak < count + 48 * 2**20 < size


# NPZ


@pytest.mark.parametrize("images", ["images", "x", "data", "X"])
@pytest.mark.parametrize("names", ["labels", "y", None])
def test_an_npz_file_can_have_images_and_labels(tmp_path, pixels, labels, images, names):
    path = tmp_path / "digits.npz"
    np.savez(path, **{images: pixels}, **({names: labels} if names else {}), other=np.zeros(3))
    data = load(path)
    read, read_labels = whole(data)
    np.testing.assert_array_equal(read[:, 0], pixels)
    if names:
        np.testing.assert_array_equal(read_labels, labels)
        assert data.train.classes == data.test.classes == tuple("0123456789")
        assert data.train.labels.dtype == torch.int64
    else:
        assert (read_labels, data.train.classes) == (None, None)


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_an_npz_file_can_have_a_test_split(tmp_path, pixels, labels, names):
    path = tmp_path / "digits.npz"
    # MedMNIST's labels have the shape (n, 1). Class 11 is only in the test split.
    parts = (pixels[:70], labels[:70, None], pixels[70:], np.full((30, 1), 11))
    np.savez(path, **dict(zip(names, parts, strict=True)), val_images=pixels[:5])
    data = load(path)
    np.testing.assert_array_equal(data.train.pixels[:, 0].numpy(), pixels[:70])
    np.testing.assert_array_equal(data.test.pixels[:, 0].numpy(), pixels[70:])
    np.testing.assert_array_equal(data.train.labels.numpy(), labels[:70])
    assert data.test.labels.tolist() == [10] * 30
    assert data.train.classes == data.test.classes == (*"0123456789", "11")
    assert (data.val_fraction, data.train.positions, data.source) == (None, None, str(path))


def test_key_names_the_arrays_of_an_npz_file(tmp_path, pixels, labels):
    path = tmp_path / "digits.npz"
    np.savez(path, images=np.zeros(3), faces=pixels, who=labels, labels=labels[:5])
    assert load(path, key="faces").train.classes is None
    _, read = whole(load(path, key="faces,who"))
    np.testing.assert_array_equal(read, labels)
    assert error_of(path, key="face") == (
        "digits.npz has no array 'face'; choose among images, faces, who, labels"
    )
    assert error_of(path, key="faces,") == (
        "digits.npz has no array ''; choose among images, faces, who, labels"
    )


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (
            ["arr_0"],
            "x.npz has no array called images, x, data; "
            "name the one with the images with --key; choose among arr_0",
        ),
        (
            [],
            "x.npz has no array called images, x, data; "
            "name the one with the images with --key; save an array into it",
        ),
        (
            ["x", "data"],
            "x.npz has several arrays that could be the images (x, data); "
            "choose with --key IMAGES or --key IMAGES,LABELS",
        ),
        (
            ["x", "x_train"],
            "x.npz has several arrays that could be the images (x, x_train); "
            "choose with --key IMAGES or --key IMAGES,LABELS",
        ),
        (
            ["x_train", "train_x", "x_test"],
            "x.npz has several arrays that could be the images (x_train, train_x, x_test); "
            "choose with --key IMAGES or --key IMAGES,LABELS",
        ),
        (
            ["x", "y", "labels"],
            "x.npz has several arrays that could be the labels (y, labels); "
            "choose with --key IMAGES or --key IMAGES,LABELS",
        ),
        (
            ["x_train", "y_train", "x_test"],
            "x.npz has labels for only one of its splits; save the others too, or choose "
            "one split with --key IMAGES or --key IMAGES,LABELS",
        ),
    ],
)
def test_an_npz_file_without_clear_array_names_is_refused(tmp_path, names, line):
    path = tmp_path / "x.npz"
    np.savez(path, **dict.fromkeys(names, np.zeros((4, 2, 2))))
    assert error_of(path) == line


def test_both_splits_must_have_the_same_shape(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x_train=np.zeros((4, 2, 2)), x_test=np.zeros((4, 3, 2)))
    assert error_of(path) == (
        "the images of x_train in x.npz have the shape (1, 2, 2) (channels, height, width), but "
        "those of x_test in x.npz have (1, 3, 2); save both splits with the same shape"
    )


# Labels


@pytest.mark.parametrize(
    ("labels", "classes", "positions"),
    [
        ([10, 9, 10, -1], ("-1", "9", "10"), [2, 1, 2, 0]),
        ([10.0, 9.0, 10.0, 2.0], ("2", "9", "10"), [2, 1, 2, 0]),
        (["10", "9", "10", "2.0"], ("2", "9", "10"), [2, 1, 2, 0]),
        (["10", "9", "007", "9"], ("007", "10", "9"), [1, 2, 0, 2]),
        (["dog", "cat", "dog", "ant"], ("ant", "cat", "dog"), [2, 1, 2, 0]),
        ([True, False, True, True], ("False", "True"), [1, 0, 1, 1]),
        (np.array([2**64 - 1, 0, 0, 1], np.uint64), ("0", "1", str(2**64 - 1)), [2, 0, 0, 1]),
    ],
)
def test_labels_become_classes_and_positions(tmp_path, labels, classes, positions):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.ones((4, 2, 2)), y=np.array(labels))
    data = load(path)
    assert data.train.classes == classes
    assert whole(data)[1].tolist() == positions


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (
            np.zeros(3, int),
            "x in x.npz holds 4 images and 3 labels; save one label for each image",
        ),
        (
            np.zeros((4, 10), int),
            "the labels of x in x.npz have the shape (4, 10); save one label for each image",
        ),
        (
            np.array(4),
            "the labels of x in x.npz have the shape (); save one label for each image",
        ),
        (
            np.array([1, 2, 0.5, 1]),
            "x in x.npz has the label 0.5; save whole numbers or text",
        ),
        (
            np.array([1, 2, math.nan, 1]),
            "x in x.npz has the label nan; save whole numbers or text",
        ),
        (
            np.array([1, 2, 1e300, 1]),
            "x in x.npz has the label 1e+300; save whole numbers or text",
        ),
        (
            np.array([b"a", b"b", b"a", b"c"]),
            "the labels of x in x.npz are of type |S1; save whole numbers or text",
        ),
        (
            np.array(["a", "b", " ", "a"]),
            "x in x.npz has no label for image 2 (counted from 0); "
            "give each image a label, or leave the labels out",
        ),
    ],
)
def test_invalid_labels_are_refused(tmp_path, labels, line):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.ones((4, 2, 2)), y=labels)
    assert error_of(path) == line


# IDX


@pytest.mark.parametrize(
    ("images", "names"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
    ],
)
def test_the_labels_of_an_idx_file_are_found(tmp_path, pixels, labels, images, names):
    write_idx(tmp_path / images, pixels)
    write_idx(tmp_path / names, labels.astype(np.uint8))
    read, read_labels = whole(load(tmp_path / images))
    np.testing.assert_array_equal(read[:, 0], pixels)
    np.testing.assert_array_equal(read_labels, labels)


def test_an_idx_file_is_recognised_by_its_content(tmp_path, pixels):
    path = tmp_path / "images-idx3"  # without a labels-idx1 file in its folder
    write_idx(path, np.repeat(pixels[..., None], 3, axis=3))
    assert load(path).train.shape == (3, 28, 28)
    write_idx(path, pixels.astype(np.float32) / 255)
    np.testing.assert_array_equal(whole(load(path))[0][:, 0], pixels)


def test_broken_idx_files_are_refused(tmp_path, pixels):
    path = tmp_path / "images-idx3-ubyte"
    write_idx(path, pixels)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert error_of(path) == (
        "images-idx3-ubyte cannot be read as IDX (it is not as long as its header says "
        "([100, 28, 28])); save it again"
    )
    path.write_bytes(gzip.compress(content)[:-9])
    assert error_of(path).startswith(
        "images-idx3-ubyte cannot be read as IDX (its gzip stream is damaged ("
    )
    path.write_bytes(b"")
    assert error_of(path) == (
        "images-idx3-ubyte cannot be read as IDX (it does not begin like an IDX file); "
        "save it again"
    )
    path.write_bytes(content)
    (tmp_path / "labels-idx1-ubyte").write_bytes(b"\0\0\x08")
    assert error_of(path).replace(str(tmp_path), "…") == (
        "…/labels-idx1-ubyte cannot be read as IDX (it does not begin like an IDX file); "
        "save it again"
    )
    write_idx(path, pixels[0, 0])
    assert error_of(path) == (
        "images-idx3-ubyte has 1 dimensions, but images have 3 or 4; give the file with the images"
    )


# Tables


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("name", ["label", "Labels", "y", "CLASS", "target"])
def test_a_table_can_have_pixels_and_labels(tmp_path, pixels, labels, ending, name):
    path = tmp_path / f"digits{ending}"
    rows = pixels.reshape(100, -1)
    columns = {f"p{i}": rows[:, i] for i in range(784)}
    write_table(path, {"p": rows[:, 0], name: labels, **columns})
    assert error_of(path) == (
        f"digits{ending} has 785 values per image, which do not make a square, in grey or in "
        "colour; give height and width with --image-size"
    )
    write_table(path, {**columns, name: labels})
    data = load(path)
    read, read_labels = whole(data)
    np.testing.assert_array_equal(read[:, 0], pixels)
    np.testing.assert_array_equal(read_labels, labels)
    assert data.train.classes == tuple("0123456789")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_key_names_the_column_with_the_labels(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    names = ["owl", "bat", "owl"]
    write_table(
        path, {"a": [0, 9, 2], "b": [3, 4, 5], "c": [6, 7, 8], "d": [1, 2, 3], "who": names}
    )
    data = load(path, key="who")
    assert data.train.classes == ("bat", "owl")
    assert whole(data)[1].tolist() == [1, 0, 1]
    assert error_of(path, key="nobody") == (
        f"x{ending} has no column nobody; choose one of a, b, c, d, who"
    )
    write_table(path, {"y": [1, 2], "label": [1, 2], "p": [1, 2]})
    assert error_of(path) == (
        f"x{ending} has several columns that could be the labels (y, label); "
        "name one with --key, and leave the others out"
    )
    write_table(path, {"y": [1, 2]})
    assert error_of(path) == f"x{ending} has no columns of pixels; save a column for each pixel"


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.uint8, np.int64])
def test_a_table_can_have_floats_or_whole_numbers(tmp_path, pixels, ending, kind):
    if ending == ".csv" and kind is np.float16:
        pytest.skip("Arrow writes no float16 as CSV")
    path = tmp_path / f"x{ending}"
    floats = kind not in (np.uint8, np.int64)
    save(path, (pixels / 255).astype(kind) if floats else pixels.astype(kind))
    np.testing.assert_array_equal(whole(load(path))[0][:, 0], pixels)


def test_a_parquet_file_can_have_booleans_and_mixed_integer_types(tmp_path):
    path = tmp_path / "x.parquet"
    save(path, np.eye(4).astype(bool)[None].repeat(3, axis=0))
    assert whole(load(path))[0][0, 0].tolist() == (np.eye(4) * 255).tolist()
    a, b = np.array([0, 200], np.uint64), np.array([3, 4], np.int64)
    write_table(path, {"a": a, "b": b, "c": b, "d": a, "__index_level_0__": b})
    assert whole(load(path))[0].reshape(2, 4).tolist() == [[0, 3, 3, 0], [200, 4, 4, 200]]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            {"a": [1, 2], "b": [0.5, 1.0]},
            "x.parquet has pixels of several types (int64 for a, float64 for b); "
            "save all with the same type: uint8 from 0 to 255, or floats from 0 to 1",
        ),
        (
            {"a": [1, 2], "image": [[1, 2], [3, 4]]},
            "x.parquet has values of type list<element: int64> for image instead of numbers; "
            "save each pixel in a column of its own; if this is the label, name it with --key",
        ),
        (
            {"image": [b"ab", b"cd"]},
            "x.parquet has values of type binary for image instead of numbers; "
            "save each pixel in a column of its own; if this is the label, name it with --key",
        ),
        (
            {"a": ["cat", "dog"]},
            "x.parquet has values of type string for a instead of numbers; "
            "save each pixel in a column of its own; if this is the label, name it with --key",
        ),
        (
            {"a": [1, 2], "b": [1, None]},
            "x.parquet has nothing for b in row 2; "
            "correct the row or leave it out; if the column holds the labels, name it with --key",
        ),
        (
            {"a": [1, 2], "label": [None, "owl"]},
            "x.parquet has nothing for label in row 1; "
            "correct the row or leave it out; if the column holds the labels, name it with --key",
        ),
        (
            {"a": [1, 300]},
            "x.parquet has 300 in image 1 (counted from 0), but whole numbers must be "
            "from 0 to 255; scale them to the range from 0 to 255",
        ),
        (
            {"a": [1, 3], "y": [b"a", b"b"]},
            "the labels of x.parquet are of type |S1; save whole numbers or text",
        ),
        ({"a": pa.array([], pa.uint8())}, "x.parquet holds no images; give at least two"),
    ],
)
def test_invalid_parquet_files_are_refused(tmp_path, columns, line):
    path = tmp_path / "x.parquet"
    write_table(path, columns)
    assert error_of(path) == line


def test_a_csv_file_can_lack_column_names(tmp_path, pixels, labels):
    path = tmp_path / "x.csv"
    rows = pixels.reshape(100, -1)
    np.savetxt(path, np.column_stack([labels, rows]), "%d", ",")
    read, read_labels = whole(load(path))
    np.testing.assert_array_equal(read[:, 0], pixels)
    np.testing.assert_array_equal(read_labels, labels)
    np.savetxt(path, rows, "%d", ",")
    read, read_labels = whole(load(path))
    np.testing.assert_array_equal(read[:, 0], pixels)
    assert read_labels is None
    assert load(path, image_size=(14, 56)).train.shape == (1, 14, 56)
    # 29 × 27 is 783, which leaves a column for the label; 28 × 28 leaves none.
    assert load(path, image_size=(29, 27)).train.labels is not None
    assert error_of(path, key="label") == (
        "x.csv has no line of column names, so there is no column label; "
        "add such a line at its beginning, or leave --key out"
    )


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("\ufeffa,b,c,d\r\n1,2,3,4\r\n\r\n5,6,7,8\r\n", [[1, 2, 3, 4], [5, 6, 7, 8]]),
        ("\n\n a , b,c,d\n 1, 2,3 ,4\n5,6,7,8", [[1, 2, 3, 4], [5, 6, 7, 8]]),
        ("1,2,3,4\n5,6,7,8\n", [[1, 2, 3, 4], [5, 6, 7, 8]]),
        ("0,1,2,3\n4,5,6,7\n", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("0,1,0,0\n1,0.2,0,1e0\n", [[0, 255, 0, 0], [255, 51, 0, 255]]),
        ('"a","b","c","d"\n1.0,2.0,"3",255\n0,0,0,0\n', [[1, 2, 3, 255], [0, 0, 0, 0]]),
    ],
)
def test_csv_files_can_be_written_in_several_styles(tmp_path, text, rows):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    assert whole(load(path))[0].reshape(2, 4).tolist() == rows


def test_columns_numbered_by_pandas_count_as_named(tmp_path):
    path = tmp_path / "x.csv"
    header = ",".join(str(i) for i in range(16))
    row = ",".join(["7"] * 16)
    path.write_text(f"{header}\n{row}\n{row}\n")
    assert whole(load(path))[0].shape == (2, 1, 4, 4)
    path.write_text(f",{header}\n0,{row}\n1,{row}\n")
    assert error_of(path) == (
        "x.csv has a column without a name; name it, or leave it out if it is an index"
    )


HINT = "correct the row or leave it out; if the column holds the labels, name it with --key"
RANGE = "save pixels as whole numbers from 0 to 255, or all of them from 0 to 1"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "x.csv cannot be read as CSV (it is empty); save it again"),
        ("a,b\n", "x.csv holds no images; give at least two rows of pixels"),
        ("a note", "x.csv holds no images; give at least two rows of pixels"),
        ("a,b\n1,2\n3,x\n", f"x.csv has 'x' for b in row 2; {HINT}"),
        ("a,b\n1,2\n\n,3\n", f"x.csv has nothing for a in row 2; {HINT}"),
        ("1,2\n3,\n", f"x.csv has nothing for 2 in row 2; {HINT}"),
        (
            "1,,3,4\n3,4,5,6\n",
            f"x.csv has nothing for 2 in row 1; {HINT}",
        ),
        (
            "a,b\n1,2\n3\n",
            "x.csv has 1 cells in row 2, but 2 columns; correct the row or leave it out",
        ),
        ("a,b\n1,2\n3,256\n", f"x.csv has 256 for b in row 2; {RANGE}"),
        ("a,b\n1,2\n3,-4\n", f"x.csv has -4 for b in row 2; {RANGE}"),
        ("a,b\n1,2\nnan,4\n", f"x.csv has nan for a in row 2; {RANGE}"),
        ("a,b\n0.5,1\n0,255\n", f"x.csv has 0.5 for a in row 1; {RANGE}"),
        (
            "a\ncat\ndog\n",
            "x.csv has one column, and no image is found by what is in it; save a column for each "
            "pixel, or the paths of images relative to the table",
        ),
        (
            "image,label\na/1.png,cat\n",
            "x.csv names images such as a/1.png, which are not there; put it beside them: paths "
            "are relative to its folder, or to a folder in it",
        ),
        (
            "a,a\n1,2\n",
            "x.csv has two columns called a; rename one of them",
        ),
        (
            "label,a\nx,1\n ,2\n",
            "x.csv has no label for image 1 (counted from 0); "
            "give each image a label, or leave the labels out",
        ),
    ],
)
def test_a_csv_file_that_is_not_a_table_of_pixels_is_refused(tmp_path, text, line):
    path = tmp_path / "x.csv"
    path.write_text(text)
    assert error_of(path) == line


def test_errors_name_the_row_even_far_down(tmp_path):
    """Arrow reads two megabytes at a time and does not count rows itself."""
    path = tmp_path / "x.csv"
    rows = ["200,200,200,200"] * 200_000
    rows[150_000] = "1,2,999,4"
    path.write_text("\n".join(rows))
    assert error_of(path) == f"x.csv has 999 for 3 in row 150001; {RANGE}"
    rows[150_000] = "1,2,3"
    path.write_text("\n".join(rows))
    assert error_of(path) == (
        "x.csv has 3 cells in row 150001, but 4 columns; correct the row or leave it out"
    )


@pytest.mark.slow
def test_a_csv_row_can_be_longer_than_arrows_block(tmp_path):
    path = tmp_path / "x.csv"
    row = ",".join(["0.123456789012345678"] * 62_500)  # 1.3 MB
    path.write_text(f"{row}\n" * 5)
    data = load(path)
    assert (data.train.shape, data.train.pixels.unique().tolist()) == ((1, 250, 250), [31])


# Files of other kinds


class Bomb:
    """Creates a file if it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_python_objects_are_refused_and_never_unpickled(tmp_path):
    objects = np.array([Bomb(), Bomb()])
    line = "holds Python objects, which ae does not read; save plain numbers"
    np.save(tmp_path / "x.npy", objects)
    assert error_of(tmp_path / "x.npy") == f"x.npy {line}"
    objects.dump(tmp_path / "x.npy")
    assert error_of(tmp_path / "x.npy") == f"x.npy {line}"
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 2, 2)), y=objects)
    assert error_of(tmp_path / "x.npz") == f"x.npz {line}"
    np.savez(tmp_path / "x.npz", x=objects)
    assert error_of(tmp_path / "x.npz") == f"x.npz {line}"
    objects.dump(tmp_path / "x.npz")
    assert error_of(tmp_path / "x.npz") == f"x.npz {line}"
    structured = np.zeros(3, [("a", int), ("b", object)])
    np.save(tmp_path / "x.npy", structured)
    assert error_of(tmp_path / "x.npy") == f"x.npy {line}"
    assert not Path("exploded").exists()


def test_other_endings_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "cat.docx"
    path.write_bytes(b"\xd0\xcf\x11\xe0")
    assert error_of(path) == (
        "cat.docx is not in a format that ae reads; give a folder or an archive of images, a table "
        "(.csv, .parquet), arrays (.npy, .npz, .mat, .h5), or an IDX file such as MNIST's"
    )
    assert error_of(tmp_path / "none.npy") == (
        "--data none.npy: there is no such file or folder; check the path, or see `ae data`"
    )


@pytest.mark.parametrize("name", ["x.npy", "x-idx3-ubyte"])
def test_key_is_refused_where_it_does_not_apply(tmp_path, pixels, name):
    path = tmp_path / name
    save(path, pixels)
    with pytest.raises(UsageError) as caught:
        load(path, key="images")
    assert str(caught.value) == (
        f"--key applies only to a file or a table with names in it, not to {path}; leave it out"
    )


@pytest.mark.parametrize("ending", [".npy", ".npz", ".csv", ".parquet", ".gz", ".idx"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9,
        b"PAR1",
        b"PK\x03\x04",
        b"\xff",
        b"\0\0\x08",
    ],
)
def test_files_in_other_formats_are_refused(tmp_path, ending, content):
    path = tmp_path / f"bad{ending}"
    path.write_bytes(content)
    assert len(error_of(path).splitlines()) == 1


@pytest.mark.parametrize("ending", [".npy", ".npz", ".parquet", ".gz", ".idx"])
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_detected_damage_is_a_data_error(tmp_path_factory, ending, data):
    folder = tmp_path_factory.mktemp("file")
    path = folder / f"x{ending}"
    save(path, np.arange(48, dtype=np.uint8).reshape(3, 4, 4))
    content = bytearray(path.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places | st.integers(0, 130), max_size=4)):
        if place < len(content):
            content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(places)] if data.draw(st.booleans()) else content)
    with suppress(DataError):  # other errors fail the test; some damage cannot be detected
        load(path)


def test_an_invalid_npz_file_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x", b"hello")
    assert error_of(path) == "x.npz cannot be read as NPZ (x is not an array); save it again"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    assert error_of(path) == (
        "x.npz cannot be read as NPZ (it does not begin like an NPZ file); save it again"
    )
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", header.getvalue())
    assert error_of(path) == "x.npz cannot be read as NPZ (x is cut short); save it again"


def test_a_truncated_array_is_refused(tmp_path, pixels):
    path = tmp_path / "x.npy"
    np.save(path, pixels)
    path.write_bytes(path.read_bytes()[:-1])
    assert error_of(path).startswith("x.npy cannot be read as NPY (mmap length is greater than")
    path.write_bytes(b"PK\x03\x04")
    assert error_of(path) == (
        "x.npy cannot be read as NPY (it does not begin like an NPY file); save it again"
    )
