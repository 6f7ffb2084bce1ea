"""Measure how well anomalies are told from normal images, and print a Markdown table.

False alarms are normal test images above the default threshold, by the score ``auto``.

Usage: python -m tests.benchmarks.anomalies --data-dir FOLDER [--tiles FOLDER] [--flowers FOLDER]

Each model learns one class, with the default recipe; test images of all others are anomalous.
No image that is scored was learned from, or has any part in the scores' choice or scale.
"""

from __future__ import annotations

import json as jsonlib
import os
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from .commands import ae, run
from .machine import describe_machine

SCORES = ("mse", "auto")


class Task(NamedTuple):
    """What a model learns, and what it judges.

    Attributes:
        name: The first part of the names of its rows.
        train: Options of ``train``.
        parts: The options of ``anomalies`` for each row.
    """

    name: str
    train: tuple[str, ...]
    parts: dict[str, tuple[str, ...]]


def main(
    data_dir: Annotated[Path, typer.Option(envvar="AE_DATA_DIR", help="Holds MNIST/raw.")],
    tiles: Annotated[Path | None, typer.Option(help="Magnetic tiles, as MVTec's layout.")] = None,
    flowers: Annotated[Path | None, typer.Option(help="A folder of photos for each kind.")] = None,
    seeds: Annotated[int, typer.Option(help="Runs per model.", min=1)] = 3,
    json: Annotated[Path | None, typer.Option(help="Write all values to this file.")] = None,
) -> None:
    """Print the area under the ROC curve for each set, class and score."""
    os.environ["AE_DATA_DIR"] = str(data_dir.resolve())  # for the commands
    print(", ".join(f"{key}: {value}" for key, value in describe_machine().items()))
    print(f"| learned | {' | '.join(SCORES)} | PCA | false alarms (%) | seconds of training |")
    print("|---|" + "---|" * (len(SCORES) + 3))
    values: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for task in _list_tasks(tiles, flowers):
            for name, row in _measure(task, seeds, Path(folder)).items():
                values[name] = row
                print(_format(name, row), flush=True)
    for name in dict.fromkeys(key.partition(" ")[0] for key in values):
        rows = [row for key, row in values.items() if key.partition(" ")[0] == name]
        if name != "tiles":
            mean = {key: [statistics.mean(v) for v in zip(*(r[key] for r in rows), strict=True)]
                    for key in rows[0]}  # fmt: skip
            print(_format(f"{name}, mean", mean))
    if json is not None:
        json.write_text(jsonlib.dumps(values))


def _list_tasks(tiles: Path | None, flowers: Path | None) -> list[Task]:
    judge = ("--split", "test")
    tasks = [
        Task(f"{source} {digit}", ("--data", source, "--classes", str(digit)), {"": judge})
        for source in ("mnist", "digits")
        for digit in range(10)
    ]
    if tiles is not None:
        kinds = sorted(p.name for p in (tiles / "test").iterdir() if p.name != "good")
        parts = {f" {kind}": (*judge, "--classes", f"good,{kind}") for kind in kinds}
        tasks.append(Task("tiles", ("--data", str(tiles.resolve())), {**parts, " all": judge}))
    if flowers is not None:
        for kind in sorted(p.name for p in flowers.iterdir() if p.is_dir()):
            train = ("--data", str(flowers.resolve()), "--classes", kind)
            tasks.append(Task(f"flowers {kind}", train, {"": judge}))
    return tasks


def _measure(task: Task, seeds: int, folder: Path) -> dict[str, dict[str, list[float]]]:
    """The values of each row of a task, by score: one for each seed."""
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        trained = run(
            ae("train", *task.train, "--seed", str(seed), "--quiet", "--json"), folder=folder
        )
        for part, options in task.parts.items():
            row = rows.setdefault(task.name + part, {})
            for score in SCORES:
                judged = ae("anomalies", *options, "--score", score, "--json", "--quiet")
                answer = run(judged, folder=folder).answer
                row.setdefault(score, []).append(answer["scores"]["auroc"])
            row.setdefault("PCA", []).append(answer["pca_scores"]["auroc"])
            rate = 100 * answer["false_alarms"] / answer["scores"]["normal"]  # by the last score
            row.setdefault("false alarms", []).append(rate)
            row.setdefault("seconds", []).append(trained.seconds)
    return rows


def _format(name: str, row: dict[str, list[float]]) -> str:
    """The mean, the lowest and the highest value over the seeds."""
    cells = [
        f"{statistics.mean(row[key]):.3f} ({min(row[key]):.3f} – {max(row[key]):.3f})"
        for key in (*SCORES, "PCA")
    ]
    alarms = row["false alarms"]
    cells.append(f"{statistics.mean(alarms):.1f} ({min(alarms):.1f} – {max(alarms):.1f})")
    return f"| {name} | {' | '.join(cells)} | {statistics.mean(row['seconds']):.0f} |"


if __name__ == "__main__":
    typer.run(main)
