"""The options of ``curve``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ae_cli.config.commands import PICTURE, output_option


@dataclass(frozen=True, kw_only=True)
class CurveOptions:
    """Where to draw the losses of runs.

    Attributes:
        out: The picture to write; None for none.
    """

    out: Path | str | None = output_option(f"The picture: {PICTURE}.", Path("curve.png"))
