"""Plotting all rows of a large table: seconds and memory of the command.

Usage: python -m tests.benchmarks.table
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import typer

from .commands import MEBIBYTE, ae, run
from .machine import describe_machine

CLUSTERS = 10


def main(
    rows: Annotated[int, typer.Option(help="Rows of the table.", min=1000)] = 5_000_000,
    repetitions: Annotated[int, typer.Option(help="At least 3.", min=3)] = 5,
) -> None:
    """Print seconds and memory for each format, and for each thing to colour by."""
    print(", ".join(f"{key}: {value}" for key, value in describe_machine().items()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = make_table(rows)
        pyarrow.csv.write_csv(table, folder / "latents.csv")
        pyarrow.parquet.write_table(table, folder / "latents.parquet")
        del table
        for options in (
            ("latents.csv",),
            ("latents.parquet",),
            ("latents.csv", "--color", "error"),
            ("latents.csv", "--axes", "z1,z2"),
        ):
            arguments = ae("plot3d", *options, "--n", "all", "--quiet")
            processes = [run(arguments, folder=folder) for _ in range(repetitions)]
            seconds = [process.seconds for process in processes]
            memory = max(process.memory for process in processes) * MEBIBYTE / 1e6
            print(
                f"ae plot3d {' '.join(options)} --n all, {rows:,} rows: "
                f"{statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f}), "
                f"at most {memory:.0f} MB"
            )


def make_table(rows: int) -> pyarrow.Table:
    """A table of latents in clusters, one for each label."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLUSTERS, rows)
    centers = random.normal(0, 2, (CLUSTERS, 3))
    z = (centers[labels] + random.normal(0, 0.6, (rows, 3))).astype(np.float32)
    return pyarrow.table(
        {
            "index": np.arange(rows),
            "split": np.where(np.arange(rows) % 10 == 0, "test", "train"),
            "name": pyarrow.array(f"photos/{i:07}.png" for i in range(rows)),
            "label": labels,
            **{f"z{i + 1}": z[:, i] for i in range(3)},
            "error": random.gamma(4, 0.01, rows).astype(np.float32),
        }
    )


if __name__ == "__main__":
    typer.run(main)
