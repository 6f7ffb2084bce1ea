"""Neighbours and duplicates, against scikit-learn's and SciPy's brute force."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TUTORIAL, Run, error_line, write_images
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

import ae_cli
from ae_cli.analysis import duplicates
from ae_cli.analysis.duplicates import find_pairs, find_pairs_by_index
from ae_cli.analysis.neighbours import find_nearest
from ae_cli.data.images import Images
from ae_cli.data.store import PixelStore
from ae_cli.errors import UsageError


def read_csv(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def latents_of(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(row[f"z{i}"]) for i in (1, 2, 3)] for row in rows])


def test_neighbours_are_those_that_scikit_learn_finds(run: Run, checkpoint, table):
    result = run("neighbours", "--index", "3,7,200", "--n", "20", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    rows = read_csv(str(table))
    latents = latents_of(rows)
    own = [i for i, row in enumerate(rows) if row["split"] == "test" and row["index"] in
           ("3", "7", "200")]  # fmt: skip
    distances, places = (
        NearestNeighbors(n_neighbors=21, algorithm="brute").fit(latents).kneighbors(latents[own])
    )
    found = read_csv("neighbours.csv")
    assert (answer["queries"], answer["n"], len(found)) == (3, 20, 60)
    assert [row["like"] for row in found[::20]] == ["test 3", "test 7", "test 200"]
    assert [int(row["rank"]) for row in found[:20]] == list(range(1, 21))
    np.testing.assert_allclose(
        [float(row["distance"]) for row in found], distances[:, 1:].ravel(), rtol=1e-3, atol=1e-4
    )
    others = cdist(latents[own], latents).sum(1) / (len(latents) - 1)
    assert answer["mean_distance"] == pytest.approx(others.mean(), rel=1e-4)
    expected = {(rows[i]["split"], rows[i]["index"], rows[i]["label"]) for i in places[0, 1:]}
    there = {(row["split"], row["index"], row["label"]) for row in found[:20]}
    assert len(expected & there) >= 19, "two at nearly the same distance may change places"
    with Image.open("neighbours.png") as picture:
        assert picture.width > 1000, "seven of 21 images side by side"


def test_only_the_named_split_is_searched(run: Run, checkpoint):
    assert run("neighbours", "--index", "3", "--split", "train", "--n", "5").exit_code == 0
    rows = read_csv("neighbours.csv")
    assert {row["split"] for row in rows} == {"train"}
    assert len(rows) == 5


def test_a_file_is_like_itself(run: Run, digits, checkpoint):
    place = int(np.flatnonzero(digits.test.index() == 12)[0])
    Image.fromarray(digits.test.pixels[place, 0].numpy()).save("digit.png")
    result = run("neighbours", "--like", "digit.png")
    assert result.exit_code == 0, result.output
    assert "the 12 nearest to digit.png, among 1,797 images" in result.stderr
    result = run("neighbours", "--like", "digit.png", "--n", "1000", "--split", "test", "--json")
    assert json.loads(result.stdout.splitlines()[-1])["n"] == len(digits.test), "none is left out"
    result = run("neighbours", "--like", "digit.png")
    assert result.exit_code == 0
    first, *_, last = read_csv("neighbours.csv")
    nearest, farthest = (f"{float(row['distance']):.3g}" for row in (first, last))
    assert f"distance   {nearest} to {farthest}, and " in result.stderr
    assert (first["like"], first["split"], first["index"]) == ("digit.png", "test", "12")
    assert float(first["distance"]) < 1e-3


def test_a_file_of_the_folder_is_not_its_own_neighbour(run: Run, digits):
    write_images(digits.train, Path("photos"), count=60)
    first, second, *_ = sorted(Path("photos").rglob("*.png"))
    copy = second.with_name("copy.png")
    copy.write_bytes(first.read_bytes())
    assert run(*TUTORIAL, "--data", "photos", "--epochs", "1", "-q").exit_code == 0
    found = ae_cli.neighbours("ae.safetensors", like=os.path.relpath(first), n=60)
    names = [Path(name) for name in found.table["name"]]
    assert sorted(names) == sorted(
        path.relative_to("photos") for path in Path("photos").rglob("*.png") if path != first
    )
    assert names[0] == copy.relative_to("photos"), "a copy is a neighbour"
    assert found.captions[0][0] == f"{names[0].parent}: copy.png"


def test_an_image_of_a_folder_is_named_as_tables_name_it(run: Run, digits):
    """By its name, or by its index, which counts both splits: then it is said where it is."""
    write_images(digits.train, Path("photos"), count=60)
    assert run(*TUTORIAL, "--data", "photos", "--epochs", "1", "-q").exit_code == 0
    run("embed")
    row = next(row for row in read_csv("latents.csv") if row["split"] == "train")
    by_name = ae_cli.neighbours("ae.safetensors", like=row["name"])
    assert by_name.names == [Path(row["name"]).name]
    assert row["name"] not in by_name.table["name"]
    by_file = ae_cli.neighbours("ae.safetensors", like=Path(row["name"]).name)
    assert by_file.table["name"].tolist() == by_name.table["name"].tolist()
    misspelt = Path(row["name"]).with_suffix(".pgn").name
    line = error_line(run("neighbours", "--like", misspelt), 3)
    assert line.endswith(f"; did you mean {row['name']}?")
    for command, option in (("neighbours", "--index-split"), ("reconstruct", "--split")):
        line = error_line(run(command, "--index", row["index"]), 2)
        assert line.endswith(f"; it is in the train split: add {option} train")
        assert run(command, "--index", row["index"], option, "train").exit_code == 0
    by_index = ae_cli.neighbours("ae.safetensors", index=row["index"], index_split="train")
    assert list(by_index.table["name"]) == list(by_name.table["name"])
    for name in (f"{row['name']}.gif", f"{300 * 'a'}.png"):  # the latter is too long for a file
        assert "neither a file nor" in error_line(run("neighbours", "--like", name), 3)


def test_arrays_have_neighbours_in_python(digits, checkpoint, monkeypatch):
    chosen = digits.test.pixels[:2].numpy()
    found = ae_cli.neighbours(checkpoint, like=chosen, n=3, split="test")
    assert found.out is None
    assert found.table["distance"][::3] == pytest.approx([0, 0], abs=1e-3)
    np.testing.assert_allclose(found.found[:, 0], found.originals)
    assert list(found.to_pandas()["rank"]) == [1, 2, 3] * 2
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pandas", None)
        with pytest.raises(UsageError, match="pandas is not installed; install it with"):
            found.to_pandas()
    assert found._repr_png_().startswith(b"\x89PNG")


def test_several_sources_and_folders_are_read(run: Run, digits, checkpoint):
    write_images(digits.test, Path("photos"), count=6)
    assert run("neighbours", "--like", "photos", "--n", "2", "-q").exit_code == 0
    assert len(read_csv("neighbours.csv")) == 12
    files = sorted(map(str, Path("photos").rglob("*.png")))[:2]
    assert run("neighbours", "--like", files[0], "--like", files[1], "-q").exit_code == 0
    assert len(read_csv("neighbours.csv")) == 24


def test_more_neighbours_than_images_are_all_images(run: Run, checkpoint):
    result = run("neighbours", "--index", "0", "--n", "1000", "--split", "test")
    assert result.exit_code == 0, result.output
    assert len(read_csv("neighbours.csv")) == 296


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "--like photo.jpg"),
        (("--like", "x.png", "--index", "3"), 2, "exclude one another"),
        (("--index-split", "train", "--like", "x.png"), 2, "--index-split is for --index"),
        (
            ("--like", "nowhere.png"),
            3,
            "nowhere.png is neither a file nor the name of an image; give the path of",
        ),
        (("--like", "broken.png"), 3, "broken.png cannot be read"),
        (("--like", "7"), 3, "for an image by its index, give --index 7"),
        (("--index", "100000"), 2, "--index 100000 is not in the test split"),
        (("--index", "3", "--n", "0"), 2, "--n is 0"),
        (("--index", "3", "--out", "table.txt"), 2, "table.txt"),
        (("--index", "3", "--out", "folder.csv"), 2, "folder.png"),
    ],
)
def test_what_is_wrong_is_said(run: Run, checkpoint, arguments, code, message):
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    Path("folder.png").mkdir()
    assert message in error_line(run("neighbours", *arguments), code)
    assert not Path("neighbours.csv").exists()


small = st.floats(-5, 5, width=16)


@settings(deadline=None)
@given(
    arrays(np.float32, (3, 2), elements=small),
    arrays(np.float32, (20, 2), elements=small),
    st.integers(1, 20),
    st.lists(st.integers(1, 19), max_size=4),
)
def test_batches_do_not_change_what_is_nearest(queries, rows, n, cuts):
    found = find_nearest(queries, np.split(rows, sorted(cuts)), n)
    distances = cdist(queries, rows)
    expected = np.sort(distances, axis=1)[:, :n]
    np.testing.assert_allclose(found.distances, expected, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(distances, found.places, 1), expected, atol=1e-5)
    np.testing.assert_allclose(found.mean_distances, distances.mean(1), atol=1e-5)


def write_copies(folder: Path) -> set[tuple[str, str]]:
    """Copy some files of a folder in several ways, and return the pairs of names."""
    pairs = set()
    for i, path in enumerate(sorted(folder.glob("*.png"))[:40:4]):
        picture = Image.open(path)
        copy = path.with_name(f"copy{i}.jpg" if i % 2 else f"copy{i}.png")
        if i % 3 == 1:
            picture = picture.resize((picture.width * 2, picture.height * 2))
        picture.save(copy)
        pairs.add((path.name, copy.name))
    return pairs


@pytest.mark.parametrize("most_exact", [50_000, 10])
def test_copies_are_found(run: Run, digits, monkeypatch, most_exact):
    if most_exact == 10:
        pytest.importorskip("faiss")
    monkeypatch.setattr(duplicates, "MOST_EXACT", most_exact)
    write_images(digits.train, Path("photos"), count=300, labelled=False)
    pairs = write_copies(Path("photos"))
    assert run(*TUTORIAL, "--data", "photos", "--epochs", "3", "-q").exit_code == 0
    result = run("duplicates", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    rows = read_csv("duplicates.csv")
    assert {tuple(sorted((row["name"], row["like_name"]))) for row in rows} == {
        tuple(sorted(pair)) for pair in pairs
    }
    distances = [float(row["distance"]) for row in rows]
    assert distances == sorted(distances)
    assert distances[0] == 0
    assert distances[-1] <= 1
    assert answer["duplicates"] == len(pairs)
    assert answer["across"] == sum(row["split"] != row["like_split"] for row in rows)
    assert Path("duplicates.png").exists()
    found = ae_cli.duplicates("ae.safetensors")
    nearest = next(zip(*found.table.values(), strict=True))
    assert found.titles[0] == "{2}\n{5} ({6:.2f})".format(*nearest)
    assert run("duplicates", "--threshold", "0", "-q").exit_code == 0
    assert {float(row["distance"]) for row in read_csv("duplicates.csv")} == {0.0}


def test_a_set_without_copies_has_an_empty_table(run: Run, digits, checkpoint):
    result = run("duplicates", "--split", "test", "--threshold", "0")
    assert result.exit_code == 0, result.output
    assert "0 of 297 images are like an earlier one" in result.stderr
    assert Path("duplicates.csv").read_text().splitlines() == [
        "index,split,label,like_index,like_split,distance"
    ]
    assert not Path("duplicates.png").exists()


def test_of_two_files_the_one_whose_name_is_first_is_the_earlier_one(run: Run, digits):
    write_images(digits.train, Path("photos"), count=60, labelled=False)
    for path in sorted(Path("photos").glob("*.png"))[:20]:
        path.with_name(f"{path.stem} (1).png").write_bytes(path.read_bytes())
    assert run(*TUTORIAL, "--data", "photos", "--epochs", "1", "-q").exit_code == 0
    assert run("duplicates", "--threshold", "0").exit_code == 0
    rows = read_csv("duplicates.csv")
    assert {(row["name"], row["like_name"]) for row in rows} == {
        (path.name, path.name.replace(" (1)", "")) for path in Path("photos").glob("* (1).png")
    }


def test_all_copies_belong_to_the_first_of_them(digits, checkpoint):
    four = digits.test.pixels[:4].repeat(5, 1, 1, 1)
    images = Images(PixelStore(four))
    found = ae_cli.duplicates(checkpoint, images)
    assert found.table["like_index"].tolist() == [i % 4 for i in found.table["index"]]
    assert sorted(found.table["index"]) == list(range(4, 20))


@settings(deadline=None, max_examples=50)
@given(
    arrays(np.float32, (40, 3), elements=st.floats(-5, 5, width=16)),
    st.floats(0, 3),
)
def test_all_pairs_within_the_radius_are_found(rows, radius):
    found = [tuple(pair) for some in find_pairs(rows, radius) for pair in some.tolist()]
    distances = cdist(rows, rows)
    pairs = {(j, i) for i in range(40) for j in range(i + 1, 40) if distances[i, j] <= radius}
    assert pairs <= set(found)
    assert len(found) == len(set(found))
    assert all(distances[pair] <= radius + 0.1 for pair in found)


def test_the_index_misses_few_pairs():
    pytest.importorskip("faiss")
    torch.manual_seed(0)
    centres = torch.randn(2000, 8)
    rows = torch.cat([centres, centres + 0.01 * torch.randn(2000, 8)]).numpy()
    exact, indexed = (
        {tuple(pair) for some in find(rows, 0.05) for pair in some.tolist()}
        for find in (find_pairs, find_pairs_by_index)
    )
    assert len(exact) >= 1900
    assert len(exact & indexed) >= 0.99 * len(exact)
    assert indexed <= exact


def test_the_missing_library_is_named(run: Run, checkpoint, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_EXACT", 10)
    monkeypatch.setitem(sys.modules, "faiss", None)
    message = error_line(run("duplicates"), 2)
    assert "1,797 images are too many" in message
    assert 'pip install "ae-cli[index]"' in message


def test_a_threshold_below_nothing_is_refused(run: Run, checkpoint):
    assert "--threshold is -1" in error_line(run("duplicates", "--threshold", "-1"), 2)
