"""Ending when a signal says so, but not in the middle of something."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ae_cli.errors import Interrupted, Terminated, Termination

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last one: the terminal was closed


@dataclass
class Stop:
    """Whether the program is to end.

    Attributes:
        kind: The error to end with; None as long as nobody wants an end.
    """

    kind: type[Interrupted] | None = None


@contextmanager
def signals_raise(*, restoring: bool) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP raise `Termination`, as Ctrl-C KeyboardInterrupt.

    Args:
        restoring: Whether at its end all are as they were, whatever `ignore_signals` has made of
            them. Not where the process is about to end: a late signal would change its exit code.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise Termination

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS[1:]:
        if before[number] is not signal.SIG_IGN:  # as with nohup
            signal.signal(number, end)
    try:
        yield
    finally:
        if restoring:
            _restore(before)


def ignore_signals() -> None:
    """Let no signal do anything any more: the program is about to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def postponed() -> Iterator[Stop]:
    """While the block runs, the first of `SIGNALS` is only noted. The second acts as ever."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        stop.kind = Interrupted if number == signal.SIGINT else Terminated
        _restore(before)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield stop
    finally:
        _restore(before)


def _restore(before: dict[signal.Signals, Any]) -> None:
    """Let each signal do again what it did."""
    for number, handler in before.items():
        signal.signal(number, handler)
