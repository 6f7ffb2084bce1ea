"""``ae sweep``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import JsonOption, QuietOption, expand
from ae_cli.config.sweep import SweepOptions
from ae_cli.files import shell_word

if TYPE_CHECKING:
    from ae_cli.sweeps.record import Measured
    from ae_cli.sweeps.sweep import Sweep


@expand
def sweep(options: SweepOptions, quiet: QuietOption = False, json: JsonOption = False) -> None:
    """Train models with several numbers of latents, to see how many are enough.

    An interrupted sweep continues with the same command. A model that is there already is not
    trained again.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.sweeps import sweep

    models = len(options.numbers) * len(options.families)
    reporter.say(
        "models",
        f"{models:,}, with {', '.join(map(str, options.numbers))} latents, in {options.out}; those "
        "that are there already are not trained again",
    )
    with reporter.progress() as progress:
        made = sweep.carry_out(replace(options, progress=progress))
    reporter.table(*made.summary())
    reporter.say(
        "figures",
        f"from {made.held_out:,} held-out images"
        + (f", which also chose the {' and the '.join(made.chose)}" if made.chose else ""),
    )
    for name, count in made.enough.items():
        reporter.answer("enough", f"{name}: {_explain(made, name, count)}")
        if made.chance is not None:
            best = max((row for row in made.models if row.model == name), key=_accuracy)
            reporter.answer(
                "labels",
                f"{name}: predicted best with {best.latents} latents, {best.knn:.1%} of them "
                f"({made.chance:.1%} by chance)",
            )
    reporter.say("table", str(made.table))
    reporter.say("picture", str(made.picture))
    least = min(made.models, key=lambda row: row.error)
    reporter.say("next", f"ae explore --checkpoint {shell_word(made.out / least.checkpoint)}")
    reporter.emit("result", **made.as_json())


def _accuracy(row: Measured) -> float:
    return row.knn or 0.0


def _explain(made: Sweep, name: str, count: int | None) -> str:
    """Say from where on more latents lower the error only a little."""
    rows = [row for row in made.models if row.model == name]
    if count is None:
        if len(rows) < 2:
            return "one number of latents cannot tell; give several with --latent-dim"
        return (
            f"not yet: from {rows[-2].latents} to {rows[-1].latents} latents the error still falls "
            f"by {1 - rows[-1].error / rows[-2].error:.0%}; try more, such as --latent-dim "
            f"{rows[-1].latents},{2 * rows[-1].latents}"
        )
    place = next(i for i, row in enumerate(rows) if row.latents == count)
    row, more = rows[place], rows[place + 1]
    change = 1 - more.error / row.error if row.error else 0.0
    return (
        f"{count} latents: with {more.latents} the error is {abs(change):.0%} "
        f"{'lower' if change >= 0 else 'higher'}, less than a tenth for twice as many"
    )
