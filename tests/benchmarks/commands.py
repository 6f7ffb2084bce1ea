"""Whole processes: how long a user waits, and how much memory they take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Process:
    """A process that succeeded.

    Attributes:
        seconds: The time from its start to its end.
        memory: Its peak memory, in MiB.
        private: The same without pages of mapped files.
        answer: The last line of its standard output, if that is JSON.
    """

    seconds: float
    memory: float
    private: float
    answer: dict[str, Any]


def run(arguments: Sequence[str | Path], *, folder: Path) -> Process:
    """Run Python with these arguments in a folder.

    Raises:
        subprocess.CalledProcessError: The process failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    output = folder / "output"
    launch = [sys.executable, Path(__file__).with_name("launch.py"), output]
    answer = subprocess.run(
        [*launch, sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    measured = json.loads(answer.stdout)
    lines = output.read_text().splitlines()
    said = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    memory, private = (measured[key] / MEBIBYTE for key in ("memory", "private"))
    return Process(measured["seconds"], memory, private, said)


def ae(*arguments: str | Path) -> list[str | Path]:
    """Arguments for Python that run an ae command."""
    return ["-m", "ae_cli", *arguments]


def contestants(torchvision_folder: Path) -> dict[str, list[str | Path]]:
    """What to measure, ordered so that each process finds the files it needs."""
    return {
        "import torch": ["-c", "import torch"],
        "import pyplot and mplot3d": ["-c", "import matplotlib.pyplot, mpl_toolkits.mplot3d"],
        "ae --help": ae("--help"),
        "script with the tutorial's loop": ["-m", "tests.benchmarks.tutorial", torchvision_folder],
        "ae train --epochs 10": ae("train", "--data", "mnist", "--epochs", "10", "--quiet"),
        "ae embed --split all": ae("embed", "--split", "all", "--quiet"),
        "ae reconstruct": ae("reconstruct", "--quiet"),
        "ae plot3d": ae("plot3d", "latents.csv", "--quiet"),
        "ae evaluate": ae("evaluate", "--quiet"),
    }
