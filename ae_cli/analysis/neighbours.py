"""Finding the images whose latents are nearest to those of an image: the ones like it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.analysis.queries import find_queries
from ae_cli.config import takes
from ae_cli.config.commands import MOST_IMAGES
from ae_cli.config.neighbours import NeighboursOptions
from ae_cli.data.images import Images
from ae_cli.latents.infer import Floats, encode, encode_batches
from ae_cli.latents.inputs import ModelLike, load_inputs
from ae_cli.latents.tables import Columns, check_table, name_rows, write_table
from ae_cli.models import choose_device
from ae_cli.results import Rows, TableResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LISTED = 5  # neighbours in a summary


class Nearest(NamedTuple):
    """The rows that are nearest to some others.

    Attributes:
        places: int64 (q, n), which rows, the nearest first.
        distances: float32 (q, n), how far they are, by Euclid.
        mean_distances: float64 (q,), how far all rows are on average.
    """

    places: NDArray[np.int64]
    distances: Floats
    mean_distances: NDArray[np.float64]


def find_nearest(queries: Floats, batches: Iterable[Floats], n: int) -> Nearest:
    """Find the rows that are nearest to each query. Of equal distances, the first row is nearer.

    Args:
        queries: (q, k).
        batches: The rows, in batches of (b, k).
        n: How many to find for each query; all if there are fewer.
    """
    wanted = torch.from_numpy(queries)
    distances = wanted.new_empty(len(wanted), 0)
    places = torch.empty(len(wanted), 0, dtype=torch.int64)
    sums = torch.zeros(len(wanted), dtype=torch.float64)
    done = 0
    for batch in batches:
        # Torch's usual way, by a product of matrices, is not exact for rows that are nearly equal.
        new = torch.cdist(
            wanted, torch.from_numpy(batch), compute_mode="donot_use_mm_for_euclid_dist"
        )
        sums += new.sum(1, dtype=torch.float64)
        rows = torch.arange(done, done + len(batch)).expand(len(wanted), -1)
        distances, order = torch.cat([distances, new], 1).sort(dim=1, stable=True)
        places = torch.cat([places, rows], 1).gather(1, order[:, :n])
        distances, done = distances[:, :n], done + len(batch)
    return Nearest(places.numpy(), distances.numpy(), (sums / max(done, 1)).numpy())


@dataclass(frozen=True)
class Neighbours(TableResult):
    """The images that are most like others.

    Attributes:
        out: The table's file; None if none was written.
        picture: The picture; None if none was drawn.
        images: Number of images that were searched.
        queries: Number of images whose neighbours were wanted.
        n: How many neighbours each of them has.
        mean_distance: How far all other images are on average, to compare distances with.
        table: The columns ``like, rank, index, split, name, label, distance``: `name` only if the
            searched images have names, `label` only if they have labels.
        names: A name for each of the images whose neighbours were wanted.
        captions: For each of them, those of its neighbours.
        originals: float32 (queries, channels, height, width) in [0, 1]: these images, as many as a
            picture has room for.
        found: float32 (queries, n, channels, height, width) in [0, 1], their neighbours, likewise.
    """

    out: Path | None
    picture: Path | None
    images: int
    queries: int
    n: int
    mean_distance: float
    table: Columns = field(repr=False)
    names: list[str] = field(repr=False)
    captions: list[list[str]] = field(repr=False)
    originals: Floats = field(repr=False)
    found: Floats = field(repr=False)

    def summary(self) -> Rows:
        """The nearest neighbours of the first image."""
        rows = zip(*(values[: min(LISTED, self.n)] for values in self.table.values()), strict=True)
        return list(self.table), [[*map(str, row[:-1]), f"{row[-1]:.4f}"] for row in rows]

    def draw(self, figure: Figure) -> None:
        """Draw each image before its neighbours."""
        from ae_cli.figures import draw_sheet, draw_strips

        rows = [
            np.concatenate([original[None], found])
            for original, found in zip(self.originals, self.found, strict=True)
        ]
        if len(rows) == 1:
            distances = self.table["distance"][: self.found.shape[1]]
            titles = [
                f"{caption} ({distance:.3g})"
                for caption, distance in zip(self.captions[0], distances, strict=False)
            ]
            draw_sheet(figure, rows[0], [f"like {self.names[0]}", *titles])
        else:
            draw_strips(figure, list(zip(self.names, rows, strict=False)))

    def _repr_png_(self) -> bytes:
        from ae_cli.figures import to_png

        return to_png(self.draw)


@takes(NeighboursOptions)
def neighbours(model: ModelLike, options: NeighboursOptions) -> Neighbours:
    """Find the images whose latents are nearest to those of some images.

    All images are compared, a batch at a time. An image of the set is not its own neighbour, nor is
    a file of the folder that is searched.

    Args:
        model: A trained model, or the path of its checkpoint.
        options: See `NeighboursOptions`.

    Raises:
        AeError: The model or the images cannot be read, an index does not exist, or the table
            cannot be written.
    """
    out = check_table(options.out, ".png")
    device = choose_device(options.device)
    inputs = load_inputs(model, options)
    network = inputs.trained.model
    searched, membership = inputs.images.join_splits(options.split)
    queries, names, own = find_queries(inputs, options, searched, membership)
    wanted = encode(network, queries, device=device)

    batches = encode_batches(
        network, searched, device=device, progress=options.progress, name="search"
    )
    if (own < 0).all():
        nearest = find_nearest(wanted, batches, options.n)
    else:
        found = find_nearest(wanted, batches, options.n + 1)
        nearest = _leave_out(found, own, len(searched))
    count, n = nearest.places.shape
    shown = max(1, min(count, MOST_IMAGES // (n + 1)))
    result = Neighbours(
        out=out,
        picture=None if out is None else out.with_suffix(".png"),
        images=len(searched),
        queries=count,
        n=n,
        mean_distance=float(nearest.mean_distances.mean()),
        table=_tabulate(searched, membership, names, nearest),
        names=names,
        captions=[searched.select(places).captions() for places in nearest.places[:shown]],
        originals=queries.head(shown).floats(),
        found=searched.select(nearest.places[:shown].ravel())
        .floats()
        .reshape(shown, n, *searched.shape),
    )
    if result.out is not None and result.picture is not None:
        from ae_cli import figures

        write_table(result.out, [result.table])
        figures.write(result.picture, result.draw)
    return result


def _leave_out(nearest: Nearest, own: NDArray[np.int64], count: int) -> Nearest:
    """Leave out one of the `count` places for each query: its own, (q,), or else the last."""
    keep = nearest.places != own[:, None]
    keep[keep.all(1), -1] = False
    shape = (len(own), keep.shape[1] - 1)
    others = np.maximum(count - (own >= 0), 1)
    return Nearest(
        nearest.places[keep].reshape(shape),
        nearest.distances[keep].reshape(shape),
        nearest.mean_distances * (count / others),  # its own distance is 0
    )


def _tabulate(
    searched: Images, membership: NDArray[np.str_], names: list[str], nearest: Nearest
) -> Columns:
    """The columns of the table; see `Neighbours`."""
    count, n = nearest.places.shape
    return {
        "like": np.repeat(names, n),
        "rank": np.tile(np.arange(1, n + 1), count),
        **name_rows(searched, membership, nearest.places.ravel()),
        "distance": nearest.distances.ravel(),
    }
