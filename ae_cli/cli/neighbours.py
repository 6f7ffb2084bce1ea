"""``ae neighbours``."""

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
from ae_cli.config.neighbours import NeighboursOptions
from ae_cli.results import count_rows


@expand
def neighbours(
    options: NeighboursOptions,
    checkpoint: CheckpointOption = CHECKPOINT,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Find the images that are most like an image: those whose latents are nearest.

    The distance is Euclid's, between latents: with a model that starts from PCA, about that of the
    pixels, from 0 to 1 each. All images are compared, not only some.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.analysis import neighbours

    with reporter.progress() as progress:
        found = call_with(neighbours.neighbours, checkpoint, options, progress=progress)
    columns, rows = found.summary()
    reporter.table(columns, rows)
    of = f"{found.queries:,} images" if found.queries > 1 else found.names[0]
    reporter.say("neighbours", f"the {found.n:,} nearest to {of}, among {found.images:,} images")
    if len(distances := found.table["distance"]):
        reporter.say(
            "distance",
            f"{distances.min():.3g} to {distances.max():.3g}, and {found.mean_distance:.3g} on "
            "average to all others",
        )
    reporter.say_written("table", found.out, count_rows(found.queries * found.n, len(rows)))
    reporter.say_written("picture", found.picture)
    reporter.say("next", f"ae duplicates{checkpoint_argument(checkpoint)}")
    reporter.emit("result", **found.as_json())
