"""Handling signals while a command runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ae_cli.errors import Termination
from ae_cli.training.stopping import SIGNALS, current_handlers, restore


@contextmanager
def signals_raise(*, restoring: bool) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP raise `Termination`.

    Args:
        restoring: Whether to restore all handlers at the end, even after `ignore_signals`. False if
            the process is about to end, as a late signal would change its exit code.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise Termination

    before = current_handlers()
    for number in SIGNALS[1:]:
        if before[number] is not signal.SIG_IGN:  # as with nohup
            signal.signal(number, end)
    try:
        yield
    finally:
        if restoring:
            restore(before)


def ignore_signals() -> None:
    """Ignore all signals, as the program is about to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
