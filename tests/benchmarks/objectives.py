"""What the objectives are good for: figures and pictures of models trained with each.

Usage: python -m tests.benchmarks.objectives --data FOLDER --data-dir FOLDER --out PICTURES

FOLDER has MNIST's files. Everything is measured on the test split of the images, which the models
have not learned from; a photo set without one holds out a tenth, and these images also choose the
epoch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

import ae_cli
from ae_cli import figures
from ae_cli.data.images import DataSet
from ae_cli.figures.strips import draw_strips

# Relative, since pytest has the folder `tests` on its path, and not the one above
from .machine import describe_machine

Floats = NDArray[np.float32]
MASKED = 0.5  # share of the pixels that are made black
DRAWN, SAMPLED = 8, 64


def main(
    data: Annotated[str, typer.Option(help="Photos, as for ae train.")],
    out: Annotated[Path, typer.Option(help="The folder for the pictures.")],
    data_dir: Annotated[Path, typer.Option(envvar="AE_DATA_DIR", help="Holds MNIST/raw.")],
    latents: Annotated[int, typer.Option(help="Latent values per photo.", min=1)] = 16,
) -> None:
    """Train all models, print their figures as Markdown, and draw their images."""
    os.environ["AE_DATA_DIR"] = str(data_dir.resolve())
    print(", ".join(f"{key}: {value}" for key, value in describe_machine().items()))
    out.mkdir(parents=True, exist_ok=True)
    compare_losses(ae_cli.load(data), latents, out)
    compare_latents(ae_cli.load("mnist", data_dir=data_dir), out)


def compare_losses(images: DataSet, latents: int, out: Path) -> None:
    """Losses of pixels, and denoising, on photos."""
    contestants: dict[str, dict[str, Any]] = {
        "mse": {},
        "l1": {"loss": "l1"},
        "ssim": {"loss": "ssim"},
        "denoise 0.5, mask": {"denoise": MASKED, "noise": "mask"},
    }
    x = images.test.floats()
    noisy = x * (np.random.default_rng(0).random(x[:, :1].shape) >= MASKED)
    rows = {"original": x[:DRAWN]}
    cleaned = {"original": x[:DRAWN], "masked": noisy[:DRAWN]}
    print(f"\n{images.name}, {len(x)} test images, {latents} latents\n")
    print("| | mean squared | mean absolute | SSIM | mean squared, of masked images |")
    print("| --- | --- | --- | --- | --- |")
    for name, options in contestants.items():
        model = ae_cli.train(images, latent_dim=latents, progress=False, **options)
        made, denoised = reconstruct(model, x), reconstruct(model, noisy)
        values = (
            np.square(made - x).mean(),
            np.abs(made - x).mean(),
            similarity(made, x),
            np.square(denoised - x).mean(),
        )
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + " |", flush=True)
        if "denoise" not in options:
            rows[name] = made[:DRAWN]
        if name == "mse" or "denoise" in options:
            cleaned[name] = denoised[:DRAWN]
    draw(out / "losses.png", rows)
    draw(out / "denoised.png", cleaned)


def compare_latents(images: DataSet, out: Path) -> None:
    """What variational and sparse models do with the latents, on MNIST."""
    contestants: dict[str, dict[str, Any]] = {
        "mse": {},
        "variational": {"variational": True},
        "variational, beta 4": {"variational": True, "beta": 4.0},
        "sparse 0.01": {"sparse": 0.01},
    }
    print(f"\n{images.name}, {len(images.test):,} test images, 16 latents, `--preset fast`\n")
    print("| | mean squared | latents in use | KL in nats | latent values near 0 |")
    print("| --- | --- | --- | --- | --- |")
    for name, options in contestants.items():
        model = ae_cli.train(
            images, preset="fast", epochs=5, latent_dim=16, progress=False, **options
        )
        metrics = model.metrics
        z = np.abs(model.embed(images, split="test").z)
        near = (z < 0.1 * np.sqrt(np.square(z).mean())).mean()
        kl = "" if metrics.kl is None else f"{metrics.kl:.1f}"
        print(
            f"| {name} | {metrics.test_error:.4f} | {metrics.latents_in_use:.1f} | {kl} | "
            f"{near:.0%} |",
            flush=True,
        )
        if name == "variational":
            sampled = ae_cli.decode(model, sample=SAMPLED)
            (out / "sampled.png").write_bytes(sampled._repr_png_())


def reconstruct(model: ae_cli.Model, x: Floats) -> Floats:
    """Reconstruct images, which may have noise, (n, channels, height, width)."""
    with torch.inference_mode():
        parts = [model.model(part)[1] for part in torch.from_numpy(x).split(64)]
    array: Floats = torch.cat(parts).numpy()
    return array


def similarity(made: Floats, x: Floats) -> float:
    """The mean SSIM of pairs of images, from scikit-image."""
    pairs = zip(made, x, strict=True)
    return float(
        np.mean([structural_similarity(a, b, channel_axis=0, data_range=1.0) for a, b in pairs])
    )


def draw(path: Path, rows: dict[str, Floats]) -> None:
    """Draw rows of images, with their names on the left."""

    def fill(figure: Figure) -> None:
        draw_strips(figure, list(rows.items()))

    figures.write(path, fill)


if __name__ == "__main__":
    typer.run(main)
