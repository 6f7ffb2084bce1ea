"""Finding images that are there more than once."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from posixpath import splitext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.config import takes
from ae_cli.config.neighbours import DuplicatesOptions
from ae_cli.data.images import Images
from ae_cli.data.store import PixelStore
from ae_cli.errors import UsageError
from ae_cli.latents.infer import Floats, encode, encode_batches, stack
from ae_cli.latents.inputs import ModelLike, load_inputs
from ae_cli.latents.tables import Columns, check_table, name_rows, write_table
from ae_cli.models import AutoEncoder, choose_device
from ae_cli.results import Rows, TableResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LISTED = 5  # duplicates in a summary
SHARE = 0.95  # of copies whose distance is at most 1
MOST_HELD_OUT = 500  # images of which copies are made
MOST_EXACT = 50_000  # images that are compared each with each; of more, an index finds candidates
CANDIDATES = 32  # nearest images of each, that the index finds
LINKS = 32  # of each image in the index
ROWS = 256  # whose distances from all others are in memory
PAIRS = 2048  # whose pixels are compared at once


@dataclass(frozen=True)
class Duplicates(TableResult):
    """Images that are there more than once.

    Attributes:
        out: The table's file; None if none was written.
        picture: The picture; None if none was drawn, or there are no duplicates.
        images: Number of images that were compared.
        duplicates: Number of those that are like an earlier one.
        across: Number of those whose earlier one is in the other split.
        threshold: The distance up to which two images are duplicates.
        held_out: Number of images whose copies are the unit of the distances.
        held_out_from: The split of these images.
        table: A row for each duplicate, the nearest first: ``index, split, name, label`` say which
            image, ``like_index, like_split, like_name`` which earlier one it is like (of several,
            the first), and ``distance`` how far they are from each other. Names and labels are
            there if the images have them.
        titles: A title for each of the nearest pairs.
        copies: float32 (n, channels, height, width) in [0, 1], the duplicates in these pairs.
        originals: Shaped like `copies`: the earlier images.
    """

    out: Path | None
    picture: Path | None
    images: int
    duplicates: int
    across: int
    threshold: float
    held_out: int
    held_out_from: str
    table: Columns = field(repr=False)
    titles: list[str] = field(repr=False)
    copies: Floats = field(repr=False)
    originals: Floats = field(repr=False)

    def summary(self) -> Rows:
        """The nearest pairs."""
        rows = zip(*(values[:LISTED] for values in self.table.values()), strict=True)
        return list(self.table), [[*map(str, row[:-1]), f"{row[-1]:.3f}"] for row in rows]

    def draw(self, figure: Figure) -> None:
        """Draw the nearest pairs below one another."""
        from ae_cli.figures import draw_strips

        rows = [("image", self.copies), ("earlier one", self.originals)]
        draw_strips(figure, rows, self.titles)


@takes(DuplicatesOptions)
def duplicates(model: ModelLike, options: DuplicatesOptions) -> Duplicates:
    """Find images that are like an earlier one of the same source, in either split.

    Images with names are in the order of these, and others in that of the source.

    A pair's distance is the larger one of two: that of the latents, by Euclid, and that of the
    pixels, the root of their mean squared difference. Each is in units of what 95 % of copies of
    held-out images keep below: copies that were saved again as JPEG, made smaller and larger again,
    or a tenth brighter. Of more than 50,000 images, an index finds the candidates, which may
    miss a few.

    Args:
        model: A trained model, or the path of its checkpoint.
        options: See `DuplicatesOptions`.

    Raises:
        AeError: The model or the images cannot be read, there are too many images without the
            index's library, or the table cannot be written.
    """
    out = check_table(options.out, ".png")
    device = choose_device(options.device)
    inputs = load_inputs(model, options)
    network = inputs.trained.model
    images, membership = _sort(*inputs.images.join_splits(options.split))
    find = _choose_search(len(images))
    from_split = "test" if len(inputs.images.test) else "train"
    held_out = inputs.images.splits[from_split].spread(MOST_HELD_OUT)
    units = measure_units(network, held_out, device)
    batches = encode_batches(network, images, device=device, progress=options.progress)
    latents = stack(batches, (len(images), network.config.latent_dim))
    options.progress("compare", 0, None, "")
    groups = _Groups(len(images))
    for pairs in find(latents, options.threshold * units.latents):
        for some in np.array_split(pairs, max(1, len(pairs) // PAIRS)):
            new = groups.choose_new(some)
            distances = _measure(images, latents, new, units)
            groups.join(new[distances <= options.threshold])
    pairs = groups.pairs()
    distances = _measure(images, latents, pairs, units)
    order = np.lexsort((pairs[:, 0], distances))
    pairs, distances = pairs[order], distances[order]
    shown = pairs[: options.n]
    table = _tabulate(images, membership, pairs, distances)
    result = Duplicates(
        out=out,
        picture=out.with_suffix(".png") if out is not None and len(pairs) else None,
        images=len(images),
        duplicates=len(pairs),
        across=int((membership[pairs[:, 0]] != membership[pairs[:, 1]]).sum()),
        threshold=options.threshold,
        held_out=len(held_out),
        held_out_from=from_split,
        table=table,
        titles=_title(table, len(shown)),
        copies=images.select(shown[:, 0]).floats(),
        originals=images.select(shown[:, 1]).floats(),
    )
    if result.out is not None:
        write_table(result.out, [result.table])
        if result.picture is not None:
            from ae_cli import figures

            figures.write(result.picture, result.draw)
    return result


def _sort(images: Images, membership: NDArray[np.str_]) -> tuple[Images, NDArray[np.str_]]:
    """Put images in the order of their names: ``1.jpg`` before ``1 (1).jpg``, likely its copy.

    Args:
        images: The images. Those without names stay in their order.
        membership: (n,), the split of each.
    """
    if images.names is None:
        return images, membership
    # As texts, since paths would take several times as long for a large set.
    parts = [name.rpartition("/") for name in images.names]
    keys = [(folder.split("/"), *splitext(file)) for folder, _, file in parts]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
    return images.select(order), membership[order]


class Units(NamedTuple):
    """How far copies of an image are from it: what 95 % of them keep below.

    Attributes:
        latents: By Euclid.
        pixels: The root of the mean squared difference of pixels in [0, 1].
    """

    latents: float
    pixels: float


def measure_units(model: AutoEncoder, images: Images, device: torch.device) -> Units:
    """Measure how far copies of some images are from them."""
    whole = images.gather(np.arange(len(images)))
    latents = encode(model, images, device=device)
    distances: list[tuple[Floats, Floats]] = []
    for change in (_save_again, _make_smaller, _brighten):
        copies = Images(PixelStore(torch.from_numpy(np.stack([change(x) for x in whole.numpy()]))))
        moved = np.linalg.norm(encode(model, copies, device=device) - latents, axis=1)
        pixels = (copies.pixels.float() - whole.float()).div_(255).square_().mean((1, 2, 3)).sqrt()
        distances.append((moved, pixels.numpy()))
    moves, changes = (np.concatenate(some) for some in zip(*distances, strict=True))
    of_latents, of_pixels = (float(np.quantile(some, SHARE)) for some in (moves, changes))
    least = 1 / 255  # for images without any structure, whose copies are the same
    tiny = float(np.finfo(np.float32).tiny)
    return Units(max(of_latents, tiny), max(of_pixels, least))


def _save_again(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    file = io.BytesIO()
    _to_picture(image).save(file, "JPEG", quality=50)
    with Image.open(file) as opened:
        return _from_picture(opened)


def _make_smaller(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = _to_picture(image)
    smaller = picture.resize((max(1, picture.width * 2 // 3), max(1, picture.height * 2 // 3)))
    return _from_picture(smaller.resize(picture.size))


def _brighten(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    brighter: NDArray[np.uint8] = (image * 1.1).round().clip(0, 255).astype(np.uint8)
    return brighter


def _to_picture(image: NDArray[np.uint8]) -> Any:
    from PIL import Image

    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def _from_picture(picture: Any) -> NDArray[np.uint8]:
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


Search = Callable[[Floats, float], Iterator[NDArray[np.int64]]]


def _choose_search(count: int) -> Search:
    """How to find candidates among so many images.

    Raises:
        UsageError: There are too many without the index's library.
    """
    if count <= MOST_EXACT:
        return find_pairs
    try:
        import faiss  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"{count:,} images are too many to compare each with each without the library faiss",
            'install it with `pip install "ae-cli[index]"`, or choose some with --split or '
            "--classes",
        ) from error
    return find_pairs_by_index


def find_pairs(latents: Floats, radius: float) -> Iterator[NDArray[np.int64]]:
    """Find all pairs of rows whose distance is at most about `radius`, a few rows at a time.

    Args:
        latents: (n, k).
        radius: By Euclid. Pairs that are a little further apart are found, too, as products of
            matrices, which are fast, are not exact.

    Yields:
        int64 (pairs, 2), the later row first.
    """
    rows = torch.from_numpy(latents - latents.mean(0))
    squares = rows.square().sum(1)
    slack = 1e-5 * float(squares.max())
    for first in range(0, len(rows), ROWS):
        some = slice(first, first + ROWS)
        distances = squares[some, None] + squares[first:] - 2 * rows[some] @ rows[first:].T
        pairs = (distances <= radius**2 + slack).nonzero()
        pairs = pairs[pairs[:, 0] < pairs[:, 1]].flip(1) + first
        if len(pairs):
            yield pairs.numpy()


def find_pairs_by_index(latents: Floats, radius: float) -> Iterator[NDArray[np.int64]]:
    """Find most pairs of rows whose distance is at most `radius`, by faiss's HNSW.

    It looks at the `CANDIDATES` nearest rows of each. Args and results as in `find_pairs`.
    """
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexHNSWFlat(latents.shape[1], LINKS)
    index.add(latents)
    for first in range(0, len(latents), PAIRS):
        squares, places = index.search(latents[first : first + PAIRS], CANDIDATES)
        rows = np.arange(first, first + len(places))[:, None]
        near = (squares <= radius**2 * (1 + 1e-5)) & (places >= 0) & (places != rows)
        pairs = np.stack([np.broadcast_to(rows, places.shape)[near], places[near]], 1)
        if len(pairs):
            yield np.unique(np.sort(pairs, axis=1)[:, ::-1], axis=0)


def _measure(
    images: Images, latents: Floats, pairs: NDArray[np.int64], units: Units
) -> NDArray[np.float64]:
    """The distance of each pair, (pairs,); see `duplicates`."""
    distances = np.empty(len(pairs))
    for first in range(0, len(pairs), PAIRS):
        some = pairs[first : first + PAIRS]
        a, b = (images.gather(some[:, side]).float() for side in (0, 1))
        pixels = (a - b).div_(255).square_().mean((1, 2, 3)).sqrt_().numpy() / units.pixels
        moved = np.linalg.norm(latents[some[:, 0]] - latents[some[:, 1]], axis=1) / units.latents
        distances[first : first + PAIRS] = np.maximum(pixels, moved)
    return distances


class _Groups:
    """Which images are alike, directly or by others between them.

    Args:
        count: The number of images.
    """

    def __init__(self, count: int) -> None:
        self._first = np.arange(count)  # of the group, or an image that is nearer to it

    def _find(self, image: int) -> int:
        while (first := int(self._first[image])) != image:
            self._first[image] = self._first[first]
            image = first
        return image

    def join(self, pairs: NDArray[np.int64]) -> None:
        """Put the two images of each pair, (pairs, 2), into one group."""
        for a, b in pairs.tolist():
            low, high = sorted((self._find(a), self._find(b)))
            self._first[high] = low

    def choose_new(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The pairs whose images are not in one group yet, as far as is seen without a search."""
        first, second = self._first[pairs[:, 0]], self._first[pairs[:, 1]]
        new: NDArray[np.int64] = pairs[self._first[first] != self._first[second]]
        return new

    def pairs(self) -> NDArray[np.int64]:
        """Each image that is not the first of its group, with the first one, (pairs, 2)."""
        members = np.flatnonzero(self._first != np.arange(len(self._first)))
        firsts = [self._find(image) for image in members.tolist()]
        return np.stack([members, np.array(firsts, np.int64)], 1)


def _tabulate(
    images: Images,
    membership: NDArray[np.str_],
    pairs: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> Columns:
    """The columns of the table; see `Duplicates`."""
    copies, originals = (name_rows(images, membership, places) for places in pairs.T)
    like = {f"like_{name}": values for name, values in originals.items() if name != "label"}
    return {**copies, **like, "distance": distances}


def _title(table: Columns, count: int) -> list[str]:
    """For the first pairs, the names or indices of both images, and their distance."""
    key = "name" if "name" in table else "index"
    pairs = zip(table[key], table[f"like_{key}"], table["distance"], strict=True)
    return [
        "\n".join(PurePosixPath(str(name)).name for name in (copy, earlier)) + f" ({distance:.2f})"
        for copy, earlier, distance in islice(pairs, count)
    ]
