"""The output of commands: messages and progress on stderr, answers and JSON on stdout."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ae_cli.errors import UsageError
from ae_cli.files import has_replaced
from ae_cli.processes import is_first
from ae_cli.results import count_images

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from rich.progress import Progress as Bars
    from rich.progress import ProgressColumn, TaskID

    from ae_cli.config import Progress, Unit

LEAST_WIDTH = 20  # characters, below which nothing is wrapped
VERBS = {"bytes": "download", "files": "decode", "epochs": "train"}


def one_line(text: str) -> str:
    """Make text safe for one line of a terminal: control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def report_error(message: str) -> None:
    """Print an ``error:`` line on stderr, even with ``--quiet``."""
    _print_tagged("error", "bold red", message)


def report_stop(message: str) -> None:
    """Print a ``stopped:`` line on stderr, even with ``--quiet``: to stop is no error."""
    _print_tagged("stopped", "bold yellow", message)


def report_warning(message: str) -> None:
    """Print a ``warning:`` line on stderr, even with ``--quiet``; of several processes, once."""
    if is_first():
        _print_tagged("warning", "bold yellow", message)


# The console whose bars are shown. What is printed meanwhile must go through it, to be above them.
_live: list[Console] = []


def _print_tagged(tag: str, style: str, message: str) -> None:
    console = _live[-1] if _live else Console(stderr=True)
    _print_line(console, Text(f"{tag}: ", style=style), message)


def _print_line(console: Console, tag: Text, message: str) -> None:
    """Print a line; where a terminal is too narrow for it, wrapped between words and indented."""
    text, width = one_line(message), console.width - tag.cell_len
    lines = [text]
    if console.is_terminal and width >= LEAST_WIDTH:
        commands = re.sub(r"`[^`]*`", lambda match: _hold_together(match[0]), text)
        lines = _wrap(commands, width) or [""]
    for number, line in enumerate(lines):
        start = Text(" " * tag.cell_len) if number else tag
        rest = Text(line, style="default not bold")
        console.print(start + rest, soft_wrap=True)


def _hold_together(text: str) -> str:
    """Mark the spaces of a part of a text, so that `_wrap` does not break it."""
    return text.replace(" ", "\0")


def _wrap(text: str, width: int, indent: str = "") -> list[str]:
    """Wrap a text between words, and indent all lines but the first."""
    lines = wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\0", " ") for line in lines]


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    """Write to stdout. Characters that its encoding lacks become question marks.

    Raises:
        UsageError: Standard output cannot be written. A closed pipe is left to the caller.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield sys.stdout
    except BrokenPipeError:
        raise
    except OSError as error:
        # The buffer still holds what could not be written, which would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError(
            f"cannot write to standard output ({error.strerror})", "make room or write elsewhere"
        ) from error


def _list_cells(columns: Sequence[str], row: Sequence[str], width: int) -> list[str]:
    """Write a row of a table as its cells after their headings, wrapped between cells."""
    cells = [
        f"{column} {one_line(cell)}" for column, cell in zip(columns, row, strict=True) if cell
    ]
    return _wrap(", ".join(map(_hold_together, cells)), width, indent="  ")


def _label(label: str) -> Text:
    return Text(f"{label:<11}", style="bold cyan")


class Reporter:
    """Prints the output of one command.

    Args:
        quiet: Print only warnings and errors.
        json: Print JSON objects on stdout, one per line.

    Attributes:
        is_live: Whether progress bars are shown.
    """

    def __init__(self, *, quiet: bool = False, json: bool = False) -> None:
        # Of several processes, the first one alone speaks.
        quiet, json = quiet or not is_first(), json and is_first()
        self._console = Console(stderr=True, quiet=quiet)
        self._json = json
        # Bars and JSON on the same terminal would overwrite each other.
        self.is_live = (
            self._console.is_terminal
            and not self._console.is_dumb_terminal
            and not quiet
            and not (json and sys.stdout.isatty())
        )

    def say(self, label: str, message: str) -> None:
        """Print a line on stderr: a short label and a message."""
        _print_line(self._console, _label(label), message)

    def say_written(self, label: str, path: Path | None, note: str = "") -> None:
        """Print which file was written, and whether it took the place of another one."""
        if path is not None:
            replaced = " (replaced the previous one)" if has_replaced(path) else ""
            self.say(label, f"{path}{': ' * bool(note)}{note}{replaced}")

    def answer(self, label: str, message: str) -> None:
        """Print such a line on stdout, for commands whose purpose is to print it."""
        if not self._json and not self._console.quiet:
            with _standard_output() as stream:
                _print_line(Console(file=stream), _label(label), message)
                stream.flush()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table and an empty line on stdout, as `answer` prints a line.

        Args:
            columns: The heading of each column.
            rows: Cells, one per column. A column in which all cells begin with a digit or a dash
                is aligned to the right. Where a terminal is too narrow, cells are wrapped between
                words; no word is cut. Where it is too narrow even for that, each row is listed.
        """
        if self._json or self._console.quiet:
            return
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        least = 0  # characters, so that no word is cut
        for i, column in enumerate(columns):
            cells = [column, *(one_line(row[i]) for row in rows)]
            longest = max(cell_len(word) for cell in cells for word in cell.split() or [""])
            numbers = all(row[i][:1].isdigit() or row[i][:1] in "-–" for row in rows)
            table.add_column(column, justify="right" if numbers else "left", min_width=longest)
            least += longest + 2
        for row in rows:
            table.add_row(*(Text(one_line(cell)) for cell in row))
        with _standard_output() as stream:
            console = Console(file=stream)
            if stream.isatty() and least > console.width + 2:
                lines = [line for row in rows for line in _list_cells(columns, row, console.width)]
            else:
                # In a file, lines may be of any width.
                console.width = max(console.width if stream.isatty() else 1000, least)
                with console.capture() as capture:
                    console.print(table, soft_wrap=True)
                lines = [line.rstrip() for line in capture.get().splitlines()]
            print(*lines, "", sep="\n", file=stream, flush=True)

    def emit(self, event: str, **fields: Any) -> None:
        """With ``--json``, print one JSON object on stdout."""
        if self._json:
            with _standard_output():
                print(json.dumps({"event": event, **fields}, allow_nan=False), flush=True)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show the progress that the block reports to the function it gets.

        Without a terminal, only downloads, the decoding of image files and the training of models
        print one line each.
        """
        tasks: dict[str, TaskID] = {}
        bars: Bars | None = None  # made when they are needed: importing them takes a moment
        with ExitStack() as stack:

            def show(name: str, done: int, total: int | None, unit: Unit) -> None:
                nonlocal bars
                if bars is None:
                    bars = stack.enter_context(self._stage_bars())
                if name not in tasks:
                    for task in bars.tasks:  # a stage ends when the next one begins
                        bars.update(task.id, visible=bool(task.total))
                    tasks[name] = bars.add_task(one_line(name), total=None, amount="")
                    if not self.is_live and unit in VERBS:
                        counted = f": {count_images(total)}" if total and unit == "files" else ""
                        self.say(VERBS[unit], name + counted)
                amount = _amount(done, total, unit)
                bars.update(tasks[name], completed=done, total=total, amount=amount)

            yield show

    @property
    def draws(self) -> bool:
        """Whether `preview` draws: whether there is a terminal that supports colours."""
        colors = self._console.color_system in ("256", "truecolor") and not self._console.no_color
        return self.is_live and colors and self._console.encoding.startswith("utf")

    def preview(self, *rows: NDArray[np.float32], what: str, there: int | None = None) -> None:
        """Draw rows of images in the terminal, if it supports colours.

        Args:
            rows: Each float32 (n, channels, height, width) in [0, 1].
            what: What they are, in the plural, for the line below them.
            there: How many there are; None if these are all.
        """
        if shown := self._draw(rows):
            there = len(rows[0]) if there is None else there
            self.say("shown", f"{shown}{f' of {there:,}' if shown < there else ''} {what}")

    def _draw(self, rows: Sequence[NDArray[np.float32]]) -> int:
        """Draw rows of images, if the terminal can. The number of images in each row that is."""
        if not self.draws:
            return 0
        from ae_cli.cli.preview import fit, half_blocks

        how = fit(rows, *self._preview_size)
        if how is None:
            return 0
        for line in half_blocks(rows, how):
            self._console.print(line, soft_wrap=True)
        return how.shown

    def preview_grid(self, images: NDArray[np.float32], columns: int) -> None:
        """Draw a grid of images as `preview` does, coarser where the terminal is too small.

        Args:
            images: float32 (rows * columns, channels, height, width) in [0, 1], row by row.
            columns: Images in a row.
        """
        if self.draws:
            from ae_cli.cli.preview import shrink_grid

            small = shrink_grid(images, columns, *self._preview_size)
            there, shown = (len(images) // columns, columns), (small.rows, small.columns)
            if self._draw([small.pixels]) and shown != there:
                self.say("shown", "{} × {} of {} × {} images".format(*shown, *there))

    @property
    def _preview_size(self) -> tuple[int, int]:
        """Characters in a line, and lines, of which a few are left for messages."""
        return self._console.width, self._console.height - 4

    def show_picture(self, draw: Callable[[Figure], None], path: Path | None) -> None:
        """Show a picture in a window until it is closed, if there is a display."""
        from ae_cli import figures

        figure, in_window = figures.new_figure(window=True)
        if in_window:
            draw(figure)
            figures.show()
        else:
            report_warning(f"no display to open a window on; the picture is in {path}")

    def show_file(self, what: str, path: Path | None) -> None:
        """Open a page or a film in a browser, if there is one."""
        if path is not None and not webbrowser.open(path.resolve().as_uri()):
            report_warning(f"no browser to open; the {what} is in {path}")

    def _stage_bars(self) -> AbstractContextManager[Bars]:
        """Bars for the stages of a command, each with its amount of progress."""
        from rich.progress import BarColumn, TextColumn

        return self.bars(
            TextColumn("{task.description:<11}", style="bold cyan"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
        )

    @contextmanager
    def bars(self, *columns: ProgressColumn) -> Iterator[Bars]:
        """Show bars, which vanish at the end. Without a terminal, nothing is shown."""
        from rich.progress import Progress  # imported here, as not every command has bars

        with Progress(
            *columns,
            console=self._console,
            transient=True,
            disable=not self.is_live,
            redirect_stdout=False,  # otherwise output for stdout would go to stderr
            redirect_stderr=False,  # decoding does it too, and each would undo the other's
        ) as bars:
            if self.is_live:
                _live.append(self._console)
            try:
                yield bars
            finally:
                if self.is_live:
                    _live.remove(self._console)


def _amount(done: int, total: int | None, unit: Unit) -> str:
    """Format an amount of progress: 3.1/12.0 MB, or 400 of 1,000 images."""
    if unit == "bytes":
        return f"{done / 1e6:.1f}/{'?' if total is None else f'{total / 1e6:.1f}'} MB"
    if total is None:
        return ""
    return f"{done:,} of {total:,} {'images' if unit == 'files' else unit}"
