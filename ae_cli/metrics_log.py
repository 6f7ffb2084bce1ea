"""The log of a training, ``ae train --log``: a line per epoch, as JSON or as CSV."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ae_cli.errors import UsageError
from ae_cli.files import atomic_write, back_up, cannot_write

if TYPE_CHECKING:
    from ae_cli.train import Step

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

# What a line looks like, with its step. A pattern, since it is proof against whatever a file holds:
# a parser stumbles over lists in a thousand lists, and numbers of a million digits.
_WHOLE, _NUMBER = r"(\d{1,18})", r"[-+.\de]+"
_CELLS = [(name, _WHOLE if name in WHOLE_NUMBERS else None) for name in COLUMNS]
_JSON = ", ".join(f'"{name}": {whole or f"(?:{_NUMBER}|null)"}' for name, whole in _CELLS)
_CSV = ",".join(whole or f"(?:{_NUMBER})?" for _, whole in _CELLS)
_LINES = {
    ".jsonl": re.compile(rf"\{{{_JSON}\}}", re.ASCII),
    ".csv": re.compile(_CSV, re.ASCII),
}
# How a file begins that is not cut off before.
_BEGINNINGS = {".jsonl": b'{"epoch": ', ".csv": HEADERS[".csv"]}


class MetricsLog:
    """A file that grows by a line with every epoch, and outlives whatever ends the training.

    Between two lines the file is closed: there is nothing to flush, and nothing to close. Until the
    first line, it stays as it was.

    Args:
        path: Its ending, one of `ENDINGS`, chooses the format.
        after_step: None for a new training, which begins the file anew: one that stood there is
            kept as ``NAME.bak.ENDING``. Otherwise the updates made so far by the training that goes
            on. Its lines up to there are kept, later ones are dropped, and so is a last one that
            was not written to its end, so that in the end every line is there once. Where lines of
            several epochs are dropped, the file is kept as ``NAME.bak.ENDING``, too: those of one
            are all that a training can lose, and they may be another's.

    Attributes:
        backup: The copy of the file that stood there; None until one is made.

    Raises:
        UsageError: The file to go on with cannot be read, or is no such log. It stays as it is.
    """

    def __init__(self, path: Path, *, after_step: int | None) -> None:
        self._path, self._format = path, path.suffix.lower()
        # Whether the file holds what another training may have written.
        self._is_precious = after_step is None
        # What stands before the first line that is to be written; None once that is done.
        self._head: bytes | None = HEADERS[self._format]
        self.backup: Path | None = None
        if after_step is not None:
            self._head = self._read_lines(after_step)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a line, whole.

        Args:
            row: The values of `COLUMNS`, and maybe others, named as in an `Epoch`.
                A number that is not finite is left empty, as is None.

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
                # Somebody may have moved the file away.
                file.write(line if size else HEADERS[self._format] + line)
                file.flush()
                if row["test_loss"] is not None:
                    # The checkpoint is saved next, and the log must never lie behind it.
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
        """What the file holds up to a step, its header included. And see if more is precious."""
        header, pattern = HEADERS[self._format], _LINES[self._format]
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return header
        except OSError as error:
            raise UsageError(
                f"cannot read {self._path} to go on with it ({error.strerror})",
                "name another file for --log",
            ) from error
        beginning = _BEGINNINGS[self._format]
        is_log = beginning.startswith(content[: len(beginning)])
        # What follows the last line's end was torn off in the middle of writing.
        lines = content[len(header) :].split(b"\n")[:-1]
        matches = [pattern.fullmatch(line.decode("latin-1")) for line in lines]
        places = [(int(match[1]), int(match[2])) for match in matches if match]
        if not is_log or len(places) != len(lines):
            raise UsageError(
                f"{self._path} is no log of a training to go on with", "name another file for --log"
            )
        self._is_precious = len({epoch for epoch, step in places if step > after_step}) > 1
        kept = [line for line, (_, step) in zip(lines, places, strict=True) if step <= after_step]
        return header + b"".join(line + b"\n" for line in kept)


def step_row(step: Step) -> dict[str, float | None]:
    """The line of a step within an epoch: it has no test loss.

    Returns:
        The values of `COLUMNS`. One that is no finite number is None, as it is in the file.
    """
    row = {
        "epoch": step.epoch,
        "step": step.updates,
        "train_loss": step.train_loss,
        "test_loss": None,
        "learning_rate": step.learning_rate,
        "images_per_second": step.images_per_second,
        "seconds": step.seconds,
    }
    return {name: _plain(name, value) for name, value in row.items()}


def _plain(name: str, value: Any) -> float | None:
    """A value as Python's own number, which has no more digits than it needs."""
    if name in WHOLE_NUMBERS:
        return int(value)
    return float(value) if value is not None and math.isfinite(value) else None
