"""Measure how well anomalies are told from normal images, and print a Markdown table.

False alarms are normal test images above the default threshold, by the score ``auto``.

Usage: python -m tests.benchmarks.anomalies --data-dir FOLDER [--tiles FOLDER] [--folder FOLDER …]

Each model learns one class, with the default recipe; test images of all others are anomalous.
No image that is scored was learned from, or has any part in the scores' choice or scale.

The textbook's network, with as many latents, learns from the same images, and from those which ae
holds out, for as long as ae takes, once per model. It judges by its mean squared error. Some of its
trainings end in the same image for all inputs; these are repeated with another seed.
"""

from __future__ import annotations

import itertools
import json as jsonlib
import os
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from sklearn.metrics import roc_auc_score

from ae_cli.analysis.separation import find_known
from ae_cli.config.commands import AnomaliesOptions
from ae_cli.data.images import Images
from ae_cli.latents.inputs import load_inputs

from .commands import ae, run
from .images import Textbook, test_error, train_textbook
from .machine import describe_machine

SCORES = ("mse", "auto")
OTHERS = ("PCA", "textbook")


class Task(NamedTuple):
    """What a model learns, and what it judges.

    Attributes:
        name: The first part of the names of its rows.
        train: Options of ``train``.
        parts: The classes of the test images for each row, by the rest of its name; None for all.
    """

    name: str
    train: tuple[str, ...]
    parts: dict[str, str | None]


def main(
    data_dir: Annotated[Path, typer.Option(envvar="AE_DATA_DIR", help="Holds MNIST/raw.")],
    tiles: Annotated[Path | None, typer.Option(help="Magnetic tiles, as MVTec's layout.")] = None,
    folder: Annotated[
        list[Path] | None, typer.Option(help="Holds a folder of images for each class.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs per model.", min=1)] = 3,
    json: Annotated[Path | None, typer.Option(help="Write all values to this file.")] = None,
) -> None:
    """Print the area under the ROC curve for each set, class and score."""
    os.environ["AE_DATA_DIR"] = str(data_dir.resolve())  # for the commands
    print(", ".join(f"{key}: {value}" for key, value in describe_machine().items()))
    print(f"| learned | {' | '.join((*SCORES, *OTHERS))} | false alarms (%) | training (s) |")
    print("|---|" + "---|" * (len(SCORES) + len(OTHERS) + 2))
    values: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        for task in _list_tasks(tiles, folder or []):
            for name, row in _measure(task, seeds, Path(work)).items():
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


def _list_tasks(tiles: Path | None, folders: list[Path]) -> list[Task]:
    tasks = [
        Task(f"{source} {digit}", ("--data", source, "--classes", str(digit)), {"": None})
        for source in ("mnist", "digits")
        for digit in range(10)
    ]
    if tiles is not None:
        kinds = sorted(p.name for p in (tiles / "test").iterdir() if p.name != "good")
        parts = {f" {kind}": f"good,{kind}" for kind in kinds}
        tasks.append(Task("tiles", ("--data", str(tiles.resolve())), {**parts, " all": None}))
    for path in folders:
        for kind in sorted(p.name for p in path.iterdir() if p.is_dir()):
            train = ("--data", str(path.resolve()), "--classes", kind)
            tasks.append(Task(f"{path.name} {kind}", train, {"": None}))
    return tasks


def _measure(task: Task, seeds: int, folder: Path) -> dict[str, dict[str, list[float]]]:
    """The values of each row of a task, by score: one for each seed."""
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        trained = run(
            ae("train", *task.train, "--seed", str(seed), "--quiet", "--json"), folder=folder
        )
        for part, classes in task.parts.items():
            row = rows.setdefault(task.name + part, {})
            chosen = ("--split", "test", *(() if classes is None else ("--classes", classes)))
            for score in SCORES:
                judged = ae("anomalies", *chosen, "--score", score, "--json", "--quiet")
                answer = run(judged, folder=folder).answer
                row.setdefault(score, []).append(answer["scores"]["auroc"])
            row.setdefault("PCA", []).append(answer["pca_scores"]["auroc"])
            rate = 100 * answer["false_alarms"] / answer["scores"]["normal"]  # by the last score
            row.setdefault("false alarms", []).append(rate)
            row.setdefault("seconds", []).append(trained.seconds)
        if seed == 0:
            areas = _judge_by_textbook(folder / "ae.safetensors", task, trained.seconds)
            for name, area in areas.items():
                rows[name]["textbook"] = [area]
    return rows


def _judge_by_textbook(checkpoint: Path, task: Task, seconds: float) -> dict[str, float]:
    """The areas under the ROC curves of a textbook network's errors, for each row of a task.

    Args:
        checkpoint: A model that learned the same images.
        task: What it learned, and what is judged.
        seconds: How long to train the network.
    """
    learned = load_inputs(checkpoint, AnomaliesOptions())
    latents = learned.trained.model.config.latent_dim
    network = train_until_it_learns(learned.images.train, latents, seconds)
    areas = {}
    for part, classes in task.parts.items():
        options = AnomaliesOptions(classes=classes)
        inputs = load_inputs(checkpoint, options, as_trained=False)
        images = inputs.images.test
        known = find_known(None, inputs, images, np.full(len(images), "test"))
        with torch.inference_mode():
            errors = [(network(x) - x).square().mean((1, 2, 3)) for x in images.batches()]
        areas[task.name + part] = float(roc_auc_score(known.anomalous, torch.cat(errors)))
    return areas


def train_until_it_learns(images: Images, latents: int, seconds: float) -> Textbook:
    """Train the textbook's network until it is better than the mean image on what it learned from.

    Args:
        images: What it learns from.
        latents: Values per image.
        seconds: How long each try takes.
    """
    spread = float(images.floats().var(axis=0).mean())
    for seed in itertools.count():
        network, *_ = train_textbook(images, latents, seed, seconds, torch.device("cpu"))
        if test_error(network, images) < spread:
            break
    return network


def _format(name: str, row: dict[str, list[float]]) -> str:
    """The mean, the lowest and the highest value over the seeds."""
    cells = [_spread(row[key], 3) for key in (*SCORES, *OTHERS)]
    cells.append(_spread(row["false alarms"], 1))
    return f"| {name} | {' | '.join(cells)} | {statistics.mean(row['seconds']):.0f} |"


def _spread(values: list[float], digits: int) -> str:
    mean, lowest, highest = (
        f"{value:.{digits}f}" for value in (statistics.mean(values), min(values), max(values))
    )
    return mean if len(values) == 1 else f"{mean} ({lowest} – {highest})"


if __name__ == "__main__":
    typer.run(main)
