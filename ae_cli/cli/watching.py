"""Watching a model while ``ae train`` trains it: in a film, in a window, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from ae_cli.cli.options import WATCHING
from ae_cli.console import Reporter
from ae_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ae_cli.data import Images
    from ae_cli.figures import View, Window
    from ae_cli.model import AutoEncoder
    from ae_cli.recording import Moment, Recorder, Seen
    from ae_cli.train import Step

FILM = Path("film.gif")  # to suggest
HOLD_SECONDS = 2.0  # that the last frame is seen for
MOST_POINTS = 2000  # in a cloud of latents

FilmOf = Literal["reconstructions", "latents"]

FilmOption = Annotated[
    Path | None,
    typer.Option(
        "--film",
        metavar="FILE",
        help="Record how the model learns: .gif, .webp, .mp4 (by ffmpeg), or .png, which holds the "
        "last frame.",
        show_default=False,
        rich_help_panel=WATCHING,
    ),
]
FilmOfOption = Annotated[
    FilmOf | None,
    typer.Option(
        "--film-of",
        help="What the film or the window shows: the first test images above their "
        "reconstructions, or the latents (z1 to z3, where there are more) of up to 2,000.",
        show_default="reconstructions",
        rich_help_panel=WATCHING,
    ),
]
LiveOption = Annotated[
    bool,
    typer.Option(
        "--live",
        help="Watch it in a window while it trains.",
        show_default=False,
        rich_help_panel=WATCHING,
    ),
]


class WatchChoice(NamedTuple):
    """What a person wants to watch.

    Attributes:
        film: ``--film``.
        film_of: ``--film-of``.
        live: ``--live``.
    """

    film: Path | None
    film_of: FilmOf | None
    live: bool

    def check(self) -> None:
        """Make sure that it can be done, so that no work is done in vain.

        Raises:
            UsageError: The film cannot be written, or there is nothing to watch.
        """
        if self.film is not None:
            from ae_cli.figures import check_film

            check_film(self.film, "--film")
        elif self.film_of is not None and not self.live:
            raise UsageError("--film-of is given without --film", f"add --film {FILM} or --live")


class Watch:
    """Watches a model from before its training until after.

    Args:
        choice: What a person wants to watch. If it is nothing, nothing is done.
        model: Moved to `device`.
        images: The test images, of which the first are looked at.
        epochs: Of the whole training.
        begins: Of a training that goes on, its current epoch and the updates made since it began.
        device: Where to compute.
        reporter: Is told where there is no display.
    """

    def __init__(
        self,
        choice: WatchChoice,
        model: AutoEncoder,
        images: Images,
        *,
        epochs: int,
        begins: tuple[int, int] | None,
        device: torch.device,
        reporter: Reporter,
    ) -> None:
        self._choice, self._epochs, self._reporter = choice, epochs, reporter
        self._begins = begins
        self._recorder: Recorder | None = None
        self._window: Window | None = None
        self._view: View | None = None  # in the window
        if choice.film is None and not choice.live:
            return
        from ae_cli import figures, recording

        if choice.film_of == "latents":
            self._images = images.head(MOST_POINTS)
            see: Callable[..., Seen] = recording.see_latents
        else:
            self._images = images.head(figures.COLUMNS)
            see = recording.see_reconstructions
        self._look = partial(see, model, self._images, device=device)
        if choice.film is not None:
            self._recorder = recording.Recorder(self._look, epochs, begins)
        if choice.live:
            self._open_window()

    def _open_window(self) -> None:
        from ae_cli import figures
        from ae_cli.recording import Moment

        figure, in_window = figures.new_figure(window=True)
        if in_window:
            epoch, step = self._begins or (0, 0)
            first = Moment(self._look(), step, epoch)
            self._view = view = self._new_view(figure, [first])
            self._show(view, first)
            self._window = figures.Window(figure)
        else:
            film = self._choice.film
            instead = f"use --film {FILM}" if film is None else f"watch {film} afterwards"
            self._reporter.warn(f"no display to open a window on; {instead} instead")

    def __call__(self, step: Step) -> None:
        """Record, and draw in the window, what is to be seen after a step, if it is time to."""
        if self._recorder is not None:
            self._recorder(step)
        if self._window is not None:
            is_last = step.epoch == self._epochs and step.step == step.steps
            self._window.refresh(lambda: self._show_now(step), now=is_last)

    def write_film(self) -> bool:
        """Write what was recorded up to now, if it is to be a film, and say so.

        Returns:
            Whether there is a film.

        Raises:
            UsageError: The file cannot be written.
        """
        path = self._choice.film
        if path is None or self._recorder is None:
            return False
        from ae_cli import figures

        moments = self._recorder.moments
        if self._begins is not None and len(moments) == 1:
            return False  # nothing was left to train, and an earlier film is worth more
        figure, _ = figures.new_figure()
        view = self._new_view(figure, moments)
        if path.suffix.lower() == ".png":
            moments = moments[-1:]
        count = len(moments)

        def draw(advance: Callable[[int], None]) -> Iterator[NDArray[np.uint8]]:
            for moment in moments:
                self._show(view, moment)
                yield figures.render(figure)
                advance(1)
                if self._window is not None:
                    self._window.answer()  # it would seem dead for seconds

        with self._reporter.progress("film", count, "frames") as advance:
            figures.write_film(path, draw(advance), hold_seconds=HOLD_SECONDS)
        seconds = count * figures.FRAME_SECONDS + HOLD_SECONDS
        size = f"{count} frames, {seconds:.0f} s" if count > 1 else "1 frame"
        self._reporter.say("film", f"{path}: {size}")
        return True

    def linger(self) -> None:
        """Keep the window, if there is one, until a person closes it."""
        if self._window is not None and self._window.is_open:
            from ae_cli import figures

            figures.show()

    def _new_view(self, figure: Figure, moments: Sequence[Moment]) -> View:
        """Make a picture that has room for these moments."""
        from ae_cli import figures
        from ae_cli.data import scale
        from ae_cli.recording import thin_out

        if self._choice.film_of == "latents":
            clouds = [moment.seen for moment in moments]
            return figures.LatentView(figure, clouds, self._images.label_values())
        originals = scale(self._images.pixels).numpy()
        return figures.ReconstructionView(figure, thin_out(originals))

    def _show_now(self, step: Step) -> None:
        from ae_cli.recording import look_after

        moment = look_after(step, self._look)
        if moment is not None and self._view is not None:
            self._show(self._view, moment)

    def _show(self, view: View, moment: Moment) -> None:
        when = f"epoch {moment.epoch} of {self._epochs}" if moment.epoch else "before training"
        if moment.train_loss is not None:
            when += f" · train loss {moment.train_loss:.4f}"
        view.update(moment.seen, f"step {moment.step:,} · {when}")
