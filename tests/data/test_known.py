"""The known sets, read from small files in the published formats on a local test server."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import REFUSED, idx_bytes
from server import serve
from torchvision import datasets

from ae_cli.data.catalog import KNOWN_SETS
from ae_cli.data.images import DataSet
from ae_cli.data.known import load_known
from ae_cli.errors import DataError

NAMES = [name for name in KNOWN_SETS if name not in ("mnist", "digits")]
FABRICATED = ["fashion-mnist", "kmnist", "qmnist", "emnist", "emnist-letters", "usps"]
FOLDERS = {
    "fashion-mnist": "FashionMNIST/raw",
    "kmnist": "KMNIST/raw",
    "qmnist": "QMNIST/raw",
    "usps": "USPS",
}
SPLITS = {"train": 60, "test": 20}


@dataclass
class Site:
    """A folder on a server, and the names that were requested."""

    folder: Path
    url: str
    requests: list[str]

    @property
    def asked(self) -> set[str]:
        return set(self.requests)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    with serve(folder) as server:
        yield Site(folder, server.url, server.asked)


class Expected(NamedTuple):
    pixels: torch.Tensor
    labels: torch.Tensor


class Publisher:
    """Publishes real digits in the format of each set, under the names torchvision uses."""

    def __init__(self, digits: DataSet, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.digits, self.site, self.monkeypatch = digits, site, monkeypatch

    def images(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, 28, 28) and their labels, 0 to 9."""
        images = self.digits.splits[split]
        count = SPLITS[split]
        return images.pixels[:count, 0].numpy(), images.labels[:count].numpy()

    def write(self, name: str, content: bytes) -> str:
        (self.site.folder / name).write_bytes(content)
        return hashlib.md5(content).hexdigest()

    def publish(self, name: str) -> dict[str, Expected]:
        """Put a set on the server; return what should be read from it."""
        if name.startswith("emnist"):
            return self.publish_emnist()[name]
        if name == "usps":
            return self.publish_usps()
        return self.publish_qmnist() if name == "qmnist" else self.publish_like_mnist(name)

    def publish_like_mnist(self, name: str) -> dict[str, Expected]:
        kind = {"fashion-mnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}[name]
        resources, expected = [], {}
        for split, prefix in (("train", "train"), ("test", "t10k")):
            pixels, labels = self.images(split)
            for file, values in (
                (f"{prefix}-images-idx3-ubyte.gz", pixels),
                (f"{prefix}-labels-idx1-ubyte.gz", labels),
            ):
                resources.append(
                    (file, self.write(file, gzip.compress(idx_bytes(values.astype("u1")))))
                )
            expected[split] = expect(pixels, labels)
        self.monkeypatch.setattr(kind, "resources", resources)
        self.monkeypatch.setattr(kind, "mirrors", [REFUSED, self.site.url])
        return expected

    def publish_qmnist(self) -> dict[str, Expected]:
        expected = {}
        for split in SPLITS:
            pixels, labels = self.images(split)
            table = np.arange(len(labels) * 8, dtype="i4").reshape(-1, 8) + 1000
            table[:, 0] = labels
            files = []
            for file, content in (
                (f"qmnist-{split}-images-idx3-ubyte.gz", idx_bytes(pixels)),
                (f"qmnist-{split}-labels-idx2-int.gz", idx_bytes(table)),
            ):
                files.append((self.site.url + file, self.write(file, gzip.compress(content))))
            self.monkeypatch.setitem(datasets.QMNIST.resources, split, files)
            expected[split] = expect(pixels, labels)
        return expected

    def publish_emnist(self) -> dict[str, dict[str, Expected]]:
        expected: dict[str, dict[str, Expected]] = {"emnist": {}, "emnist-letters": {}}
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for split in SPLITS:
                pixels, labels = self.images(split)
                for name, division, published, read in (
                    ("emnist", "balanced", labels * 5 + 1, labels * 5 + 1),  # up to 46
                    ("emnist-letters", "letters", labels + 17, labels + 16),  # up to z
                ):
                    for kind, values in (
                        ("images-idx3", pixels.transpose(0, 2, 1)),
                        ("labels-idx1", published),
                    ):
                        archive.writestr(
                            f"gzip/emnist-{division}-{split}-{kind}-ubyte.gz",
                            gzip.compress(idx_bytes(values.astype("u1"))),
                        )
                    expected[name][split] = expect(pixels, read)
        self.monkeypatch.setattr(datasets.EMNIST, "url", self.site.url + "gzip.zip")
        md5 = self.write("gzip.zip", content.getvalue())
        self.monkeypatch.setattr(datasets.EMNIST, "md5", md5)
        return expected

    def publish_usps(self) -> dict[str, Expected]:
        expected = {}
        for split, file in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
            pixels, labels = self.images(split)
            pixels = pixels[:, 6:22, 6:22]
            lines = []
            for image, label in zip(pixels, labels, strict=True):
                # Published brightness goes from -1 to 1, and published labels from 1 to 10.
                values = ((image.ravel() + 0.5) / 255 * 2 - 1).round(6)
                columns = " ".join(f"{i}:{value}" for i, value in enumerate(values, start=1))
                lines.append(f"{label + 1} {columns} \n")
            md5 = self.write(file, bz2.compress("".join(lines).encode()))
            self.monkeypatch.setitem(
                datasets.USPS.split_list, split, [self.site.url + file, file, md5]
            )
            expected[split] = expect(pixels, labels)
        return expected


def expect(pixels: np.ndarray, labels: np.ndarray) -> Expected:
    """What ae should read, given images (n, height, width) and labels (n,)."""
    return Expected(torch.tensor(pixels).unsqueeze(1), torch.tensor(labels))


@pytest.fixture
def publisher(digits: DataSet, site: Site, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    return Publisher(digits, site, monkeypatch)


def read(name: str, folder: Path) -> DataSet:
    return load_known(name, folder, lambda *_: None)


def assert_read(images: DataSet, expected: dict[str, Expected]) -> None:
    for split in SPLITS:
        found = images.splits[split]
        assert (found.pixels.dtype, found.labels.dtype) == (torch.uint8, torch.int64)
        assert torch.equal(found.pixels, expected[split].pixels)
        assert torch.equal(found.labels, expected[split].labels)


def raw(name: str, folder: Path) -> Path:
    return folder / FOLDERS.get(name, "EMNIST/raw")


def disconnect(site: Site) -> None:
    """Remove all files from the server, and forget earlier requests."""
    for path in site.folder.iterdir():
        path.unlink()
    site.requests.clear()


@pytest.mark.parametrize("name", FABRICATED)
def test_a_set_is_downloaded_once_and_read_correctly(name, publisher, site, tmp_path, capfd):
    expected = publisher.publish(name)
    published = {path.name: path.stat().st_size for path in site.folder.iterdir()}
    news = []
    images = load_known(name, tmp_path, lambda *item: news.append(item))
    assert images.source == name
    assert_read(images, expected)
    assert images.train.shape == KNOWN_SETS[name].shape
    assert site.asked == set(published)
    assert {path.name for path in raw(name, tmp_path).iterdir() if path.is_file()} >= set(published)
    for file, size in published.items():
        assert (file, size, size, "bytes") in news

    disconnect(site)
    assert_read(read(name, tmp_path), expected)
    assert site.asked == set()
    assert capfd.readouterr().out == ""


def test_the_classes_match_torchvision(publisher, tmp_path):
    def classes(name: str) -> list[str]:
        publisher.publish(name)
        images = read(name, tmp_path)
        assert images.train.classes == images.test.classes
        assert images.train.classes == KNOWN_SETS[name].classes
        return list(images.train.classes)

    divisions = datasets.EMNIST.classes_split_dict
    assert classes("fashion-mnist") == datasets.FashionMNIST.classes
    assert classes("kmnist") == datasets.KMNIST.classes
    assert classes("emnist") == divisions["balanced"]
    assert (
        classes("emnist-letters") == divisions["letters"][1:] == list("abcdefghijklmnopqrstuvwxyz")
    )
    assert classes("qmnist") == classes("usps") == list("0123456789")


def test_both_emnist_sets_share_one_download(publisher, site, tmp_path):
    expected = publisher.publish_emnist()
    assert_read(read("emnist", tmp_path), expected["emnist"])
    disconnect(site)
    assert_read(read("emnist-letters", tmp_path), expected["emnist-letters"])
    assert_read(read("emnist", tmp_path), expected["emnist"])
    assert site.asked == set()


@pytest.mark.parametrize("name", FABRICATED)
def test_published_files_on_disk_need_no_network(name, publisher, site, tmp_path):
    expected = publisher.publish(name)
    raw(name, tmp_path).mkdir(parents=True)
    for path in site.folder.iterdir():
        path.rename(raw(name, tmp_path) / path.name)
    assert_read(read(name, tmp_path), expected)
    assert site.asked == set()


def unpack(site: Site, folder: Path) -> None:
    """Move the server's files into a folder, unpacked as torchvision unpacks them."""
    folder.mkdir(parents=True)
    for path in site.folder.iterdir():
        if path.suffix == ".gz":
            (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    content = gzip.decompress(archive.read(member))
                    (folder / Path(member).stem).write_bytes(content)
        path.unlink()


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist", "qmnist", "emnist", "emnist-letters"])
def test_unpacked_files_on_disk_need_no_network(name, publisher, site, tmp_path):
    expected = publisher.publish(name)
    unpack(site, raw(name, tmp_path))
    assert_read(read(name, tmp_path), expected)
    assert site.asked == set()


def test_torchvision_reads_the_same(publisher, site, tmp_path):
    """This shows that the small files have the published formats and names."""
    for name in FABRICATED:
        expected = publisher.publish(name)
        folder = tmp_path / name
        if name != "usps":
            unpack(site, raw(name, folder))
        for split in SPLITS:
            train = split == "train"
            if name == "usps":
                read(name, folder)
                images = datasets.USPS(folder / "USPS", train)
                pixels, labels = torch.from_numpy(images.data), torch.tensor(images.targets)
            elif name == "qmnist":
                images = datasets.QMNIST(folder, split)
                pixels, labels = images.data, images.targets[:, 0]
            elif name.startswith("emnist"):
                letters = name == "emnist-letters"
                images = datasets.EMNIST(folder, "letters" if letters else "balanced", train=train)
                pixels, labels = images.data.mT, images.targets - int(letters)
            else:
                images = getattr(datasets, FOLDERS[name].partition("/")[0])(folder, train)
                pixels, labels = images.data, images.targets
            assert torch.equal(pixels.unsqueeze(1), expected[split].pixels)
            assert torch.equal(labels, expected[split].labels)


@pytest.mark.parametrize("name", ["kmnist", "emnist", "usps"])
def test_a_damaged_published_file_is_downloaded_again(name, publisher, site, tmp_path):
    expected = publisher.publish(name)
    raw(name, tmp_path).mkdir(parents=True)
    damaged, *others = sorted(site.folder.iterdir())
    for path in others:
        path.rename(raw(name, tmp_path) / path.name)
    (raw(name, tmp_path) / damaged.name).write_bytes(damaged.read_bytes()[:-1])
    assert_read(read(name, tmp_path), expected)
    assert site.asked == {damaged.name}


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_connection_is_reported(name, tmp_path):
    first = {
        "fashion-mnist": "train-images-idx3-ubyte.gz",
        "kmnist": "train-images-idx3-ubyte.gz",
        "qmnist": "qmnist-train-images-idx3-ubyte.gz",
        "usps": "usps.bz2",
    }.get(name, "gzip.zip")
    folder = raw(name, tmp_path)
    with pytest.raises(DataError) as caught:
        read(name, tmp_path)
    assert str(caught.value) == (
        f"{name}'s {first} cannot be downloaded (127.0.0.1: Connection refused); "
        f"try again later, copy the file into {folder}, or use --data digits"
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["kmnist", "emnist", "usps"])
def test_a_damaged_download_does_not_replace_an_existing_file(name, publisher, site, tmp_path):
    publisher.publish(name)
    first = {"kmnist": "train-images-idx3-ubyte.gz", "emnist": "gzip.zip", "usps": "usps.bz2"}[name]
    content = bytearray((site.folder / first).read_bytes())
    content[len(content) // 2] ^= 1
    (site.folder / first).write_bytes(content)
    folder = raw(name, tmp_path)
    folder.mkdir(parents=True)
    (folder / first).write_bytes(b"mine")
    with pytest.raises(DataError) as caught:
        read(name, tmp_path)
    assert f"{name}'s {first} is damaged and cannot be downloaded (127.0.0.1: " in str(caught.value)
    assert "127.0.0.1: the download is damaged or incomplete)" in str(caught.value)
    assert [path.name for path in folder.iterdir()] == [first]
    assert (folder / first).read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda content: content[:-1], "it is not as long as its header says ([60, 28, 28])"),
        (lambda content: content[:7], "it is cut short"),
        (lambda content: b"", "it does not begin like an IDX file"),
        (lambda content: b"<html>" + content, "it does not begin like an IDX file"),
    ],
)
def test_a_damaged_unpacked_file_is_named(publisher, site, tmp_path, damage, cause):
    publisher.publish("kmnist")
    folder = raw("kmnist", tmp_path)
    unpack(site, folder)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        read("kmnist", tmp_path)
    assert str(caught.value) == (
        f"kmnist's train-images-idx3-ubyte in {folder} is damaged ({cause}); "
        "delete that file and try again"
    )


@pytest.mark.parametrize(
    ("name", "file", "shape", "value", "kind"),
    [
        ("kmnist", "t10k-labels-idx1-ubyte", 19, 0, ">u1"),
        ("kmnist", "t10k-labels-idx1-ubyte", 20, 10, ">u1"),
        ("kmnist", "t10k-labels-idx1-ubyte", (20, 1), 0, ">u1"),
        ("kmnist", "t10k-images-idx3-ubyte", (20, 27, 28), 0, ">u1"),
        ("kmnist", "t10k-images-idx3-ubyte", (20, 28, 28), 0, ">i4"),
        ("kmnist", "t10k-images-idx3-ubyte", 20, 0, ">u1"),
        ("qmnist", "qmnist-test-labels-idx2-int", 20, 0, ">i4"),
        ("qmnist", "qmnist-test-labels-idx2-int", (20, 0), 0, ">i4"),
        ("qmnist", "qmnist-test-labels-idx2-int", (20, 8), -1, ">i4"),
        ("emnist-letters", "emnist-letters-test-labels-idx1-ubyte", 20, 0, ">u1"),
        ("emnist", "emnist-balanced-test-images-idx3-ubyte", (20, 784), 0, ">u1"),
    ],
)
def test_inconsistent_files_are_refused(publisher, site, tmp_path, name, file, shape, value, kind):
    publisher.publish(name)
    folder = raw(name, tmp_path)
    unpack(site, folder)
    (folder / file).write_bytes(idx_bytes(np.full(shape, value, kind)))
    with pytest.raises(DataError) as caught:
        read(name, tmp_path)
    assert str(caught.value) == (
        f"{name}'s test files in {folder} are damaged (they are not images of 28×28 pixels with "
        "one label each); delete them and try again"
    )
    assert not list(folder.parent.glob("decoded*"))


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_cannot_be_created_is_named(name):
    folder = raw(name, Path("/proc/ae"))
    with pytest.raises(DataError) as caught:
        read(name, Path("/proc/ae"))
    assert str(caught.value).startswith(f"{name} cannot be saved in {folder} (")


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"nothing"])
def test_damaged_cached_pixels_are_rebuilt(publisher, tmp_path, damage):
    expected = publisher.publish("emnist")
    read("emnist", tmp_path)
    kept = tmp_path / "EMNIST" / "decoded-balanced.safetensors"
    kept.write_bytes(damage(kept.read_bytes()))
    assert_read(read("emnist", tmp_path), expected)
    again = safetensors.torch.load_file(kept)
    assert torch.equal(again["train_pixels"], expected["train"].pixels)


PROGRAM = """
import json, sys
from pathlib import Path
from ae_cli.data.known import load_known
images = load_known(sys.argv[1], Path(sys.argv[2]), print)
print(json.dumps([images.test.labels.tolist(), images.test.classes, sorted(sys.modules)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion-mnist", "emnist-letters", "usps"])
def test_a_second_run_imports_no_torchvision(name, publisher, tmp_path):
    publisher.publish(name)
    images = read(name, tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, tmp_path], capture_output=True, text=True, check=True
    )
    labels, classes, loaded = json.loads(result.stdout)
    assert labels == images.test.labels.tolist()
    assert classes == list(images.test.classes)
    assert not set(loaded) & {"torchvision", "torch._dynamo", "sklearn"}
