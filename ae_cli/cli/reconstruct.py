"""``ae reconstruct``."""

from __future__ import annotations

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import (
    CheckpointOption,
    JsonOption,
    QuietOption,
    ShowOption,
    checkpoint_argument,
    expand,
)
from ae_cli.config import CHECKPOINT, call_with
from ae_cli.config.commands import ReconstructOptions


@expand
def reconstruct(
    options: ReconstructOptions,
    checkpoint: CheckpointOption = CHECKPOINT,
    show: ShowOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Draw images above their reconstructions.

    Each image is titled with its label and its reconstruction error: the mean squared difference of
    the pixels, which range from 0 (black) to 1 (white).
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.latents import reconstruct

    with reporter.progress() as progress:
        made = call_with(reconstruct.reconstruct, checkpoint, options, progress=progress)
    reporter.preview(made.originals, made.pixels, what="images, above their reconstructions")
    drawn = f"mean {made.errors.mean():.4f} over the image{'s' * (len(made.errors) > 1)} drawn"
    of_all = f", {made.mean_error:.4f} over all {made.split_images:,} {made.split} images"
    reporter.say("error", drawn + of_all * (len(made.errors) < made.split_images))
    reporter.say_written("picture", made.out)
    reporter.say("next", "ae embed --out latents.csv" + checkpoint_argument(checkpoint))
    reporter.emit("result", **made.as_json())
    if show:
        reporter.show_picture(made.draw, made.out)
