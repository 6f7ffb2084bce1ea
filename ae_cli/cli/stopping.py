"""Handling signals while a command runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from ae_cli.errors import Termination
from ae_cli.training.stopping import SIGNALS, current_handlers, restore


@dataclass
class Signals:
    """What signals do while a command runs.

    Attributes:
        ignored: Whether they do nothing any more, because the command is ending. Setting this calls
            nothing, so no signal can come in between, as it can while handlers are replaced.
    """

    ignored: bool = False


@contextmanager
def signals_raise(*, restoring: bool) -> Iterator[Signals]:
    """While the block runs, SIGINT raises `KeyboardInterrupt`, SIGTERM and SIGHUP `Termination`.

    Args:
        restoring: Whether to restore all handlers at the end. False if the process is about to end,
            as a late signal would change its exit code.
    """
    signals = Signals()

    def end(number: int, frame: FrameType | None) -> None:
        if not signals.ignored:
            raise KeyboardInterrupt if number == signal.SIGINT else Termination

    before = current_handlers()
    for number in SIGNALS:
        if before[number] is not signal.SIG_IGN:  # as with nohup
            signal.signal(number, end)
    try:
        yield signals
    finally:
        if restoring:
            restore(before)
