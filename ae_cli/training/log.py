"""The log of a run, ``ae train --log``: a line per epoch, as JSON or CSV."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from ae_cli.errors import DataError, UsageError
from ae_cli.files import atomic_write, back_up, cannot_write
from ae_cli.files.reading import unreadable
from ae_cli.training.history import Losses

ENDINGS = (".jsonl", ".csv")
WHOLE_NUMBERS = ("epoch", "step")
COLUMNS = (
    *WHOLE_NUMBERS,
    "train_loss",
    "test_loss",
    "learning_rate",
    "images_per_second",
    "seconds",
)

HEADERS = {".jsonl": b"", ".csv": (",".join(COLUMNS) + "\n").encode()}

# The pattern of a line, with a group for each value. Unlike a parser, it is safe for any file:
# deeply nested lists or numbers with a million digits do not matter.
_WHOLE, _NUMBER = r"\d{1,18}", r"[-+.\de]+"
_CELLS = {n: f"(?P<{n}>{_WHOLE if n in WHOLE_NUMBERS else _NUMBER})" for n in COLUMNS}
_JSON = ", ".join(
    f'"{name}": ' + (cell if name in WHOLE_NUMBERS else f"(?:{cell}|null)")
    for name, cell in _CELLS.items()
)
_CSV = ",".join(cell + "?" * (name not in WHOLE_NUMBERS) for name, cell in _CELLS.items())
_LINES = {
    ".jsonl": re.compile(rf"\{{{_JSON}\}}", re.ASCII),
    ".csv": re.compile(_CSV, re.ASCII),
}
# How every log begins, unless it is cut off earlier
_BEGINNINGS = {".jsonl": b'{"epoch": ', ".csv": HEADERS[".csv"]}


class MetricsLog:
    """A file that grows by a line with every epoch, and survives however the run ends.

    Between two lines the file is closed, so nothing needs to be flushed or closed at the end. Until
    the first line, an existing file stays unchanged.

    Args:
        path: Its ending, one of `ENDINGS`, chooses the format.
        after_step: None for a new run, which starts a new file and keeps an existing one as
            ``NAME.bak.ENDING``. For a resumed run, the steps taken so far: lines up to this step
            are kept, later ones and an incomplete last line are dropped, so that in the end every
            line appears once. If lines of several epochs are dropped, the file is kept as
            ``NAME.bak.ENDING`` as well: resuming a run repeats at most one epoch, so these lines
            may be another run's.

    Attributes:
        backup: The copy of the previous file; None until one is made.

    Raises:
        UsageError: The file of a resumed run cannot be read, or is not a log. It stays unchanged.
    """

    def __init__(self, path: Path, *, after_step: int | None) -> None:
        self._path, self._format = path, path.suffix.lower()
        # Whether the file may hold lines of another run, and needs a backup
        self._is_precious = after_step is None
        # What to write before the first line; None once that is done
        self._head: bytes | None = HEADERS[self._format]
        self.backup: Path | None = None
        if after_step is not None:
            self._head = self._read_lines(after_step)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a line, completely or not at all.

        Args:
            row: The values of `COLUMNS`, named as in an `Epoch`; others are ignored. None and
                numbers that are not finite are left empty.

        Raises:
            UsageError: The file cannot be written.
        """
        line = self._format_line(row)
        if self._head is not None:
            if self._is_precious:
                self.backup = back_up(self._path)
            with atomic_write(self._path) as file:
                file.write(self._head + line)
            self._head = None
            return
        size = None
        try:
            with self._path.open("ab") as file:
                size = file.tell()
                # The file is empty if it has been moved away: then it needs its header again.
                file.write(line if size else HEADERS[self._format] + line)
                file.flush()
                if row["test_loss"] is not None:
                    # The checkpoint is saved next, and the log must never be behind it.
                    os.fsync(file.fileno())
        except OSError as error:
            if size is not None:
                with suppress(OSError):
                    os.truncate(self._path, size)
            raise cannot_write(self._path, error) from error

    def _format_line(self, row: Mapping[str, Any]) -> bytes:
        values = {name: _plain(name, row[name]) for name in COLUMNS}
        if self._format == ".csv":
            text = ",".join("" if value is None else repr(value) for value in values.values())
        else:
            text = json.dumps(values, allow_nan=False)
        return f"{text}\n".encode()

    def _read_lines(self, after_step: int) -> bytes:
        """Read the header and the lines up to a step, and decide whether to back up the file."""
        header = HEADERS[self._format]
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return header
        except OSError as error:
            raise UsageError(
                f"cannot read {self._path} to continue it ({error.strerror})",
                "name another file for --log",
            ) from error
        lines = _match_lines(content, self._format)
        if lines is None:
            raise UsageError(
                f"{self._path} is not a log of a run to continue", "name another file for --log"
            )
        dropped = {line["epoch"] for line in lines if int(line["step"]) > after_step}
        self._is_precious = len(dropped) > 1
        kept = [line[0] for line in lines if int(line["step"]) <= after_step]
        return header + b"".join(f"{line}\n".encode() for line in kept)


def _match_lines(content: bytes, ending: str) -> list[re.Match[str]] | None:
    """Match a log's lines, but for an incomplete last one, with groups named as in `COLUMNS`.

    Returns:
        None if this is not a log.
    """
    beginning = _BEGINNINGS[ending]
    # Anything after the last line break is a line that was not written completely.
    lines = content[len(HEADERS[ending]) :].split(b"\n")[:-1]
    matches = [_LINES[ending].fullmatch(line.decode("latin-1")) for line in lines]
    found = [match for match in matches if match is not None]
    is_log = beginning.startswith(content[: len(beginning)]) and len(found) == len(lines)
    return found if is_log else None


def read_losses(path: Path) -> list[Losses]:
    """Read the losses of all whole epochs from a log; none of an epoch whose loss is not finite.

    Args:
        path: Its ending is one of `ENDINGS`.

    Raises:
        DataError: The file cannot be read, or is not a log.
    """
    try:
        lines = _match_lines(path.read_bytes(), path.suffix.lower())
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}", "write a log with `ae train --log`") from error
    except OSError as error:
        raise unreadable(path, "a log", error) from error
    refusal = DataError(f"{path} is not a log that `ae train --log` wrote", "name another file")
    if lines is None:
        raise refusal
    try:
        history = [
            Losses(int(line["epoch"]), float(line["train_loss"]), float(line["test_loss"]))
            for line in lines
            if line["train_loss"] and line["test_loss"]  # others are of a step within an epoch
        ]
    except ValueError as error:  # such as a number 1.2.3
        raise refusal from error
    if not all(map(math.isfinite, chain.from_iterable(history))):  # such as 1e999
        raise refusal
    return history


def _plain(name: str, value: Any) -> float | None:
    """Convert a value to a Python number, which is written with no more digits than needed."""
    if name in WHOLE_NUMBERS:
        return int(value)
    return float(value) if value is not None and math.isfinite(value) else None
