"""What a person sees: messages and progress on stderr, and JSON for programs on stdout."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from ae_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress, ProgressColumn, TaskID

    from ae_cli.data import Progress as LoadingProgress
    from ae_cli.data import Unit
    from ae_cli.train import Epoch, Step

REFRESH_SECONDS = 0.1
MINIMUM_PREVIEW = 10  # characters to the width of an image, below which it says nothing


def one_line(text: str) -> str:
    """Make text safe for one line of a terminal: control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def format_shape(shape: tuple[int, ...]) -> str:
    """Write an image's shape as people do: 1 × 28 × 28."""
    return " × ".join(map(str, shape))


def report_error(message: str) -> None:
    """Print an ``error:`` line on stderr, even with ``--quiet``."""
    _print_tagged("error", "bold red", message)


def report_warning(message: str) -> None:
    """Print a ``warning:`` line on stderr, even with ``--quiet``."""
    _print_tagged("warning", "bold yellow", message)


def _print_tagged(tag: str, style: str, message: str) -> None:
    line = Text(f"{tag}: ", style=style).append(Text(one_line(message), style="default not bold"))
    Console(stderr=True).print(line, soft_wrap=True)


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    """Write to stdout, where characters that its encoding lacks become question marks.

    Raises:
        UsageError: It is a file that cannot be written. A reader that has left is no error.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield sys.stdout
    except BrokenPipeError:
        raise
    except OSError as error:
        # What could not be written is still in the buffer, and would fail again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError(
            f"cannot write to standard output ({error.strerror})", "make room or write elsewhere"
        ) from error


def _labelled(label: str, message: str) -> Text:
    line = Text(f"{label:<11}", style="bold cyan")
    return line.append(Text(one_line(message), style="default not bold"))


class Reporter:
    """Everything that one command says.

    Args:
        quiet: Say only warnings and errors.
        json: Print JSON objects on stdout, one per line.
    """

    def __init__(self, *, quiet: bool = False, json: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._json = json
        # A bar and JSON on the same screen would overwrite each other.
        self._live = (
            self._console.is_terminal
            and not self._console.is_dumb_terminal
            and not quiet
            and not (json and sys.stdout.isatty())
        )

    def say(self, label: str, message: str) -> None:
        """Print a line for a person on stderr: a short label and what there is to say of it."""
        self._console.print(_labelled(label, message), soft_wrap=True)

    def answer(self, label: str, message: str) -> None:
        """Print such a line on stdout, where a command's only purpose is to print it."""
        if not self._json and not self._console.quiet:
            with _standard_output() as stream:
                Console(file=stream).print(_labelled(label, message), soft_wrap=True)
                stream.flush()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table and an empty line on stdout, as `answer` prints a line.

        Args:
            columns: What to write above each.
            rows: Cells, as many as there are columns. Where all begin with a digit or a dash, the
                column is one of numbers, at the right.
        """
        if self._json or self._console.quiet:
            return
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for i, column in enumerate(columns):
            numbers = all(row[i][:1].isdigit() or row[i][:1] in "-–" for row in rows)
            table.add_column(column, justify="right" if numbers else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(one_line(cell)) for cell in row))
        with _standard_output() as stream:
            # A file is as wide as it needs to be.
            console = Console(file=stream, width=None if stream.isatty() else 1000)
            with console.capture() as capture:
                console.print(table, soft_wrap=True)
            lines = capture.get().splitlines()
            print(*(line.rstrip() for line in lines), "", sep="\n", file=stream, flush=True)

    def warn(self, message: str) -> None:
        """Print a ``warning:`` line on stderr, even with ``--quiet``."""
        report_warning(message)

    def emit(self, event: str, **fields: Any) -> None:
        """With ``--json``, print one JSON object on stdout."""
        if self._json:
            with _standard_output():
                print(json.dumps({"event": event, **fields}, allow_nan=False), flush=True)

    @contextmanager
    def progress(
        self, description: str, total: int, what: str = "images"
    ) -> Iterator[Callable[[int], None]]:
        """Show a bar while the block runs; the block calls what it gets with each count done."""
        from rich.progress import BarColumn, TextColumn

        with self._bars(
            TextColumn("{task.description:<11}", style="bold cyan"),
            BarColumn(),
            TextColumn(f"{{task.completed:,.0f}} of {{task.total:,.0f}} {what}"),
        ) as bars:
            task = bars.add_task(description, total=total)
            yield lambda count: bars.advance(task, count)

    @contextmanager
    def stages(self, description: str) -> Iterator[Callable[[str], None]]:
        """Show what is being done while the block runs; the block calls what it gets with it."""
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._bars(
            TextColumn("{task.description:<11}", style="bold cyan"),
            SpinnerColumn(),
            TextColumn("{task.fields[stage]}"),
            TimeElapsedColumn(),
        ) as bars:
            task = bars.add_task(description, total=None, stage="")
            yield lambda stage: bars.update(task, stage=stage)

    @contextmanager
    def loading(self) -> Iterator[LoadingProgress]:
        """Show a bar for each download, and for images being decoded, while the block runs.

        The block calls what it gets with a name, how much is done, how much there is in all (if
        known), and what is counted. Without a terminal, each is one line.
        """
        from rich.progress import BarColumn, TextColumn

        tasks: dict[str, TaskID] = {}
        with self._bars(
            TextColumn("{task.description}", style="bold cyan"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
        ) as bars:

            def show(name: str, done: int, total: int | None, unit: Unit) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(one_line(name), total=None, amount="")
                    if not self._live:
                        verb = {"bytes": "download", "images": "decode"}[unit]
                        counted = f": {total:,} images" if unit == "images" else ""
                        self.say(verb, name + counted)
                bars.update(
                    tasks[name], completed=done, total=total, amount=_amount(done, total, unit)
                )

            yield show

    @contextmanager
    def training(
        self, epochs: int, log_every: int | None = None, *, test_loss: float | None = None
    ) -> Iterator[Callable[[Step | Epoch], None]]:
        """Show training while the block runs; the block calls what it gets with each event.

        On a terminal: a bar over epochs and one over steps. Without one: a line per epoch.

        Args:
            epochs: Of the whole training.
            log_every: Print a line every so many steps as well.
            test_loss: Of the epoch before the first one, where training goes on.
        """
        from rich.progress import BarColumn, TextColumn

        from ae_cli.train import Step

        with self._bars(
            TextColumn("{task.description:<11}", style="bold cyan"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
        ) as bars:
            print_epoch = self._epoch_line(epochs)
            update = _TrainingDisplay(bars, epochs, test_loss) if self._live else None

            def show(event: Step | Epoch) -> None:
                if update is not None:
                    update(event)
                if update is None or log_every:
                    print_epoch(event)
                if log_every and isinstance(event, Step) and event.is_due(log_every):
                    self._step_line(event, epochs)

            yield show

    def preview(self, *rows: NDArray[np.float32]) -> None:
        """Draw rows of images in the terminal itself, where it has the colours.

        Args:
            rows: Each float32 (n, channels, height, width) in [0, 1].
        """
        colors = self._console.color_system in ("256", "truecolor") and not self._console.no_color
        if self._live and colors and self._console.encoding.startswith("utf"):
            for line in _half_blocks(rows, self._console.width, self._console.height - 4):
                self._console.print(line, soft_wrap=True)

    def _epoch_line(self, epochs: int) -> Callable[[Step | Epoch], None]:
        from ae_cli.train import Epoch

        def show(event: Step | Epoch) -> None:
            if isinstance(event, Epoch):
                self.say(
                    "epoch",
                    f"{event.epoch:>{len(str(epochs))}}/{epochs}"
                    f"  train loss {event.train_loss:.4f}  test loss {event.test_loss:.4f}"
                    f"  {event.images_per_second:,.0f} images/s  {event.seconds:.1f} s",
                )

        return show

    def _step_line(self, step: Step, epochs: int) -> None:
        self.say(
            "step",
            f"{step.epoch:>{len(str(epochs))}}/{epochs}  "
            f"{step.step:>{len(str(step.steps))}}/{step.steps}"
            f"  train loss {step.train_loss:.4f}  {step.images_per_second:,.0f} images/s",
        )

    @contextmanager
    def _bars(self, *columns: ProgressColumn) -> Iterator[Progress]:
        """Bars that vanish when they are done. Without a terminal, nothing is shown."""
        from rich.progress import Progress  # here, since not every command has bars

        with Progress(
            *columns,
            console=self._console,
            transient=True,
            disable=not self._live,
            redirect_stdout=False,  # or what is written to stdout would land on stderr
        ) as bars:
            yield bars


class _TrainingDisplay:
    """The bars over epochs and steps, brought up to date ten times a second."""

    def __init__(self, bars: Progress, epochs: int, test_loss: float | None) -> None:
        self._bars = bars
        self._epochs = epochs
        self._started = self._shown = time.monotonic()
        self._done_before: float | None = None  # epochs, by the run that this one resumes
        self._epoch_bar = bars.add_task("epoch", total=epochs, note="")
        self._step_bar = bars.add_task("step", total=None, note="")
        self._test_loss = test_loss

    def __call__(self, event: Step | Epoch) -> None:
        from ae_cli.train import Epoch

        now = time.monotonic()
        if self._done_before is None and not isinstance(event, Epoch):
            self._done_before = event.epoch - 1 + (event.step - 1) / event.steps
        if isinstance(event, Epoch):
            self._test_loss = event.test_loss
        elif now - self._shown >= REFRESH_SECONDS:
            self._shown = now
            done = event.epoch - 1 + event.step / event.steps
            here = done - (self._done_before or 0)
            left = (now - self._started) * (self._epochs - done) / here
            loss = "" if self._test_loss is None else f"  test loss {self._test_loss:.4f}"
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


def _amount(done: int, total: int | None, unit: Unit) -> str:
    """How much of something is done: 3.1/12.0 MB, or 400 of 1,000 images."""
    if unit == "bytes":
        return f"{done / 1e6:.1f}/{'?' if total is None else f'{total / 1e6:.1f}'} MB"
    return f"{done:,} of {total:,} images"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _half_blocks(rows: Sequence[NDArray[np.float32]], width: int, height: int) -> Iterator[Text]:
    """Draw images side by side, two pixels to a character.

    Args:
        rows: Each float (n, channels, height, width) in [0, 1].
        width: Characters in a line.
        height: Lines there are. The images are reduced by a whole factor until they fit.

    Yields:
        Lines of text, with an empty one between rows.
    """
    import numpy as np

    images = np.stack(rows)
    lines, count, channels, tall, wide = images.shape
    factor = 1
    while count * (wide // factor + 1) > width or lines * ((tall // factor + 1) // 2 + 1) > height:
        if wide // (factor + 1) < MINIMUM_PREVIEW and count > 1:
            count, factor = count - 1, 1  # too small to recognise: show fewer
        elif wide // (factor + 1) == 0 or tall // (factor + 1) == 0:
            return
        else:
            factor += 1
    small_tall, small_wide = tall // factor, wide // factor
    cut = images[:, :count, :, : small_tall * factor, : small_wide * factor]
    small = cut.reshape(lines, count, channels, small_tall, factor, small_wide, factor).mean((4, 6))
    if small_tall % 2:
        small = np.concatenate([small, np.zeros_like(small[:, :, :, :1])], axis=3)
    levels = (small * 255).round().astype(int)
    if channels == 1:
        levels = levels.repeat(3, axis=2)
    for row in levels:  # (count, 3, height, width)
        for y in range(0, row.shape[2], 2):
            text = Text()
            for image in row:
                for x in range(small_wide):
                    top, bottom = (Color.from_rgb(*image[:, y + i, x]) for i in (0, 1))
                    text.append("▀", Style(color=top, bgcolor=bottom))
                text.append(" ")
            yield text
        yield Text()
