from __future__ import annotations

import json
import os
import struct
import threading
import warnings
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.photos import random_crops
from conftest import TUTORIAL, Run, error_line, spoil, write_images
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ae_cli.data import decoding
from ae_cli.data.cache import keep
from ae_cli.data.decode import UnreadableImageError, decode, decode_frames
from ae_cli.data.folder import list_folder
from ae_cli.data.images import DataSet
from ae_cli.data.layout import Place, arrange
from ae_cli.data.load import load
from ae_cli.data.sample import look_at_sample, recall_sample
from ae_cli.errors import AeWarning, DataError


def picture(digits, position: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A digit as a grey image of this width and height."""
    return Image.fromarray(digits.train.pixels[position, 0].numpy()).resize(size)


def read(path: Path, *, size=(30, 40), color=False, fit="crop") -> np.ndarray:
    return decode(path, size=size, color=color, fit=fit).pixels


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


# The size and the colours that a folder's images get


class Photos:
    """A folder that is filled with small images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "photos"
        self.cache = folder / "cache"
        self.folder.mkdir()

    def add(
        self, *sizes: tuple[int, int], color: str = "grey", mode: str = "RGB", ending: str = ".png"
    ) -> None:
        """Add images of these heights and widths: grey, with a corner in this colour."""
        for height, width in sizes:
            image = Image.new("RGB", (width, height), "gray")
            image.paste(color, (0, 0, max(1, width // 2), max(1, height // 2)))
            number = len(list(self.folder.iterdir()))
            image = image.quantize() if mode == "P" else image.convert(mode)
            image.save(self.folder / f"{number:05}{ending}")

    def load(self, **options) -> DataSet:
        return load(str(self.folder), data_dir=self.cache, **options)

    def read(self, **options) -> tuple[tuple[int, int, int], str | None]:
        """The shape that the images get, and what is said about it."""
        images = self.load(**options)
        return images.shape, images.changes


CROPPED, OTHERS = "cropped and scaled", " and other sizes"


@pytest.fixture
def photos(tmp_path) -> Photos:
    return Photos(tmp_path)


@pytest.mark.parametrize(
    ("sizes", "shape", "what"),
    [
        ([(28, 28)] * 3, (28, 28), None),
        ([(64, 64)] * 3, (64, 64), None),
        ([(9, 64)] * 3, (9, 64), None),
        ([(1, 1)] * 3, (1, 1), None),
        ([(128, 128)] * 3, (64, 64), "scaled from 128 × 128"),
        ([(100, 75)] * 3, (64, 48), "scaled from 75 wide × 100 high"),
        ([(75, 112)] * 3, (43, 64), "scaled from 112 wide × 75 high"),
        ([(1000, 2)] * 3, (64, 1), "scaled from 2 wide × 1000 high"),
        ([(20, 30)] * 2 + [(30, 20)], (20, 20), f"{CROPPED} from 30 wide × 20 high{OTHERS}"),
        ([(9, 8), (8, 9), (8, 9)], (8, 8), f"{CROPPED} from 9 wide × 8 high{OTHERS}"),
        ([(200, 99), (80, 90)] * 2, (64, 64), f"{CROPPED} from 99 wide × 200 high{OTHERS}"),
        ([(200, 200), (100, 100), (100, 100)], (64, 64), "scaled from 100 × 100 and other sizes"),
        ([(16, 16), (16, 16), (32, 32)], (16, 16), "scaled from 32 × 32 and other sizes"),
    ],
)  # fmt: skip
def test_the_size_is_chosen_from_the_images(photos, sizes, shape, what):
    photos.add(*sizes, mode="L")
    assert photos.read() == ((1, *shape), what and f"grey, {what}")


def test_hardly_any_image_is_enlarged(photos):
    photos.add(*[(30 + i, 50) for i in range(20)], mode="L")
    assert photos.read()[0] == (1, 31, 31)  # 18 of 20 images are larger
    photos.add((3, 3), mode="L")
    assert photos.read()[0] == (1, 31, 31)
    photos.add((3, 3), (3, 3), mode="L")
    assert photos.read()[0] == (1, 3, 3)


def test_the_size_is_that_of_the_upright_image(photos):
    turned = Image.Exif()
    turned[0x0112] = 6
    for i, ending in enumerate((".png", ".jpg", ".webp", ".tif")):
        Image.new("L", (40, 20), 90).convert("RGB").save(
            photos.folder / f"{i}{ending}", exif=turned
        )
    assert photos.read() == ((1, 40, 20), None)


def test_fit_is_part_of_the_description(photos):
    photos.add((100, 75), (80, 90), mode="L")
    assert (
        photos.read(fit="pad")[1]
        == "grey, scaled and padded from 75 wide × 100 high and other sizes"
    )
    assert (
        photos.read(fit="stretch")[1] == "grey, stretched from 75 wide × 100 high and other sizes"
    )
    assert photos.read(fit="pad", image_size="32x24")[0] == (1, 32, 24)


def test_a_given_size_is_used(photos):
    photos.add((100, 75), (100, 75), mode="L")
    assert photos.read(image_size=96) == (
        (1, 96, 96),
        "grey, cropped and scaled from 75 wide × 100 high",
    )
    assert photos.read(image_size=(50, 38)) == ((1, 50, 38), "grey, scaled from 75 wide × 100 high")
    assert photos.read(image_size="100x75") == ((1, 100, 75), None)
    # What was asked for is not repeated.
    assert photos.read(image_size=96, color=False) == ((1, 96, 96), None)


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("L", ".png"), ("1", ".png"), ("LA", ".png"), ("P", ".gif"), ("P", ".png"), ("RGB", ".png"),
     ("RGBA", ".png"), ("RGB", ".jpg"), ("RGB", ".webp"), ("CMYK", ".tif")],
)  # fmt: skip
def test_grey_images_are_grey_however_they_are_stored(photos, mode, ending):
    photos.add((20, 20), (20, 20), color="white", mode=mode, ending=ending)
    assert photos.read() == ((1, 20, 20), None)


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("RGB", ".png"), ("RGBA", ".png"), ("P", ".png"), ("P", ".gif"), ("RGB", ".jpg"),
     ("RGB", ".webp"), ("CMYK", ".jpg")],
)  # fmt: skip
def test_coloured_images_keep_their_colours(photos, mode, ending):
    photos.add((20, 20), (20, 20), color="red", mode=mode, ending=ending)
    assert photos.read() == ((3, 20, 20), None)
    red, green, blue = photos.load().train.pixels[0, :, 4, 4].tolist()
    assert red > 220
    assert max(green, blue) < 40


@pytest.mark.parametrize("quality", [10, 50, 95])
def test_the_noise_of_a_jpeg_is_no_colour(digits, photos, quality):
    rng = np.random.default_rng(0)
    for i, pixels in enumerate(digits.test.pixels[:6, 0].numpy()):
        noisy = pixels[..., None] + rng.normal(0, 2, (28, 28, 3))
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).resize((150, 150))
        image.save(photos.folder / f"{i}.jpg", quality=quality)
    assert photos.read() == ((1, 64, 64), "grey, scaled from 150 × 150")


def test_one_coloured_image_makes_a_folder_coloured(photos):
    photos.add(*[(12, 12)] * 150, mode="L")
    photos.add((12, 12), color="red")
    photos.add(*[(12, 12)] * 50, mode="L")
    assert photos.read() == ((3, 12, 12), None)


def test_a_small_coloured_mark_is_a_colour(photos):
    photos.add((64, 64), mode="L")
    image = Image.new("RGB", (64, 64), "gray")
    image.paste("red", (10, 10, 13, 13))
    image.save(photos.folder / "marked.png")
    assert photos.read()[0] == (3, 64, 64)


def test_colours_can_be_chosen(photos):
    photos.add((20, 20), (20, 20), color="red")
    assert photos.read(color=True) == ((3, 20, 20), None)
    assert photos.read(color=False) == ((1, 20, 20), "grey instead of colour")
    luma = photos.load(color=False).train.pixels[0, 0, 0, 0]
    assert int(luma) == round(0.299 * 255)


def test_grey_images_can_be_read_in_colour(photos):
    photos.add((20, 20), (20, 20), mode="L")
    assert photos.read(color=True) == ((3, 20, 20), "grey in three channels")
    assert photos.read(color=False) == ((1, 20, 20), None)
    pixels = photos.load(color=True).train.pixels
    assert torch.equal(pixels[:, 0], pixels[:, 2])


def test_images_in_neither_split_are_not_looked_at(digits, tmp_path, photos):
    for split in ("train", "test"):
        write_images(digits.test, photos.folder / split, count=4)
    (photos.folder / "masks").mkdir()
    Image.new("RGB", (100, 50), "red").save(photos.folder / "masks" / "mask.png")
    with pytest.warns(AeWarning, match="1 images of photos are in neither split"):
        assert photos.read() == ((1, 28, 28), None)


def test_the_sample_is_small_even_and_always_the_same(photos):
    """A thousand files, in order of their names 250 each of four sizes."""
    for side in (10, 11, 12, 13):
        photos.add((side, side))
        (first,) = photos.folder.glob("00*.png")
        for i in range(250):
            (photos.folder / f"{side}-{i:03}.png").hardlink_to(first)
        first.unlink()
    names = sorted(path.name for path in photos.folder.iterdir())
    assert len(names) == 1000
    listed = list_folder(photos.folder)
    assert listed.names == names
    sample = look_at_sample(listed.read, range(1000))
    assert Counter(sample.sizes) == dict.fromkeys([(10, 10), (11, 11), (12, 12), (13, 13)], 64)
    assert not sample.has_colors
    assert look_at_sample(listed.read, range(1000)) == sample
    assert photos.read()[0] == (1, 10, 10)


def test_broken_files_in_the_sample_are_skipped(photos):
    photos.add(*[(30, 20)] * 20, color="red")
    (photos.folder / "00007.png").write_bytes(b"not a picture")
    with pytest.warns(AeWarning, match=r"00007\.png cannot be read|1 of 20 images"):
        assert photos.read() == ((3, 30, 20), None)


def test_the_choice_is_kept_until_a_file_changes(photos):
    photos.add((90, 60), (90, 60), color="red", ending=".jpg")
    expected = ((3, 64, 43), "colour, scaled from 60 wide × 90 high")
    assert photos.read() == expected
    spoil(photos.folder)
    assert photos.read() == expected
    for path in photos.folder.iterdir():
        Image.new("L", (50, 40), 9).save(path)
    assert photos.read() == ((1, 40, 50), None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": torch.tensor([[20, 0]])},
        {"sizes": torch.tensor([20, 20])},
        {"sizes": torch.tensor([[20.0, 20.0]])},
        {"sizes": torch.ones(300, 2, dtype=torch.int64)},
        {"has_colors": torch.tensor(3)},
        {"has_colors": torch.tensor([True, True])},
    ],
)
def test_a_wrong_sample_in_the_cache_is_replaced(photos, wrong):
    photos.add((20, 30), (20, 30))
    kept, origin = photos.folder.parent / "kept.safetensors", {"fingerprint": "x"}
    right = {"sizes": torch.tensor([[7, 7]]), "has_colors": torch.tensor(True)}
    read = list_folder(photos.folder).read
    keep(kept, origin, right)
    assert recall_sample(read, [0, 1], kept, origin) == ([(7, 7)], True)
    keep(kept, origin, right | wrong)
    for _ in range(2):
        assert recall_sample(read, [0, 1], kept, origin) == ([(20, 30)] * 2, False)


def test_a_model_reads_other_folders_at_its_own_shape(run: Run, photos, tmp_path):
    photos.add(*[(90, 60)] * 8, color="red")
    (tmp_path / "others").mkdir()
    other = Photos(tmp_path / "others")
    other.add(*[(20, 20)] * 4, mode="L")
    trained = run(*TUTORIAL, "--data", photos.folder, "--hidden", "4", "--epochs", "1")
    assert trained.exit_code == 0, trained.output
    assert trained.stderr.splitlines()[1] == (
        "data       photos: 7 training + 1 test images (held out), 3 × 64 × 43 (colour, scaled "
        "from 60 wide × 90 high), no labels"
    )
    assert run("embed", "--data", other.folder).exit_code == 0
    resumed = run("train", "--resume", "--epochs", "2", "--color", "--image-size", "64x43")
    assert resumed.exit_code == 0, resumed.output
    line = error_line(run("train", "--resume", "--epochs", "3", "--grey"), 2)
    assert line.startswith("error: --grey is on, and the run of ae.safetensors began with off; ")


def test_data_says_what_was_done(run: Run, photos):
    photos.add(*[(90, 60)] * 8, color="red")
    described = run("data", photos.folder, "--grey")
    assert described.stdout.splitlines()[2] == (
        "images     7 training + 1 test images (held out), 1 × 64 × 43 (grey instead of colour, "
        "scaled from 60 wide × 90 high)"
    )
    answer = json.loads(run("data", photos.folder, "--json").stdout)
    assert answer["changes"] == "colour, scaled from 60 wide × 90 high"
    assert "(colour, scaled from 60 wide × 90 high)" not in (described.stdout + described.stderr)


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
                "1 file of photos is not in a format of images that ae reads, and passed over: "
                "1 .txt",
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
        ([], "photos holds no images; name another folder"),
        (["notes.txt"], "photos holds no images, but 1 .txt; name another folder"),
        (["one.png"], "photos holds one image; give at least two, such as a folder of them"),
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


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_threads_decode_as_there_are_workers(digits, tmp_path, monkeypatch, workers):
    write_images(digits.test, tmp_path / "photos", count=200)
    threads = set()

    def decode_and_note(*arguments, **options):
        threads.add(threading.get_ident())
        return decode_frames(*arguments, **options)

    monkeypatch.setattr(decoding, "decode_frames", decode_and_note)
    images = load(str(tmp_path / "photos"), data_dir=tmp_path / "cache", workers=workers)
    assert len(images.train) + len(images.test) == 200
    assert len(threads) == workers


def test_a_worker_is_needed(run: Run):
    line = error_line(run("data", "digits", "--workers", "0"), 2)
    assert line == "error: --workers is 0; give a whole number, 1 or more"


def test_a_photo_is_decoded_with_less_detail_than_it_has(tmp_path):
    """It looks as if all of it were used, up to JPEG's own noise."""
    photo = Image.fromarray(random_crops(1)[0]).resize((512, 512), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.jpg", quality=90)
    for side in (48, 64, 100, 128, 200, 256, 300):
        quick = decode(tmp_path / "photo.jpg", size=(side, side), color=True, fit="crop").pixels
        with Image.open(tmp_path / "photo.jpg") as opened:
            whole = np.asarray(opened.resize((side, side), Image.Resampling.BICUBIC))
        assert np.square(quick.transpose(1, 2, 0) - whole.astype(float)).mean() < 2**2


def test_whoever_writes_into_the_folder_of_the_images_is_warned(digits, run: Run):
    write_images(digits.train, Path("photos"), count=20)
    small = (*TUTORIAL, "--data", "photos", "--epochs", "1")
    warning = "is in the folder of the images, where pictures that ae makes would be read as images"
    assert warning not in run(*small).stderr
    assert warning not in run("data", "photos", "--out", "shown.png").stderr
    inside = run(*small, "--out", "photos/ae.safetensors").stderr
    assert f"warning: photos/ae.safetensors {warning}" in inside
    shown = run("data", "photos", "--out", "photos/0/shown.png").stderr
    assert f"warning: photos/0/shown.png {warning}" in shown
