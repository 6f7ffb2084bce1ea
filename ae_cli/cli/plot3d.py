"""``ae plot3d``."""

from __future__ import annotations

import math
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from ae_cli.cli.options import (
    JsonOption,
    QuietOption,
    choose_count,
    parse_axes,
    parse_count,
)
from ae_cli.config import TABLE
from ae_cli.console import Reporter
from ae_cli.errors import UsageError
from ae_cli.files import check_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ae_cli.latents import Latents

DEFAULT_COUNT = 200  # as many as the tutorial draws
PAGE_COUNT = 50_000  # a page is for exploring; without a GPU, more are slow to turn
FRAMES = 80  # of a film in which the plot turns once

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
            show_default=f"{DEFAULT_COUNT}, or up to {PAGE_COUNT:,} in a page",
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
            help="A picture: .png, .svg, .pdf, .jpg and more. A film in which the plot turns once: "
            ".gif, .webp or .mp4. A page to turn it in oneself: .html.",
            show_default="the table's name with .png",
        ),
    ] = None,
    show: Annotated[
        bool,
        typer.Option(
            "--show",
            help="Open the picture in a window as well, a film or a page in a browser.",
            show_default=False,
        ),
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Draw the latents of a table as points in space, coloured by label.

    It needs the table alone. Up to 300 images are drawn as their labels, and more as dots. A table
    with two latents is drawn flat; of more than three, the first three are drawn. The ending of
    --out chooses between a picture, a film and a page for the browser, which needs no network.
    """
    reporter = Reporter(quiet=quiet, json=json)
    out = out or table.parent / f"{table.stem or TABLE.stem}.png"
    parse_count("--n", n)
    for option, angle in (("--azim", azim), ("--elev", elev)):
        if not math.isfinite(angle):
            raise UsageError(f"{option} is {angle}", "give an angle in degrees")

    from ae_cli import figures, page
    from ae_cli.latents import read_latents

    ending = out.suffix.lower()
    is_page = ending in page.ENDINGS
    is_film = ending in figures.FILM_ENDINGS and ending != ".png"
    if is_film:
        figures.check_film(out, "--out")
    else:
        check_output(out, {*figures.endings(), *figures.FILM_ENDINGS, *page.ENDINGS})
    latents = read_latents(table)
    there = len(latents)
    most = PAGE_COUNT if is_page else DEFAULT_COUNT
    count = choose_count("--n", n, there, most, f"{table} has {there:,} rows")
    names, points = _choose_axes(axes, latents, table)
    if is_film and len(names) < 3:
        raise UsageError(
            f"{out} is to show a plot that turns, and that of {' and '.join(names)} is flat",
            "choose .png, .svg or .html",
        )
    color = _choose_color(color, latents, table)
    if title is None:
        title = _default_title(count, there)
    rows, points = latents.head(count), points[:count]

    in_window = False
    if is_page:
        from ae_cli.page.scatter import write_scatter

        grouped = write_scatter(
            out, rows, points, names, title=title, color=color, azim=azim, elev=elev
        )
        if not grouped:
            reporter.warn(f"there are so many different {color}s that all points have one colour")
    else:
        figure, in_window = figures.new_figure(window=show and not is_film)
        figures.draw_latents(
            figure,
            points,
            names,
            title=title,
            groups={"label": rows.label, "split": rows.split}.get(color),
            group_name=color,
            values=rows.error if color == "error" else None,
            azim=azim,
            elev=elev,
        )
        if is_film:
            _film(figure, out, reporter)
        else:
            figures.save(figure, out)
    kind = "page" if is_page else "film" if is_film else "picture"
    reporter.say("points", f"{count:,} of {there:,} rows, {', '.join(names)}, colour: {color}")
    reporter.say(kind, str(out))
    reporter.emit("result", out=str(out), points=count, rows=there, axes=names, color=color)
    if in_window:
        figures.show()
    elif show and kind == "picture":
        reporter.warn(f"no display to open a window on; the picture is in {out}")
    elif show and not webbrowser.open(out.resolve().as_uri()):
        reporter.warn(f"no browser to open; the {kind} is in {out}")


def _film(figure: Figure, out: Path, reporter: Reporter) -> None:
    """Write a film in which the plot turns once."""
    from ae_cli import figures

    with reporter.progress("draw", FRAMES, "frames") as advance:

        def frames() -> Iterator[NDArray[np.uint8]]:
            for frame in figures.turn(figure, FRAMES):
                yield frame
                advance(1)

        figures.write_film(out, frames())


def _default_title(count: int, there: int) -> str:
    first = "" if count == there else f"the first {count:,} of "
    return f"Latents of {first}{there:,} image{'s' * (there > 1)}"


def _choose_axes(
    axes: str | None, latents: Latents, table: Path
) -> tuple[list[str], NDArray[np.float32]]:
    """The names of the axes and the points, float32 (n, 2) or (n, 3)."""
    from ae_cli.figures import spread

    there = [f"z{i + 1}" for i in range(latents.z.shape[1])]
    if axes is None and len(there) == 1:
        return ["z1", "row"], spread(latents.z)
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
