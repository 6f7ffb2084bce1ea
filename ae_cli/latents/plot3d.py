"""Plotting the latents of a table in a picture, a film or a page. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ae_cli import figures, page
from ae_cli.config import TABLE, takes
from ae_cli.config.checks import choose_count, parse_axes
from ae_cli.config.commands import PLOTTED, PLOTTED_IN_PAGE, Color, PlotOptions
from ae_cli.errors import UsageError, warn
from ae_cli.files import check_output
from ae_cli.latents.read_table import read_latents
from ae_cli.latents.table import Latents, to_latents
from ae_cli.results import Result, count_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A table of latents, its path, an array of latents (n, k), or None for `TABLE`
Table: TypeAlias = Any

COLORED = {"label", "error"}  # columns that decide the colour unless one is named
FRAMES = 80  # in a film, in which the plot turns once


@dataclass(frozen=True)
class Plot(Result):
    """A plot of latents.

    Attributes:
        out: The picture, film or page; None if none was written.
        points: Number of points.
        rows: Number of rows in the table.
        axes: The names of the two or three axes.
        color: What the colours show.
        kind: What `out` is: ``picture``, ``film`` or ``page``.
        title: The title above the plot.
        latents: The rows that are drawn, with the columns that are needed for it.
        places: float32 (n, 2) or (n, 3), the coordinates of the points.
        azim: Viewing angle around the vertical axis, in degrees.
        elev: Viewing angle above the horizontal plane, in degrees.
    """

    out: Path | None
    points: int
    rows: int
    axes: list[str]
    color: Color
    kind: str = field(repr=False)
    title: str = field(repr=False)
    latents: Latents = field(repr=False)
    places: NDArray[np.float32] = field(repr=False)
    azim: float = field(repr=False)
    elev: float = field(repr=False)

    def draw(self, figure: Figure) -> None:
        """Draw the points."""
        rows, groups = self.latents, {"label": self.latents.label, "split": self.latents.split}
        figures.draw_latents(
            figure,
            self.places,
            self.axes,
            title=self.title,
            groups=groups.get(self.color),
            group_name=self.color,
            values=rows.error if self.color == "error" else None,
            azim=self.azim,
            elev=self.elev,
            turns=self.kind == "film",
        )

    def _repr_html_(self) -> str | None:  # type: ignore[override]
        return page.frame(self.out) if self.kind == "page" and self.out is not None else None

    def _repr_png_(self) -> bytes | None:
        return None if self.kind == "page" else figures.to_png(self.draw)


@takes(PlotOptions)
def plot3d(table: Table, options: PlotOptions) -> Plot:
    """Plot latents. Two are drawn flat; of more than three, the first three are drawn.

    Args:
        table: A table of latents, or its path; None for `TABLE`.
        options: See `PlotOptions`. The ending of `out` chooses a picture, a film or a page.

    Raises:
        AeError: The table cannot be read or lacks a column, or the plot cannot be written.
    """
    out = None if options.out is None else Path(options.out)
    kind = "picture" if out is None else _check_output(out)
    if table is not None and not isinstance(table, (str, Path)):
        latents, owner = table if isinstance(table, Latents) else to_latents(table), "the table"
    else:
        owner = str(TABLE if table is None else table)
        besides = COLORED if options.color is None else COLORED | {"split"}
        latents = read_latents(
            Path(owner), besides=besides | {"index", "name", "split"} if kind == "page" else besides
        )
    there = len(latents)
    most = PLOTTED_IN_PAGE if kind == "page" else PLOTTED
    count = choose_count("--n", options.n, there, most, f"{owner} has {there:,} rows")
    names, points = _choose_axes(options.axes, latents, owner)
    if kind == "film" and len(names) < 3:
        raise UsageError(
            f"{out} would show the plot turning, but a plot of {' and '.join(names)} is flat",
            "choose .png, .svg or .html",
        )
    plot = Plot(
        out=out,
        points=count,
        rows=there,
        axes=names,
        color=_choose_color(options.color, latents, owner),
        kind=kind,
        title=_default_title(names, latents.z.shape[1], count, there)
        if options.title is None
        else options.title,
        latents=latents.head(count),
        places=points[:count],
        azim=options.azim,
        elev=options.elev,
    )
    if out is not None:
        _write(plot, out, options)
    return plot


def _check_output(out: Path) -> str:
    """Make sure that the output can be written, and return its kind."""
    ending = out.suffix.lower()
    if ending in figures.FILM_ENDINGS and ending != ".png":
        figures.check_film(out, "--out")
        return "film"
    check_output(out, {*figures.endings(), *figures.FILM_ENDINGS, *page.ENDINGS})
    return "page" if ending in page.ENDINGS else "picture"


def _write(plot: Plot, out: Path, options: PlotOptions) -> None:
    if plot.kind == "page":
        from ae_cli.page.scatter import write_scatter

        grouped = write_scatter(
            out,
            plot.latents,
            plot.places,
            plot.axes,
            title=plot.title,
            color=plot.color,
            azim=plot.azim,
            elev=plot.elev,
        )
        if not grouped:
            warn(f"there are so many different {plot.color}s that all points have one colour")
    elif plot.kind == "film":
        figure, _ = figures.new_figure()
        plot.draw(figure)

        def frames() -> Iterator[NDArray[Any]]:
            for done, frame in enumerate(figures.turn(figure, FRAMES), start=1):
                yield frame
                options.progress("draw", done, FRAMES, "frames")

        figures.write_film(out, frames())
    else:
        figures.write(out, plot.draw)


def _default_title(axes: list[str], latents: int, count: int, there: int) -> str:
    what = f"{len(axes)} of {latents:,} latents" if len(axes) < latents else "Latents"
    first = "" if count == there else f"the first {count:,} of "
    return f"{what} of {first}{count_images(there)}"


def _choose_axes(axes: Any, latents: Latents, owner: str) -> tuple[list[str], NDArray[np.float32]]:
    """The names of the axes and the points, float32 (n, 2) or (n, 3)."""
    there = [f"z{i + 1}" for i in range(latents.z.shape[1])]
    if axes is None and len(there) == 1:
        return ["z1", "row"], figures.spread(latents.z)
    if axes is None:
        places = list(range(min(len(there), 3)))
    else:
        places = parse_axes(axes, len(there), counts=(2, 3), owner=owner)
    return [there[i] for i in places], latents.z[:, places]


def _choose_color(color: Color | None, latents: Latents, owner: str) -> Color:
    """Choose what to colour by: what was asked for, or else the first column that exists."""
    there: list[Color] = [
        name for name in get_args(Color) if name == "none" or getattr(latents, name) is not None
    ]
    if color is None:
        return next(name for name in ("label", "error", "none") if name in there)
    if color not in there:
        raise UsageError(
            f"--color is {color}, and {owner} has no such column",
            f"choose one of {', '.join(there)}",
        )
    return color
