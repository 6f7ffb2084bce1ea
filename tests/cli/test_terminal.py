"""What happens on a terminal, which is not a pipe."""

from __future__ import annotations

import os
import pty
import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import TUTORIAL, write_images

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


TABLE = """
from ae_cli.cli.console import Reporter
columns = ["index", "split", "name", "label", "like_index", "like_split", "like_name", "distance"]
names = "sunflowers/a photo of 1806.jpg", "tulips/2497_a_very_long_name_without_a_space.jpg"
Reporter().table(columns, [["2242", "train", names[0], "", "2224", "test", names[1], "0.155"]] * 2)
"""


def run_on_terminal(*arguments: str) -> tuple[int, str]:
    """Run Python on a pseudo-terminal: its exit code, and all that it printed."""
    process, terminal = pty.fork()
    if not process:
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
        os.execve(sys.executable, [sys.executable, *arguments], environment)
    printed = b""
    with suppress(OSError):  # the terminal is closed when the process ends
        while part := os.read(terminal, 65536):
            printed += part
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), printed.decode()


@pytest.mark.parametrize(
    "command", [("data",), (*TUTORIAL, "--epochs", "1", "--hidden", "8", "--data")]
)
def test_images_are_decoded_and_warned_of_while_a_bar_is_shown(digits, command):
    """Decoding and the bars both used to replace sys.stderr, and one closed the other's."""
    write_images(digits.train, Path("photos"), count=200)
    for label in "34":
        (Path("photos") / label / "broken.png").write_bytes(b"not a picture")
    code, printed = run_on_terminal("-m", "ae_cli", *command, "photos")
    assert code == 0, printed
    assert "next       " in ESCAPES.sub("", printed)
    lines = [ESCAPES.sub("", line) for line in re.split(r"[\r\n]+|\x1b\[2K", printed)]
    warnings = [line for line in lines if "warning: " in line]
    assert sum("broken.png" in line or "2 of 202" in line for line in warnings) == 3
    assert all(line.startswith("warning: ") for line in warnings)


def test_a_table_that_is_too_wide_is_listed_row_by_row():
    code, printed = run_on_terminal("-c", TABLE)
    assert code == 0, printed
    assert printed.splitlines() == 2 * [
        "index 2242, split train, name sunflowers/a photo of 1806.jpg, like_index 2224,",
        "  like_split test, like_name tulips/2497_a_very_long_name_without_a_space.jpg,",
        "  distance 0.155",
    ] + [""]
