"""A script that a user of ae in Python might write. mypy --strict must accept it."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ae_cli as ae


def train(folder: Path) -> ae.Model:
    """Train on an array with labels and keep the files."""
    pixels: NDArray[np.uint8] = np.zeros((60, 12, 12), np.uint8)
    pixels[:, 3:9, 3:9] = np.arange(60, dtype=np.uint8)[:, None, None]
    images: ae.DataSet = ae.load((pixels, np.arange(60) % 2), val_fraction=0.2, seed=1)
    options = {"epochs": 2}
    model = ae.train(
        images,
        epochs=options["epochs"],
        preset="tutorial",
        hidden=(16, 8),
        activation="silu",
        progress=False,
        out=folder / "m.safetensors",
    )
    model = ae.train(images, epochs=3, resume=True, out=folder / "m.safetensors", progress=show)
    print(model.metrics.epoch, model.training.lr, model.data.source, model.model.architecture)
    return model


def show(name: str, done: int, total: int | None, unit: str) -> None:
    """Print progress."""
    print(name, done, total, unit, file=sys.stderr)


def follow(images: ae.DataSet) -> list[float]:
    """Train, and collect the test loss of every epoch."""
    with ae.Session(ae.TrainOptions(images, preset="tutorial", epochs=2, hidden=(16,))) as session:
        losses = [event.test_loss for event in session if isinstance(event, ae.Epoch)]
    model: ae.Model = session.model()
    print(model)
    return losses


def use(model: ae.Model, images: ae.DataSet, folder: Path) -> None:
    """Use a trained model in every way."""
    table: ae.Latents = model.embed(images, split="test")
    table.save(folder / "latents.csv")
    again = ae.read_table(folder / "latents.csv")
    print(len(again), again.z.shape, again.columns().keys(), table.to_arrow().num_rows)
    reconstructions: ae.Reconstructions = model.reconstruct(images, n=3)
    print(reconstructions.mean_error, reconstructions.pixels.shape)
    pixels: NDArray[np.float32] = model.decode(again.z[:2])
    print(pixels.shape)
    plot: ae.Plot = ae.plot3d(table, out=folder / "latents.html", color="error")
    page: ae.Exploration = ae.explore(model, images, out=str(folder / "explore.html"))
    report: ae.Report = ae.evaluate(model, images, limit=20)
    anomalies: ae.AnomalyReport = ae.anomalies(model, images, quantile=0.95)
    described: ae.DataReport = ae.describe_data(images)
    known: ae.CheckpointInfo = ae.info(folder / "m.safetensors")
    grid: ae.Decoded = ae.decode(model, data=images, grid=3)
    embedding: ae.Embedding = ae.embed(model, images, out=folder / "latents.parquet")
    print(plot.points, page.bytes, report.trust, anomalies.threshold, described.shape)
    print(known.metrics.test_error, grid.pixels.shape, embedding.rows)


def main() -> int:
    """Run everything in the folder given as the argument."""
    folder = Path(sys.argv[1])
    images = ae.load("digits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ae.AeWarning)
        try:
            model = train(folder)
            use(ae.load_model(folder / "m.safetensors"), model_images(), folder)
            print(follow(images))
        except ae.AeError as error:
            print(f"{error.problem}; {error.remedy}", file=sys.stderr)
            return error.exit_code
    model.save(folder / "copy.safetensors")
    return 0


def model_images() -> ae.DataSet:
    """Other images of the same size."""
    return ae.load(np.random.default_rng(0).random((40, 12, 12)))


if __name__ == "__main__":
    sys.exit(main())
