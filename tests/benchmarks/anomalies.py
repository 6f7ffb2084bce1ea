"""Measure how well each MNIST digit is told from the other nine, and print a Markdown table.

Usage: python -m tests.benchmarks.anomalies --data-dir FOLDER
"""

from __future__ import annotations

import json as jsonlib
import os
import statistics
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tests.benchmarks.commands import ae, run


def main(
    data_dir: Annotated[Path, typer.Option(envvar="AE_DATA_DIR", help="Holds MNIST/raw.")],
    seeds: Annotated[int, typer.Option(help="Runs per digit.", min=1)] = 3,
    json: Annotated[Path | None, typer.Option(help="Write all values to this file.")] = None,
) -> None:
    """Train on each digit alone with the default recipe; all other digits are anomalous."""
    os.environ["AE_DATA_DIR"] = str(data_dir.resolve())  # for the commands
    table: list[dict[str, list[float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for digit in range(10):
            answers = []
            for seed in range(seeds):
                only = ("--data", "mnist", "--classes", str(digit), "--seed", str(seed), "--quiet")
                run(ae("train", *only), folder=Path(folder))
                examine = ae("anomalies", "--split", "test", "--json", "--quiet")
                answers.append(run(examine, folder=Path(folder)).answer)
            table.append(
                {
                    "ae": [answer["scores"]["auroc"] for answer in answers],
                    "pca": [answer["pca_scores"]["auroc"] for answer in answers],
                }
            )
            print(_row(str(digit), table[-1]), flush=True)
    means = {
        name: [statistics.mean(row[name][seed] for row in table) for seed in range(seeds)]
        for name in ("ae", "pca")
    }
    print(_row("mean", means))
    if json is not None:
        json.write_text(jsonlib.dumps(table))


def _row(name: str, scores: dict[str, list[float]]) -> str:
    """Median, lowest and highest score over the seeds; PCA's score is the same for all seeds."""
    own = scores["ae"]
    spread = f"({min(own):.3f} – {max(own):.3f})"
    return f"| {name} | {statistics.median(own):.3f} {spread} | {scores['pca'][0]:.3f} |"


if __name__ == "__main__":
    typer.run(main)
