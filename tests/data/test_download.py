"""The real download code with the real files, on a local test server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torchvision
from conftest import REFUSED, error_line, invoke
from server import Server, serve

from ae_cli.data import download
from ae_cli.data.load import load
from ae_cli.errors import DataError


@pytest.fixture
def server(mnist_raw: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A local server, set as the only mirror of MNIST."""
    with serve(mnist_raw) as server:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [server.url])
        yield server


def test_mnist_is_downloaded_once(server, tmp_path):
    seen = []
    images = load("mnist", data_dir=tmp_path, progress=lambda *news: seen.append(news))
    assert (len(images.train), len(images.test)) == (60000, 10000)
    assert images.source == "mnist"
    size = (server.folder / "train-images-idx3-ubyte.gz").stat().st_size
    assert seen[0] == ("train-images-idx3-ubyte.gz", 0, None, "bytes")
    assert ("train-images-idx3-ubyte.gz", size, size, "bytes") in seen
    assert sorted({name for name, *_ in seen}) == sorted(
        path.name for path in (tmp_path / "MNIST" / "raw").iterdir()
    )
    server.asked.clear()
    load("mnist", data_dir=tmp_path)
    assert server.asked == []


def test_only_missing_or_damaged_files_are_downloaded(server, mnist_raw, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        (raw / name).write_bytes((mnist_raw / name).read_bytes())
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    load("mnist", data_dir=tmp_path)
    assert set(server.asked) == {"t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"}


@pytest.mark.parametrize(
    ("mode", "cause"),
    [
        ("forbidden", "HTTP 403 Forbidden"),
        ("cut", "the download is damaged or incomplete"),
        ("damaged", "the download is damaged or incomplete"),
        ("silent", "no answer for 0.5 s"),
        ("stalls", "no answer for 0.5 s"),
    ],
)
def test_a_failed_download_names_every_mirror_and_cause(server, tmp_path, monkeypatch, mode, cause):
    server.mode = mode
    monkeypatch.setattr(download, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [server.url, REFUSED])
    with pytest.raises(DataError) as caught:
        load("mnist", data_dir=tmp_path)
    assert str(caught.value) == (
        "MNIST's train-images-idx3-ubyte.gz cannot be downloaded "
        f"(127.0.0.1: {cause}, 127.0.0.1: Connection refused); try again later, "
        f"copy the file into {tmp_path / 'MNIST' / 'raw'}, or use --data digits"
    )
    assert list((tmp_path / "MNIST" / "raw").iterdir()) == []


def test_the_second_mirror_is_used_if_the_first_fails(server, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [REFUSED, server.url])
    assert len(load("mnist", data_dir=tmp_path).train) == 60000


def test_commands_show_a_download_and_its_failure(server):
    result = invoke("train", "--data", "mnist", "--epochs", "1", "--limit", "1000")
    assert result.exit_code == 0, result.output
    assert "download   train-images-idx3-ubyte.gz\n" in result.stderr
    server.mode = "forbidden"
    result = invoke("train", "--data", "mnist", "--data-dir", "elsewhere")
    assert "127.0.0.1: HTTP 403 Forbidden" in error_line(result, 3)
