"""What PCA as part of a perceptron costs: a fused step with it, beside one without.

Usage: python -m tests.benchmarks.perceptron

Both have the same layers and see the same images. They are measured in turns, and each turn gives a
ratio, so that what slows the machine down slows down both.
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated

import torch
import typer

from ae_cli.config import ModelConfig
from ae_cli.models import Line, build
from ae_cli.training.fused import FusedStep

from .machine import describe_machine

HIDDEN = (256, 384, 256)
# Shape of an image, latents and images in a step
CASES = [
    ((1, 28, 28), 3, 256),
    ((1, 28, 28), 16, 256),
    ((3, 64, 64), 16, 64),
    ((3, 64, 64), 64, 64),
]
POOL = 2048  # images, more than the caches hold


def main(
    turns: Annotated[int, typer.Option(help="How often to measure.", min=3)] = 15,
    seconds: Annotated[float, typer.Option(help="How long a turn takes, about.")] = 0.5,
) -> None:
    """Print the milliseconds of a step without PCA and with it, and their ratio."""
    print(", ".join(f"{key}: {value}" for key, value in describe_machine().items()))
    torch.set_flush_denormal(True)  # as `fit` does
    print("layers, images in a step | loss | ms without | ms with PCA | ratio (min – max)")
    for shape, latents, batch in CASES:
        for loss in ("mse", "bce"):
            plain, pca = (
                _make_step(shape, latents, loss, pca=with_pca) for with_pca in (False, True)
            )
            images = torch.randint(0, 256, (POOL, *shape), dtype=torch.uint8).split(batch)
            count = max(1, round(seconds / _measure(plain, images, 10)))
            _measure(pca, images, count)  # makes its buffers
            times = [
                (_measure(plain, images, count), _measure(pca, images, count)) for _ in range(turns)
            ]
            ratios = [after / before for before, after in times]
            before, after = (1000 * statistics.median(some) for some in zip(*times, strict=True))
            sizes = "-".join(map(str, (torch.Size(shape).numel(), *HIDDEN, latents)))
            print(
                f"{sizes}, {batch} | {loss} | {before:.2f} | {after:.2f} | "
                f"{statistics.median(ratios):.3f} ({min(ratios):.3f} – {max(ratios):.3f})"
            )


def _make_step(shape: tuple[int, int, int], latents: int, loss: str, *, pca: bool) -> FusedStep:
    config = ModelConfig(shape, "mlp", HIDDEN, latents, "silu", pca=pca)
    model = build(config, seed=0)
    if model.has_start:
        components, _ = torch.linalg.qr(torch.randn(config.input_size, latents))
        line = Line(torch.full(shape, 0.5), components.T, torch.full((latents,), 0.3), 0.3)
        model.start_from(line)
    return FusedStep(model, loss)


def _measure(step: FusedStep, images: tuple[torch.Tensor, ...], count: int) -> float:
    """Mean seconds of a step."""
    step(images[0], 1e-4)
    started = time.perf_counter()
    for k in range(count):
        step(images[k % len(images)], 1e-4)
    return (time.perf_counter() - started) / count


if __name__ == "__main__":
    typer.run(main)
