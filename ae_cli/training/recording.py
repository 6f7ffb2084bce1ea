"""Recording how a model reconstructs or encodes the same images while it trains, for a film."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.data.images import Images
from ae_cli.errors import DivergedError
from ae_cli.latents.infer import encode, reconstruct_all
from ae_cli.models import AutoEncoder
from ae_cli.training.events import Step

MOST_FRAMES = 200  # ten seconds of film, however long the run
# Pixels of an image: twice the 87 × 200 that it gets in a film.
MOST_WIDE, MOST_TALL = 174, 400

Seen = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Moment:
    """What was recorded at one moment of a run.

    Attributes:
        seen: (n, …), the reconstructions or latents.
        step: Steps taken since training began.
        epoch: The current epoch, from 1; 0 before training.
        train_loss: Mean loss of this epoch so far; None before training, and when a run is resumed.
    """

    seen: Seen
    step: int = 0
    epoch: int = 0
    train_loss: float | None = None


def thin_out(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reduce large images (n, channels, height, width) by leaving out rows and columns."""
    height, width = images.shape[2:]
    step = math.ceil(max(width / MOST_WIDE, height / MOST_TALL))
    return images[:, :, ::step, ::step]


def see_reconstructions(
    model: AutoEncoder, images: Images, *, device: torch.device
) -> NDArray[np.uint8]:
    """Reconstruct images for a film: uint8 (n, channels, height, width), reduced to save memory.

    Raises:
        DivergedError: The model has diverged.
    """
    pixels = thin_out(reconstruct_all(model, images, device=device).pixels)
    return np.round(255 * pixels).astype(np.uint8)


def see_latents(model: AutoEncoder, images: Images, *, device: torch.device) -> NDArray[np.float32]:
    """Encode images: float32 (n, 1 to 3), the first three latents.

    Raises:
        DivergedError: The model has diverged.
    """
    return encode(model, images, device=device)[:, :3]


def look_after(step: Step, look: Callable[[], Seen]) -> Moment | None:
    """Record a moment after a step; None if the model has diverged."""
    try:
        seen = look()
    except DivergedError:
        return None
    return Moment(seen, step.updates, step.epoch, step.train_loss)


def choose_steps(total: int) -> list[int]:
    """Choose the steps to record, from 0 (before the first step) to the last one.

    Their distances grow linearly, since a model changes most at the beginning.

    Args:
        total: Steps in the whole run, 1 or more.

    Returns:
        Up to `MOST_FRAMES` different steps, in order; all steps if there are no more.
    """
    last = min(MOST_FRAMES - 1, total)
    return [max(i, total * i * i // last**2) for i in range(last + 1)]


class Recorder:
    """Records moments of a run. It must be called with every step, and chooses which to record.

    Steps that are not recorded cost next to nothing.

    Args:
        look: Returns what to record now. Called at once, before the first step.
        epochs: Number of epochs in the whole run.
        begins: For a resumed run, its current epoch and the steps taken since it began.

    Attributes:
        moments: What was recorded so far; at least one moment.
    """

    def __init__(
        self, look: Callable[[], Seen], epochs: int, begins: tuple[int, int] | None = None
    ) -> None:
        epoch, self._first = begins or (0, 0)
        self.moments = [Moment(look(), self._first, epoch)]
        self._look, self._epochs = look, epochs
        self._chosen: set[int] = set()

    def __call__(self, step: Step) -> None:
        """Record a moment if this step is one of the chosen steps."""
        if not self._chosen:
            total = self._epochs * step.steps - self._first
            self._chosen = {self._first + chosen for chosen in choose_steps(total)}
        if step.updates in self._chosen:
            moment = look_after(step, self._look)
            if moment is not None:
                self.moments.append(moment)
