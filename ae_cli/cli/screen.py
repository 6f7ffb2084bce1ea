"""Showing a run on the screen: bars on a terminal, and lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn

from ae_cli.cli.console import Reporter
from ae_cli.config import Unit
from ae_cli.training.events import Begun, Epoch, Step

REFRESH_SECONDS = 0.1
LISTED = 10  # epochs on a terminal


class Screen:
    """Shows the progress of a run: a bar for epochs and one for steps, or a line per epoch.

    It is a context manager. Other long operations of the run, one after the other, have their own
    bar.

    Args:
        reporter: Prints the lines and shows the bars.
        log_every: Print a line every `log_every` steps as well.
    """

    def __init__(self, reporter: Reporter, log_every: int | None) -> None:
        self._reporter, self._log_every = reporter, log_every
        self._stack = ExitStack()
        self._what = ""
        self._show: Callable[..., None] = lambda *_: None

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def progress(self, name: str, done: int, total: int | None, unit: Unit) -> None:
        """Show a long operation other than training itself."""
        self._switch("progress", self._reporter.progress)
        self._show(name, done, total, unit)

    def begin(self, begun: Begun) -> None:
        """Show steps and epochs from now on."""
        self.end()
        self._switch("training", lambda: self._training(begun))

    def step(self, event: Step | Epoch) -> None:
        """Show a step or an epoch."""
        self._show(event)

    def end(self) -> None:
        """Show nothing more."""
        self._stack.close()
        self._what = ""

    def _switch(
        self, what: str, open_bars: Callable[[], AbstractContextManager[Callable[..., None]]]
    ) -> None:
        if self._what != what:
            self._stack.close()
            self._show, self._what = self._stack.enter_context(open_bars()), what

    @contextmanager
    def _training(self, begun: Begun) -> Iterator[Callable[[Step | Epoch], None]]:
        epochs, log_every = begun.training.epochs, self._log_every
        with self._reporter.bars(
            TextColumn("{task.description:<11}", style="bold cyan"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
        ) as bars:
            update = _Bars(bars, epochs, begun.test_loss) if self._reporter.is_live else None

            def show(event: Step | Epoch) -> None:
                if update is not None:
                    update(event)
                if isinstance(event, Epoch):
                    if update is None or log_every or _is_listed(event.epoch, epochs):
                        self._reporter.say("epoch", _describe_epoch(event, epochs))
                elif event.is_due(log_every):
                    self._reporter.say("step", _describe_step(event, epochs))

            yield show


def _is_listed(epoch: int, epochs: int) -> bool:
    """Whether an epoch's line stays on a terminal: `LISTED` of them do, spread evenly."""
    return epoch == epochs or epoch % math.ceil(epochs / LISTED) == 0


def _describe_epoch(epoch: Epoch, epochs: int) -> str:
    divergence = "" if epoch.kl is None else f"  KL {epoch.kl:.1f}"
    how = f"{epoch.images_per_second:,.0f} images/s  {epoch.seconds:.1f} s"
    return (
        f"{epoch.epoch:>{len(str(epochs))}}/{epochs}"
        f"  train loss {epoch.train_loss:.4f}  test loss {epoch.test_loss:.4f}{divergence}"
        f"  {how if epoch.epoch else 'the start, from PCA'}"
    )


def _describe_step(step: Step, epochs: int) -> str:
    return (
        f"{step.epoch:>{len(str(epochs))}}/{epochs}  "
        f"{step.step:>{len(str(step.steps))}}/{step.steps}"
        f"  train loss {step.train_loss:.4f}  {step.images_per_second:,.0f} images/s"
    )


class _Bars:
    """The bars for epochs and steps, updated at most ten times a second."""

    def __init__(self, bars: Progress, epochs: int, test_loss: float | None) -> None:
        self._bars = bars
        self._epochs = epochs
        self._started = self._shown = time.monotonic()
        self._done_before: float | None = None  # epochs trained before the run was resumed
        self._epoch_bar = bars.add_task("epoch", total=epochs, note="")
        self._step_bar = bars.add_task("step", total=None, note="")
        self._test_loss = test_loss
        self._kl: float | None = None

    def __call__(self, event: Step | Epoch) -> None:
        now = time.monotonic()
        if self._done_before is None and not isinstance(event, Epoch):
            self._done_before = event.epoch - 1 + (event.step - 1) / event.steps
        if isinstance(event, Epoch):
            self._test_loss, self._kl = event.test_loss, event.kl
        elif now - self._shown >= REFRESH_SECONDS:
            self._shown = now
            done = event.epoch - 1 + event.step / event.steps
            here = done - (self._done_before or 0)
            left = (now - self._started) * (self._epochs - done) / here
            loss = "" if self._test_loss is None else f"  test loss {self._test_loss:.4f}"
            loss += "" if self._kl is None else f"  KL {self._kl:.1f}"
            self._bars.update(
                self._epoch_bar,
                completed=done,
                note=f"{event.epoch}/{self._epochs}{loss}  {_clock(left)} left",
            )
            self._bars.update(
                self._step_bar,
                completed=event.step,
                total=event.steps,
                note=f"{event.step}/{event.steps}  loss {event.train_loss:.4f}"
                f"  {event.images_per_second:,.0f} images/s",
            )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
