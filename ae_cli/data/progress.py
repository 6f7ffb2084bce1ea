"""How a source tells what it is doing while that takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

Unit = Literal["bytes", "images"]

# Called with what is being downloaded or decoded, how much of it is done, how much there is in all
# (if known), and what is counted: the bytes of a download, or images that are decoded.
Progress: TypeAlias = Callable[[str, int, "int | None", Unit], None]
