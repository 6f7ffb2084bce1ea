"""``ae decode``."""

from __future__ import annotations

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import (
    CheckpointOption,
    JsonOption,
    QuietOption,
    checkpoint_argument,
    expand,
)
from ae_cli.config import CHECKPOINT, call_with
from ae_cli.config.commands import DecodeOptions


@expand
def decode(
    options: DecodeOptions,
    checkpoint: CheckpointOption = CHECKPOINT,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Decode latents to images: from a table, on a grid, between two images, or at random."""
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.latents import decode

    with reporter.progress() as progress:
        made = call_with(decode.decode, checkpoint, options, progress=progress)
    if made.kind == "picture" and (options.grid or options.ends):
        reporter.preview_grid(made.pixels, columns=options.grid or made.images)
    elif made.kind == "picture":
        reporter.preview(made.pixels, what="images")
    reporter.say("decoded", made.points.what)
    reporter.say_written(made.kind, made.out)
    reporter.say("next", f"ae explore --show{checkpoint_argument(checkpoint)}")
    reporter.emit("result", **made.as_json())
