"""Draw points as names in coloured boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap
from matplotlib.font_manager import FontProperties
from matplotlib.patches import BoxStyle
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from mpl_toolkits.mplot3d import proj3d
from numpy.typing import NDArray

from ae_cli.figures.strips import FONT_SIZE, POINTS_PER_INCH


class Boxes(PathCollection):
    """A name in a coloured box at each point; near ones cover far ones.

    All boxes are one artist: Matplotlib takes more than a millisecond for each separate text.

    Args:
        axes: 2-D or 3-D axes, like the points.
        points: float (n, 2) or (n, 3).
        member: int (n,), the position of each point's name in `names`.
        names: The names, one line each, none of them blank.
        colors: The colours of the boxes, by position in `names`.
    """

    def __init__(
        self,
        axes: Any,
        points: NDArray[np.float32],
        member: NDArray[np.int64],
        names: Sequence[str],
        colors: Colormap,
    ) -> None:
        super().__init__([], offset_transform=axes.transData)
        self.set_transform(axes.figure.dpi_scale_trans)  # the paths are in inches
        self.points, self.member, self.names = points, member, names
        self._paths_of = [_box_and_text(name) for name in names]
        boxes = colors(np.arange(len(names)))  # RGBA (names, 4)
        self._colors_of = np.stack([boxes, _find_text_colors(boxes)], axis=1)  # (names, 2, 4)
        self.set_edgecolor(["white", "none"])
        self.set_linewidth(0.4)
        axes.add_collection(self, autolim=False)
        if points.shape[1] == 2:
            self._arrange(np.arange(len(points)), points)

    def do_3d_projection(self) -> float:
        """Find where the points are on the page. 3-D axes call this before they draw."""
        axes: Any = self.axes
        x, y, depth = proj3d.proj_transform(*self.points.T, axes.M)
        self._arrange(np.argsort(-depth, kind="stable"), np.column_stack([x, y]))
        return float(depth.min())

    def _arrange(self, order: NDArray[np.int64], places: NDArray[np.floating[Any]]) -> None:
        """Draw the points in this order at these places, (n, 2): for each a box, then its text."""
        self.order = order
        member = self.member[order]
        self.set_paths([path for k in member for path in self._paths_of[k]])
        self.set_offsets(places[order].repeat(2, axis=0))
        colors: Any = self._colors_of[member].reshape(
            -1, 4
        )  # Matplotlib's types do not allow arrays
        self.set_facecolor(colors)


def _find_text_colors(boxes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Black or white on each colour, RGBA (n, 4): the one with the higher contrast to it.

    By https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio, it is 4.58 or more on every colour.
    """
    levels = boxes[:, :3]  # sRGB
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    contrast_to_black, contrast_to_white = (luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05)
    is_bright = contrast_to_black > contrast_to_white
    return np.where(is_bright[:, None], (0.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0, 1.0))


def _box_and_text(name: str) -> tuple[Path, Path]:
    """The outlines of a name and of the box around it, in inches, centred on the origin."""
    font = FontProperties(size=FONT_SIZE)
    text = TextPath((0, 0), name.replace("$", r"\$"), prop=font)  # not a formula
    # As high as the highest letters, so that all boxes have the same height
    line = TextPath((0, 0), "lp", prop=font).get_extents()
    extents = text.get_extents()
    low, high = min(line.y0, extents.y0), max(line.y1, extents.y1)
    box = BoxStyle.Round(pad=0.2)(
        extents.x0, low, extents.width, high - low, mutation_size=FONT_SIZE
    )
    center = Affine2D().translate(-(extents.x0 + extents.x1) / 2, -(low + high) / 2)
    to_inches = center.scale(1 / POINTS_PER_INCH)
    return box.transformed(to_inches), text.transformed(to_inches)
