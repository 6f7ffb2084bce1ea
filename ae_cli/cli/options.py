"""Options that several commands have, declared once, and how their texts are read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from ae_cli.config import CHECKPOINT, Device
from ae_cli.errors import UsageError

CheckpointOption = Annotated[
    Path, typer.Option("--checkpoint", metavar="FILE", help="The model that `ae train` made.")
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME",
        help="Images to use: mnist, digits or auto. By default those it was trained on.",
        show_default=False,
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        envvar="AE_DATA_DIR",
        help="Where downloaded data sets are kept. By default your cache folder.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Where to compute; auto takes a GPU if there is one.")
]
ShowOption = Annotated[
    bool, typer.Option("--show", help="Open the picture in a window as well.", show_default=False)
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.", show_default=False)
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print results as JSON on standard output.", show_default=False),
]


def parse_whole_numbers(option: str, text: str, *, example: str) -> tuple[int, ...]:
    """Read whole numbers with commas between them.

    Raises:
        UsageError: The text is something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[+-]?[0-9]{1,18}", part) for part in parts):
        raise UsageError(
            f"{option} is {text!r}", f"give whole numbers with commas between, such as {example}"
        )
    return tuple(map(int, parts))


def shell_word(path: Path) -> str:
    """A path as a person can type it after a command."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def checkpoint_argument(path: Path) -> str:
    """What to add to a suggested command so that it finds a checkpoint: often nothing."""
    return "" if path == CHECKPOINT else f" --checkpoint {shell_word(path)}"
