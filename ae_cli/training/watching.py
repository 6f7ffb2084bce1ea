"""Watching a model while it trains: in a film, in a window, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ae_cli import figures
from ae_cli.config import Progress
from ae_cli.config.training import FILM, FilmOf
from ae_cli.data.images import Images
from ae_cli.errors import warn
from ae_cli.models import AutoEncoder
from ae_cli.training.events import Step, Written
from ae_cli.training.recording import (
    Moment,
    Recorder,
    Seen,
    look_after,
    see_latents,
    see_reconstructions,
    thin_out,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

HOLD_SECONDS = 2.0  # how long the last frame is shown
MOST_POINTS = 2000  # in a cloud of latents


class Watch:
    """Watches a model from before its first step until after its last.

    Args:
        film: The film to record; None for none.
        film_of: What the film or the window shows; None for reconstructions.
        live: Whether to open a window.
        model: Moved to `device`.
        images: The test images, of which the first ones are shown.
        epochs: Number of epochs in the whole run.
        begins: For a resumed run, its current epoch and the steps taken since it began.
        device: Where to compute.
        progress: Called while the film is written.
    """

    def __init__(
        self,
        film: Path | None,
        film_of: FilmOf | None,
        live: bool,
        model: AutoEncoder,
        images: Images,
        *,
        epochs: int,
        begins: tuple[int, int] | None,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self._film, self._of, self._epochs = film, film_of, epochs
        self._begins, self._progress = begins, progress
        self._recorder: Recorder | None = None
        self._window: figures.Window | None = None
        self._view: figures.View | None = None  # in the window
        if film_of == "latents":
            self._images = images.head(MOST_POINTS)
            see: Callable[..., Seen] = see_latents
        else:
            self._images = images.head(figures.COLUMNS)
            see = see_reconstructions
        self._look = partial(see, model, self._images, device=device)
        if film is not None:
            self._recorder = Recorder(self._look, epochs, begins)
        if live:
            self._open_window()

    def _open_window(self) -> None:
        figure, in_window = figures.new_figure(window=True)
        if in_window:
            epoch, step = self._begins or (0, 0)
            first = Moment(self._look(), step, epoch)
            self._view = view = self._new_view(figure, [first])
            self._show(view, first)
            self._window = figures.Window(figure)
        else:
            film = self._film
            instead = f"use --film {FILM}" if film is None else f"watch {film} afterwards"
            warn(f"no display to open a window on; {instead} instead")

    def __call__(self, step: Step) -> None:
        """Record the model after a step and draw it in the window, if either is due."""
        if self._recorder is not None:
            self._recorder(step)
        if self._window is not None:
            is_last = step.epoch == self._epochs and step.step == step.steps
            self._window.refresh(lambda: self._show_now(step), now=is_last)

    def write_film(self) -> Written | None:
        """Write what was recorded so far, if a film was asked for.

        Returns:
            The film; None if none was written.

        Raises:
            UsageError: The file cannot be written.
        """
        path = self._film
        if path is None or self._recorder is None:
            return None
        moments = self._recorder.moments
        if self._begins is not None and len(moments) == 1:
            return None  # nothing was left to train: do not replace an earlier film
        figure, _ = figures.new_figure()
        view = self._new_view(figure, moments)
        if path.suffix.lower() == ".png":
            moments = moments[-1:]
        count = len(moments)

        def draw() -> Iterator[NDArray[np.uint8]]:
            for done, moment in enumerate(moments, start=1):
                self._show(view, moment)
                yield figures.render(figure)
                self._progress("film", done, count, "frames")
                if self._window is not None:
                    self._window.answer()  # otherwise it would not respond for seconds

        figures.write_film(path, draw(), hold_seconds=HOLD_SECONDS)
        seconds = count * figures.FRAME_SECONDS + HOLD_SECONDS
        size = f"{count} frames, {seconds:.0f} s" if count > 1 else "1 frame"
        return Written("film", path, size)

    def linger(self) -> None:
        """Keep the window, if there is one, until the user closes it."""
        if self._window is not None and self._window.is_open:
            figures.show()

    def _new_view(self, figure: Figure, moments: Sequence[Moment]) -> figures.View:
        """Make a picture in which all these moments can be shown."""
        if self._of == "latents":
            clouds = [moment.seen for moment in moments]
            return figures.LatentView(figure, clouds, self._images.label_values())
        return figures.ReconstructionView(figure, thin_out(self._images.floats()))

    def _show_now(self, step: Step) -> None:
        moment = look_after(step, self._look)
        if moment is not None and self._view is not None:
            self._show(self._view, moment)

    def _show(self, view: figures.View, moment: Moment) -> None:
        when = f"epoch {moment.epoch} of {self._epochs}" if moment.epoch else "before training"
        if moment.train_loss is not None:
            when += f" · train loss {moment.train_loss:.4f}"
        view.update(moment.seen, f"step {moment.step:,} · {when}")
