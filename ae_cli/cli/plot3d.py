"""``ae plot3d``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import JsonOption, QuietOption, ShowOption, expand
from ae_cli.config import CHECKPOINT, TABLE, call_with
from ae_cli.config.commands import PlotOptions


@expand
def plot3d(
    options: PlotOptions,
    table: Annotated[
        Path, typer.Argument(metavar="[TABLE]", help="The table that `ae embed` made.")
    ] = TABLE,
    show: ShowOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Draw the latents of a table as points in space, coloured by label.

    It needs only the table. Up to 300 images are drawn as their labels, and more as dots. Two
    latents are drawn flat; of more than three, the first three are drawn. The ending of --out
    chooses between a picture, a film and a page for the browser, which needs no network.
    """
    reporter = Reporter(quiet=quiet, json=json)
    if options.out is None:
        options = replace(options, out=table.parent / f"{table.stem or TABLE.stem}.png")
    from ae_cli.latents import plot3d

    with reporter.progress() as progress:
        plot = call_with(plot3d.plot3d, table, options, progress=progress)
    axes, latents = ", ".join(plot.axes), plot.latents.z.shape[1]
    if latents > len(plot.axes):
        axes += f" of {latents:,} latents"
    reporter.say("points", f"{plot.points:,} of {plot.rows:,} rows, {axes}, colour: {plot.color}")
    reporter.say_written(plot.kind, plot.out)
    if CHECKPOINT.exists():
        reporter.say("next", "ae explore --show")
    reporter.emit("result", **plot.as_json())
    if show and plot.kind == "picture":
        reporter.show_picture(plot.draw, plot.out)
    elif show:
        reporter.show_file(plot.kind, plot.out)
