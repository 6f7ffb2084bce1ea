"""Views of pixels: they copy nothing, and show what plain indexing would."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from conftest import Run
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ae_cli as ae
from ae_cli.config import ReadOptions
from ae_cli.data.classes import select_classes
from ae_cli.data.images import DataSet, Images, concatenate, hold_out
from ae_cli.data.load import in_order, load
from ae_cli.data.store import PixelStore, join_stores
from ae_cli.errors import AeWarning, DataError, UsageError

CLASSES = ("a", "b", "c")


# Views


def images_of(*parts: np.ndarray) -> Images:
    """Unlabelled images in one store."""
    return Images(PixelStore(*map(torch.from_numpy, parts)))


def random_pixels(count: int, seed: int = 0) -> np.ndarray:
    """Noise, uint8 (count, 1, 3, 2)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 3, 2), np.uint8)


@dataclass
class Plain:
    """Images as plain arrays, copied at every step."""

    pixels: np.ndarray
    labels: np.ndarray
    names: list[str]
    positions: np.ndarray

    def select(self, chosen: np.ndarray) -> Plain:
        return Plain(
            self.pixels[chosen],
            self.labels[chosen],
            [self.names[i] for i in chosen],
            self.positions[chosen],
        )


def make_pair(pixels: list[np.ndarray], seed: int) -> tuple[Images, Plain]:
    """The same images as a view, whose store has these parts, and as plain arrays."""
    count = sum(map(len, pixels))
    labels = np.random.default_rng(seed).integers(0, len(CLASSES), count)
    names = [f"{seed}-{i}.png" for i in range(count)]
    store = PixelStore(*map(torch.from_numpy, pixels))
    return (
        Images(store, torch.from_numpy(labels), tuple(names), CLASSES),
        Plain(np.concatenate(pixels), labels, names, np.arange(count)),
    )


def assert_same(view: Images, plain: Plain) -> None:
    """Check that every way to read a view gives what is in the plain arrays."""
    assert len(view) == len(plain.pixels)
    assert view.shape == plain.pixels.shape[1:]
    np.testing.assert_array_equal(view.pixels.numpy(), plain.pixels)
    np.testing.assert_array_equal(view.labels.numpy(), plain.labels)
    assert list(view.names) == plain.names
    np.testing.assert_array_equal(view.index(), plain.positions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ae_cli.data.images.MOST_IN_BATCH", 3)
        batches = list(view.raw_batches())
    assert [len(batch) for batch in batches[:-1]] == [3] * (len(batches) - 1)
    if len(view):
        np.testing.assert_array_equal(torch.cat(batches).numpy(), plain.pixels)
    some = np.arange(len(view))[::-2].copy()
    np.testing.assert_array_equal(view.gather(some).numpy(), plain.pixels[some])
    filled = torch.zeros(len(some), *view.shape, dtype=torch.uint8)
    view.gather(some, out=filled)
    np.testing.assert_array_equal(filled.numpy(), plain.pixels[some])


def step(draw, pool: list[tuple[Images, Plain]]) -> tuple[Images, Plain]:
    """Derive a new view from the pool, and the plain images that it should show."""
    view, plain = draw(st.sampled_from(pool))
    count = len(view)
    kind = draw(st.sampled_from(["select", "head", "shuffle", "classes", "split", "concatenate"]))
    if kind == "select" and count:
        chosen = np.array(draw(st.lists(st.integers(0, count - 1), max_size=9)), np.int64)
        return view.select(chosen), plain.select(chosen)
    if kind == "head":
        most = draw(st.integers(0, count + 2))
        return view.head(most), plain.select(np.arange(min(most, count)))
    if kind == "shuffle":
        seed = draw(st.integers(0, 9))
        order = np.random.RandomState(seed).permutation(count)
        return view.shuffle(seed), plain.select(order)
    if kind == "classes":
        kept = np.array(sorted(draw(st.sets(st.integers(0, 2)))), np.int64)
        members = np.flatnonzero(np.isin(plain.labels, kept))
        if len(members):
            names = tuple(CLASSES[i] for i in kept)
            selected = select_classes(DataSet("here", view, view), names)
            return selected.train, plain.select(members)
    if kind == "split" and count > 1:
        split = hold_out("here", view, ReadOptions(val_fraction=0.4, seed=2))
        order = np.random.RandomState(2).permutation(count)
        first = len(split.test)
        assert 0 < first < count
        if draw(st.booleans()):
            return split.test, plain.select(order[:first])
        return split.train, plain.select(order[first:])
    parts = [(view, plain), *draw(st.lists(st.sampled_from(pool), max_size=3))]
    plains = [part for _, part in parts]
    return concatenate([part for part, _ in parts]), Plain(
        np.concatenate([part.pixels for part in plains]),
        np.concatenate([part.labels for part in plains]),
        [name for part in plains for name in part.names],
        np.concatenate([part.positions for part in plains]),
    )


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_chained_views_match_plain_indexing_and_copy_nothing(data):
    sizes = data.draw(
        st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=3), min_size=1, max_size=3)
    )
    sources = [
        [random_pixels(size, seed=10 * i + k) for k, size in enumerate(parts)]
        for i, parts in enumerate(sizes)
    ]
    pool = [make_pair(pixels, seed) for seed, pixels in enumerate(sources)]
    for _ in range(data.draw(st.integers(1, 6))):
        pool.append(step(data.draw, pool))
    for view, plain in pool:
        assert_same(view, plain)
    # Changes in the original memory would not show in a copy.
    for pixels in sources:
        for part in pixels:
            part ^= 255
    for view, plain in pool:
        np.testing.assert_array_equal(view.pixels.numpy(), 255 - plain.pixels)


def test_views_share_the_store(digits):
    images = replace(digits.train, names=tuple(map(str, range(1500))))
    test, train = images.head(100), images.select(np.arange(100, 1500))
    for view in (test, train, images.shuffle(3), select_classes(digits, ("1", "7")).train):
        assert view.store is images.store
    both = concatenate([train, test, digits.test])
    assert len(both.store) == len(images.store), "a shared store is joined only once"
    assert both.store.view(0, 9).data_ptr() == images.store.view(0, 9).data_ptr()


def test_images_in_their_original_order_are_read_in_place():
    pixels = random_pixels(2500)
    images = images_of(pixels)
    assert images.pixels.data_ptr() == pixels.ctypes.data
    starts = [batch.data_ptr() - pixels.ctypes.data for batch in images.raw_batches()]
    assert starts == [0, 6000, 12000]


def test_stores_are_joined_without_a_copy():
    one, two = random_pixels(4), random_pixels(3, seed=1)
    joined = join_stores([images_of(one).store, images_of(two, one).store])
    assert (len(joined), joined.shape) == (11, (1, 3, 2))
    two[:] = 7
    places = torch.tensor([10, 0, 5, 5, 4])
    expected = np.stack([one[3], one[0], two[1], two[1], two[0]])
    np.testing.assert_array_equal(joined.gather(places).numpy(), expected)
    np.testing.assert_array_equal(joined.view(3, 8).numpy(), [one[3], *two, one[0]])
    assert joined.gather(torch.tensor([], dtype=torch.int64)).shape == (0, 1, 3, 2)


def test_the_checksum_depends_on_the_pixels_and_their_order():
    pixels = random_pixels(2500)
    images, order = images_of(pixels), np.random.default_rng(1).permutation(2500)
    again = images_of(pixels[order])
    assert images.select(order).checksum() == again.checksum() != images.checksum()
    halves = [images.head(1100), images.select(np.arange(1100, 2500))]
    assert halves[1].checksum(halves[0].checksum()) == images.checksum()
    assert concatenate(halves).checksum() == images.checksum()


# Arrays from Python


def whole(data: DataSet) -> Images:
    """Both splits, in the order of the array."""
    both = concatenate([data.train, data.test])
    return both.select(np.argsort(both.index()))


GREY = {
    "(n, height, width)": lambda a: a[:, 0],
    "(n, height, width, 1)": lambda a: a.transpose(0, 2, 3, 1),
    "(n, 1, height, width)": lambda a: a,
    "flat": lambda a: a.reshape(len(a), -1),
}
COLOUR = {
    "(n, height, width, 3)": lambda a: a.transpose(0, 2, 3, 1),
    "(n, 3, height, width)": lambda a: a,
    "flat colour": lambda a: a.transpose(0, 2, 3, 1).reshape(len(a), -1),
}
KINDS = {
    "uint8": lambda a: a,
    "int64": lambda a: a.astype(np.int64),
    "float16": lambda a: (a / 255).astype(np.float16),
    "float32": lambda a: (a / 255).astype(np.float32),
    "float64": lambda a: a / 255,
    "uint8 tensor": lambda a: torch.from_numpy(a.copy()),
    "float32 tensor": lambda a: torch.from_numpy((a / 255).astype(np.float32)).requires_grad_(),
    "nested lists": lambda a: a.tolist(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", [*GREY, *COLOUR])
def test_an_array_is_read_in_every_layout_and_type(digits, layout, kind):
    grey = digits.train.pixels[:40].numpy()
    pixels, arrange = grey, GREY.get(layout)
    if layout in COLOUR:
        pixels, arrange = np.concatenate([grey, grey[::-1], 255 - grey], axis=1), COLOUR[layout]
    array = KINDS[kind](np.ascontiguousarray(arrange(pixels)))
    labels = digits.train.labels[:40]
    data = load((array, labels), val_fraction=0.25, seed=3)
    assert (data.source, data.val_fraction) == ("array", 0.25)
    assert (len(data.train), len(data.test)) == (30, 10)
    assert data.train.classes == data.test.classes == tuple("0123456789")
    assert set(data.test.index()) == set(np.random.RandomState(3).permutation(40)[:10])
    read = whole(data)
    np.testing.assert_array_equal(read.pixels.numpy(), pixels)
    assert torch.equal(read.labels, labels)

    kept = in_order((array, labels), ReadOptions())
    assert (len(kept.train), kept.train.shape) == (0, pixels.shape[1:])
    np.testing.assert_array_equal(kept.test.pixels.numpy(), pixels)
    np.testing.assert_array_equal(kept.test.index(), np.arange(40))
    assert torch.equal(kept.test.labels, labels)


def test_flat_arrays_can_be_given_an_image_size(digits):
    array = digits.train.pixels[:20].numpy().reshape(20, -1)
    data = load(array, image_size="14x56")
    assert data.shape == (1, 14, 56)
    np.testing.assert_array_equal(whole(data).pixels.numpy().reshape(20, -1), array)
    assert in_order(array, ReadOptions(image_size=(56, 14))).shape == (1, 56, 14)


def test_an_array_of_floats_is_rounded_to_the_nearest_level():
    array = np.linspace(0, 1, 1600, dtype=np.float32).reshape(100, 4, 4)
    levels = whole(load(array)).pixels.numpy()[:, 0]
    np.testing.assert_array_equal(levels, np.rint(array * np.float32(255)).astype(np.uint8))


def test_half_precision_tensors_are_read():
    tensor = torch.tensor([0.0, 0.5, 1.0, 0.25]).repeat(3, 1).reshape(3, 2, 2)
    for kind in (torch.bfloat16, torch.float16):
        read = in_order(tensor.to(kind), ReadOptions()).test.pixels
        assert read.reshape(3, 4).tolist() == [[0, 128, 255, 64]] * 3


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("layout", ["(n, height, width)", "(n, 1, height, width)"])
def test_contiguous_bytes_are_used_in_place(digits, layout, as_tensor):
    array = np.ascontiguousarray(GREY[layout](digits.train.pixels[:40].numpy()))
    source = torch.from_numpy(array) if as_tensor else array
    for data in (load(source), in_order(source, ReadOptions())):
        assert data.test.store.view(0, 40).data_ptr() == array.ctypes.data


def test_read_only_memory_is_copied(digits, recwarn):
    array = digits.train.pixels[:40, 0].numpy().copy()
    array.flags.writeable = False
    data = load(array)
    assert data.test.store.view(0, 40).data_ptr() != array.ctypes.data
    np.testing.assert_array_equal(whole(data).pixels[:, 0].numpy(), array)
    assert list(recwarn) == [], "torch warns about tensors in read-only memory"


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("kind", ["u1", "f8"])
def test_a_mapped_array_is_read_and_not_modified(digits, tmp_path, mode, kind):
    levels = digits.train.pixels[:40, 0].numpy()
    np.save(tmp_path / "x.npy", levels if kind == "u1" else levels / 255)
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    if mode != "r":
        mapped[:] = mapped[::-1].copy()  # with "c", only in memory
        levels = levels[::-1]
    data = load(mapped)
    np.testing.assert_array_equal(whole(data).pixels[:, 0].numpy(), levels)
    np.testing.assert_array_equal(mapped, levels if kind == "u1" else levels / 255)


def test_labels_of_an_array_are_numbers_or_text(digits):
    array = digits.train.pixels[:4, 0].numpy()
    texts = ["owl", "bat", "owl", "owl"]
    for labels in (texts, np.array(texts), np.array(texts, object)):
        read = in_order((array, labels), ReadOptions()).test
        assert (read.classes, read.labels.tolist()) == (("bat", "owl"), [1, 0, 1, 1])
    read = in_order((array, torch.tensor([7, 10, 7, 7])), ReadOptions()).test
    assert (read.classes, read.labels.tolist()) == (("7", "10"), [0, 1, 0, 0])
    assert in_order((array, None), ReadOptions()).test.labels is None
    assert in_order(array, ReadOptions()).test.label_values() is None


ARRAY_FORM = "give a name, a path, or an array such as (n, height, width)"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (None, f"NoneType is not an array of images; {ARRAY_FORM}"),
        ({"a": 1}, f"dict is not an array of images; {ARRAY_FORM}"),
        ([[1, 2], [3]], f"list is not an array of images; {ARRAY_FORM}"),
        (
            (np.zeros((4, 2, 2)), np.zeros(3)),
            "the array holds 4 images and 3 labels; save one label for each image",
        ),
        (
            (np.zeros((4, 2, 2)), [[1], [2, 3]]),
            "list is not an array of labels; give one whole number or text for each image",
        ),
        (
            (np.zeros((4, 2, 2)), np.array(["a", None, "b", "c"], object)),
            "the labels of the array are of type object; save whole numbers or text",
        ),
        (
            np.full((4, 2, 2), 200.0),
            "the array has 200.0 in image 0 (counted from 0), but floats must be from 0 to 1; "
            "divide them by 255",
        ),
        (
            np.zeros((4, 2, 2, 4)),
            "the array has the shape (4, 2, 2, 4), which images cannot have; "
            "leave out the fourth channel, transparency: images[..., :3]",
        ),
        (
            np.zeros((1, 2, 2)),
            "array holds one image; give at least two, such as a folder of them: "
            "one to learn from, one to test on",
        ),
    ],
)
def test_arrays_that_are_not_images_are_refused(source, line):
    with pytest.raises(DataError) as caught:
        load(source)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"fit": "pad"},
            "--fit applies only to a folder of images, not to an array; leave it out",
        ),
        (
            {"key": "images"},
            "--key applies only to a file or a table with names in it, not to an array; "
            "leave it out",
        ),
        (
            {"color": True},
            "--color applies only to a folder of images, not to an array; leave it out",
        ),
        (
            {"image_size": 64},
            "--image-size differs from the size of array's images, 28 × 28 pixels; leave it out",
        ),
    ],
)
def test_options_that_do_not_apply_to_an_array_are_refused(digits, options, line):
    with pytest.raises(UsageError) as caught:
        load(digits.train.pixels, **options)
    assert str(caught.value) == line


def test_the_colours_of_an_array_become_the_luma_of_its_image_file(tmp_path):
    colors = np.random.default_rng(0).integers(0, 256, (9, 7, 5, 3), np.uint8)
    luma = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colors])
    forms = {
        "uint8": colors,
        "channels first": np.ascontiguousarray(colors.transpose(0, 3, 1, 2)),
        "float": colors / 255,
        "int64": colors.astype(np.int64),
    }
    for name, form in forms.items():
        read = whole(load(form, color=False)).pixels
        np.testing.assert_array_equal(read[:, 0], luma, err_msg=name)
    assert load(colors.reshape(9, -1), image_size=(7, 5), color=False).shape == (1, 7, 5)
    assert load(colors[..., 0], color=False).shape == (1, 7, 5)
    np.save(tmp_path / "colors.npy", colors)
    np.testing.assert_array_equal(
        whole(load(tmp_path / "colors.npy", color=False)).pixels[:, 0], luma
    )


def test_a_model_for_grey_images_turns_colours_grey(run: Run):
    colors = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    np.save("colors.npy", colors)
    options = ("--preset", "tutorial", "--data", "colors.npy", "--grey", "--epochs", "1")
    assert run("train", *options).exit_code == 0
    assert run("embed").exit_code == 0
    assert run("train", "--resume", "--epochs", "2", "--grey").exit_code == 0


def test_a_resumed_run_turns_colours_grey_again():
    colors = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    recipe = {"hidden": (4,), "out": "a.safetensors", "progress": False}
    ae.train(colors, color=False, epochs=1, preset="tutorial", **recipe)
    model = ae.train(colors, epochs=2, resume=True, **recipe)
    assert model.embed(colors).z.shape == (40, 3)


def test_colours_that_are_loaded_are_not_turned_grey():
    images = load(np.zeros((9, 8, 8, 3)))
    with pytest.raises(UsageError) as caught:
        load(images, color=False)
    assert str(caught.value) == (
        "--grey is given, but the images of array are already read in colour; leave it out, or "
        "load them again in grey"
    )
    assert load(images, color=True) is images


def test_an_array_of_zeros_and_ones_causes_a_warning():
    with pytest.warns(AeWarning) as warned:
        load(np.eye(4, dtype=np.uint8)[None].repeat(3, axis=0))
    assert [str(warning.message) for warning in warned] == [
        "no pixel of array is brighter than 1 of 255; save 0 and 1 as float or bool if they "
        "mean black and white"
    ]


def test_classes_of_an_array_can_be_chosen(digits):
    data = load((digits.train.pixels, digits.train.labels), classes="0,1,3-5")
    assert data.selected_classes == ("0", "1", "3", "4", "5")
    read = whole(data)
    expected = np.flatnonzero(np.isin(digits.train.labels.numpy(), [0, 1, 3, 4, 5]))
    np.testing.assert_array_equal(read.index(), expected)
    assert torch.equal(read.pixels, digits.train.pixels[expected])


def test_a_data_set_is_used_unchanged(digits):
    assert load(digits) is digits
    chosen = load(digits, exclude_classes="0-8")
    assert chosen.selected_classes == ("9",)
    assert chosen.test.store is digits.test.store
    np.testing.assert_array_equal(
        chosen.test.index(), np.flatnonzero(digits.test.labels.numpy() == 9)
    )
    for options, line in (
        ({"color": True}, "--color is given, but the images of digits are grey; leave it out"),
        (
            {"val_fraction": 0.2},
            "--val-fraction is given, but digits has its own test split; leave it out",
        ),
        (
            {"image_size": "32x28"},
            "--image-size differs from the size of digits's images, 28 × 28 pixels; leave it out",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            load(digits, **options)
        assert str(caught.value) == line
    assert load(digits, image_size=28) is digits


# Memory

PROGRAM = """
import sys
from pathlib import Path

def peak():
    # Of this process only: getrusage also counts what its parent used when it was forked.
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

import torch
before = peak()
import numpy as np
from ae_cli.data.load import load
path, how = sys.argv[1:]
images = load(path if how == "path" else np.load(path, mmap_mode="r"))
print(peak() - before, len(images.train) + len(images.test))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["u1", "f4"])
@pytest.mark.parametrize("how", ["path", "mapped"])
def test_reading_a_large_array_needs_little_more_than_its_pixels(tmp_path, kind, how):
    path, count = tmp_path / "large.npy", 190_000
    array = np.lib.format.open_memmap(path, "w+", np.dtype(kind), (count, 28, 28))
    rows = np.random.default_rng(0).integers(0, 256, (1000, 28, 28), np.uint8)
    for start in range(0, count, 1000):
        array[start : start + 1000] = rows if kind == "u1" else rows / 255
    array.flush()
    pixels = array.size
    del array
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, how], capture_output=True, text=True, check=True
    )
    needed, images = map(int, result.stdout.split())
    assert images == count
    if kind == "u1" and how == "path":  # they are used where they lie
        assert needed < 0.3 * pixels
    else:
        assert pixels < needed < 1.2 * pixels


def test_images_can_be_a_source(digits):
    """Some of them are held out, and nothing is copied."""
    loaded = load(digits.train.head(100))
    assert (len(loaded.train), len(loaded.test)) == (90, 10)
    assert loaded.train.store is digits.train.store
    assert sorted([*loaded.train.index(), *loaded.test.index()]) == sorted(
        digits.train.head(100).index()
    )
