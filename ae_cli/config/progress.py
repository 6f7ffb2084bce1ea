"""How a long operation reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

# What is counted: bytes of a download, image files, images, frames of a film, epochs, or nothing.
Unit = Literal["bytes", "files", "images", "frames", "epochs", ""]

# Called with the operation's name, the amount done, the total (None if unknown) and the unit.
Progress: TypeAlias = Callable[[str, int, "int | None", Unit], None]


def ignore_progress(name: str, done: int, total: int | None, unit: Unit) -> None:
    """Show nothing."""
