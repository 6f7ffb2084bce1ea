"""The cache folder: clearing it, and sharing it between commands."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, error_line, start, write_images
from server import serve
from startup import HEAVY
from test_known import Publisher, Site
from torchvision import datasets

from ae_cli.data.catalog import KNOWN_SETS, cached_sets
from ae_cli.files.cache import IN_USE_SECONDS, find_kept

# MNIST's files as published; KMNIST's have the same names.
PUBLISHED = [
    f"{split}-{kind}-ubyte.gz"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


def fill(folder: Path, *paths: str, old: bool = False) -> None:
    """Write a file of five bytes at each path."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"12345")
        if old:
            long_ago = time.time() - IN_USE_SECONDS - 1
            for written in (folder / path, (folder / path).parent):
                os.utime(written, (long_ago, long_ago))


def files(folder: Path) -> set[str]:
    """The paths of all files in a folder and its subfolders."""
    paths = (Path(here, name) for here, _, names in os.walk(folder) for name in names)
    return {str(path.relative_to(folder)) for path in paths}


DECODED_IMAGES = "images/" + "0123456789abcdef" * 4 + ".safetensors"
OURS = [
    *(f"MNIST/raw/{name}" for name in PUBLISHED),
    "MNIST/decoded.safetensors",
    "EMNIST/raw/gzip.zip",
    "EMNIST/decoded-letters.safetensors",
    "USPS/usps.bz2",
    DECODED_IMAGES,
]
LEFTOVERS = [
    "MNIST/.ae-123.tmp",
    "images/.ae-7.tmp",
    "MNIST/raw/tmpab12cd_x/train-images-idx3-ubyte.gz",
    "USPS/tmpzzzzzzzz/usps.bz2",
]
THEIRS = [
    "notes.txt",
    "CIFAR10/data.bin",
    "MNIST/raw/train-images-idx3-ubyte",  # unpacked by another program
    "MNIST/processed/training.pt",
    "MNIST/raw/tmpab12cd_y/thesis.tex",
    "EMNIST/raw/emnist-letters-test-images-idx3-ubyte",
    "images/holiday.jpg",
    "images/model.safetensors",
    "train-images-idx3-ubyte.gz",
]


@pytest.fixture
def cache() -> Path:
    return Path(os.environ["AE_DATA_DIR"])


def test_clearing_removes_the_cache_and_nothing_else(run: Run, cache):
    fill(cache, *OURS, *THEIRS)
    fill(cache, *LEFTOVERS, old=True)
    result = run("data", "--clear", "--yes")
    assert result.exit_code == 0, result.output
    assert files(cache) == set(THEIRS)
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["set", "kind", "folder", "files", "MB"],
        ["mnist", "leftovers", "MNIST", "1", "0.0"],
        ["mnist", "decoded", "MNIST", "1", "0.0"],
        ["mnist", "downloads", "MNIST/raw", "4", "0.0"],
        ["mnist", "leftovers", "MNIST/raw", "1", "0.0"],
        ["emnist", "downloads", "EMNIST/raw", "1", "0.0"],
        ["emnist-letters", "decoded", "EMNIST", "1", "0.0"],
        ["usps", "leftovers", "USPS", "1", "0.0"],
        ["usps", "downloads", "USPS", "1", "0.0"],
        ["images", "leftovers", "images", "1", "0.0"],
        ["images", "decoded", "images", "1", "0.0"],
        [],
    ]
    assert result.stderr.splitlines() == [
        "left alone CIFAR10, EMNIST/raw/emnist-letters-test-images-idx3-ubyte, MNIST/processed, "
        "MNIST/raw/tmpab12cd_y, MNIST/raw/train-images-idx3-ubyte and 4 more",
        f"folder     {cache}",
        "cleared    13 files, 0.0 MB",
    ]
    assert not (cache / "USPS").exists(), "empty folders are removed too"


def test_json_lists_what_was_cleared(run: Run, cache):
    fill(cache, *OURS, "images/holiday.jpg")
    result = run("data", "--clear", "--yes", "--json", "--quiet")
    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "event": "result",
        "folder": str(cache),
        "cleared": [
            {"name": "mnist", "files": 5, "bytes": 25},
            {"name": "emnist", "files": 1, "bytes": 5},
            {"name": "emnist-letters", "files": 1, "bytes": 5},
            {"name": "usps", "files": 1, "bytes": 5},
            {"name": "images", "files": 1, "bytes": 5},
        ],
        "left": ["images/holiday.jpg"],
    }


def test_one_set_can_be_cleared(run: Run, cache):
    fill(cache, *OURS, *THEIRS)
    assert run("data", "mnist", "--clear", "--yes").exit_code == 0
    assert files(cache) == {path for path in OURS if not path.startswith("MNIST")} | set(THEIRS)


def test_clearing_a_set_also_removes_its_shared_archive(run: Run, cache):
    fill(cache, *OURS, "EMNIST/decoded-balanced.safetensors")
    assert run("data", "emnist-letters", "--clear", "--yes").exit_code == 0
    assert files(cache / "EMNIST") == {"decoded-balanced.safetensors"}


def test_clearing_removes_every_file_of_every_set(run: Run, cache):
    for known in KNOWN_SETS.values():
        if known.folder:
            names = [known.archive] if known.archive else known.files
            fill(cache, known.kept, *(f"{known.folder}/{name}" for name in names))
    assert len(files(cache)) == 30
    assert run("data", "--clear", "--yes").exit_code == 0
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("set_up", [lambda cache: None, lambda cache: cache.rmdir()])
def test_clearing_an_empty_cache_asks_nothing(run: Run, cache, set_up):
    set_up(cache)
    for of, source in {"ae": [], "mnist": ["mnist"], "digits": ["digits"]}.items():
        result = run("data", *source, "--clear")
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == (
            f"folder     {cache}\ncleared    nothing: it holds no files of {of}\n"
        )


def test_files_that_another_command_is_writing_are_kept(run: Run, cache):
    """Recent files that look like leftovers may still be in use."""
    fill(cache, *LEFTOVERS)
    result = run("data", "--clear", "--yes", "--json")
    assert json.loads(result.stdout)["cleared"] == []
    assert files(cache) == set(LEFTOVERS)


def test_symbolic_links_are_removed_and_not_followed(run: Run, cache, tmp_path):
    theirs = tmp_path / "theirs"
    fill(theirs, "raw/train-images-idx3-ubyte.gz", "decoded.safetensors")
    cache.mkdir(exist_ok=True)
    (cache / "MNIST").symlink_to(theirs)
    fill(cache, "KMNIST/decoded.safetensors")
    (cache / "KMNIST" / "raw").symlink_to(theirs / "raw")
    (cache / "images").mkdir()
    (cache / DECODED_IMAGES).symlink_to(theirs / "decoded.safetensors")
    (cache / "loop").symlink_to(cache)
    assert run("data", "--clear", "--yes").exit_code == 0
    assert sorted(path.name for path in cache.iterdir()) == ["loop"]
    assert files(theirs) == {"raw/train-images-idx3-ubyte.gz", "decoded.safetensors"}


def test_without_a_terminal_nothing_is_removed(run: Run, cache):
    fill(cache, *OURS)
    for options in ((), ("--json",), ("--quiet",)):
        assert error_line(run("data", "--clear", *options), 2) == (
            "error: --clear asks before it removes anything, and cannot ask here; add --yes"
        )
    assert files(cache) == set(OURS)


def test_options_that_do_not_fit_clear_are_refused(run: Run, cache):
    assert error_line(run("data", "--yes"), 2) == (
        "error: --yes is given without --clear; leave it out, or add --clear"
    )
    assert error_line(run("data", "--clear", "--out", "x.png"), 2) == (
        "error: --out and --clear exclude one another; give one of them"
    )
    Path("photos").mkdir()
    assert error_line(run("data", "photos", "--clear"), 2) == (
        "error: --clear is for sets that ae knows, and photos is not one; "
        "see `ae data` for their names, or leave it out to clear all"
    )


def test_a_file_that_cannot_be_removed_is_named(run: Run, cache, monkeypatch):
    """Makes `Path.unlink` fail, since tests may run as root, who can remove every file."""
    fill(cache, *OURS)
    stays = cache / "EMNIST" / "raw" / "gzip.zip"
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == stays:
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    result = run("data", "--clear", "--yes", "--quiet")
    assert error_line(result, 2) == (
        f"error: cannot remove {stays} (Permission denied); check the permissions of its folder"
    )
    assert files(cache) == {"EMNIST/raw/gzip.zip"}, "all other files are still removed"


def test_a_data_folder_that_is_a_file_is_an_error(run: Run, cache):
    Path("data").write_text("")
    assert error_line(run("data", "--clear", "--data-dir", "data"), 2) == (
        "error: cannot read data (Not a directory); check its permissions"
    )


def test_clearing_imports_nothing_heavy(cache):
    fill(cache, *OURS)
    process = start("data", "--clear", "--yes", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    # The import system reports each module: import time: OWN | CUMULATIVE | NAME.
    loaded = {line.rpartition("|")[2].strip() for line in stderr.splitlines() if "|" in line}
    assert "ae_cli.files.cache" in loaded
    assert not loaded & HEAVY
    assert files(cache) == set()


def at_a_terminal(reply: Callable[[subprocess.Popen, int], Any]) -> tuple[int, str, str]:
    """Run ``ae data --clear`` and reply when it asks; return exit code, stderr and stdout."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ae_cli", "data", "--clear"],
        stdin=its, stdout=subprocess.PIPE, stderr=its, text=True,
        env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    os.close(its)
    written = b""
    with suppress(OSError):  # raised on Linux when the other end is closed
        while chunk := os.read(ours, 65536):
            written += chunk
            if written.endswith(b"[y/N] "):
                reply(process, ours)
    stdout, _ = process.communicate()
    os.close(ours)
    return process.returncode, written.decode(errors="replace").replace("\r\n", "\n"), stdout


@pytest.mark.parametrize(
    "answer",
    [b"\n", *(pytest.param(a, marks=pytest.mark.slow) for a in (b"no\n", b"\xff\n", b"\x04"))],
)  # the last is Ctrl-D
def test_nothing_is_removed_unless_the_user_says_yes(cache, answer):
    fill(cache, *OURS)
    code, stderr, _ = at_a_terminal(lambda _, terminal: os.write(terminal, answer))
    assert (code, stderr.splitlines()[-1]) == (0, "cleared    nothing")
    assert files(cache) == set(OURS)


def test_everything_is_removed_if_the_user_says_yes(cache):
    fill(cache, *OURS)
    code, stderr, stdout = at_a_terminal(lambda _, terminal: os.write(terminal, b"y\n"))
    assert (code, stderr.splitlines()[-1]) == (0, "cleared    9 files, 0.0 MB")
    assert f"\nremove 9 files, 0.0 MB, from {cache}? [y/N] y\n" in stderr
    assert len(stdout.splitlines()) == 8
    assert files(cache) == set()


def test_ctrl_c_at_the_prompt_removes_nothing(cache):
    fill(cache, *OURS)

    def interrupt(process, _) -> None:
        time.sleep(0.3)  # until it reads: Python misses a signal sent just before that
        process.send_signal(signal.SIGINT)

    code, stderr, _ = at_a_terminal(interrupt)
    assert code == 130
    assert stderr.splitlines()[-1] == "stopped: interrupted; nothing is half-written"
    assert files(cache) == set(OURS)


# Imports everything, waits for a line, and then runs commands one after another. The wait makes
# several such processes run at the same time.
PROGRAM = """
import json, sys
import torch
from torchvision import datasets
import ae_cli.data.folder, ae_cli.data.known, ae_cli.data.mnist
from ae_cli.cli import app

commands, mirrors, resources = json.loads(sys.argv[1])
datasets.KMNIST.mirrors, datasets.KMNIST.resources = mirrors, resources
print("ready", flush=True)
sys.stdin.readline()
for command in commands:
    try:
        app(command, prog_name="ae")
    except SystemExit as end:
        print(json.dumps({"code": end.code}), flush=True)
"""


def run_at_once(*commands: list[list[str]]) -> list[list[dict[str, Any]]]:
    """Run several lists of commands at the same time, each list in order.

    Returns:
        For each list, the JSON objects that its commands printed to stdout, with the exit code
        after those of each command.
    """
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", PROGRAM),
                json.dumps([some, datasets.KMNIST.mirrors, datasets.KMNIST.resources]),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for some in commands
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0
        answers = [json.loads(line) for line in stdout.splitlines()]
        errors = stderr.splitlines()
        assert all(line.startswith("error: ") and "bug in ae" not in line for line in errors), (
            stderr
        )
        assert len(errors) == sum(answer.get("code", 0) != 0 for answer in answers)
        printed.append(answers)
    return printed


def read_command(source: str) -> list[str]:
    return ["data", source, "--json", "--quiet"]


@pytest.fixture
def site(tmp_path, digits, monkeypatch):
    """A server that publishes kmnist."""
    folder = tmp_path / "site"
    folder.mkdir()
    with serve(folder) as server:
        site = Site(folder, server.url, server.asked)
        Publisher(digits, site, monkeypatch).publish("kmnist")
        monkeypatch.setattr(datasets.KMNIST, "mirrors", [site.url])
        yield site


@pytest.mark.slow
def test_simultaneous_first_runs_share_a_folder_of_images(run: Run, cache, digits):
    write_images(digits.test, Path("photos"), count=150, size=(200, 200))
    (first, *others) = run_at_once(*[[read_command("photos")]] * 3)
    assert first[-1] == {"code": 0}
    assert (first[0]["train_images"], first[0]["test_images"]) == (135, 15)
    assert all(answers == first for answers in others)
    found = find_kept(cache, cached_sets())
    (kept,) = found.kept
    # The pixels, and what a sample of the files showed
    assert (len(kept.paths), found.left) == (2, [])
    again = run("data", "photos", "--json")
    assert json.loads(again.stdout) == first[0]
    assert "decode" not in again.stderr


@pytest.mark.slow
def test_simultaneous_first_runs_share_a_download(run: Run, cache, site):
    (first, *others) = run_at_once(*[[read_command("kmnist")]] * 3)
    assert first[-1] == {"code": 0}
    assert (first[0]["train_images"], first[0]["test_images"]) == (60, 20)
    assert all(answers == first for answers in others)
    assert files(cache / "KMNIST") == {
        "decoded.safetensors",
        *(f"raw/{name}" for name in PUBLISHED),
    }
    site.requests.clear()
    again = run("data", "kmnist", "--json")
    assert json.loads(again.stdout) == first[0]
    assert site.requests == []


@pytest.mark.slow
def test_clearing_does_not_disturb_other_commands(run: Run, cache, site, digits):
    """Each command succeeds or fails with one line, and none reads an incomplete file."""
    write_images(digits.test, Path("photos"), count=50)
    clearing, *reading = run_at_once(
        [["data", "--clear", "--yes", "--json", "--quiet"]] * 80,
        [read_command("kmnist"), read_command("photos")] * 20,
        [read_command("photos"), read_command("kmnist")] * 20,
    )
    assert [answer for answer in clearing if "code" in answer] == [{"code": 0}] * 80
    assert any(answer.get("cleared") for answer in clearing)
    codes = [answer["code"] for answers in reading for answer in answers if "code" in answer]
    assert len(codes) == 80
    assert codes.count(0) > 40
    for name, count in (("kmnist", 80), ("photos", 50)):
        found = [
            {"train": answer["train_images"], "test": answer["test_images"], **answer["pixels"]}
            for answers in reading
            for answer in answers
            if answer.get("source", "").endswith(name)
        ]
        assert found[0]["train"] + found[0]["test"] == count
        assert all(item == found[0] for item in found)
    assert run("data", "--clear", "--yes").exit_code == 0
    assert files(cache) == set()
    for name in ("kmnist", "photos"):
        assert run("data", name).exit_code == 0
