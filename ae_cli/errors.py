"""What can go wrong through no fault of the program, each kind with its exit code."""

from __future__ import annotations

from typing import ClassVar

LONGEST_CAUSE = 120  # characters


class AeError(Exception):
    """Something that a person can put right.

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
    """An option's value, a device that is not there, an output that cannot be written."""

    exit_code = 2


class DataError(AeError):
    """A data set, an image file or a table that cannot be read."""

    exit_code = 3


class CheckpointError(AeError):
    """A checkpoint that cannot be read, or does not fit what it is used for."""

    exit_code = 4


class DivergedError(CheckpointError):
    """A model whose numbers grow beyond all that can be computed with."""

    def __init__(self) -> None:
        super().__init__(
            "the model makes of an image what is no finite number",
            "train again with a smaller --lr, or name another checkpoint",
        )


class TrainingError(AeError):
    """Training that cannot go on."""

    exit_code = 5


class Interrupted(AeError):  # noqa: N818 - not an error of anybody's
    """A person pressed Ctrl-C."""

    exit_code = 130
    what: ClassVar[str] = "interrupted"

    def __init__(self, problem: str | None = None, remedy: str = "nothing is half-written") -> None:
        super().__init__(problem or self.what, remedy)


class Terminated(Interrupted):
    """Another program asked this one to end, by SIGTERM, or its terminal was closed."""

    exit_code = 143
    what = "terminated"


class Termination(KeyboardInterrupt):
    """What SIGTERM and SIGHUP raise, so that what cleans up after Ctrl-C does so after them."""


def kind_of_interruption(raised: KeyboardInterrupt) -> type[Interrupted]:
    """Find the error that stands for what a signal raised."""
    return Terminated if isinstance(raised, Termination) else Interrupted


def brief(error: BaseException) -> str:
    """The first line of what somebody else's exception says, cut if it is long, or its kind."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:LONGEST_CAUSE]
