"""``ae plot3d``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from ae_cli.cli.options import JsonOption, QuietOption, ShowOption, parse_axes, parse_count
from ae_cli.config import TABLE
from ae_cli.console import Reporter
from ae_cli.errors import UsageError
from ae_cli.files import check_output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ae_cli.latents import Latents

DEFAULT_COUNT = 200  # as many as the tutorial draws

Color = Literal["label", "error", "split", "none"]


def plot3d(
    table: Annotated[
        Path, typer.Argument(metavar="[TABLE]", help="The table that `ae embed` made.")
    ] = TABLE,
    n: Annotated[
        str | None,
        typer.Option(
            "--n",
            metavar="N",
            help="How many rows, from the first; or all.",
            show_default=str(DEFAULT_COUNT),
        ),
    ] = None,
    color: Annotated[
        Color | None,
        typer.Option(
            help="What the colours mean.", show_default="label if there are labels, or else error"
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Which two or three latents to draw, such as z2,z5,z7.",
            show_default="the first three",
        ),
    ] = None,
    azim: Annotated[float, typer.Option(help="Turn the plot to this angle, in degrees.")] = -60,
    elev: Annotated[float, typer.Option(help="Look from this angle above, in degrees.")] = 30,
    title: Annotated[
        str | None, typer.Option(help="What to write above.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The picture: .png, .svg, .pdf, .jpg and more.",
            show_default="the table's name with .png",
        ),
    ] = None,
    show: ShowOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Draw the latents of a table as points in space, coloured by label.

    It needs the table alone. Up to 300 images are drawn as their labels, and more as dots. A table
    with two latents is drawn flat; of more than three, the first three are drawn.
    """
    reporter = Reporter(quiet=quiet, json=json)
    out = out or table.parent / f"{table.stem or TABLE.stem}.png"
    wanted = parse_count("--n", n)
    for option, angle in (("--azim", azim), ("--elev", elev)):
        if not math.isfinite(angle):
            raise UsageError(f"{option} is {angle}", "give an angle in degrees")

    from ae_cli import figures
    from ae_cli.latents import read_latents

    check_output(out, figures.endings())
    latents = read_latents(table)
    there = len(latents)
    if wanted is not None and wanted > there:
        raise UsageError(
            f"--n is {wanted}, and {table} has {there:,} rows", f"give at most {there}, or all"
        )
    count = wanted or min(DEFAULT_COUNT if n is None else there, there)
    names, points = _choose_axes(axes, latents, table)
    color = _choose_color(color, latents, table)
    groups = {"label": latents.label, "split": latents.split}.get(color)
    values = latents.error if color == "error" else None

    figure, in_window = figures.new_figure(window=show)
    figures.draw_latents(
        figure,
        points[:count],
        names,
        title=_default_title(count, there) if title is None else title,
        groups=None if groups is None else groups[:count],
        group_name=color,
        values=None if values is None else values[:count],
        azim=azim,
        elev=elev,
    )
    figures.save(figure, out)
    reporter.say("points", f"{count:,} of {there:,} rows, {', '.join(names)}, colour: {color}")
    reporter.say("picture", str(out))
    if show and not in_window:
        reporter.warn(f"no display to open a window on; the picture is in {out}")
    reporter.emit("result", out=str(out), points=count, rows=there, axes=names, color=color)
    if in_window:
        figures.show()


def _default_title(count: int, there: int) -> str:
    first = "" if count == there else f"the first {count:,} of "
    return f"Latents of {first}{there:,} image{'s' * (there > 1)}"


def _choose_axes(
    axes: str | None, latents: Latents, table: Path
) -> tuple[list[str], NDArray[np.float32]]:
    """The names of the axes and the points, float32 (n, 2) or (n, 3)."""
    import numpy as np

    there = [f"z{i + 1}" for i in range(latents.z.shape[1])]
    if axes is None and len(there) == 1:  # a line of points says little: spread them by their row
        return ["z1", "row"], np.column_stack([latents.z, np.arange(len(latents))])
    if axes is None:
        places = list(range(min(len(there), 3)))
    else:
        places = parse_axes(axes, len(there), counts=(2, 3), owner=table)
    return [there[i] for i in places], latents.z[:, places]


def _choose_color(color: Color | None, latents: Latents, table: Path) -> Color:
    """What to colour by: what is asked for, if the table has it, or the first that it has."""
    there: list[Color] = [
        name for name in get_args(Color) if name == "none" or getattr(latents, name) is not None
    ]
    if color is None:
        return next(name for name in ("label", "error", "none") if name in there)
    if color not in there:
        raise UsageError(
            f"--color is {color}, and {table} has no such column",
            f"choose one of {', '.join(there)}",
        )
    return color
