"""Tables of images: how they are written, pixels in one column, listings, labels from a table."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Run, error_line
from PIL import Image
from reading import in_order, refusal

from ae_cli.data.load import load
from ae_cli.errors import AeWarning, UsageError


@pytest.fixture
def pixels(digits) -> np.ndarray:
    """Real digits, uint8 (20, 14, 14)."""
    return digits.train.pixels[:20, 0, ::2, ::2].numpy()


@pytest.fixture
def labels(digits) -> list[str]:
    """Their labels."""
    return [str(label) for label in digits.train.labels[:20].tolist()]


# How a table is written


def lines(pixels: np.ndarray, labels: list[str], separator: str = ",") -> str:
    head = ["label", *(f"p{i}" for i in range(pixels[0].size))]
    rows = [[label, *image.ravel()] for image, label in zip(pixels, labels, strict=True)]
    return "".join(separator.join(map(str, row)) + "\n" for row in [head, *rows])


@pytest.mark.parametrize(
    ("name", "separator", "words"),
    [
        ("x.csv", ",", "commas"),
        ("x.csv", ";", "semicolons"),
        ("x.tsv", "\t", "tabs"),
        ("x.txt", "|", "vertical bars"),
        ("X.CSV", ";", "semicolons"),
    ],
)
def test_the_separator_is_found_out(tmp_path, pixels, labels, name, separator, words):
    (tmp_path / name).write_text(lines(pixels, labels, separator))
    data = load(tmp_path / name)
    found, classes = in_order(data)
    np.testing.assert_array_equal(found[:, 0], pixels)
    assert classes == labels
    assert data.understood == (
        f"a table with {words} between its columns", "196 columns of pixels", "labels: column label"
    )  # fmt: skip


def test_numbers_can_be_separated_by_spaces_and_have_a_decimal_comma(tmp_path, pixels):
    rows = "\n".join(" ".join(map(str, image.ravel())) for image in pixels)
    (tmp_path / "x.txt").write_text(rows)
    np.testing.assert_array_equal(in_order(load(tmp_path / "x.txt"))[0][:, 0], pixels)
    shares = [";".join(f"{v / 255:.4f}".replace(".", ",") for v in i.ravel()) for i in pixels]
    (tmp_path / "x.csv").write_text("\n".join(shares))
    np.testing.assert_array_equal(in_order(load(tmp_path / "x.csv"))[0][:, 0], pixels)


@pytest.mark.parametrize(
    ("ending", "compress"),
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", lambda content: pa.compress(content, codec="zstd", asbytes=True)),
    ],
)
def test_a_table_can_be_compressed(tmp_path, pixels, labels, ending, compress):
    path = tmp_path / f"x.csv{ending}"
    path.write_bytes(compress(lines(pixels, labels).encode()))
    found, classes = in_order(load(path))
    np.testing.assert_array_equal(found[:, 0], pixels)
    assert classes == labels
    path.write_bytes(path.read_bytes()[:-40])
    assert "x.csv" in refusal(path)
    path.write_bytes(b"no archive")
    assert refusal(path).startswith(f"x.csv{ending} cannot be read as CSV (")


# All pixels in one column


def text(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel()))


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("form", ["{}", "[{}]"])
def test_pixels_can_be_a_text(tmp_path, pixels, labels, ending, form):
    """As in FER2013: another column says which rows are for training."""
    uses = ["Training"] * 14 + ["PublicTest"] * 3 + ["PrivateTest"] * 3
    columns = {
        "emotion": labels,
        "pixels": [form.format(text(image)) for image in pixels],
        "Usage": uses,
    }
    path = tmp_path / f"x{ending}"
    if ending == ".csv":
        rows = zip(*columns.values(), strict=True)
        path.write_text("\n".join(",".join(row) for row in [columns, *rows]))
    else:
        pq.write_table(pa.table(columns), path)
    data = load(path)
    assert (len(data.train), len(data.test), data.val_fraction) == (14, 6, None)
    np.testing.assert_array_equal(data.train.pixels[:, 0], pixels[:14])
    np.testing.assert_array_equal(data.test.pixels[:, 0], pixels[14:])
    assert [data.train.classes[i] for i in data.train.labels] == labels[:14]
    assert data.understood[1:] == (
        "images: column pixels, 196 pixels each", "labels: column emotion", "splits: column Usage"
    )  # fmt: skip


def test_a_text_of_pixels_can_be_long(tmp_path):
    rows = [" ".join(["255"] * 40_000)] * 3
    (tmp_path / "x.csv").write_text("\n".join(["pixels", *rows]))
    assert load(tmp_path / "x.csv").shape == (1, 200, 200)


def test_other_columns_beside_a_text_of_pixels_are_kept(tmp_path, pixels, labels):
    rows = [f"{i:03},{text(p)},{i / 4}" for i, p in enumerate(pixels)]
    (tmp_path / "x.csv").write_text("\n".join(["id,pixels,age", *rows]))
    data = load(tmp_path / "x.csv")
    assert data.train.labels is None
    assert data.train.columns["id"].tolist() == [f"{i:03}" for i in data.train.index()]
    np.testing.assert_array_equal(data.test.columns["age"], data.test.index() / 4)
    named = load(tmp_path / "x.csv", key="id")
    assert len(named.train.classes) == 20


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda rows: [*rows, rows[0] + " 7"],
            "x.csv has 197 pixels for pixels in row 21, but 196 in the first row that was read "
            "with it; save all images with the same size",
        ),
        (
            lambda rows: [*rows, rows[0].rpartition(" ")[0] + " 0x"],
            "x.csv has '0x' among the pixels for pixels in row 21; correct the row or leave it out",
        ),
        (
            lambda rows: [*rows, rows[0].rpartition(" ")[0] + " 256"],
            "x.csv has 256 in image 20 (counted from 0), but whole numbers must be from 0 to 255; "
            "scale them to the range from 0 to 255",
        ),
    ],
)
def test_invalid_texts_of_pixels_are_refused(tmp_path, pixels, change, line):
    rows = change([text(image) for image in pixels])
    (tmp_path / "x.csv").write_text("\n".join(["pixels", *rows]))
    assert refusal(tmp_path / "x.csv").startswith(line)


# Tables that name images


@pytest.fixture
def files(tmp_path, pixels) -> Path:
    """A folder with the images ``images/0.png`` to ``images/19.png``."""
    (tmp_path / "set" / "images").mkdir(parents=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "set" / "images" / f"{i}.png")
    return tmp_path / "set"


def write(path: Path, columns: dict[str, list]) -> Path:
    ending = path.suffix
    rows = list(zip(*columns.values(), strict=True))
    if ending == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif ending == ".jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows))
    else:
        mark = "\t" if ending == ".tsv" else ","
        path.write_text("\n".join(mark.join(map(str, row)) for row in [list(columns), *rows]))
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("form", ["images/{}.png", "images/{}", "{}.png", "{}", "images\\{}.png"])
def test_a_table_can_name_images(files, pixels, labels, ending, form):
    """Relative to the table or to a folder beside it, with or without the ending."""
    order = list(range(19, -1, -1))
    path = write(
        files / f"train{ending}",
        {"image": [form.format(i) for i in order], "label": [labels[i] for i in order]},
    )
    data = load(path)
    found, classes = in_order(data)
    np.testing.assert_array_equal(found[:, 0], pixels[::-1])
    assert classes == labels[::-1]
    names = [Path(name).name for name in data.train.names]
    assert names == [f"{19 - i}.png" for i in data.train.index()]


def test_a_folder_named_like_the_table_is_preferred(files, pixels):
    (files / "train").mkdir()
    for i in range(20):
        Image.fromarray(255 - pixels[i]).save(files / "train" / f"{i}.png")
    path = write(files / "train.csv", {"id": list(range(20)), "y": [0, 1] * 10})
    np.testing.assert_array_equal(in_order(load(path))[0][:, 0], 255 - pixels)


def test_other_columns_of_a_listing_reach_the_table_of_latents(run: Run, files, labels, tmp_path):
    path = write(
        files / "all.csv",
        {
            "file_name": [f"images/{i}.png" for i in range(20)],
            "label": labels,
            "split": ["train"] * 15 + ["test"] * 5,
            "age": [i / 2 for i in range(20)],
            "site": [f"{i:03}" for i in range(20)],
            "error": list(range(20)),
        },
    )
    assert run("train", "--preset", "fast", "--data", path, "--epochs", "1").exit_code == 0
    for out in ("a.csv", "a.parquet", "a.npz"):
        assert run("embed", "--out", out).exit_code == 0
    table = pq.read_table("a.parquet").to_pydict()
    assert list(table)[:4] == ["index", "split", "name", "label"]
    assert list(table)[-5:] == ["error", "run", "age", "site", "error_"]
    places = [int(Path(name).stem) for name in table["name"]]
    assert table["age"] == [i / 2 for i in places]
    assert table["site"] == [f"{i:03}" for i in places]
    assert table["error_"] == places
    assert sorted(places[:15]) == list(range(15))
    assert Path("a.csv").read_text().splitlines()[0].endswith(",error,run,age,site,error_")
    assert np.load("a.npz")["site"].tolist() == table["site"]
    assert run("plot3d", "a.csv").exit_code == 0


def test_what_is_not_there_or_repeated_is_said(files, labels):
    names = [f"images/{i}.png" for i in range(20)]
    path = write(files / "x.csv", {"image": [*names, "images/20.png", names[3]], "y": [1, 2] * 11})
    with pytest.warns(AeWarning) as caught:
        data = load(path)
    assert len(data.train) + len(data.test) == 20
    said = [str(warning.message) for warning in caught]
    assert said == [
        "1 rows of x.csv name an image that an earlier row names, and are not used",
        f"images/20.png in {path} cannot be read (there is no such file) and is left out",
    ]
    write(path, {"image": [*names[:10], *map(str, range(100, 110))], "y": [1, 2] * 10})
    assert refusal(path).startswith("10 of 20 images in x.csv cannot be read, such as 100 (there")


def test_an_image_without_a_label_is_an_error(files):
    names = [f"images/{i}.png" for i in range(20)]
    path = write(files / "x.csv", {"image": names, "label": [*"aabb" * 4, "a", "", "b", "b"]})
    assert refusal(path) == (
        "x.csv has nothing for label in row 18; give each image a label, or name another column "
        "with --key"
    )


# Labels beside a folder


def test_a_table_in_a_folder_is_named_if_it_is_not_used(files, labels):
    write(files / "labels.csv", {"name": [f"{i}.png" for i in range(20)], "kind": labels})
    with pytest.warns(AeWarning, match=r"1 file of set is not .* passed over: 1 \.csv"):
        data = load(files)
    assert "not used: labels.csv; --labels names a table of labels" in data.understood


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("form", ["images/{}.png", "{}.png", "{}"])
def test_labels_can_be_in_a_table_elsewhere(run: Run, files, tmp_path, labels, ending, form):
    path = write(
        tmp_path / f"labels{ending}",
        {"name": [form.format(i) for i in range(19)], "kind": labels[:19]},
    )
    with pytest.warns(
        AeWarning, match=r"1 of 20 images of set are not in labels\..*images/19\.png"
    ):
        data = load(files, labels=path)
    numbers = [int(Path(name).stem) for name in data.train.names]
    assert [data.train.classes[i] for i in data.train.labels] == [labels[i] for i in numbers]
    assert len(data.train) + len(data.test) == 19


def test_the_checkpoint_remembers_the_table_of_labels(run: Run, files, tmp_path, labels):
    write(tmp_path / "labels.csv", {"name": [f"{i}.png" for i in range(20)], "kind": labels})
    train = ("train", "--preset", "fast", "--data", files, "--epochs", "1")
    assert run(*train, "--labels", "labels.csv").exit_code == 0
    assert run("embed").exit_code == 0
    assert Path("latents.csv").read_text().startswith("index,split,name,label,z1")
    assert run("train", "--resume", "--epochs", "2").exit_code == 0


def test_a_table_of_labels_must_be_about_the_images(run: Run, files, tmp_path):
    path = write(tmp_path / "labels.csv", {"name": ["x", "y"], "kind": ["a", "b"]})
    assert error_line(run("data", files, "--labels", path), 3) == (
        f"error: no image of {files} is named in {path}; give a table with a column of file names"
    )
    assert error_line(run("data", "digits", "--labels", path), 2) == (
        "error: --labels applies only to a folder or an archive of images, not to digits; "
        "leave it out"
    )
    assert error_line(run("data", files, "--labels", "none.csv"), 3) == (
        f"error: there is no table {tmp_path}/none.csv; check the path"
    )
    np.save("x.npy", np.zeros((4, 4, 4)))
    with pytest.raises(UsageError, match="--labels applies only to a folder or an archive"):
        load("x.npy", labels=path)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_folder_can_have_metadata(files, labels, ending):
    """As an imagefolder of Hugging Face has it."""
    names = [f"{i}.png" for i in range(20)]
    write(
        files / "images" / f"metadata{ending}",
        {"file_name": names, "label": labels, "age": list(range(20))},
    )
    data = load(files)
    numbers = [int(Path(name).stem) for name in data.train.names]
    assert [data.train.classes[i] for i in data.train.labels] == [labels[i] for i in numbers]
    assert data.train.columns["age"].tolist() == numbers


def test_each_split_can_have_its_own_metadata(files, pixels, labels):
    for split, start in (("train", 0), ("test", 12)):
        (files / split).mkdir()
        for i in range(start, start + 8):
            (files / "images" / f"{i}.png").rename(files / split / f"{i - start}.png")
        names = [f"{i}.png" for i in range(8)]
        write(
            files / split / "metadata.csv",
            {"file_name": names, "label": labels[start : start + 8]},
        )
    for rest in (files / "images").iterdir():
        rest.unlink()
    data = load(files)
    assert (len(data.train), len(data.test)) == (8, 8)
    for part, start in ((data.train, 0), (data.test, 12)):
        numbers = [start + int(Path(name).stem) for name in part.names]
        assert [part.classes[i] for i in part.labels] == [labels[i] for i in numbers]
        np.testing.assert_array_equal(part.pixels[:, 0], pixels[numbers])
