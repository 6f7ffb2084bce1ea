"""``ae embed``."""

from __future__ import annotations

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import CheckpointOption, JsonOption, QuietOption, expand
from ae_cli.config import CHECKPOINT, call_with
from ae_cli.config.commands import EmbedOptions
from ae_cli.files import shell_word
from ae_cli.results import count_rows


@expand
def embed(
    options: EmbedOptions,
    checkpoint: CheckpointOption = CHECKPOINT,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Write a table with the latents of every image.

    Its columns are index, split, name, label, z1, z2, …, error (the reconstruction error) and run
    (which run's model made it). Name and label exist only if the images have them. If the images
    come from a table, its other columns follow.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.latents import embed

    with reporter.progress() as progress:
        made = call_with(embed.embed, checkpoint, options, progress=progress)
    errors = [f"{error:.4f} over {name}" for name, error in made.mean_error.items()]
    reporter.say("error", "mean " + ", ".join(errors))
    rows = count_rows(made.rows)
    reporter.say_written("table", made.out, f"{rows}, latents z1 to z{made.latent_dim}")
    if made.out is not None:
        reporter.say("next", f"ae plot3d {shell_word(made.out)}")
    reporter.emit("result", **made.as_json())
