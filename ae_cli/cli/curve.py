"""``ae curve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import JsonOption, QuietOption, ShowOption, checkpoint_argument, expand
from ae_cli.config import CHECKPOINT, call_with
from ae_cli.config.curve import CurveOptions
from ae_cli.results import count_epochs


@expand
def curve(
    options: CurveOptions,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="The checkpoints of runs, with their resume files beside them, or their logs. "
            f"By default {CHECKPOINT}.",
            show_default=False,
        ),
    ] = None,
    show: ShowOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Draw how the losses of runs changed from epoch to epoch.

    They are those of the training and the test images, as `ae train` prints them. The lowest test
    loss of each run is marked. While a run trains, its epochs so far are drawn.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.training import curve

    made = call_with(curve.curve, runs, options)
    for run in made.runs:
        reporter.say(
            "run",
            f"{run.source}: {count_epochs(run.epochs)}, lowest test loss "
            f"{run.lowest_test_loss:.4f} in epoch {run.lowest_epoch}",
        )
    reporter.say_written("picture", made.out)
    first = made.runs[0].source
    kept = first if first.suffix == CHECKPOINT.suffix else CHECKPOINT
    reporter.say("next", f"ae evaluate{checkpoint_argument(kept)}")
    reporter.emit("result", **made.as_json())
    if show:
        reporter.show_picture(made.draw, made.out)
