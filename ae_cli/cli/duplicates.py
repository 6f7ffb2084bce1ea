"""``ae duplicates``."""

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
from ae_cli.config.neighbours import DuplicatesOptions
from ae_cli.results import count_rows


@expand
def duplicates(
    options: DuplicatesOptions,
    checkpoint: CheckpointOption = CHECKPOINT,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Find images that are there more than once, even if they were saved again or made smaller.

    Two images are duplicates if both their latents and their pixels are about as near as those of
    held-out images and copies of these, saved again, smaller or brighter: at a distance of 1.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.analysis import duplicates

    with reporter.progress() as progress:
        found = call_with(duplicates.duplicates, checkpoint, options, progress=progress)
    columns, rows = found.summary()
    if rows:
        reporter.table(columns, rows)
    unsure = "; other images may be, too: look at the picture" if rows else ""
    reporter.say(
        "distance",
        f"95 % of copies made of {found.held_out:,} held-out {found.held_out_from} images are "
        f"within 1 of their original{unsure}",
    )
    across = f"; {found.across:,} of them in the other split" if found.across else ""
    reporter.say(
        "duplicates",
        f"{found.duplicates:,} of {found.images:,} images are like an earlier one{across}",
    )
    reporter.say_written("table", found.out, count_rows(found.duplicates, len(rows)))
    reporter.say_written("picture", found.picture)
    reporter.say("next", f"ae explore --show{checkpoint_argument(checkpoint)}")
    reporter.emit("result", **found.as_json())
