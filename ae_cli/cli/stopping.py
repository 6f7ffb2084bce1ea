"""Ending when a signal says so, but not in the middle of something."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from ae_cli.errors import Interrupted, Terminated, Termination


@dataclass
class Stop:
    """Whether the program is to end.

    Attributes:
        kind: The error to end with; None as long as nobody wants an end.
    """

    kind: type[Interrupted] | None = None


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """While the block runs, SIGTERM raises `Termination`, as Ctrl-C raises KeyboardInterrupt.

    At its end both are as they were, whatever `ignore_signals` has made of them.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise Termination

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """Let neither Ctrl-C nor SIGTERM do anything any more: the program is about to end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def postponed() -> Iterator[Stop]:
    """While the block runs, the first Ctrl-C or SIGTERM is only noted. The second acts as ever."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        stop.kind = Terminated if number == signal.SIGTERM else Interrupted
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as with nohup
            signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
