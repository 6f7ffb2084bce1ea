"""What a model makes of the same images while it trains, kept for a film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.data import Images
from ae_cli.infer import encode, reconstruct_all
from ae_cli.model import AutoEncoder
from ae_cli.train import Step

MOST_FRAMES = 200  # ten seconds of film, however long the training

Seen = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Moment:
    """What a model makes of the same images at one moment of its training.

    Attributes:
        seen: (n, …): what was looked for.
        step: Updates made since training began.
        epoch: The current epoch, from 1; 0 before training.
        train_loss: Mean loss of this epoch up to now; None before training.
    """

    seen: Seen
    step: int = 0
    epoch: int = 0
    train_loss: float | None = None


def see_reconstructions(
    model: AutoEncoder, images: Images, *, device: torch.device
) -> NDArray[np.float16]:
    """Reconstruct images: float16 (n, channels, height, width) in [0, 1], as a film has many."""
    return reconstruct_all(model, images, device=device).pixels.astype(np.float16)


def see_latents(model: AutoEncoder, images: Images, *, device: torch.device) -> NDArray[np.float32]:
    """Encode images: float32 (n, 1 to 3), the latents that can be drawn."""
    return encode(model, images, device=device)[:, :3]


def count_updates(step: Step) -> int:
    """How many updates have been made since training began."""
    return (step.epoch - 1) * step.steps + step.step


def look_after(step: Step, look: Callable[[], Seen]) -> Moment | None:
    """Look at a model after a step; None where it has diverged, and there is nothing to see."""
    seen = look()
    if not np.isfinite(seen).all():
        return None
    return Moment(seen, count_updates(step), step.epoch, step.train_loss)


def choose_steps(total: int) -> list[int]:
    """Choose the steps to record, from 0, before the first, to the last one.

    Their distances grow in proportion to their number, since most happens in the beginning.

    Args:
        total: Steps in the whole of training, 1 or more.

    Returns:
        Up to `MOST_FRAMES` different steps, in order: all, if there are no more.
    """
    last = min(MOST_FRAMES - 1, total)
    return [max(i, total * i * i // last**2) for i in range(last + 1)]


class Recorder:
    """Records moments of training: its caller calls it with every step.

    Other steps than those that it chooses cost next to nothing.

    Args:
        look: Finds what there is to be seen at the moment. Called at once: nothing is trained yet.
        epochs: Of the whole training.

    Attributes:
        moments: What was recorded up to now; at least one.
    """

    def __init__(self, look: Callable[[], Seen], epochs: int) -> None:
        self.moments = [Moment(look())]
        self._look, self._epochs = look, epochs
        self._chosen: set[int] = set()

    def __call__(self, step: Step) -> None:
        """Look, if this step is one to record."""
        if not self._chosen:
            self._chosen = set(choose_steps(self._epochs * step.steps))
        if count_updates(step) in self._chosen:
            moment = look_after(step, self._look)
            if moment is not None:
                self.moments.append(moment)
