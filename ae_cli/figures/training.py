"""Pictures that change during a run, for a film or in a window."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ae_cli.figures.latents import draw_axes, draw_markers, find_groups, set_limits, spread
from ae_cli.figures.placement import fill_space
from ae_cli.figures.strips import MARGIN, Floats, Strip, draw_strips

NOTE_SIZE = 11  # points
NOTE = 0.25  # inches, the height of the note above the images
LEAST_WIDTH = 5.0  # inches; a note must fit on one line even above a single image
# Inches. At 100 dots per inch, each pixel of a 28 × 28 image is drawn as slightly more than three
# by three, so that Matplotlib does not smooth it.
CELL = 0.8702

REDRAW_SECONDS = 0.1
SHARE = 0.05  # the largest share of the time to spend on drawing, in a window


class View(Protocol):
    """A picture of a model's output for the same images, at different moments of a run."""

    def update(self, seen: NDArray[Any], note: str) -> None:
        """Change the picture, but do not draw it yet.

        Args:
            seen: The model's output at this moment.
            note: The text above the picture, which says which moment it is.
        """


class ReconstructionView:
    """Originals in the upper row, and their changing reconstructions below.

    Args:
        figure: An empty figure.
        originals: float (n, channels, height, width) in [0, 1], n from 1 to `COLUMNS`.
    """

    def __init__(self, figure: Figure, originals: Floats) -> None:
        rows = [("original", originals), ("reconstruction", np.zeros_like(originals))]
        page, (box, _) = draw_strips(figure, rows, cell=CELL, above=NOTE, least_width=LEAST_WIDTH)
        self._strip = Strip.fit(originals, len(originals), CELL)
        self._reconstructions = page.axes.images[-1]
        self._note = page.axes.text(
            box.left, MARGIN, "", fontsize=NOTE_SIZE, va="top", parse_math=False
        )

    def update(self, seen: NDArray[Any], note: str) -> None:
        """Show other reconstructions: levels from 0 to 255, shaped like the originals."""
        self._reconstructions.set_data(self._strip.arrange(seen / np.float32(255)))
        self._note.set_text(note)


class LatentView:
    """A changing cloud of latents in three dimensions, two, or one (with the image's number).

    The axes only change when a point is outside the bounds of all points so far.

    Args:
        figure: An empty figure.
        clouds: At least one, each float (n, 1 to 3): the latents to be shown that are already
            known.
        groups: (n,) numbers or names, one colour each, explained in a legend; or None.
    """

    def __init__(
        self, figure: Figure, clouds: Sequence[NDArray[Any]], groups: NDArray[Any] | None = None
    ) -> None:
        names = [f"z{i + 1}" for i in range(clouds[0].shape[1])]
        found = None if groups is None else find_groups(groups)
        self._groups = found
        self._axes = draw_axes(
            figure, names if len(names) > 1 else [*names, "image"], title="", groups=found
        )
        self._note = figure.text(0.03, 0.975, "", fontsize=NOTE_SIZE, va="top", parse_math=False)
        self._markers: Any = None
        self._set_bounds(_bounds(np.concatenate([_bounds(spread(cloud)) for cloud in clouds])))

    def update(self, seen: NDArray[Any], note: str) -> None:
        """Show other latents, of the same number of images and dimensions."""
        points = spread(seen)
        bounds = _bounds(np.concatenate([self._bounds, points]))
        if self._markers is not None:
            self._markers.remove()  # in 3-D, Matplotlib has no public way to move them
        if (bounds != self._bounds).any():
            self._set_bounds(bounds)
        self._markers = draw_markers(self._axes, points, self._groups)
        self._note.set_text(note)

    def _set_bounds(self, bounds: Floats) -> None:
        self._bounds = bounds
        set_limits(self._axes, bounds)
        if bounds.shape[1] == 3:
            fill_space(self._axes, [self._axes.azim])


def _bounds(points: Floats) -> Floats:
    """The lowest and the highest coordinates, (2, dimensions)."""
    return np.stack([points.min(axis=0), points.max(axis=0)])


class Window:
    """A figure's window, which is redrawn so seldom that it hardly slows down the run.

    Args:
        figure: A figure in a window, as made by `new_figure`.
        clock: Returns the time in seconds.

    Attributes:
        is_open: Whether the window has not been closed yet.
    """

    def __init__(self, figure: Figure, clock: Callable[[], float] = time.perf_counter) -> None:
        self._figure, self._clock = figure, clock
        self.is_open = True
        figure.canvas.mpl_connect("close_event", self._on_close)
        if figure.canvas.manager is not None:
            figure.canvas.manager.show()
        figure.canvas.draw()
        figure.canvas.flush_events()
        self._next = self._next_draw = clock()

    def refresh(self, change: Callable[[], None], *, now: bool = False) -> None:
        """Handle the window's events, and change and draw the figure if it is time to.

        Args:
            change: Changes the figure.
            now: Draw the figure even if it is not time to.
        """
        started = self._clock()
        if not self.is_open or (started < self._next and not now):
            return
        if started >= self._next_draw or now:
            change()
            self._figure.canvas.draw()
        self._figure.canvas.flush_events()
        ended = self._clock()
        self._next = ended + REDRAW_SECONDS
        self._next_draw = max(self._next_draw, ended) + (ended - started) / SHARE

    def answer(self) -> None:
        """Handle the window's events, such as moving or closing it, without drawing again."""
        if self.is_open:
            self._figure.canvas.flush_events()

    def _on_close(self, _: object) -> None:
        self.is_open = False
