"""Errors that are not bugs in the program, each kind with its exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

LONGEST_CAUSE = 120  # characters


class AeError(Exception):
    """An error that the user can fix.

    Args:
        problem: What is wrong with what.
        remedy: What to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class UsageError(AeError):
    """An invalid option value, a missing device, or an output that cannot be written."""

    exit_code = 2


class DataError(AeError):
    """A data set, an image file or a table that cannot be read."""

    exit_code = 3


class CheckpointError(AeError):
    """A checkpoint that cannot be read, or does not suit what it is used for."""

    exit_code = 4


class DivergedError(CheckpointError):
    """A model whose outputs are no longer finite numbers."""

    def __init__(self) -> None:
        super().__init__(
            "the model's output for an image is not a finite number",
            "train again with a smaller --lr, or name another checkpoint",
        )


class TrainingError(AeError):
    """Training that cannot continue."""

    exit_code = 5


class LostProcessError(TrainingError):
    """One of several processes has ended, or cannot be reached."""

    def __init__(
        self,
        problem: str = "another process of this run has ended, or cannot be reached",
        remedy: str = "start all of them again",
    ) -> None:
        super().__init__(problem, remedy)


class Interrupted(AeError):  # noqa: N818 - nobody made an error
    """The user pressed Ctrl-C."""

    exit_code = 130
    what: ClassVar[str] = "interrupted"

    def __init__(self, problem: str | None = None, remedy: str = "nothing is half-written") -> None:
        super().__init__(problem or self.what, remedy)


class Terminated(Interrupted):
    """Another program ended this one with SIGTERM, or its terminal was closed."""

    exit_code = 143
    what = "terminated"


class Termination(KeyboardInterrupt):
    """What SIGTERM and SIGHUP raise, so that code which cleans up after Ctrl-C handles them too."""


class AeWarning(UserWarning):
    """Something that the user should know, but that does not stop the program."""


def warn(message: str) -> None:
    """Issue an `AeWarning`, which the command line prints as one line.

    In Python it names the line of the caller's own code that called the package.
    """
    level, frame = 1, sys._getframe(0)
    while frame.f_back and frame.f_globals["__name__"].partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, AeWarning, stacklevel=level)


@contextmanager
def unwarned() -> Iterator[None]:
    """Issue no `AeWarning` while the block runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AeWarning)
        yield


def kind_of_interruption(raised: KeyboardInterrupt) -> type[Interrupted]:
    """Find the error class that corresponds to what a signal raised."""
    return Terminated if isinstance(raised, Termination) else Interrupted


def brief(error: BaseException) -> str:
    """The first line of a library's exception, cut if it is long; its type if it has no text."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:LONGEST_CAUSE]
