"""Measure everything on MNIST in one run, and print tables."""

from __future__ import annotations

import json as jsonlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import torchvision
import typer
from rich.console import Console
from rich.table import Table

from ae_cli.config import Preset
from ae_cli.data.load import load
from tests.benchmarks import commands, loops
from tests.benchmarks.machine import describe_machine


@dataclass(frozen=True)
class Figure:
    """A quantity that was measured several times.

    Attributes:
        name: What was measured.
        values: The values in the order of measurement.
    """

    name: str
    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def format(self, digits: int) -> list[str]:
        """Median, minimum and maximum."""
        numbers = (self.median, min(self.values), max(self.values))
        return [f"{number:.{digits}f}" for number in numbers]


def main(
    data_dir: Annotated[Path, typer.Option(envvar="AE_DATA_DIR", help="Holds MNIST/raw.")],
    repetitions: Annotated[int, typer.Option(help="How often to measure, at least 3.", min=3)] = 3,
    compile: Annotated[bool, typer.Option("--compile", help="Also measure torch.compile.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write all values to this file.")] = None,
) -> None:
    """Measure ae against the tutorial's loop and against what the machine can do."""
    data_dir = data_dir.resolve()
    os.environ["AE_DATA_DIR"] = str(data_dir)  # for the commands
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = folder / "torchvision"
        shutil.copytree(data_dir / "MNIST" / "raw", copy / "MNIST" / "raw")
        torchvision.datasets.MNIST(copy, download=True)  # this only unpacks the files
        results = {
            "loops": measure_loops(data_dir, copy, repetitions, compile=compile),
            **measure_commands(copy, folder, repetitions),
            **measure_presets(folder, repetitions),
        }
    machine = {**describe_machine(), "repetitions": repetitions}
    report(machine, results)
    if json is not None:
        tables = {key: {f.name: f.values for f in figures} for key, figures in results.items()}
        json.write_text(jsonlib.dumps({"machine": machine, **tables}, indent=2) + "\n")


Results = dict[str, list[Figure]]


def measure_loops(data_dir: Path, copy: Path, repetitions: int, *, compile: bool) -> list[Figure]:
    """Seconds per epoch. The first epoch of each loop is for warming up (or compiling)."""
    runs = loops.contestants(load("mnist", data_dir=data_dir), copy, compile=compile)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(repetitions + 1):
        for name, run in runs.items():
            measured, loss = run()
            say(f"{name}: {measured:.2f} s" + ("" if loss is None else f", loss {loss:.4f}"))
            if repetition > 0:
                seconds[name].append(measured)
    return figures(seconds)


def measure_commands(copy: Path, folder: Path, repetitions: int) -> Results:
    """Seconds and MiB of whole processes, and seconds of the tutorial's loop."""
    seconds: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    loop: list[float] = []
    errors: list[float] = []
    for _ in range(repetitions):
        for name, arguments in commands.contestants(copy).items():
            process = commands.run(arguments, folder=folder)
            say(f"{name}: {process.seconds:.2f} s, {process.memory:.0f} MiB")
            seconds.setdefault(name, []).append(process.seconds)
            memory.setdefault(name, []).append(process.memory)
            if "tutorial" in name:
                loop.append(process.answer["seconds"])
                errors.append(process.answer["test_error"])
    return {
        "commands": figures(seconds),
        "memory": figures(memory),
        "tutorial_seconds": [Figure("tutorial's loop, 10 epochs", loop)],
        "tutorial_errors": [Figure("tutorial's loop, 10 epochs", errors)],
    }


def measure_presets(folder: Path, seeds: int) -> Results:
    """Seconds of training and test error of the presets, for seeds from 0."""
    seconds: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    for seed in range(seeds):
        for preset in get_args(Preset):
            options = ("--data", "mnist", "--preset", preset, "--seed", str(seed), "--json", "-q")
            end = commands.run(commands.ae("train", *options), folder=folder).answer
            say(f"--preset {preset}: {end['seconds']:.1f} s, error {end['test_error']:.4f}")
            seconds.setdefault(f"--preset {preset}", []).append(end["seconds"])
            errors.setdefault(f"--preset {preset}", []).append(end["test_error"])
    return {"preset_seconds": figures(seconds), "preset_errors": figures(errors)}


def figures(values: dict[str, list[float]]) -> list[Figure]:
    return [Figure(name, measured) for name, measured in values.items()]


def say(line: str) -> None:
    """Report progress on stderr, since a whole run takes several minutes."""
    Console(stderr=True).print(line, style="dim", highlight=False)


def report(machine: dict[str, Any], results: Results) -> None:
    """Print the tables, and the ratios that matter."""
    console = Console()
    console.print(", ".join(f"{key}: {value}" for key, value in machine.items()), highlight=False)
    for title, key, digits in (
        ("seconds per epoch, tutorial's recipe", "loops", 2),
        ("seconds, whole process", "commands", 2),
        ("peak memory, MiB", "memory", 0),
        ("seconds, loop alone", "tutorial_seconds", 1),
        ("test error", "tutorial_errors", 4),
        ("seconds of training", "preset_seconds", 1),
        ("test error", "preset_errors", 4),
    ):
        table = Table("", "median", "min", "max", title=title, title_justify="left")
        for figure in results[key]:
            table.add_row(figure.name, *figure.format(digits))
        console.print(table)
    for line in compare(results):
        console.print(line, highlight=False)


def compare(results: Results) -> Iterable[str]:
    """The ratios of medians that matter."""
    median = {
        key: {figure.name: figure.median for figure in found} for key, found in results.items()
    }
    loop, command, memory = median["loops"], median["commands"], median["memory"]
    tutorial = median["tutorial_seconds"]["tutorial's loop, 10 epochs"]
    fast, best = (median["preset_seconds"][f"--preset {name}"] for name in ("fast", "best"))
    data = 70_000 * 784 / commands.MEBIBYTE
    extra = memory["ae train --epochs 10"] - memory["import torch"] - data
    per_epoch, fused = loop["tutorial's loop"], loop["ae, fused"]
    script, train = command["script with the tutorial's loop"], command["ae train --epochs 10"]
    plot, imports = command["ae plot3d"], command["import pyplot and mplot3d"]
    yield f"fused loop: {per_epoch / fused:.1f} × as fast as the tutorial's"
    yield f"fused loop: {fused / loop['matrix products alone']:.2f} × the products alone"
    yield f"ae train --epochs 10: {script / train:.1f} × as fast as the script"
    yield f"ae plot3d: {plot / imports:.2f} × the imports"
    yield f"--preset fast: 1/{tutorial / fast:.0f} of the tutorial's 10 epochs"
    yield f"--preset best: {best / tutorial:.2f} × the tutorial's 10 epochs"
    yield f"ae train: {extra:.0f} MiB more than import torch and the pixels"


if __name__ == "__main__":
    typer.run(main)
