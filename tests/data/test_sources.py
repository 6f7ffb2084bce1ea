"""Archives, shards, tables of encoded images, MATLAB and HDF5 files, and several sources."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import sys
import tarfile
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Run, error_line
from PIL import Image
from reading import in_order, refusal

from ae_cli.data.load import load
from ae_cli.errors import AeWarning, UsageError

COUNT = 20


@pytest.fixture
def pixels(digits) -> np.ndarray:
    """Real digits, uint8 (20, 14, 14)."""
    return digits.train.pixels[:COUNT, 0, ::2, ::2].numpy()


@pytest.fixture
def labels(digits) -> list[str]:
    """Their labels."""
    return [str(label) for label in digits.train.labels[:COUNT].tolist()]


@pytest.fixture
def encoded(pixels) -> list[bytes]:
    """The digits as PNG files."""
    return [png(image) for image in pixels]


def png(image: np.ndarray, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind)
    return content.getvalue()


# Archives


def write_archive(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    kind = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{kind}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


ARCHIVES = ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.bz2", "x.tar.xz"]


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("top", ["", "photos/"])
def test_an_archive_is_read_as_the_folder_in_it(tmp_path, encoded, labels, name, top):
    members = {
        f"{top}{label}/{i}.png": content
        for i, (label, content) in enumerate(zip(labels, encoded, strict=True))
    }
    for inner, content in members.items():
        path = tmp_path / "folder" / inner.removeprefix(top)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    data = load(write_archive(tmp_path / name, members))
    folder = load(tmp_path / "folder")
    for part, same in zip(data.splits.values(), folder.splits.values(), strict=True):
        assert torch.equal(part.pixels, same.pixels)
        assert torch.equal(part.labels, same.labels)
        assert part.classes == same.classes
        assert [own.removeprefix(top) for own in part.names] == list(same.names)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_can_have_splits(tmp_path, encoded, name):
    members = {
        f"set/{'train' if i < 15 else 'val'}/{i % 2}/{i}.png": e for i, e in enumerate(encoded)
    }
    data = load(write_archive(tmp_path / name, members))
    assert (len(data.train), len(data.test), data.train.classes) == (15, 5, ("0", "1"))


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_a_decoded_archive_is_not_read_again(tmp_path, encoded, monkeypatch, name):
    path = write_archive(tmp_path / name, {f"{i}.png": e for i, e in enumerate(encoded)})
    first = load(path)
    monkeypatch.setattr("ae_cli.data.decoding._decode_all", None)
    assert torch.equal(load(path).train.pixels, first.train.pixels)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_paths_that_lead_out_of_an_archive_are_refused(tmp_path, encoded, name):
    members = {f"{i}.png": e for i, e in enumerate(encoded)}
    inner = tmp_path / "inner"
    inner.mkdir()
    path = write_archive(inner / name, {**members, "../out.png": encoded[0]})
    with pytest.warns(
        AeWarning, match=r"out\.png in .* cannot be read \(its path leads out|1 of 21"
    ):
        assert len(load(path).train) == 18
    write_archive(path, {**members, "/tmp/out.png": encoded[0]})
    with pytest.warns(
        AeWarning, match=r"out\.png in .* cannot be read \(its path leads out|1 of 21"
    ):
        load(path)
    assert sorted(os.listdir(inner)) == [name]
    assert not (tmp_path / "out.png").exists()


def test_links_and_devices_in_a_tar_archive_are_passed_over(tmp_path, encoded):
    path = tmp_path / "x.tar"
    write_archive(path, {f"{i}.png": content for i, content in enumerate(encoded)})
    with tarfile.open(path, "a") as archive:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("c.png")
        info.type = tarfile.FIFOTYPE
        archive.addfile(info)
    with pytest.warns(AeWarning) as caught:
        data = load(path)
    assert len(data.train) + len(data.test) == COUNT
    assert [str(warning.message) for warning in caught] == [
        "3 files of x.tar are not in a format of images that ae reads, and passed over: 2 links, "
        "1 devices and the like"
    ]


def test_links_in_a_zip_archive_are_passed_over(tmp_path, encoded):
    path = write_archive(tmp_path / "x.zip", {f"{i}.png": e for i, e in enumerate(encoded)})
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.warns(AeWarning, match="passed over: 1 links"):
        load(path)


def test_what_macos_adds_to_an_archive_is_not_looked_at(tmp_path, encoded, recwarn):
    members = {f"photos/{i}.png": content for i, content in enumerate(encoded)}
    members |= {f"__MACOSX/photos/._{i}.png": b"x" for i in range(COUNT)}
    members["photos/.DS_Store"] = b"x"
    assert len(load(write_archive(tmp_path / "x.zip", members)).train) == 18
    assert not recwarn.list


def test_bombs_are_harmless(tmp_path, encoded):
    members = {f"{i}.png": content for i, content in enumerate(encoded)}
    path = write_archive(tmp_path / "x.zip", {**members, "bomb.png": bytes(10**8)})
    with pytest.warns(AeWarning, match=r"bomb\.png .*more than a hundred times|1 of 21 images"):
        load(path)
    path = tmp_path / "x.tar.gz"
    write_archive(tmp_path / "x.tar", {**members, "bomb.png": bytes(10**8)})
    path.write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes()))
    assert refusal(path) == (
        "x.tar.gz cannot be read as TAR (it unpacks to more than a hundred times its size); "
        "save it again"
    )


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_damaged_archive_is_refused_with_one_line(tmp_path, encoded, name):
    path = write_archive(tmp_path / name, {f"{i}.png": e for i, e in enumerate(encoded)})
    whole = path.read_bytes()
    for content in (whole[: min(5000, len(whole) // 2)], b"", b"no archive" * 99):
        path.write_bytes(content)
        assert name in refusal(path)


def pack(path: Path, content: bytes) -> None:
    """Write a tar archive, compressed as its name says."""
    compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    compress[".zst"] = partial(pa.compress, codec="zstd", asbytes=True)
    path.write_bytes(compress.get(path.suffix, bytes)(content))


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz", "x.tar.zst"])
def test_a_tar_archive_that_ends_early_is_said_to(tmp_path, encoded, name, recwarn):
    members = {f"{i}.png": content for i, content in enumerate(encoded)}
    whole = write_archive(tmp_path / "whole.tar", members).read_bytes()
    sizes = [512 + -(-len(content) // 512) * 512 for content in encoded]
    path = tmp_path / name
    pack(path, whole)
    load(path)
    pack(path, whole[: sum(sizes) + 512])  # some programs write a single block of zeros
    load(path)
    assert not recwarn.list
    for count in (12, COUNT):
        end = sum(sizes[:count])
        for more in (0, 100):  # between two files, or in the header of the next
            pack(path, whole[: end + more])
            with pytest.warns(AeWarning) as caught:
                data = load(path)
            assert [str(warning.message) for warning in caught] == [
                f"{name} ends without its end mark: it may be cut short"
            ]
            assert len(data.train) + len(data.test) == count
        pack(path, whole[: end - 1])
        assert "x.tar" in refusal(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "x.tar" in refusal(path)


def test_a_damaged_header_within_a_tar_archive_is_said(tmp_path, encoded):
    members = {f"{i}.png": content for i, content in enumerate(encoded)}
    path = write_archive(tmp_path / "x.tar", members)
    content = bytearray(path.read_bytes())
    content[content.index(b"10.png")] ^= 1
    path.write_bytes(content)
    with pytest.warns(AeWarning, match=r"x\.tar ends without its end mark: it may be cut short"):
        data = load(path)
    assert len(data.train) + len(data.test) == 10


def test_an_archive_without_images_says_what_is_in_it(tmp_path):
    path = write_archive(tmp_path / "x.zip", {"a.doc": b"", "b.doc": b"", "c": b""})
    assert refusal(path) == (
        "x.zip holds no images, but 2 .doc, 1 without an ending; give an archive of images, or "
        "unpack it and give a file in it"
    )


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_table_in_an_archive_has_to_be_unpacked(tmp_path, name):
    members = {"set/train.csv": b"p,label\n1,2\n", "set/x.parquet": b"", "set/readme.md": b""}
    path = write_archive(tmp_path / name, members)
    assert refusal(path) == (
        f"{name} holds no images, but set/train.csv, set/x.parquet, which ae does not read within "
        "archives; unpack it and give set/train.csv"
    )


@pytest.mark.parametrize("top", ["", "photos/"])
@pytest.mark.parametrize("table", ["metadata.csv", "train/metadata.jsonl"])
def test_metadata_in_an_archive_has_to_be_unpacked(tmp_path, encoded, top, table):
    members = {f"{top}train/{i}.png": content for i, content in enumerate(encoded)}
    path = write_archive(tmp_path / "x.zip", {**members, f"{top}{table}": b""})
    with pytest.warns(AeWarning) as caught:
        load(path)
    assert str(caught[0].message) == (
        f"{top}{table} in x.zip is not used; unpack the archive and give the folder, or name a "
        "table with --labels"
    )


def test_labels_can_come_from_a_table_beside_an_archive(tmp_path, encoded, labels):
    path = write_archive(tmp_path / "x.zip", {f"a/{i}.png": e for i, e in enumerate(encoded)})
    rows = [f"{i}.png,{label}" for i, label in enumerate(labels)]
    (tmp_path / "y.csv").write_text("\n".join(["name,label", *rows]))
    data = load(path, labels=tmp_path / "y.csv")
    numbers = [int(Path(name).stem) for name in data.train.names]
    assert [data.train.classes[i] for i in data.train.labels] == [labels[i] for i in numbers]


# Shards of a WebDataset


def samples(encoded, beside: dict[str, list[str]], start: int = 0) -> dict[str, bytes]:
    """The files of a shard."""
    members = {}
    for i, content in enumerate(encoded):
        members[f"{start + i:06}.png"] = content
        for ending, texts in beside.items():
            members[f"{start + i:06}.{ending}"] = texts[i].encode()
    return members


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
@pytest.mark.parametrize("ending", ["cls", "json", "txt"])
def test_a_shard_has_labels_beside_its_images(tmp_path, pixels, encoded, labels, name, ending):
    texts = labels
    if ending == "json":
        texts = [json.dumps({"label": int(label), "box": [1, 2]}) for label in labels]
    data = load(write_archive(tmp_path / name, samples(encoded, {ending: texts})))
    found, classes = in_order(data)
    np.testing.assert_array_equal(found[:, 0], pixels)
    assert classes == labels
    assert data.understood[0] == "a shard of a WebDataset"


def test_what_else_a_shard_says_is_kept(tmp_path, encoded, labels):
    beside = {
        "cls": labels,
        "json": [json.dumps({"width": i, "author": f"a{i}"}) for i in range(COUNT)],
        "txt": [f"picture number {i}" for i in range(COUNT)],
        "seg.npy": [""] * COUNT,
    }
    with pytest.warns(AeWarning, match="20 files of x.tar .* passed over: 20 .npy"):
        data = load(write_archive(tmp_path / "x.tar", samples(encoded, beside)))
    columns = data.train.columns
    assert columns["width"].tolist() == data.train.index().tolist()
    assert columns["author"].tolist() == [f"a{i}" for i in data.train.index()]
    assert columns["txt"].tolist() == [f"picture number {i}" for i in data.train.index()]


def test_a_caption_is_no_label(tmp_path, encoded):
    texts = [f"picture number {i}" for i in range(COUNT)]
    data = load(write_archive(tmp_path / "x.tar", samples(encoded, {"txt": texts})))
    assert data.train.labels is None
    assert "no labels (--key names them)" in data.understood


def test_a_sample_without_a_label_is_an_error(tmp_path, encoded, labels):
    members = samples(encoded, {"cls": labels})
    del members["000007.cls"]
    assert refusal(write_archive(tmp_path / "x.tar", members)) == (
        "x.tar has no label for 000007, though it has some for others; give each sample a label, "
        "or name another field with --key"
    )


@pytest.mark.parametrize(
    "source",
    [
        "shards",
        "shards/*.tar",
        "shards/s-{000000..000001}.tar",
        "shards/s-{000000,000001}.tar",
    ],
)
def test_several_shards_are_one_set(run: Run, tmp_path, pixels, encoded, labels, source):
    (tmp_path / "shards").mkdir()
    for shard, (start, end) in enumerate(((0, 8), (8, COUNT))):
        members = samples(encoded[start:end], {"cls": labels[start:end]}, start)
        write_archive(tmp_path / "shards" / f"s-{shard:06}.tar", members)
    data = load(source)
    found, classes = in_order(data)
    np.testing.assert_array_equal(found[:, 0], pixels)
    assert classes == labels
    assert run("train", "--preset", "fast", "--epochs", "1", "--data", source).exit_code == 0
    os.chdir("shards")  # the checkpoint names the source in a way that does not depend on this
    result = run("embed", "--checkpoint", "../ae.safetensors")
    assert result.exit_code == 0, result.stderr
    assert len(Path("latents.csv").read_text().splitlines()) == COUNT + 1


def test_the_names_of_shards_give_the_splits(tmp_path, encoded, labels):
    for split, start, end in (("train", 0, 12), ("val", 12, 16), ("test", 16, COUNT)):
        members = samples(encoded[start:end], {"cls": labels[start:end]}, start)
        write_archive(tmp_path / f"{split}-000.tar", members)
    with pytest.warns(AeWarning, match="4 images of .* are in neither split"):
        data = load(tmp_path)
    assert (len(data.train), len(data.test), data.val_fraction) == (12, 4, None)


# Parquet tables with encoded images


def features(names: list[str]) -> dict[bytes, bytes]:
    """The metadata that Hugging Face's library writes."""
    columns = {
        "image": {"_type": "Image"},
        "label": {"names": names, "_type": "ClassLabel"},
    }
    return {b"huggingface": json.dumps({"info": {"features": columns}}).encode()}


def write_table(path: Path, encoded, labels, *, paths=None, names=None, **more) -> Path:
    paths = paths or [None] * len(encoded)
    images = [{"bytes": b, "path": p} for b, p in zip(encoded, paths, strict=True)]
    table = pa.table({"image": images, "label": [int(label) for label in labels], **more})
    if names:
        table = table.replace_schema_metadata(features(names))
    pq.write_table(table, path, row_group_size=7)
    return path


WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def test_a_table_can_have_encoded_images(tmp_path, pixels, encoded, labels):
    data = load(write_table(tmp_path / "x.parquet", encoded, labels, age=list(range(COUNT))))
    found, classes = in_order(data)
    np.testing.assert_array_equal(found[:, 0], pixels)
    assert classes == labels
    assert data.train.names is None
    assert data.train.columns["age"].tolist() == data.train.index().tolist()


def test_class_names_come_from_the_metadata(tmp_path, encoded, labels):
    path = write_table(tmp_path / "x.parquet", encoded, labels, names=WORDS)
    data = load(path)
    assert in_order(data)[1] == [WORDS[int(label)] for label in labels]
    assert "class names: from the table's metadata" in data.understood


def test_images_have_the_names_in_the_table(tmp_path, encoded, labels):
    paths = [f"{i}.png" for i in range(COUNT)]
    data = load(write_table(tmp_path / "x.parquet", encoded, labels, paths=paths))
    assert list(data.train.names) == [f"{i}.png" for i in data.train.index()]


def test_a_column_of_bytes_can_be_images(tmp_path, pixels, encoded):
    pq.write_table(pa.table({"jpg": encoded, "y": ["a", "b"] * 10}), tmp_path / "x.parquet")
    found, classes = in_order(load(tmp_path / "x.parquet"))
    np.testing.assert_array_equal(found[:, 0], pixels)
    assert classes == ["a", "b"] * 10


def test_a_folder_of_tables_has_their_splits(tmp_path, pixels, encoded, labels):
    (tmp_path / "data").mkdir()
    for name, start, end in (
        ("train-00000-of-00002", 0, 8),
        ("train-00001-of-00002", 8, 14),
        ("test-00000-of-00001", 14, COUNT),
    ):
        path = tmp_path / "data" / f"{name}.parquet"
        write_table(path, encoded[start:end], labels[start:end], names=WORDS)
    (tmp_path / "README.md").write_text("a set")
    data = load(tmp_path)
    assert (len(data.train), len(data.test)) == (14, 6)
    order = np.argsort(data.test.index())
    assert Counter(data.test.classes[i] for i in data.test.labels) == Counter(
        WORDS[int(label)] for label in labels[14:]
    )
    assert {image.tobytes() for image in data.test.pixels.numpy()[order]} == {
        image.tobytes() for image in pixels[14:]
    }


def test_a_test_split_without_labels_is_not_used(tmp_path, encoded, labels):
    write_table(tmp_path / "train-0.parquet", encoded[:15], labels[:15], names=WORDS)
    write_table(tmp_path / "test-0.parquet", encoded[15:], ["-1"] * 5, names=WORDS)
    with pytest.warns(AeWarning, match=r"the images of test-0\.parquet have no labels"):
        data = load(tmp_path)
    assert (len(data.train), len(data.test), data.val_fraction) == (13, 2, 0.1)


def test_rows_without_an_image_or_a_label(tmp_path, encoded, labels):
    path = tmp_path / "x.parquet"
    write_table(path, [None, *encoded[1:]], labels)
    with pytest.warns(AeWarning, match=r"the table has no bytes of it|1 of 20 images"):
        assert len(load(path).train) == 17
    write_table(path, encoded, [*labels[:18], "-1", "-1"], names=WORDS)
    with pytest.warns(AeWarning, match=r"2 rows of x\.parquet have no label"):
        assert len(load(path).train) == 16


# Arrays: 16 bits, MATLAB and HDF5


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_whole_numbers_of_16_bits_are_scaled(tmp_path, pixels, kind):
    np.save(tmp_path / "x.npy", pixels.astype(kind) * 257)
    data = load(tmp_path / "x.npy")
    np.testing.assert_array_equal(in_order(data)[0][:, 0], pixels)
    assert "whole numbers of 16 bits: 65535 is white" in data.understood
    np.save(tmp_path / "x.npy", pixels.astype(kind))  # 8 bits that were saved as 16
    np.testing.assert_array_equal(in_order(load(tmp_path / "x.npy"))[0][:, 0], pixels)


def test_both_splits_of_16_bits_are_scaled_alike(tmp_path, pixels):
    deep = pixels.astype(np.uint16) * 257
    np.savez(tmp_path / "x.npz", x_train=deep, x_test=deep[:3] // 1000)
    data = load(tmp_path / "x.npz")
    np.testing.assert_array_equal(data.train.pixels[:, 0], pixels)
    assert data.test.pixels.max() == 0


@pytest.fixture
def coloured(pixels) -> np.ndarray:
    """Coloured digits, uint8 (20, 14, 12, 3): not square, so that the axes can be told apart."""
    return np.stack([pixels, 255 - pixels, pixels // 2], axis=-1)[:, :, 1:13]


def save_mat(path: Path, **arrays) -> None:
    import scipy.io

    scipy.io.savemat(path, arrays, do_compression=True)


@pytest.mark.parametrize(
    ("axes", "grey"),
    [((1, 2, 3, 0), False), ((0, 1, 2, 3), False), ((1, 2, 0), True), ((0, 1, 2), True)],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_matlab_file_is_read_whatever_its_axes(tmp_path, coloured, labels, axes, grey, named):
    images = coloured[..., 0] if grey else coloured
    names = ("X", "y") if named else ("stimuli", "kind")
    arrays = (images.transpose(axes), np.array(labels, dtype=np.uint8)[:, None])
    save_mat(tmp_path / "x.mat", **dict(zip(names, arrays, strict=True)))
    found, classes = in_order(load(tmp_path / "x.mat"))
    expected = images[:, None] if grey else images.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found, expected)
    assert classes == labels


def test_matlabs_floats_may_be_whole_numbers(tmp_path, pixels):
    save_mat(tmp_path / "x.mat", X=pixels.astype(float))
    np.testing.assert_array_equal(in_order(load(tmp_path / "x.mat"))[0][:, 0], pixels)
    save_mat(tmp_path / "x.mat", faces=pixels.reshape(COUNT, -1).T / 255)
    np.testing.assert_array_equal(in_order(load(tmp_path / "x.mat"))[0][:, 0], pixels)


def test_a_matlab_file_that_could_mean_several_arrays(tmp_path, pixels):
    save_mat(tmp_path / "x.mat", a=pixels, b=pixels, text="words", numbers=[1, 2])
    assert refusal(tmp_path / "x.mat") == (
        "x.mat has several arrays that could be the images; name the one with the images with "
        "--key; choose among a, b, numbers"
    )
    assert len(load(tmp_path / "x.mat", key="b").train) == 18
    save_mat(tmp_path / "x.mat", text="words")
    assert "x.mat has no array with a shape of images" in refusal(tmp_path / "x.mat")


@pytest.mark.parametrize("chunked", [False, True])
def test_an_hdf5_file_is_read(tmp_path, coloured, labels, chunked):
    h5py = pytest.importorskip("h5py")
    options = {"chunks": True, "compression": "gzip"} if chunked else {}
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("images", data=coloured, **options)
        file["ans"] = np.array(labels, dtype=np.uint8)
        file["note"] = "words"
    data = load(tmp_path / "x.h5")
    found, classes = in_order(data)
    np.testing.assert_array_equal(found, coloured.transpose(0, 3, 1, 2))
    assert classes == labels
    assert data.understood == (
        "a file in HDF5's format", "images: images, counted by its first axis; labels: ans"
    )  # fmt: skip
    assert load(tmp_path / "x.h5", key="images").train.labels is None


def test_an_hdf5_file_can_have_splits_in_groups(tmp_path, pixels):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for split, some in (("train", pixels[:15]), ("test", pixels[15:])):
            file[f"{split}/x"] = some
            file[f"{split}/y"] = np.arange(len(some)) % 2
    data = load(tmp_path / "x.h5")
    assert (len(data.train), len(data.test), data.train.classes) == (15, 5, ("0", "1"))
    np.testing.assert_array_equal(data.test.pixels[:, 0], pixels[15:])


def test_matlabs_newer_files_are_hdf5(tmp_path, coloured, labels):
    """Its axes are in reverse, as MATLAB writes them."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["X"] = coloured.transpose(1, 2, 3, 0).transpose()
        file["y"] = np.array(labels, dtype=float)[None]
        for name in ("X", "y"):
            file[name].attrs["MATLAB_class"] = np.bytes_("uint8" if name == "X" else "double")
    content = path.read_bytes()
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + content[512:])
    found, classes = in_order(load(path))
    np.testing.assert_array_equal(found, coloured.transpose(0, 3, 1, 2))
    assert classes == labels


def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refusal(tmp_path / "x.h5") == (
        "x.h5 is in HDF5's format, for which h5py is needed; install it: pip install 'ae-cli[hdf5]'"
    )


# Several sources


def write_folder(folder: Path, encoded, labels) -> Path:
    for i, (content, label) in enumerate(zip(encoded, labels, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{i}.png").write_bytes(content)
    return folder


def test_several_folders_are_one_set(run: Run, tmp_path, encoded, labels):
    write_folder(tmp_path / "a", encoded[:8], labels[:8])
    write_folder(tmp_path / "b", encoded[8:], labels[8:])
    data = load(["a", "b"])
    assert len(data.train) + len(data.test) == COUNT
    assert Counter(in_order(data)[1]) == Counter(labels)
    assert {name.partition("/")[0] for name in data.train.names} == {"a", "b"}
    assert data.source == os.pathsep.join((f"{tmp_path}/a", f"{tmp_path}/b"))
    train = ("train", "--preset", "fast", "--epochs", "1")
    assert run(*train, "--data", "a", "--data", "b").exit_code == 0
    assert run("embed").exit_code == 0
    assert len(Path("latents.csv").read_text().splitlines()) == COUNT + 1
    again = run("embed", "--data", "a", "--data", "b", "--out", "again.csv")
    assert again.exit_code == 0
    assert Path("again.csv").read_bytes() == Path("latents.csv").read_bytes()
    described = run("data", "a", "b")
    assert "understood 2 sources, one after the other" in described.stdout


def test_several_arrays_are_one_set(tmp_path, pixels):
    np.savez("a.npz", x=pixels[:8], y=np.arange(8) % 2)
    np.savez("b.npz", x=pixels[8:], y=np.arange(12) % 3)
    data = load("?.npz")
    found, classes = in_order(data)
    np.testing.assert_array_equal(found[:, 0], pixels)
    assert classes == [str(i % 2) for i in range(8)] + [str(i % 3) for i in range(12)]
    Path("a.npz").rename("train.npz")
    Path("b.npz").rename("test.npz")
    data = load("t*.npz")
    np.testing.assert_array_equal(data.test.pixels[:, 0], pixels[8:])
    np.testing.assert_array_equal(data.train.pixels[:, 0], pixels[:8])


def test_sources_of_different_kinds_are_refused(run: Run, tmp_path, encoded, labels, pixels):
    write_folder(tmp_path / "a", encoded, labels)
    np.save("b.npy", pixels)
    assert error_line(run("data", "a", "b.npy"), 3) == (
        f"error: {tmp_path}/b.npy holds pixels, and {tmp_path}/a image files; "
        "give sources of one kind"
    )
    np.save("c.npy", pixels[:, :7])
    assert "the images of" in error_line(run("data", "b.npy", "c.npy"), 3)
    assert error_line(run("data", "a", "digits"), 2) == (
        "error: --data digits is a known set; give it alone"
    )
    assert error_line(run("data", "a", "none"), 3).startswith("error: --data none")
    assert error_line(run("data", "no*.tar"), 3) == (
        "error: --data no*.tar: there is no such file or folder; check the path, or see `ae data`"
    )


# What is never read


def test_cifars_pickles_are_refused_with_what_to_do(run: Run, tmp_path):
    line = (
        "is a Python pickle, which ae never reads, since it can run any program; give the same "
        "images in another form (CIFAR: the Parquet files on Hugging Face), or load it yourself "
        "and save an .npz file with images and labels"
    )
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": [1]}))
    (folder / "readme.html").write_text("")
    assert error_line(run("data", folder), 3) == f"error: {folder}/data_batch_1 {line}"
    assert error_line(run("data", folder / "data_batch_1"), 3) == (
        f"error: {folder}/data_batch_1 {line}"
    )
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(folder, "cifar")
    assert error_line(run("data", tmp_path / "x.tar.gz"), 3) == (
        f"error: {tmp_path}/x.tar.gz/cifar/data_batch_1 {line}"
    )
    (tmp_path / "x.pkl").write_bytes(b"")
    assert error_line(run("data", tmp_path / "x.pkl"), 3) == f"error: {tmp_path}/x.pkl {line}"


def test_options_are_refused_where_they_mean_nothing(tmp_path, pixels, encoded):
    np.save("x.npy", pixels)
    for options in ({"frames": "all"}, {"labels": "y.csv"}, {"fit": "pad"}, {"color": True}):
        with pytest.raises(UsageError, match="applies only to"):
            load("x.npy", **options)
    write_folder(tmp_path / "a", encoded, ["c"] * COUNT)
    with pytest.raises(UsageError, match="--key applies only to a file or a table"):
        load("a", key="x")


def test_a_misspelt_path_is_recognised(run: Run):
    (Path("my") / "photos").mkdir(parents=True)
    Path("mines").mkdir()
    Path("scans.npz").write_bytes(b"")
    for source, meant in (
        ("my/photoss", "my/photos"),
        ("scan.npz", "scans.npz"),
        ("mine", "mines"),
    ):
        line = error_line(run("train", "--data", source), 3)
        assert line.endswith(f"; did you mean {meant}?")
    for source in ("elsewhere/photos", "x" * 5000, "my/" + "é" * 300):
        assert "did you mean" not in error_line(run("train", "--data", source), 3)
