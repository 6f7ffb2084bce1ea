from __future__ import annotations

import os
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import spoil, write_images
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ae_cli.data.decode import UnreadableImageError, decode
from ae_cli.data.images import DataSet
from ae_cli.data.layout import Place, arrange
from ae_cli.data.load import load
from ae_cli.errors import AeWarning, DataError


def picture(digits, position: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A digit as a grey image of this width and height."""
    return Image.fromarray(digits.train.pixels[position, 0].numpy()).resize(size)


def read(path: Path, *, size=(30, 40), color=False, fit="crop") -> np.ndarray:
    return decode(path, size=size, color=color, fit=fit)


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tiff", ".gif", ".webp", ".jpg"])
def test_every_format_is_read(digits, tmp_path, ending):
    path = tmp_path / f"digit{ending}"
    options = {"lossless": True} if ending == ".webp" else {}
    picture(digits).save(path, **options)
    difference = read(path)[0].astype(int) - np.asarray(picture(digits))
    # Only JPEG is lossy, and only slightly.
    assert abs(difference).mean() < (3 if ending == ".jpg" else 0.01)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "F"])
def test_every_mode_becomes_grey_or_colour(digits, tmp_path, mode):
    grey = picture(digits)
    path = tmp_path / ("digit.tiff" if mode in ("CMYK", "F", "LA") else "digit.png")
    values = np.asarray(grey)
    image = {
        "I;16": lambda: Image.fromarray(values.astype(np.uint16) * 257),
        "F": lambda: Image.fromarray(values.astype(np.float32) / 255),
        "1": lambda: grey.point(lambda value: 255 * (value > 127), mode="1"),
    }.get(mode, lambda: grey.convert(mode))()
    image.save(path)
    expected = 255 * (values > 127) if mode == "1" else values
    for color in (False, True):
        pixels = read(path, color=color)
        assert pixels.shape == (3 if color else 1, 30, 40)
        assert pixels.dtype == np.uint8
        assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_colours_become_luma_or_are_kept(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path)
    assert read(path, size=(4, 4)).tolist() == np.full((1, 4, 4), round(0.299 * 255)).tolist()
    assert read(path, size=(4, 4), color=True)[:, 0, 0].tolist() == [255, 0, 0]


def test_transparent_pixels_become_white(tmp_path):
    for name, mode, value in (("a", "RGBA", (0, 0, 0, 0)), ("b", "LA", (0, 0))):
        Image.new(mode, (8, 8), value).save(tmp_path / f"{name}.png")
        assert (read(tmp_path / f"{name}.png", size=(4, 4)) == 255).all()
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "c.png", transparency=0)
    assert (read(tmp_path / "c.png", size=(4, 4)) == 255).all()


def test_a_rotated_photograph_is_turned_upright(digits, tmp_path):
    image, orientation = picture(digits), Image.Exif()
    orientation[0x0112] = 6  # the camera was rotated: rotate the image clockwise
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "turned.png", exif=orientation)
    upright = read(tmp_path / "plain.png")
    turned = read(tmp_path / "turned.png", size=(40, 30))
    np.testing.assert_array_equal(turned[0], np.rot90(upright[0], -1))


def test_only_the_first_frame_is_read(digits, tmp_path):
    frames = [picture(digits, i) for i in (0, 1)]
    for name in ("frames.gif", "frames.tiff"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(read(tmp_path / name)[0], np.asarray(frames[0]))


def test_fit_crops_pads_or_stretches(tmp_path):
    values = np.zeros((20, 60), np.uint8)
    values[:, 20:40] = 255  # white in the middle third
    Image.fromarray(values).save(tmp_path / "wide.png")
    shares = {
        fit: read(tmp_path / "wide.png", size=(30, 30), fit=fit)[0].mean() / 255
        for fit in ("crop", "pad", "stretch")
    }
    assert shares["crop"] > 0.98  # only the middle square
    assert shares["pad"] == pytest.approx(1 / 9, abs=0.02)  # a third of a third
    assert shares["stretch"] == pytest.approx(1 / 3, abs=0.02)
    padded = read(tmp_path / "wide.png", size=(30, 30), fit="pad")[0]
    assert padded[:9].max() == padded[-9:].max() == 0
    assert padded[15].tolist() == padded[15, ::-1].tolist()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (1, 1), (2000, 3000)])
def test_every_aspect_ratio_can_be_fitted(tmp_path, fit, size):
    Image.new("L", size, 200).save(tmp_path / "odd.png")
    pixels = read(tmp_path / "odd.png", size=(5, 7), fit=fit)
    assert pixels.shape == (1, 5, 7)
    assert pixels.max() == 200


def png(width: int, height: int) -> bytes:
    """A PNG file that claims this size but holds almost no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (png(100_000, 100_000), "it claims to have absurdly many pixels"),
        (png(9_000, 9_000), "9000 × 9000 pixels are too many"),
        (png(10_000, 1_000)[:60], "image file is truncated"),
        (b"", "not an image, or an unknown format"),
        (b"GIF89a", "not an image"),
        (b"<svg/>", "not an image, or an unknown format"),
    ],
)
def test_the_error_for_an_unreadable_image_says_why(tmp_path, content, cause):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=cause):
        read(tmp_path / "bad.png")


def test_deep_pixels_out_of_range_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 1.5, np.float32)).save(tmp_path / "bright.tiff")
    with pytest.raises(UnreadableImageError, match=r"from 1\.5 to 1\.5, not from 0 to 1"):
        read(tmp_path / "bright.tiff")


@given(st.binary(max_size=300), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_no_bytes_raise_any_other_error(tmp_path_factory, content, start):
    path = tmp_path_factory.getbasetemp() / "random.png"
    path.write_bytes(start + content)
    with suppress(UnreadableImageError):
        assert read(path).shape == (1, 30, 40)


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["a.png", "b.png"], [(None, None), (None, None)]),
        (["cat/a.png", "dog/b.png"], [(None, "cat"), (None, "dog")]),
        (["cat/x/y/a.png", "dog/b.png"], [(None, "cat"), (None, "dog")]),
        (["a.png", "cat/b.png"], [(None, None), (None, None)]),
        (["train/a.png", "test/b.png"], [("train", None), ("test", None)]),
        (["Train/cat/a.png", "val/dog/b.png"], [("train", "cat"), ("test", "dog")]),
        (
            ["train/cat/a.png", "test/cat/b.png", "val/cat/c.png", "d.png"],
            [("train", "cat"), ("test", "cat"), (None, None), (None, None)],
        ),
        (["train/cat/a.png", "test/b.png"], [("train", None), ("test", None)]),
        (["train/a.png", "other/b.png"], [(None, "train"), (None, "other")]),
        (["test/a.png"], [(None, "test")]),
        ([], []),
    ],
)
def test_folder_names_give_split_and_class(names, places):
    assert arrange(names) == [Place(*place) for place in places]


paths = st.lists(
    st.lists(st.sampled_from(["train", "test", "val", "a", "b"]), max_size=3).map(
        lambda folders: "/".join([*folders, "x.png"])
    ),
    min_size=1,
)


@given(paths)
def test_all_images_have_labels_or_none_do(names):
    places = arrange(names)
    splits = {place.split for place in places}
    used = [place for place in places if place.split or splits == {None}]
    assert used
    assert len({place.label is None for place in used}) == 1
    assert splits <= {None, "train", "test"}
    if splits != {None}:
        assert {"train", "test"} <= splits


def load_with_warnings(folder: Path, **options) -> tuple[DataSet, list[str]]:
    """Load a folder; return its images and the warnings."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        images = load(str(folder), **options)
    assert {warning.category for warning in warned} <= {AeWarning}
    return images, [str(warning.message) for warning in warned]


def test_a_folder_of_classes(digits, tmp_path):
    write_images(digits.test, tmp_path / "photos")
    images, warned = load_with_warnings(tmp_path / "photos", data_dir=tmp_path / "cache")
    assert images.source == str(tmp_path / "photos")
    assert images.name == "photos"
    assert (len(images.train), len(images.test)) == (267, 30)
    assert images.val_fraction == 0.1
    assert warned == []
    assert images.train.classes == tuple("0123456789")
    names = sorted(images.train.names + images.test.names)
    assert names == sorted(
        f"{label}/{i:04}.png" for i, label in enumerate(digits.test.labels.tolist())
    )
    for part in images.splits.values():
        for i, name in enumerate(part.names):
            number = int(name[2:6])
            assert torch.equal(part.pixels[i], digits.test.pixels[number])
            assert int(part.labels[i]) == int(digits.test.labels[number])
            assert names[part.index()[i]] == name


def test_the_split_depends_on_the_seed_alone(digits, tmp_path):
    write_images(digits.test, tmp_path / "photos")

    def split(**options) -> tuple[tuple[str, ...], tuple[str, ...]]:
        images = load(str(tmp_path / "photos"), data_dir=tmp_path / "cache", **options)
        return images.train.names, images.test.names

    assert split() == split(seed=0)
    assert set(split()[1]) != set(split(seed=1)[1])
    train, test = split(val_fraction=0.5)
    assert abs(len(train) - len(test)) <= 1
    assert not set(train) & set(test)


def test_a_flat_folder_has_no_labels(digits, tmp_path):
    write_images(digits.test, tmp_path / "photos", labelled=False)
    images = load(str(tmp_path / "photos"), data_dir=tmp_path / "cache")
    assert images.train.labels is images.train.classes is None
    assert len(images.train) == 267


def test_a_folder_with_its_own_splits(digits, tmp_path):
    write_images(digits.train, tmp_path / "photos" / "train", count=50)
    write_images(digits.test, tmp_path / "photos" / "val", count=20)
    write_images(digits.test, tmp_path / "photos" / "more", count=3)
    images, warned = load_with_warnings(tmp_path / "photos", data_dir=tmp_path / "cache")
    assert (len(images.train), len(images.test)) == (50, 20)
    assert images.val_fraction is None
    assert warned == ["3 images of photos are in neither split and are not used"]
    assert sorted(images.test.index()) == list(range(20))
    assert images.train.classes == images.test.classes == tuple("0123456789")
    # Files are sorted by class, but the first images should come from several classes.
    assert len(set(images.train.labels[:10].tolist())) > 3


def test_decoded_images_are_not_read_again(digits, tmp_path):
    folder = tmp_path / "photos"
    write_images(digits.test, folder, count=40, ending=".jpg")
    news: list[tuple] = []

    def read_again(**options):
        news.clear()
        return load(
            str(folder),
            data_dir=tmp_path / "cache",
            progress=lambda *item: news.append(item),
            **options,
        )

    before = read_again()
    assert news == [("photos", 40, 40, "files")]
    spoil(folder)
    after = read_again()
    assert news == []
    assert torch.equal(after.train.pixels, before.train.pixels)
    assert after.train.names == before.train.names
    # With other options or a changed file, the images are decoded again.
    with pytest.raises(DataError, match="40 of 40 images"):
        read_again(color=True)
    next(folder.rglob("*.jpg")).touch()
    with pytest.raises(DataError, match="40 of 40 images"):
        read_again()


def test_broken_files_are_named_and_left_out(digits, tmp_path):
    folder = tmp_path / "photos"
    write_images(digits.test, folder, count=40)
    (folder / "0" / "broken.png").write_bytes(b"not a picture")
    (folder / "1" / "gone.png").symlink_to("nothing")
    os.mkfifo(folder / "2" / "pipe.png")
    (folder / "3" / ".hidden.png").write_bytes(b"not a picture")
    (folder / "3" / "notes.txt").write_bytes(b"not a picture")
    for _ in range(2):  # first decoded, then read from the cache
        images, warned = load_with_warnings(folder, data_dir=tmp_path / "cache")
        assert len(images.train) + len(images.test) == 40
        assert sorted(warned) == sorted(
            [
                f"{folder}/0/broken.png cannot be read (not an image, or an unknown format)",
                f"{folder}/1/gone.png cannot be read (No such file or directory)",
                f"{folder}/2/pipe.png cannot be read (not a regular file)",
                f"3 of 43 images in {folder} cannot be read and are left out",
            ]
        )
        with pytest.raises(DataError, match=r"/[012]/\w+\.png cannot be read .*; repair or remove"):
            load(str(folder), strict=True, data_dir=tmp_path / "cache")
    for i in range(5):
        (folder / f"broken{i}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"8 of 48 images in .* cannot be read, such as .*; repair"):
        load(str(folder), data_dir=tmp_path / "cache")


def test_links_to_parent_folders_do_not_loop(digits, tmp_path):
    folder = tmp_path / "photos"
    write_images(digits.test, folder, count=20)
    (folder / "0" / "loop").symlink_to(folder)
    elsewhere = tmp_path / "elsewhere"
    write_images(digits.test, elsewhere, count=5, labelled=False)
    (folder / "linked").symlink_to(elsewhere)
    images = load(str(folder), data_dir=tmp_path / "cache")
    names = images.train.names + images.test.names
    assert len(names) == len(set(names)) == 25
    assert sum(name.startswith("linked/") for name in names) == 5


def test_names_that_are_not_utf8_can_be_printed(digits, tmp_path):
    folder = tmp_path / "photos"
    write_images(digits.test, folder, count=20, labelled=False)
    (folder / "0000.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    images = load(str(folder), data_dir=tmp_path / "cache")
    assert "caf\N{REPLACEMENT CHARACTER}.png" in images.train.names + images.test.names


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "photos holds no images (.bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp); name"),
        (["notes.txt"], "photos holds no images (.bmp, "),
        (["one.png"], "photos holds one image; give at least two: one to learn from"),
    ],
)
def test_too_few_images_are_refused(digits, tmp_path, files, message):
    (tmp_path / "photos").mkdir()
    for name in files:
        picture(digits).save(tmp_path / "photos" / name, format="png")
    with pytest.raises(DataError) as caught:
        load(str(tmp_path / "photos"), data_dir=tmp_path / "cache")
    assert message in str(caught.value)


def test_a_class_can_have_a_single_image(digits, tmp_path):
    write_images(digits.test, tmp_path / "photos", count=30)
    picture(digits).save(
        (tmp_path / "photos" / "single").mkdir() or tmp_path / "photos/single/a.png"
    )
    images = load(str(tmp_path / "photos"), data_dir=tmp_path / "cache")
    assert images.train.classes == (*"0123456789", "single")


def test_a_cache_that_cannot_be_written_is_not_an_error(digits, tmp_path):
    write_images(digits.test, tmp_path / "photos", count=20)
    images = load(str(tmp_path / "photos"), data_dir=Path("/proc/ae"))
    assert len(images.train) == 18
