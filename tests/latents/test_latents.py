from __future__ import annotations

import csv
import os
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import error_line, rewrite
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ae_cli
from ae_cli.errors import DataError
from ae_cli.latents.read_table import read_latents
from ae_cli.latents.table import ENDINGS, Latents, write_latents


def latents(n: int = 5, k: int = 3, *, start: int = 0) -> Latents:
    rng = np.random.default_rng(start)
    return Latents(
        z=rng.normal(size=(n, k)).astype(np.float32),
        index=np.arange(start, start + n),
        split=np.full(n, "train"),
        label=rng.integers(0, 10, n),
        error=rng.random(n).astype(np.float32),
    )


def assert_same(left: Latents, right: Latents) -> None:
    assert left.columns().keys() == right.columns().keys()
    for name, values in left.columns().items():
        np.testing.assert_array_equal(values, right.columns()[name], err_msg=name)


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Surrogates are not text, and numpy pads strings with NUL.
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@st.composite
def tables(draw: st.DrawFn) -> Latents:
    n, k = draw(st.integers(1, 8)), draw(st.integers(1, 12))

    def column(elements: st.SearchStrategy) -> np.ndarray:
        return np.array(draw(st.lists(elements, min_size=n, max_size=n)))

    return Latents(
        z=draw(hnp.arrays(np.float32, (n, k), elements=finite)),
        index=column(st.integers(0, 10**9)),
        split=column(st.sampled_from(["train", "test"])),
        name=column(names) if draw(st.booleans()) else None,
        label=draw(
            st.none()
            | st.just(column(st.integers(0, 1000)))
            | st.just(column(st.sampled_from(["ankle boot", "coat, long", 'a "quoted" one', "é"])))
        ),
        error=draw(hnp.arrays(np.float32, n, elements=finite)),
    )


@pytest.mark.parametrize("ending", ENDINGS)
@settings(deadline=None, max_examples=60)
@given(table=tables())
def test_a_table_is_read_as_it_was_written(tmp_path_factory, ending, table):
    path = tmp_path_factory.mktemp("table") / f"latents{ending}"
    assert write_latents(path, [table]) == len(table)
    assert_same(read_latents(path), table)


@pytest.mark.parametrize("ending", ENDINGS)
def test_batches_become_one_table(tmp_path, ending):
    path = tmp_path / f"latents{ending}"
    parts = [latents(5), latents(3, start=5), latents(1, start=8)]
    assert write_latents(path, iter(parts)) == 9
    table = read_latents(path)
    assert table.index.tolist() == list(range(9))
    np.testing.assert_array_equal(table.z, np.concatenate([part.z for part in parts]))


def test_a_csv_has_plain_values_in_the_tables_order(tmp_path):
    path = tmp_path / "latents.csv"
    table = Latents(
        z=np.array([[0.5, -1.25]], np.float32),
        index=np.array([0]),
        split=np.array(["test"]),
        name=np.array(["cat.png"]),
        label=np.array(["cat"]),
        error=np.array([0.03125], np.float32),
    )
    write_latents(path, [table])
    assert (
        path.read_text()
        == "index,split,name,label,z1,z2,error\n0,test,cat.png,cat,0.5,-1.25,0.03125\n"
    )


def test_names_with_commas_and_quotes_are_read_by_pythons_csv(tmp_path):
    path = tmp_path / "latents.csv"
    odd = ["a,b.png", 'c"d.png', "e\nf.png", "plain.png"]
    write_latents(path, [Latents(z=np.zeros((4, 1), np.float32), name=np.array(odd))])
    with path.open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == odd


def test_numpy_reads_an_npz_without_pickle(tmp_path):
    path = tmp_path / "latents.npz"
    table = latents()
    write_latents(path, [table])
    with np.load(path, allow_pickle=False) as arrays:
        assert list(arrays) == ["index", "split", "label", "z1", "z2", "z3", "error"]
        assert arrays["z2"].dtype == np.float32
        np.testing.assert_array_equal(arrays["z2"], table.z[:, 1])


def test_labels_without_rows_are_ignored(tmp_path):
    """A filtered column keeps unused categories; a word among them must not make labels text."""
    values = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int32()), ["10", "2", "x"])
    path = tmp_path / "latents.parquet"
    pq.write_table(pa.table({"z1": [1.0, 2.0, 3.0], "label": values}), path)
    assert read_latents(path).label.tolist() == [10, 2, 10]


def test_parquet_stores_numbers_as_numbers(tmp_path):
    path = tmp_path / "latents.parquet"
    write_latents(path, [latents()])
    schema = pq.read_schema(path)
    assert schema.field("z1").type == pa.float32()
    assert schema.field("label").type == pa.int64()
    assert schema.field("split").type == pa.string()


def test_only_the_latents_are_required(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("other,z2,z1\nx,1,2\ny,3,4\n")
    table = read_latents(path)
    assert table.z.tolist() == [[2, 1], [4, 3]]
    assert list(table.columns()) == ["z1", "z2"]


def test_other_columns_are_ignored(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(" z1 , note,index,label\n1,x,first,\n2,y,second,b\n")
    table = read_latents(path)
    assert table.z.tolist() == [[1], [2]]
    assert table.index is None
    assert table.label.tolist() == ["", "b"]
    path = tmp_path / "own.npz"
    np.savez(path, z1=np.array([1, 2], ">f8"), scalar=np.array(3), image=np.zeros((2, 2)))
    assert read_latents(path).z.tolist() == [[1], [2]]


def test_labels_that_look_like_numbers_are_kept_as_written(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("z1,label\n1,007\n2,7\n")
    assert read_latents(path).label.tolist() == ["007", "7"]
    path.write_text("z1,label\n1,-1\n2,7\n")
    assert read_latents(path).label.tolist() == [-1, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"cannot be read as CSV \(Empty CSV file\)"),
        ("index,label\n1,2\n", r"has no latent columns \(z1, z2, …\)"),
        ("z1,z2,z3\n", "has no rows"),
        ("z1,z3\n1,2\n", "has 2 latent columns, but no z2"),
        ("z1,z1\n1,2\n", "has two columns with the same name"),
        (
            "z1,z2\n1,2\nhello,3\n",
            "has 'hello' for z1 in row 2 below the header, where a number should be",
        ),
        ("z1,z2\n1,2\n3,nan\n", "has nothing for z2 in row 2 below the header"),
        ("z1,z2\n1,2\n3,\n", "has nothing for z2 in row 2 below the header"),
        ("z1,z2\n1,inf\n", "has inf for z2 in row 1 below the header"),
        ("z1,error\n1,x\n", "has 'x' for error in row 1 below the header"),
        ("z1,z2\n1,2\n3\n", "cannot be read as CSV"),
        ("z1;z2\n1;2\n", "has no latent columns .*; save it with commas between the columns"),
        ("z1,z2\n1,1e300\n", r"has 1e\+300 for z2 in row 1 below the header"),
        ("z1,z2\n1,true\n", "has True for z2 in row 1 below the header"),
        ("\x00\x01\x02", r"cannot be read as CSV \(CSV parse error: Empty CSV file"),
    ],
)
def test_an_invalid_csv_is_refused(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_latents(path)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, b"PAR1", b"PK\x03\x04", b"\xff"]
)
def test_other_files_are_refused(tmp_path, ending, content):
    path = tmp_path / f"bad{ending}"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_latents(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_truncated_table_is_refused(tmp_path, ending):
    path = tmp_path / f"cut{ending}"
    write_latents(path, [latents(100)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cut\.\w+ (cannot be read as|has )"):
        read_latents(path)


def test_other_endings_and_missing_files_are_refused():
    with pytest.raises(
        DataError, match=r"table.txt is not a table of latents; give a file that en"
    ):
        read_latents(Path("table.txt"))
    with pytest.raises(DataError, match="there is no table at table.npz; make one with `ae embed"):
        read_latents(Path("table.npz"))


def test_arrays_that_do_not_form_a_table_are_refused(tmp_path):
    path = tmp_path / "bad.npz"
    for arrays in (
        {"z1": np.zeros(3), "z2": np.zeros(4)},
        {"z1": np.zeros((3, 2))},
        {"z1": np.array([{}], dtype=object)},
        {"other": np.zeros(3)},
        {"z1": np.array(["a"])},
        {"z1": np.array(3.0)},
        {"z1": np.array([1 + 2j])},
    ):
        np.savez(path, **arrays)
        with pytest.raises(DataError):
            read_latents(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=r"cannot be read as NPZ \(it holds a single array\)"):
        read_latents(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_interrupted_table_leaves_nothing(tmp_path, ending):
    def batches():
        yield latents()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_latents(tmp_path / f"latents{ending}", batches())
    assert os.listdir(tmp_path) == []


def test_parquet_has_few_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("ae_cli.latents.tables.ROWS_IN_GROUP", 10)
    path = tmp_path / "latents.parquet"
    assert write_latents(path, (latents(4, start=4 * i) for i in range(8))) == 32
    file = pq.ParquetFile(path).metadata
    assert [file.row_group(i).num_rows for i in range(file.num_row_groups)] == [12, 12, 8]
    assert read_latents(path).index.tolist() == list(range(32))


def test_captions_say_what_they_are():
    """A decoded image may look like another label than the caption's."""
    rows = latents(3)
    rows = replace(rows, label=np.array([7, 0, 7]), name=np.array(["a.png", "b.png", "c.png"]))
    assert rows.captions() == ["label 7", "label 0", "label 7"]
    assert replace(rows, label=np.array(["cat", "", "dog"])).captions()[0] == "label cat"
    assert replace(rows, label=None).captions() == ["a.png", "b.png", "c.png"]
    assert replace(rows, label=None, name=None, index=np.array([4, 9, 2])).captions() == [
        "index 4", "index 9", "index 2"
    ]  # fmt: skip
    assert Latents(rows.z).captions() == ["row 0", "row 1", "row 2"]


def test_decoded_images_have_captions(run, checkpoint, table):
    with table.open(newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert run("decode", "latents.csv", "--n", "12", "--out", "rows.svg").exit_code == 0
    assert texts(Path("rows.svg")) == [f"label {label}" for label in labels[:12]]
    result = run("decode", "--between", "3,19", "--out", "line.svg")
    assert "12 images from test image 3 (label 8) to 19 (label 1)" in result.stderr
    assert texts(Path("line.svg")) == ["label 8", "label 1"]


def texts(picture: Path) -> list[str]:
    """The texts in an SVG file, in drawing order."""
    root = ET.parse(picture).getroot()
    return [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_table_is_decoded_by_the_model_that_made_it_alone(run, checkpoint, table):
    Path("other.safetensors").write_bytes(checkpoint.read_bytes())
    rewrite(Path("other.safetensors"), metadata=lambda data: data.update(run_id="0" * 32))
    assert run("decode", "latents.csv").exit_code == 0
    line = error_line(run("decode", "latents.csv", "--checkpoint", "other.safetensors"), 3)
    assert "latents.csv was made by another model than other.safetensors" in line
    older = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(older) + "\n")
    result = run("decode", "latents.csv", "--checkpoint", "other.safetensors")
    assert result.exit_code == 0
    assert "warning: latents.csv does not say which model made it" in result.stderr
    Path("own.csv").write_text("z1,z2,z3\n0,0,0\n")
    assert "warning" not in run("decode", "own.csv").stderr


def test_a_title_says_how_many_latents_a_plot_leaves_out():
    z = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    assert ae_cli.plot3d(z).title == "3 of 8 latents of 50 images"
    assert ae_cli.plot3d(z, axes="z2,z5", n=9).title == "2 of 8 latents of the first 9 of 50 images"
    assert ae_cli.plot3d(z[:, :3]).title == "Latents of 50 images"
