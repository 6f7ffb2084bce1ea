"""What a model makes of the same images while it trains, kept for a film."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.data import Images
from ae_cli.errors import DivergedError
from ae_cli.infer import encode, reconstruct_all
from ae_cli.model import AutoEncoder
from ae_cli.train import Step

MOST_FRAMES = 200  # ten seconds of film, however long the training
# Pixels to an image: twice as many as a film has room for, 87 side by side and 200 in a column.
MOST_WIDE, MOST_TALL = 174, 400

Seen = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Moment:
    """What a model makes of the same images at one moment of its training.

    Attributes:
        seen: (n, …): what was looked for.
        step: Updates made since training began.
        epoch: The current epoch, from 1; 0 before training.
        train_loss: Mean loss of this epoch up to now; None before training or where it goes on.
    """

    seen: Seen
    step: int = 0
    epoch: int = 0
    train_loss: float | None = None


def thin_out(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Leave out rows and columns of large images (n, channels, height, width)."""
    height, width = images.shape[2:]
    step = math.ceil(max(width / MOST_WIDE, height / MOST_TALL))
    return images[:, :, ::step, ::step]


def see_reconstructions(
    model: AutoEncoder, images: Images, *, device: torch.device
) -> NDArray[np.uint8]:
    """Reconstruct images: levels (n, channels, height, width), thinned out, as a film has many.

    Raises:
        DivergedError: The model has diverged.
    """
    pixels = thin_out(reconstruct_all(model, images, device=device).pixels)
    return np.round(255 * pixels).astype(np.uint8)


def see_latents(model: AutoEncoder, images: Images, *, device: torch.device) -> NDArray[np.float32]:
    """Encode images: float32 (n, 1 to 3), the latents that can be drawn.

    Raises:
        DivergedError: The model has diverged.
    """
    return encode(model, images, device=device)[:, :3]


def look_after(step: Step, look: Callable[[], Seen]) -> Moment | None:
    """Look at a model after a step; None where it has diverged, and there is nothing to see."""
    try:
        seen = look()
    except DivergedError:
        return None
    return Moment(seen, step.updates, step.epoch, step.train_loss)


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
        look: Finds what there is to be seen at the moment. Called at once, before the first step.
        epochs: Of the whole training.
        begins: Of a training that goes on, its current epoch and the updates made since it began.

    Attributes:
        moments: What was recorded up to now; at least one.
    """

    def __init__(
        self, look: Callable[[], Seen], epochs: int, begins: tuple[int, int] | None = None
    ) -> None:
        epoch, self._first = begins or (0, 0)
        self.moments = [Moment(look(), self._first, epoch)]
        self._look, self._epochs = look, epochs
        self._chosen: set[int] = set()

    def __call__(self, step: Step) -> None:
        """Look, if this step is one to record."""
        if not self._chosen:
            total = self._epochs * step.steps - self._first
            self._chosen = {self._first + chosen for chosen in choose_steps(total)}
        if step.updates in self._chosen:
            moment = look_after(step, self._look)
            if moment is not None:
                self.moments.append(moment)
