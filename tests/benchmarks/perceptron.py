"""What PCA as part of a perceptron costs: a fused step with it, beside one without.

Usage: python -m tests.benchmarks.perceptron

Both have the same layers and see the same images. They are measured in many short turns, so that
what slows the machine down slows down both: the ratio is that of each turn's two times. As other
programs can only make a step slower, the fastest of all steps are compared as well.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Annotated

import torch
import typer

from ae_cli.config import Loss, ModelConfig
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
LOSSES: tuple[Loss, ...] = ("mse", "bce")
POOL = 2048  # images, more than the caches hold
STEPS, WARMING = 3, 3  # steps in a turn, and turns that do not count


def main(
    turns: Annotated[int, typer.Option(help="How often to measure.", min=3)] = 200,
) -> None:
    """Print the milliseconds of a step without PCA and with it, and their ratio."""
    print(", ".join(f"{key}: {value}" for key, value in describe_machine().items()))
    torch.set_flush_denormal(True)  # as `fit` does
    print(
        "layers, images in a step | loss | ms without (fastest) | with PCA | "
        "median ratio (quartiles) | fastest"
    )
    for shape, latents, batch in CASES:
        images = torch.randint(0, 256, (POOL, *shape), dtype=torch.uint8).split(batch)
        sizes = "-".join(map(str, (math.prod(shape), *HIDDEN, latents)))
        for loss in LOSSES:
            steps = [_make_step(shape, latents, loss, pca=pca) for pca in (False, True)]
            times = [
                [_measure(step, images, first * STEPS) for step in steps]
                for first in range(-WARMING, turns)
            ][WARMING:]
            ratios = statistics.quantiles((after / before for before, after in times), n=4)
            plain, pca = (1000 * min(some) for some in zip(*times, strict=True))
            print(
                f"{sizes}, {batch} | {loss} | {plain:.2f} | {pca:.2f} | "
                f"{ratios[1]:.3f} ({ratios[0]:.3f} – {ratios[2]:.3f}) | {pca / plain:.3f}",
                flush=True,
            )


def _make_step(shape: tuple[int, int, int], latents: int, loss: Loss, *, pca: bool) -> FusedStep:
    config = ModelConfig(shape, "mlp", HIDDEN, latents, "silu", pca=pca)
    model = build(config, seed=0)
    if model.has_start:
        components, _ = torch.linalg.qr(torch.randn(config.input_size, latents))
        line = Line(torch.full(shape, 0.5), components.T, torch.full((latents,), 0.3), 0.3)
        model.start_from(line)
    return FusedStep(model, loss)


def _measure(step: FusedStep, images: tuple[torch.Tensor, ...], first: int) -> float:
    """Mean seconds of a step."""
    started = time.perf_counter()
    for k in range(first, first + STEPS):
        step(images[k % len(images)], 1e-4)
    return (time.perf_counter() - started) / STEPS


if __name__ == "__main__":
    typer.run(main)
