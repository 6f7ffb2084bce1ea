"""Stopping after a signal, but not in the middle of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ae_cli.errors import Interrupted, Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed


@dataclass
class Stop:
    """Whether to stop.

    Attributes:
        kind: The error to end with; None until a signal arrives.
    """

    kind: type[Interrupted] | None = None


@contextmanager
def postponed() -> Iterator[Stop]:
    """While the block runs, only note the first of `SIGNALS`. A second one acts as usual.

    Python handles signals in the main thread only: in another thread, nothing is changed.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = current_handlers()

    def note(number: int, frame: FrameType | None) -> None:
        stop.kind = Interrupted if number == signal.SIGINT else Terminated
        restore(before)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield stop
    finally:
        restore(before)


def current_handlers() -> dict[signal.Signals, Any]:
    """The handler of each signal."""
    return {number: signal.getsignal(number) for number in SIGNALS}


def restore(before: Mapping[signal.Signals, Any]) -> None:
    """Restore the handlers of signals."""
    for number, handler in before.items():
        signal.signal(number, handler)
