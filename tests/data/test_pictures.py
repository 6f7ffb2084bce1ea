"""Image files of all kinds: formats, pages and frames, damaged JPEGs, and what is passed over."""

from __future__ import annotations

import csv
import importlib.util
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run, error_line, write_images
from PIL import Image, features

from ae_cli.data.decode import CUT, FIRST, UnreadableImageError, count_frames, decode
from ae_cli.data.image_formats import image_formats
from ae_cli.data.images import DataSet
from ae_cli.data.load import load
from ae_cli.errors import AeWarning, DataError


@pytest.fixture
def pictures(digits) -> list[Image.Image]:
    """Real digits, 28 × 28, in grey."""
    return [Image.fromarray(image[0].numpy()) for image in digits.train.pixels[:12]]


def in_order(data: DataSet) -> np.ndarray:
    order = np.argsort(np.concatenate([data.train.index(), data.test.index()]))
    return torch.cat([data.train.pixels, data.test.pixels]).numpy()[order, 0]


LOSSY = {".jp2", ".avif", ".heic", ".jpe", ".jfif"}


@pytest.mark.parametrize(
    "ending",
    [
        *(".pgm", ".PGM", ".ppm", ".pnm", ".tga", ".jp2", ".avif", ".jpe", ".jfif", ".pcx", ".dib"),
        *(".qoi", ".sgi", ".TIF", ".apng", ".heic"),
    ],
)
def test_whatever_pillow_decodes_is_read(pictures, tmp_path, ending):
    if ending == ".heic":
        pytest.importorskip("pillow_heif")
    if ending == ".avif" and not features.check("avif"):
        pytest.skip("Pillow is built without AVIF")
    assert ending.lower() in image_formats()
    for i, picture in enumerate(pictures):
        image = picture.convert("RGB") if ending.lower() in (".qoi", ".heic") else picture
        image.save(tmp_path / f"{i:02}{ending}", **({"quality": 95} if ending in LOSSY else {}))
    found = in_order(load(tmp_path)).astype(int)
    expected = np.stack([np.asarray(picture) for picture in pictures])
    assert np.abs(found - expected).mean() < (6 if ending in LOSSY else 0.6)


def test_no_format_starts_another_program():
    """Pillow reads EPS by Ghostscript."""
    assert not {".eps", ".ps", ".wmf", ".pdf"} & image_formats().keys()


def test_the_content_counts_not_the_ending(pictures, tmp_path):
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / f"{i:02}.png", "BMP")
    assert in_order(load(tmp_path)).shape == (12, 28, 28)


# Pages and frames


@pytest.mark.parametrize("name", ["stack.tif", "film.gif", "film.webp", "film.png", "film.avif"])
def test_the_pages_of_a_file_are_images(pictures, tmp_path, name):
    path = tmp_path / name
    options = {"lossless": True} if name.endswith("webp") else {}
    if name.endswith("avif"):
        options = {"quality": 100}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    assert count_frames(path) == 12
    data = load(path)
    found = in_order(data).astype(int)
    expected = np.stack([np.asarray(picture) for picture in pictures])
    assert np.abs(found - expected).mean() < (3 if name.endswith("avif") else 0.6)
    assert list(data.train.names) == [f"{name}#{i + 1}" for i in data.train.index()]
    assert "every page or frame of 1 file is an image" in data.understood


def test_a_file_with_one_image_is_not_enough(run: Run, pictures, tmp_path):
    pictures[0].save(tmp_path / "x.png")
    assert error_line(run("data", tmp_path / "x.png"), 3) == (
        f"error: {tmp_path}/x.png holds one image; give at least two, such as a folder of "
        "them: one to learn from, one to test on"
    )
    pictures[1].save(tmp_path / "x.tif", save_all=True, append_images=pictures[2:])
    assert "holds one image" in error_line(run("data", "x.tif", "--frames", "first"), 3)


@pytest.mark.parametrize("source", ["set/03.png", "one"])
def test_a_trained_model_is_used_on_one_image(run: Run, pictures, tmp_path, source):
    (tmp_path / "set").mkdir()
    (tmp_path / "one").mkdir()
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / "set" / f"{i:02}.png")
    shutil.copy(tmp_path / "set" / "03.png", tmp_path / "one")
    recipe = ("--hidden", "8", "--epochs", "1")
    assert run("train", "--preset", "tutorial", "--data", "set", *recipe).exit_code == 0
    for command in ("embed", "explore", "duplicates"):
        result = run(command, "--data", source)
        assert result.exit_code == 0, result.output
        assert not re.search(r": 1 (images|rows)\b", result.stderr)
    assert run("anomalies", "--data", source).exit_code == 0
    assert "over the image drawn\n" in run("reconstruct", "--data", source).stderr
    with Path("latents.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["index"], row["split"], row["name"]) == ("0", "test", "03.png")
    line = error_line(run("evaluate", "--data", source), 2)
    assert line.endswith("has no train images; give more images, or choose the other split")


def test_in_a_folder_the_first_page_is_read_unless_all_are_asked_for(run: Run, pictures, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for i, picture in enumerate(pictures[:10]):
        picture.copy().save(folder / f"{i:02}.png")
    pictures[10].save(folder / "a.tif", save_all=True, append_images=pictures[:5])
    pictures[11].save(folder / "b.gif", save_all=True, append_images=pictures[5:7])
    message = (
        "2 files of set with several pages or frames, of which the first is read (a.tif, b.gif); "
        "--frames all reads all"
    )
    for _ in range(2):  # decoded, and from the cache
        with pytest.warns(AeWarning) as caught:
            data = load(folder)
        assert [str(warning.message) for warning in caught] == [message]
        assert len(data.train) + len(data.test) == 12
    everything = load(folder, frames="all")
    assert len(everything.train) + len(everything.test) == 10 + 6 + 3
    assert {f"a.tif#{i}" for i in range(1, 7)} < {*everything.train.names, *everything.test.names}
    train = ("train", "--preset", "fast", "--epochs", "1", "--data", folder)
    assert run(*train, "--frames", "all").exit_code == 0
    assert run("embed").exit_code == 0  # as in training
    assert len(Path("latents.csv").read_text().splitlines()) == 20


def test_many_pages_are_read_in_pieces(tmp_path):
    images = [Image.fromarray(np.full((4, 4), i % 256, np.uint8)) for i in range(600)]
    images[0].save(tmp_path / "x.tif", save_all=True, append_images=images[1:])
    assert in_order(load(tmp_path / "x.tif"))[:, 0, 0].tolist() == [i % 256 for i in range(600)]


def test_pages_of_the_sample_are_looked_at(tmp_path):
    """The first page is grey, and the others are not."""
    grey, red = Image.new("RGB", (30, 20), "grey"), Image.new("RGB", (30, 20), "red")
    grey.save(tmp_path / "x.tif", save_all=True, append_images=[red] * 5)
    data = load(tmp_path / "x.tif")
    assert data.shape == (3, 20, 30)


def test_absurdly_many_frames_are_refused(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("ae_cli.data.pictures.most_unpacked", lambda size: 40_000)
    pictures[0].save(tmp_path / "x.gif", save_all=True, append_images=pictures[1:])
    with pytest.raises(DataError) as caught:
        load(tmp_path / "x.gif")
    assert str(caught.value) == (
        f"{tmp_path}/x.gif has 12 pages or frames, absurdly many for its size; leave it out, or "
        "read the first only: --frames first"
    )


# Damaged files


def test_a_jpeg_without_its_end_is_read_as_far_as_it_goes(pictures, tmp_path):
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    pictures[0].resize((200, 200)).save(whole)
    content = whole.read_bytes()
    cut.write_bytes(content[:-300])
    options = {"size": (200, 200), "color": False, "fit": "crop"}
    full, part = decode(whole, **options), decode(cut, **options)
    assert (full.remark, part.remark) == ("", CUT)
    np.testing.assert_array_equal(part.pixels[0, :100], full.pixels[0, :100])
    assert (part.pixels[0, -8:] != full.pixels[0, -8:]).any()
    cut.write_bytes(content[: content.index(b"\xff\xda") + 10])
    with pytest.raises(UnreadableImageError, match="image file is truncated"):
        decode(cut, **options)


def test_jpegs_without_their_end_are_counted_and_named(digits, tmp_path):
    folder = tmp_path / "set"
    write_images(digits.train, folder, count=20, labelled=False, ending=".jpg", size=(80, 80))
    for i in range(5):
        path = folder / f"{i:04}.jpg"
        path.write_bytes(path.read_bytes()[:-60])
    for _ in range(2):  # decoded, and from the cache
        with pytest.warns(AeWarning) as caught:
            data = load(folder)
        assert [str(warning.message) for warning in caught] == [
            "5 files of set are cut short, and read as far as they go: 0000.jpg, 0001.jpg, "
            "0002.jpg and 2 more"
        ]
        assert len(data.train) + len(data.test) == 20


def test_other_files_without_their_end_are_left_out(digits, tmp_path):
    folder = tmp_path / "set"
    write_images(digits.train, folder, count=20, labelled=False)
    path = folder / "0003.png"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.warns(AeWarning, match=r"0003\.png cannot be read|1 of 20 images"):
        assert len(load(folder).train) == 17


def test_the_first_of_several_frames_has_a_remark(pictures, tmp_path):
    pictures[0].save(tmp_path / "x.tif", save_all=True, append_images=pictures[1:3])
    assert decode(tmp_path / "x.tif", size=(8, 8), color=False, fit="crop").remark == FIRST


# What is passed over


def test_other_files_are_passed_over_with_number_and_kinds(digits, tmp_path):
    folder = tmp_path / "set"
    write_images(digits.train, folder, count=20, labelled=False)
    for name in ("a.txt", "b.TXT", "c.docx", "LICENSE", ".hidden", "d.eps"):
        (folder / name).write_text("x")
    with pytest.warns(AeWarning) as caught:
        load(folder)
    assert [str(warning.message) for warning in caught] == [
        "5 files of set are not in a format of images that ae reads, and passed over: 2 .txt, "
        "1 .docx, 1 .eps, 1 without an ending"
    ]


def test_a_folder_without_images_says_what_is_in_it(run: Run, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.docx").write_text("x")
    line = error_line(run("data", tmp_path / "set"), 3)
    assert line == (
        f"error: {tmp_path}/set holds no images, but 1 .docx; name another folder, or a file in it"
    )


def test_data_says_how_a_folder_was_understood(run: Run, digits, tmp_path):
    write_images(digits.train, tmp_path / "set", count=20)
    result = run("data", tmp_path / "set")
    lines = [line for line in result.stdout.splitlines() if line.startswith("understood ")]
    assert lines == [
        "understood a folder of images",
        "understood 8 classes, named as the folders of their images",
    ]


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is not None, reason="it is installed")
def test_heic_files_are_named_if_they_cannot_be_read(digits, tmp_path):
    write_images(digits.train, tmp_path, count=4, labelled=False)
    (tmp_path / "x.heic").write_bytes(b"")
    with pytest.warns(AeWarning, match=r"1 \.heic"):
        load(tmp_path)
