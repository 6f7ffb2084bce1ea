"""``ae explore``."""

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
from ae_cli.config.commands import ExploreOptions
from ae_cli.results import format_shape


@expand
def explore(
    options: ExploreOptions,
    checkpoint: CheckpointOption = CHECKPOINT,
    show: ShowOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Make a page in which you walk through the latent space.

    It is a single HTML file that needs no network. It holds images, their latents, and the decoder,
    which draws the image at any point of the latent space while you move through it.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.latents import explore

    with reporter.progress() as progress:
        made = call_with(explore.explore, checkpoint, options, progress=progress)
    by_split = ", ".join(f"{error:.4f} over {name}" for name, error in made.split_errors.items())
    of_each = f": {by_split}" if len(made.split_errors) > 1 else ""
    reporter.say("error", f"mean {made.mean_error:.4f} over the images drawn{of_each}")
    changes = [] if made.lossless else ["stored as JPEG"]
    if made.reduced:
        changes.append(f"reduced to {format_shape(made.thumbnail)} pixels")
    if changes:
        reporter.say(
            "images", f"{' and '.join(changes)} to keep the page small; a smaller --n is sharper"
        )
    sample = explore.describe_sample(made.images, made.there)
    reporter.say_written("page", made.out, f"{sample}, {made.bytes / 1e6:.1f} MB")
    if show:
        reporter.show_file("page", made.out)
    reporter.say("next", f"ae evaluate{checkpoint_argument(checkpoint)}")
    reporter.emit("result", **made.as_json())
