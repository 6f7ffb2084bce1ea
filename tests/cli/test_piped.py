"""What commands print without a terminal: plain lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TUTORIAL, Run, write_images

from ae_cli.cli import COMMANDS
from ae_cli.training import log

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the newline

RUNS = {
    "train": (*TUTORIAL, "--data", "digits", "--hidden", "64", "--limit", "200", "--epochs", "3"),
    "reconstruct": ("reconstruct",),
    "embed": ("embed",),
    "plot3d": ("plot3d",),
    "explore": ("explore", "--n", "20"),
    "evaluate": ("evaluate", "--limit", "100", "--classes", "0,1"),
    "anomalies": ("anomalies", "--normal-classes", "0"),
    "curve": ("curve", "m.csv"),
    "sweep": ("sweep", *TUTORIAL[1:], "--data", "digits", "--limit", "200", "--epochs", "1"),
    "neighbours": ("neighbours", "--index", "3"),
    "duplicates": ("duplicates", "--threshold", "3"),
    "decode": ("decode", "--grid", "3"),
    "export": ("export", "--out", "ae.pt2"),
    "data": ("data", "digits"),
    "info": ("info",),
}


def assert_plain(text: str) -> None:
    """Fail the test unless the text is lines of printable characters."""
    assert CONTROL.search(text) is None, repr(text)
    assert text == "" or text.endswith("\n")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_no_control_characters(run: Run, checkpoint, table, command):
    Path("m.csv").write_text(f"{','.join(log.COLUMNS)}\n1,24,0.5,0.25,0.005,1e4,0.1\n")
    result = run(*RUNS[command])
    assert result.exit_code == 0, result.output
    assert_plain(result.stdout)
    assert_plain(result.stderr)


@pytest.mark.slow
def test_no_control_characters_with_films(run: Run, table):
    for arguments in (
        ("plot3d", "--n", "10", "--out", "latents.gif"),
        (*RUNS["train"], "--film", "film.gif"),
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        assert_plain(result.stdout)
        assert_plain(result.stderr)


def test_no_control_characters_in_lists_and_help(run: Run, table):
    for arguments in (
        ("plot3d", "--out", "latents.html"),
        ("data",),
        ("data", "--clear"),
        ("--help",),
        ("train", "--help"),
        ("--version",),
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        assert_plain(result.stdout)
        assert_plain(result.stderr)


ODD = "\x1b[31m\x07tab\t\x9b2J\rline\n日本"


def test_odd_names_are_escaped(run: Run, checkpoint, digits):
    """In messages, lists, warnings and errors."""
    folder = ODD + os.fsdecode(b"\xe9\x80")
    write_images(digits.test, Path("photos", folder), count=40, labelled=False)
    write_images(digits.test, Path("photos", "other"), count=40, labelled=False)
    Path("photos", "other", f"{ODD}.png").write_text("no image")
    for code, arguments in (
        (0, ("data", "photos")),
        (0, ("data", f"photos/{folder}")),
        (
            0,
            (*TUTORIAL, "--data", "photos", "--epochs", "1", "--out", f"{ODD}.safetensors"),
        ),
        (0, ("info", f"{ODD}.safetensors")),
        (0, ("anomalies", "--data", "photos", "--out", f"{ODD}.csv")),
        (0, ("embed", "--data", "photos", "--out", f"{ODD}.csv")),
        (0, ("plot3d", f"{ODD}.csv")),
        (3, ("data", "photos", "--strict")),
        (3, ("data", ODD)),
        (2, (*TUTORIAL, "--data", "digits", "--out", ODD)),
        (2, (*TUTORIAL, "--data", "photos", "--classes", ODD)),
        (2, (ODD,)),
        (2, ("data", f"--{ODD}")),
        (2, ("train", "--lr", ODD)),
        (2, ("train", "--preset", ODD)),
    ):
        result = run(*arguments)
        assert_plain(result.stdout)
        assert_plain(result.stderr)
        assert result.exit_code == code, (arguments, result.output)


def run_to_files(*arguments: str, **environment: str) -> tuple[str, str]:
    """Run a command as a separate process; return what it wrote to stdout and stderr."""
    with Path("stdout").open("wb") as stdout, Path("stderr").open("wb") as stderr:
        subprocess.run(
            [sys.executable, "-m", "ae_cli", *arguments],
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            check=True,
        )
    return Path("stdout").read_bytes().decode(), Path("stderr").read_bytes().decode()


@pytest.mark.slow
def test_train_prints_a_line_for_each_epoch():
    """Even if the environment describes a terminal with colours and a width."""
    stdout, stderr = run_to_files(
        *RUNS["train"], "--epochs", "20",
        TERM="xterm-256color", COLORTERM="truecolor", COLUMNS="40", LINES="10",
    )  # fmt: skip
    assert stdout == ""
    assert_plain(stderr)
    labels = [line.split()[0] for line in stderr.splitlines()]
    assert labels == [
        *("data", "model", "recipe"), *["epoch"] * 20, *("done", "quality", "checkpoint", "next")
    ]  # fmt: skip


@pytest.mark.slow
def test_data_prints_a_few_lines(digits):
    write_images(digits.test, Path("photos"), count=200)
    stdout, stderr = run_to_files(
        "data", "photos", TERM="xterm-256color", COLORTERM="truecolor", FORCE_TERMINAL="1"
    )
    assert_plain(stdout)
    assert stderr == "decode     photos: 200 images\nnext       ae train --data photos\n"
    assert len(stdout.splitlines()) == 17
