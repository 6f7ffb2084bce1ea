"""Latents as points in an interactive plot: one HTML page, drawn by Plotly.

The page needs no network and no other file. Its template is `scatter.html`; its styles and scripts
are the files in `STYLES` and `SCRIPTS`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from ae_cli.figures.latents import Groups, find_groups, find_limits
from ae_cli.files import atomic_write
from ae_cli.page import Rows, allow, fill, join_scripts, join_styles, write_data
from ae_cli.page.colors import error_colors

# In the order of the cascade
STYLES = ("base.css", "stage.css", "scatter.css")
# In an order in which each script needs only those before it
SCRIPTS = ("dom.js", "theme.js", "legend.js", "scatter.js")

MOST_ROUND = 5000  # points; more are drawn as squares, which is much faster without a GPU
MOST_GROUPS = 500  # in the legend; more would take a browser a minute to draw
DISTANCE = 2.0  # from the eye to the centre of the box, whose longer sides are 1


def write_scatter(
    path: Path,
    rows: Rows,
    points: NDArray[np.float32],
    axis_names: Sequence[str],
    *,
    title: str,
    color: str,
    azim: float = -60,
    elev: float = 30,
) -> bool:
    """Write the page atomically.

    Args:
        path: The page.
        rows: What is shown about a point when the pointer is over it.
        points: float32 (n, 2) or (n, 3), the positions of the points.
        axis_names: The label of each axis.
        title: The title of the page.
        color: ``label``, ``split`` or ``none``: the groups in the legend, which can be hidden; or
            ``error``: colours by error at first, and groups by label. If the rows have errors,
            a list switches between them and the groups. More than `MOST_GROUPS` groups have one
            colour.
        azim: The angle around the vertical axis, in degrees, from which a 3-D plot is first seen.
        elev: The angle above the horizontal plane, in degrees.

    Returns:
        Whether the groups have their own colours, which they have not if they are too many.

    Raises:
        UsageError: The file cannot be written.
    """
    grouping = {"split": rows.split, "none": None}.get(color, rows.label)
    groups = None if grouping is None else find_groups(grouping)
    grouped = groups is None or len(groups.texts) <= MOST_GROUPS
    if not grouped:
        groups = None
    layout: dict[str, Any] = {
        "template": "none",
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
        "showlegend": False,  # the page has its own
        **_lay_out_axes(points, axis_names, azim, elev),
    }
    choices = ["one colour" if groups is None else "split" if color == "split" else "label"]
    data: dict[str, Any] = {
        "summary": f"{len(rows):,} points",
        "groups": [] if groups is None else groups.texts,
        "choices": choices,
        "color": choices[0],
        "errors": None,
    }
    if rows.error is not None:
        low, high = float(rows.error.min()), float(rows.error.max())
        mean = rows.error.mean(dtype=np.float64)
        data["summary"] += f", mean reconstruction error {mean:.4f}"
        data["errors"] = {"low": low, "high": high, "colors": error_colors()}
        choices.append("error")
        if color == "error":
            data["color"] = "error"
        # Without limits, they would be those of the groups that are not hidden.
        layout["coloraxis"] = {
            "cmin": low,
            "cmax": high if high > low else low + 1,
            "showscale": False,
        }
    traces = _trace(rows, points, axis_names, groups or find_groups(np.zeros(len(points))))
    with atomic_write(path) as file:
        flat = len(axis_names) == 2
        file.write(_assemble(title, data, go.Figure(traces, layout), flat=flat))
    return grouped


def _lay_out_axes(
    points: NDArray[np.float32], axis_names: Sequence[str], azim: float, elev: float
) -> dict[str, Any]:
    """The axes of a flat plot, or the scene of a 3-D one, as entries of Plotly's layout."""
    axes = {
        f"{letter}axis": {"title": {"text": name}, "range": find_limits(column)}
        for letter, name, column in zip("xyz", axis_names, points.T, strict=False)
    }
    if len(axis_names) == 2:
        return {name: {**axis, "automargin": True} for name, axis in axes.items()}
    return {
        "scene": {
            **axes,
            "aspectmode": "manual",
            "aspectratio": {"x": 1, "y": 1, "z": 0.75},  # as in Matplotlib
            "camera": {"eye": _place_eye(azim, elev), "center": {"x": 0, "y": 0, "z": -0.1}},
        }
    }


def _place_eye(azim: float, elev: float) -> dict[str, float]:
    """The position of the eye, for angles in degrees."""
    turn, rise = (
        radians(azim),
        radians(min(max(elev, -89.9), 89.9)),
    )  # from the very top, no direction is up
    return {
        "x": DISTANCE * cos(rise) * cos(turn),
        "y": DISTANCE * cos(rise) * sin(turn),
        "z": DISTANCE * sin(rise),
    }


def _trace(
    rows: Rows,
    points: NDArray[np.float32],
    axis_names: Sequence[str],
    groups: Groups,
) -> list[dict[str, Any]]:
    """Make Plotly's traces: the points of each group in its colour, with errors as `customdata`."""
    count, dimensions = points.shape
    size = float(np.sqrt(np.clip(15_000 / count, 1.5, 40)))
    captions = _caption(rows)
    said = ["%{text}"]
    said += [f"{name} %{{{letter}:,.3~f}}" for letter, name in zip("xyz", axis_names, strict=False)]
    if rows.error is not None:
        said.append("error %{customdata:.4f}")
    traces = []
    for i, text in enumerate(groups.texts):
        mine = groups.member == i
        traces.append(
            {
                "type": "scatter3d" if dimensions == 3 else "scattergl",
                "mode": "markers",
                "name": _escape(text),
                "marker": {
                    "size": size if dimensions == 3 else 1.5 * size,
                    "symbol": "circle" if count <= MOST_ROUND else "square",
                    "color": to_hex(groups.colors(i)),
                    "coloraxis": "coloraxis",
                },
                "text": captions[mine],
                "customdata": None if rows.error is None else rows.error[mine],
                "hovertemplate": "<br>".join(said) + "<extra></extra>",
                **dict(zip("xyz", points[mine].T, strict=False)),
            }
        )
    return traces


def _caption(rows: Rows) -> NDArray[np.str_]:
    """Describe the image of each row, (n,): its name, split, index and label, if known."""
    columns = [column for column in (rows.split, rows.index) if column is not None]
    places = zip(*columns, strict=True) if columns else ((f"row {i}",) for i in range(len(rows)))
    lines: list[Iterable[str]] = [[" ".join(map(str, place)) for place in places]]
    if rows.name is not None:
        lines.insert(0, rows.name)
    if rows.label is not None:
        lines.append(f"label {label}" for label in rows.label)
    return np.array(["<br>".join(map(_escape, parts)) for parts in zip(*lines, strict=True)])


def _escape(text: str) -> str:
    """Escape tags and ``%{…}``, so that Plotly shows a text as it is."""
    return html.escape(text, quote=False).replace("%", "&#37;")


def _assemble(title: str, data: dict[str, Any], figure: go.Figure, *, flat: bool) -> bytes:
    """Put the template, the scripts and the figure together."""
    plotly, script = get_plotlyjs(), join_scripts(SCRIPTS)
    # No other script may run. Only 2-D plots generate code when they draw.
    evaluate = "'unsafe-eval'" if flat else ""
    return fill(
        "scatter.html",
        title=title,
        policy=f"script-src {allow(plotly)} {allow(script)} {evaluate}; "
        "style-src 'unsafe-inline'; img-src data: blob:",
        style=join_styles(STYLES),
        data=write_data(data),
        figure=figure.to_json(),
        plotly=plotly,
        script=script,
    )
