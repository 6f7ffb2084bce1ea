"""Place a 3-D plot so that it fills its space."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.transforms import Affine2D, Bbox
from mpl_toolkits.mplot3d import proj3d

ALL_AROUND = tuple(range(0, 360, 15))  # degrees
ROUNDS = 3  # then the plot is less than 1 % smaller than its space


def fill_space(axes: Any, azims: Sequence[float]) -> None:
    """Make a plot, with its labels, as large as fits into the axes' original position.

    Matplotlib alone makes it so small that the box, but not its labels, fits at every angle.

    Args:
        axes: 3-D axes with limits. It takes less time while there are no points in them.
        azims: The angles around the vertical axis, in degrees, from which the plot will be seen.
    """
    figure, azim, elev = axes.figure, axes.azim, axes.elev
    space = axes.get_position(original=True).transformed(figure.transFigure)  # in pixels
    place = axes.get_position()
    # In rounds, as the labels do not grow with the plot
    for _ in range(ROUNDS):
        extents = []
        for angle in azims:
            axes.view_init(elev=elev, azim=angle)
            figure.draw_without_rendering()
            extents.append(_measure(axes))
        extent = Bbox.union(extents)
        scale = min(space.width / extent.width, space.height / extent.height)
        grow = Affine2D().translate(*-_center(extent)).scale(scale).translate(*_center(space))
        place = place.transformed(figure.transFigure + grow + figure.transFigure.inverted())
        axes.set_axes_locator(lambda *_, place=place: place)
    axes.view_init(elev=elev, azim=azim)


def _measure(axes: Any) -> Bbox:
    """The extent, in pixels, of the plot's box, ticks and labels as they were last drawn."""
    corners = np.array(list(product(*(getattr(axes, f"get_{name}lim")() for name in "xyz"))))
    x, y, _ = proj3d.proj_transform(*corners.T, axes.M)
    box = Bbox.null()
    box.update_from_data_xy(axes.transData.transform(np.column_stack([x, y])))
    lines = (axes.xaxis, axes.yaxis, axes.zaxis)
    return Bbox.union([box, *(line.get_tightbbox() for line in lines)])


def _center(box: Bbox) -> Any:
    return (box.p0 + box.p1) / 2
