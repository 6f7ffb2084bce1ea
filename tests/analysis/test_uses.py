"""The uses of an autoencoder, with images of any kind, from end to end on the command line."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    TUTORIAL,
    Run,
    error_line,
    rewrite,
    spoil,
    write_images,
    write_inspection_set,
)
from matplotlib import image
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score

from ae_cli.data.catalog import KNOWN_SETS

SMALL = ("--epochs", "2", "--hidden", "64", "-q")


def result(run: Run, *arguments: str | Path) -> dict:
    """Run a command with --json, and return its last line of output."""
    answer = run(*arguments, "--json", "-q")
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout.splitlines()[-1])


def read_csv(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def photos(digits, tmp_path) -> Path:
    """A realistic folder: images of mixed formats, modes and sizes, and one broken file."""
    folder = tmp_path / "photos"
    write_images(digits.train, folder, count=100)
    write_images(digits.test, folder, count=60, ending=".jpg", size=(50, 40))
    for i, pixels in enumerate(digits.test.pixels[60:100, 0].numpy(), start=60):
        picture = Image.fromarray(pixels)
        if i % 4 == 0:
            picture = Image.fromarray(pixels.astype(np.uint16) * 257)  # 16 bits
        elif i % 4 == 1:
            picture = picture.convert("P").resize((31, 33))
        elif i % 4 == 2:
            picture = picture.convert("RGBA").resize((64, 64))
        picture.save(folder / str(int(digits.test.labels[i])) / f"mixed{i}.png")
    (folder / "3" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a picture")
    return folder


@pytest.mark.slow
def test_every_command_works_on_a_folder(run: Run, photos, digits):
    trained = run(*TUTORIAL, "--data", "photos", "--epochs", "2", "--hidden", "64")
    assert trained.exit_code == 0
    assert trained.stderr.splitlines()[:3] == [
        "decode     photos: 201 images",
        f"warning: {photos}/3/broken.jpg cannot be read (Truncated File Read) and is left out",
        "data       photos: 180 training + 20 test images (held out), 1 × 28 × 28 "
        "(grey, cropped and scaled from 50 wide × 40 high and other sizes), 10 classes",
    ]
    result = run("reconstruct")
    assert result.exit_code == 0
    assert "broken.jpg" not in result.stderr  # which was said before
    assert image.imread("reconstruction.png").std() > 0.1
    assert run("embed").exit_code == 0
    rows = read_csv("latents.csv")
    assert list(rows[0]) == ["index", "split", "name", "label", "z1", "z2", "z3", "error", "run"]
    assert len(rows) == 200
    assert len({row["index"] for row in rows}) == 200  # positions in the whole folder
    names = sorted(row["name"] for row in rows)
    for row in rows:
        assert names[int(row["index"])] == row["name"]
        assert row["name"].split("/")[0] == row["label"]
    assert run("plot3d").exit_code == 0
    assert run("evaluate", "--out", "evaluation.svg").exit_code == 0
    assert "PCA" in Path("evaluation.svg").read_text()
    assert run("anomalies").exit_code == 0
    assert run("decode").exit_code == 0
    assert "broken.jpg" not in run("train", "--resume", "--epochs", "3").stderr
    for command in (["data", "photos"], ["evaluate", "--data", "photos"]):
        assert f"warning: {photos}/3/broken.jpg cannot be read" in run(*command).stderr
    assert run("data", "photos", "--out", "examples.png").exit_code == 0
    assert run("info").exit_code == 0
    assert f"data       {photos}: 180 training" in run("info").stdout
    # Which images are held out depends on how many there are.
    write_images(digits.train, photos, count=130)
    assert run("embed").stderr.splitlines()[-4:-3] == [
        "warning: photos has changed since ae.safetensors was trained on it: "
        "some images that are held out now may have been training images"
    ]
    # The checkpoint knows the folder's absolute path, which no longer exists after a move.
    photos.rename("elsewhere")
    assert error_line(run("embed"), 4) == (
        f"error: ae.safetensors was trained on {photos}, which is not found; "
        "name images with --data; `ae data` lists the sets that ae knows"
    )
    assert run("embed", "--data", "elsewhere").exit_code == 0


def test_images_can_have_colour_and_another_size(run: Run, photos):
    options = ("--image-size", "24x32", "--color", "--fit", "pad")
    start = run(*TUTORIAL, "--data", "photos", *options, *SMALL, "--json")
    first = json.loads(start.stdout.splitlines()[0])
    assert first["data"]["shape"] == [3, 24, 32]
    assert first["data"]["fit"] == "pad"
    assert first["model"]["sizes"] == [2304, 64, 3, 64, 2304]
    # Later commands read images as the model needs them.
    write = result(run, "embed", "--data", "photos/0", "--out", "zeros.csv")
    assert write["rows"] == len(list((photos / "0").iterdir()))
    for command in ("reconstruct", "anomalies", "evaluate --limit 100"):
        assert run(*command.split()).exit_code == 0
    assert run("embed").exit_code == 0
    result(run, "decode", "--out", "decoded.npy")
    assert np.load("decoded.npy").shape == (200, 3, 24, 32)
    message = error_line(run("embed", "--data", "digits"), 3)
    assert message == (
        "error: ae.safetensors is for images of 3 × 24 × 32, and those of digits have 1 × 28 × 28; "
        "give the --data that it was trained on, or train again"
    )


def test_the_choice_of_classes_is_remembered(run: Run, digits):
    trained = run(*TUTORIAL, "--data", "digits", "--classes", "0,1,3-5", "--epochs", "2")
    expected = sum(int(label) in (0, 1, 3, 4, 5) for label in digits.train.labels)
    assert f"digits: {expected} training ({expected // 5 + 1} of them are held" in trained.stderr
    assert "1 × 28 × 28, 5 of 10 classes" in trained.stderr
    assert "only 0, 1, 3, 4, 5" in run("info").stdout

    def labels(*options: str) -> set[str]:
        assert run("embed", *options).exit_code == 0
        return {row["label"] for row in read_csv("latents.csv")}

    assert labels() == set("01345")
    assert labels("--classes", "all") == set("0123456789")
    assert labels("--classes", "7") == {"7"}
    assert labels("--exclude-classes", "0-8") == {"9"}
    assert result(run, "reconstruct", "--n", "40")["images"][0]["label"] in (0, 1, 3, 4, 5)
    assert run(*TUTORIAL, "--data", "digits", "--exclude-classes", "2,6-9", *SMALL).exit_code == 0
    assert labels() == set("01345")


def test_the_threshold_comes_from_held_out_images(run: Run, checkpoint):
    run("embed", "--split", "test", "--out", "test.npz")
    errors = np.load("test.npz")["error"].astype(float)
    answer = result(run, "anomalies", "--quantile", "0.9")
    assert answer["threshold"] == pytest.approx(np.quantile(errors, 0.9), rel=1e-5)
    rows = read_csv("anomalies.csv")
    columns = ["index", "split", "label", "error", "score", "threshold", "is_anomaly"]
    assert list(rows[0]) == columns
    assert all(row["score"] == row["error"] for row in rows)  # a model that is not for anomalies
    assert len(rows) == answer["images"] == 1797
    found = [float(row["error"]) for row in rows]
    assert found == sorted(found, reverse=True)
    assert [row["is_anomaly"] for row in rows] == [
        str(error > answer["threshold"]).lower() for error in found
    ]
    assert answer["anomalies"] == sum(row["is_anomaly"] == "true" for row in rows)
    assert sum(r["is_anomaly"] == "true" and r["split"] == "test" for r in rows) == 30
    # Each image has the same error as in the table that embed writes.
    run("embed")
    written = {(r["split"], r["index"]): r["error"] for r in read_csv("latents.csv")}
    assert all(written[row["split"], row["index"]] == row["error"] for row in rows)


def test_scores_match_the_written_table(run: Run, digits):
    run(*TUTORIAL, "--data", "digits", "--classes", "0", "--epochs", "5", "-q")
    answer = result(run, "anomalies", "--out", "table.parquet", "--split", "test")
    import pyarrow.parquet

    table = pyarrow.parquet.read_table("table.parquet").to_pydict()
    anomalous = np.array(table["label"]) != 0
    assert answer["normal_classes"] == ["0"]
    assert answer["scores"] == {
        "auroc": pytest.approx(roc_auc_score(anomalous, table["error"])),
        "average_precision": pytest.approx(average_precision_score(anomalous, table["error"])),
        "normal": int((~anomalous).sum()),
        "anomalous": int(anomalous.sum()),
    }
    # PCA is fitted to the same images: zeros only.
    zeros = digits.train.pixels[digits.train.labels == 0].flatten(1).numpy() / 255
    test = digits.test.pixels.flatten(1).numpy() / 255
    pca = PCA(3).fit(zeros)
    errors = ((pca.inverse_transform(pca.transform(test)) - test) ** 2).mean(1)
    truth = digits.test.labels.numpy() != 0
    assert answer["pca_scores"]["auroc"] == pytest.approx(roc_auc_score(truth, errors), abs=1e-3)
    # With the whole set, scores are the same: they leave out the training images.
    assert result(run, "anomalies")["scores"] == answer["scores"]


def test_a_training_split_can_hold_good_examples_only(run: Run, digits, tmp_path):
    """As in data sets for inspection: the classes in the training split are normal."""
    write_inspection_set(digits, tmp_path / "parts")
    assert run(*TUTORIAL, "--data", "parts", *SMALL).exit_code == 0
    answer = result(run, "anomalies")
    assert answer["normal_classes"] == ["good"]
    assert (answer["scores"]["normal"], answer["scores"]["anomalous"]) == (20, 40)
    # Other images without classes get errors, but no scores.
    write_images(digits.test, tmp_path / "new", count=7, labelled=False)
    answer = result(run, "anomalies", "--data", "new")
    assert (answer["images"], answer["scores"], answer["normal_classes"]) == (7, None, None)


def test_anomalies_writes_as_many_rows_as_requested(run: Run, checkpoint):
    shown = run("anomalies", "--top", "20", "--n", "3", "--normal-classes", "0-8")
    assert shown.exit_code == 0
    assert len(read_csv("anomalies.csv")) == 20
    assert shown.stdout.splitlines()[0].split() == ["index", "split", "label", "error", "score"]
    assert len(shown.stdout.splitlines()) == 7  # with five images and an empty line
    assert [line.split()[0] for line in shown.stderr.splitlines()] == [
        "warning:", "threshold", "anomalies", "learned", "detected", "AUROC", "table", "picture",
        "page", "next",
    ]  # fmt: skip
    assert image.imread("anomalies.png").std() > 0.1
    assert "learned" not in run("anomalies", "--split", "test").stderr, "training images only"
    few = run("anomalies", "--quantile", "0.999").stderr
    assert "the 99.9 % quantile of 297 held-out test images, which are few for it\n" in few


def test_decoding_a_table_gives_the_reconstructions(run: Run, checkpoint, table, digits):
    rows = read_csv("latents.csv")
    answer = result(run, "decode", "latents.csv", "--out", "decoded.npy")
    assert answer["images"] == 1797
    decoded = np.load("decoded.npy")
    assert decoded.dtype == np.float32
    originals = np.concatenate([digits.train.pixels, digits.test.pixels]) / 255
    errors = ((decoded - originals) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(errors, [float(row["error"]) for row in rows], rtol=1e-3)
    # The array can be used as images.
    assert run("embed", "--data", "decoded.npy", "--out", "again.csv").exit_code == 0

    assert run("decode", "--n", "12", "--out", "pictures").exit_code == 0
    names = sorted(os.listdir("pictures"))
    assert names == [f"{i:05}.png" for i in range(12)]
    drawn = np.asarray(Image.open("pictures/00003.png"))
    np.testing.assert_array_equal(drawn, np.round(decoded[3, 0] * 255).astype(np.uint8))
    before = Path("pictures/00003.png").read_bytes()
    message = error_line(run("decode", "--out", "pictures"), 2)
    assert "pictures already exists and is not empty; name a new folder" in message
    assert Path("pictures/00003.png").read_bytes() == before

    shown = run("decode")
    assert shown.stderr.splitlines() == [
        "decoded    100 of 1,797 rows of latents.csv",
        "picture    decoded.png",
        "next       ae explore --show",
    ]
    assert image.imread("decoded.png").std() > 0.1


def test_a_grid_and_a_line_can_be_decoded(run: Run, checkpoint, table):
    rows = read_csv("latents.csv")
    train, test = (
        np.array([[float(row[f"z{i}"]) for i in (1, 2, 3)] for row in rows if row["split"] == part])
        for part in ("train", "test")
    )

    def decode(z: np.ndarray) -> np.ndarray:
        np.savez("points.npz", **{f"z{i + 1}": z[:, i] for i in range(3)})
        result(run, "decode", "points.npz", "--out", "points.npy")
        return np.load("points.npy")

    result(run, "decode", "--grid", "4", "--axes", "z3,z1", "--out", "grid.npy")
    low, high = np.quantile(train, (0.01, 0.99), axis=0)
    expected = np.tile(np.median(train, axis=0), (16, 1))
    expected[:, 2] = np.tile(np.linspace(low[2], high[2], 4), 4)
    expected[:, 0] = np.repeat(np.linspace(high[0], low[0], 4), 4)
    np.testing.assert_allclose(np.load("grid.npy"), decode(expected), atol=1e-4)

    result(run, "decode", "--between", "3,19", "--steps", "5", "--out", "line.npy")
    expected = np.linspace(test[3], test[19], 5)
    np.testing.assert_allclose(np.load("line.npy"), decode(expected), atol=1e-4)

    shown = run("decode", "--grid", "12")
    assert shown.stderr.startswith("decoded    12 × 12 images over z1 from ")
    shown = run("decode", "--between", "3,19", "--out", "line.svg")
    assert shown.stderr.startswith(
        "decoded    12 images from test image 3 (label 8) to 19 (label 1)"
    )


def test_the_known_sets_are_listed(run: Run, mnist_dir):
    shown = run("data", "--data-dir", mnist_dir)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].split() == [
        "name", "images", "of", "training", "+", "test", "pixels", "classes", "status",
    ]  # fmt: skip
    there = {line.split()[0]: line.endswith("on disk") for line in lines[1:] if line}
    assert there == {name: name in ("mnist", "digits") for name in KNOWN_SETS}
    sets = result(run, "data", "--data-dir", mnist_dir)["sets"]
    assert sets[1]["name"] == "fashion-mnist"
    assert sets[1]["classes"][9] == "Ankle boot"


def test_the_command_to_train_reads_images_as_they_were_described(run: Run, digits):
    write_images(digits.train, Path("my photos"), count=40, labelled=False, size=(50, 60))
    options = ("--image-size", "40x30", "--val-fraction", "0.2", "--strict", "--out", "shown.png")
    (line,) = [x for x in run("data", "my photos", *options).stderr.splitlines() if "next" in x]
    assert line == (
        "next       ae train --data 'my photos' --image-size 40x30 --strict --val-fraction 0.2 "
        "--latent-dim 64"
    )
    small = run("data", "my photos", "--image-size", "28", "--grey").stderr.splitlines()[-1]
    assert small == "next       ae train --data 'my photos' --grey --image-size 28"
    write_inspection_set(digits, Path("parts"))
    parts = run("data", "parts", "--image-size", "32").stderr.splitlines()[-1]
    assert parts == "next       ae train --data parts --image-size 32", "these have another recipe"


def test_a_data_set_is_described(run: Run, digits):
    shown = run("data", "digits", "--out", "examples.png")
    pixels = np.concatenate([digits.train.pixels, digits.test.pixels]) / 255
    lines = shown.stdout.splitlines()
    assert lines[:3] == [
        "source     digits",
        "images     1,500 training + 297 test images, 1 × 28 × 28",
        f"pixels     from 0.00 to 1.00, mean {pixels.mean():.3f}, standard deviation "
        f"{pixels.std():.3f}, {(pixels == 0).mean():.0%} black, {(pixels == 1).mean():.0%} white",
    ]
    counts = [line.split() for line in lines[4:14]]
    for i, (name, train, test) in enumerate(counts):
        assert name == str(i)
        assert int(train) == int((digits.train.labels == i).sum())
        assert int(test) == int((digits.test.labels == i).sum())
    height, width, _ = image.imread("examples.png").shape
    assert height > 0.8 * width  # ten rows of ten
    assert shown.stderr.splitlines()[-1] == "next       ae train --data digits"
    answer = result(run, "data", "digits", "--classes", "3")
    assert answer["classes"]["train"]["3"] == answer["train_images"]
    assert answer["pixels"]["maximum"] == 1.0


def test_arrays_can_be_used_as_images(run: Run, digits):
    np.savez(
        "mine.npz",
        pictures=digits.train.pixels.numpy(),
        digit=digits.train.labels.numpy(),
    )
    assert "mine.npz" in error_line(run(*TUTORIAL, "--data", "mine.npz"), 3)
    options = ("--preset", "tutorial", "--data", "mine.npz", "--key", "pictures,digit", *SMALL)
    assert run("train", *options, "--val-fraction", "0.2").exit_code == 0
    for command in ("reconstruct", "embed", "evaluate --limit 100", "anomalies", "decode"):
        assert run(*command.split(), "-q").exit_code == 0, command
    rows = read_csv("latents.csv")
    assert sum(row["split"] == "test" for row in rows) == 300
    labels = digits.train.labels.tolist()
    assert all(labels[int(row["index"])] == int(row["label"]) for row in rows)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "--data", "digits", "--color"), 2, "--color applies only to a folder of images"),
        (
            ("train", "--data", "digits", "--fit", "pad"),
            2,
            "--fit applies only to a folder of images",
        ),
        (
            ("train", "--data", "digits", "--image-size", "9"),
            2,
            "--image-size applies only to a folder or",
        ),
        (
            ("train", "--data", "digits", "--key", "x"),
            2,
            "--key applies only to a file or a table with names in it",
        ),
        (
            ("train", "--data", "digits", "--val-fraction", "0.2"),
            2,
            "--val-fraction applies only to images",
        ),
        (("train", "--data", "split", "--val-fraction", "0.2"), 2, "split has its own test split"),
        (("train", "--data", "split", "--image-size", "0"), 2, "--image-size is 0; give a whole"),
        (("train", "--data", "split", "--image-size", "9x"), 2, "--image-size is '9x'; give a"),
        (("train", "--data", "split", "--val-fraction", "1"), 2, "--val-fraction is 1.0; give a"),
        (
            ("train", "--data", "grey.npy", "--image-size", "9"),
            2,
            "--image-size differs from the size",
        ),
        (("train", "--data", "empty"), 3, "empty holds no images"),
        (("train", "--data", "one"), 3, "one holds one image; give at least two"),
        (("train", "--data", "not/there"), 3, "not/there: there is no such file or folder; check"),
        (
            ("train", "--data", "digits", "--classes", "x"),
            2,
            "--classes 'x' is not a class of digits",
        ),
        (
            ("train", "--data", "digits", "--classes", ""),
            2,
            "--classes '' is not a class of digits",
        ),
        (("train", "--data", "one", "--classes", "0"), 3, "one holds one image"),
        (("train", "--data", "grey.npy", "--classes", "0"), 2, "grey.npy has no labels; leave it"),
        (
            ("train", "--data", "digits", "--exclude-classes", "0-9"),
            2,
            "--exclude-classes 0-9 leaves no class; keep some",
        ),
        (
            ("train", "--data", "digits", "--classes", "1", "--exclude-classes", "2"),
            2,
            "--classes and --exclude-classes are both given; give one of them",
        ),
        (("embed", "--data", "wide.npy"), 3, "of wide.npy have 1 × 64 × 64; give the --data"),
        (("anomalies", "--quantile", "2"), 2, "--quantile is 2.0; give a share from 0 to 1"),
        (("anomalies", "--quantile", "nan"), 2, "--quantile is nan; give a share from 0 to 1"),
        (("anomalies", "--top", "0"), 2, "--top is '0'; give a whole number, 1 or more, or all"),
        (("anomalies", "--n", "0"), 2, "--n is 0; give a whole number from 1 to 100"),
        (("anomalies", "--out", "a.txt"), 2, "a.txt does not end in a format that can be written"),
        (
            ("anomalies", "--normal-classes", "x"),
            2,
            "--normal-classes 'x' is not a class of digits",
        ),
        (("anomalies", "--normal-classes", "0-9"), 2, "--normal-classes leaves nothing to tell ap"),
        (("evaluate", "--limit", "0"), 2, "--limit is 0; give a whole number, 1 or more"),
        (("evaluate", "--out", "a.txt"), 2, "a.txt does not end in a format that can be written"),
        (("decode", "none.csv"), 3, "there is no table at none.csv; make one with `ae embed --out"),
        (("decode", "two.csv"), 3, "two.csv has 2 latents, and ae.safetensors is for 3; give the"),
        (("decode", "--n", "9999"), 2, "--n is 9999, and latents.csv has 1,797 rows; give at most"),
        (("decode", "--n", "all"), 2, "a picture of 1,797 images would be too large; ask for 1000"),
        (("decode", "--grid", "1"), 2, "--grid is 1; give a whole number from 2 to 100"),
        (
            ("decode", "--grid", "3", "--axes", "z1"),
            2,
            "--axes is 'z1'; name two different latents",
        ),
        (("decode", "--grid", "3", "--axes", "z1,z4"), 2, "--axes names 'z4', and ae.safetensors"),
        (("decode", "--grid", "3", "latents.csv"), 2, "exclude one another; give one of them"),
        (("decode", "--axes", "z1,z2"), 2, "--axes is for --grid; leave it out, or give --grid"),
        (("decode", "--data", "digits"), 2, "--data is for --grid or --between; leave it out"),
        (("decode", "--strict"), 2, "--strict is for --grid or --between; leave it out"),
        (("decode", "--steps", "3"), 2, "--steps is for --between; leave it out, or give --betw"),
        (("decode", "--between", "1"), 2, "--between is '1'; give two numbers, such as 3,19"),
        (("decode", "--between", "1,297"), 2, "--between 297 is not in the test split of 297 imag"),
        (("decode", "--between", "1,2", "--steps", "1"), 2, "--steps is 1; give a whole number fr"),
        (("decode", "--out", "a.txt"), 2, "a.txt does not end in a format that can be written"),
        (("decode", "--out", "ae.safetensors/x"), 2, "the folder "),
        (("data", "--out", "a.png"), 2, "--out draws examples of a data set; name one: ae data di"),
        (("data", "digits", "--out", "a.txt"), 2, "a.txt does not end in a format that can be wri"),
        (("data", "dig"), 3, "did you mean digits?"),
    ],
)  # fmt: skip
def test_mistakes_give_a_one_line_error(
    run: Run, checkpoint, table, digits, tmp_path, arguments, code, message
):
    Path("empty").mkdir()
    write_images(digits.test, tmp_path / "one", count=1)
    write_images(digits.train, tmp_path / "split" / "train", count=20)
    write_images(digits.test, tmp_path / "split" / "test", count=10)
    np.save("grey.npy", digits.test.pixels[:, 0].numpy())
    np.save("wide.npy", np.zeros((9, 3, 64, 64), np.float32))
    Path("two.csv").write_text("z1,z2\n1,2\n")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    assert message in error_line(run(*arguments), code)
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_a_checkpoint_without_a_threshold_says_so(run: Run, checkpoint):
    def remove_quantiles(metadata: dict[str, str]) -> None:
        metrics = json.loads(metadata["metrics"])
        del metrics["error_quantiles"]
        metadata.update(metrics=json.dumps(metrics), format_version="2")

    rewrite(checkpoint, metadata=remove_quantiles)
    assert error_line(run("anomalies"), 4) == (
        "error: ae.safetensors is from an older ae, and has no threshold; train again"
    )
    assert run("embed").exit_code == 0


MEMORY = r"""
import re, sys
from pathlib import Path
from ae_cli.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
# Linux's peak for this process only: getrusage starts from the parent's peak.
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024, file=sys.stderr)
"""


@pytest.mark.slow
def test_ten_thousand_photographs_need_little_memory(digits, tmp_path):
    """Decoding and training take less than 1.5 GB, and a second run does not read the files."""
    folder = tmp_path / "photos"
    for part, split in digits.splits.items():
        for copy in range(6):
            some = split.head(1400 if part == "train" else 267)
            write_images(
                some, folder / f"{part}{copy}", labelled=False, ending=".jpg", size=(100, 100)
            )
    assert sum(1 for _ in folder.rglob("*.jpg")) == 10_002

    def train() -> list[str]:
        command = [sys.executable, "-c", MEMORY, *TUTORIAL, "--data", "photos", "--epochs", "2"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stderr.splitlines()

    first = train()
    assert first[0] == "decode     photos: 10,002 images"
    assert int(first[-1]) < 1500  # MiB
    spoil(folder)
    second = train()
    assert second[0].startswith("data       photos: 9,002 training + 1,000 test images (held out)")
    assert int(second[-1]) < 1500


@pytest.mark.slow
def test_the_three_uses_work_on_mnist(run: Run, mnist_dir, monkeypatch):
    monkeypatch.setenv("AE_DATA_DIR", str(mnist_dir))
    assert run("train", "--data", "mnist", "--classes", "0", "--epochs", "2", "-q").exit_code == 0
    answer = result(run, "anomalies")
    assert (answer["images"], answer["scores"]["normal"]) == (70_000, 980)
    assert answer["scores"]["auroc"] > 0.8
    answer = result(run, "evaluate", "--classes", "all", "--limit", "2000")
    assert answer["images"] == 10_000
    assert answer["accuracy"]["pixels"]["knn"] > 0.85
    assert run("decode", "--grid", "12").exit_code == 0
    assert run("data", "mnist").exit_code == 0


@pytest.mark.parametrize(
    "command", ["reconstruct", "embed", "evaluate", "anomalies", "explore", "decode --grid 3"]
)
def test_a_diverged_model_is_reported(run: Run, checkpoint, command):
    """Its weights are finite, but too large to compute with."""
    rewrite(checkpoint, tensors=lambda t: [weight.fill_(1e38) for weight in t.values()])
    assert error_line(run(*command.split()), 4) == (
        "error: the model's output for an image is not a finite number; "
        "train again with a smaller --lr, or name another checkpoint"
    )
    assert os.listdir() == ["ae.safetensors"]
