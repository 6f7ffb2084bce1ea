"""A sample of encoded images, which decides about their size and colours."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.config import CHOSEN_SIDE, Fit
from ae_cli.data.cache import keep, read_kept
from ae_cli.data.decode import Content, UnreadableImageError, decode_frames, read_header
from ae_cli.data.quiet import quiet_pillow
from ae_cli.results import format_shape

HEADERS = 256  # files whose size is read
AT_ONCE = 8  # files that a thread gets at once: handing one over takes a while
DECODED = 64  # files that are decoded, of those in which there may be colours
SMALL_SHARE = 0.1  # of the images may be smaller than the size that is chosen for them

# Grey images that were stored in colour have channels that differ a little, mostly by JPEG's noise.
TOLERANCE = 16  # of 255
COLORED_SHARE = 0.001  # of an image's pixels must differ by more for it to have colours


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Encoded(NamedTuple):
    """A file with one image or several.

    Attributes:
        content: Where it is, what is in it, or why it cannot be read.
        name: Its name.
        positions: The position of each of its images among all of the source, by the number of
            its page or frame, ascending from 0.
    """

    content: Content
    name: str
    positions: dict[int, int]


class Sample(NamedTuple):
    """Some images of a source, evenly spaced.

    Attributes:
        sizes: Height and width of each, when it is upright.
        has_colors: Whether any of them has colours.
    """

    sizes: list[tuple[int, int]]
    has_colors: bool


def recall_sample(
    read: Callable[[Collection[int]], Iterator[Encoded]],
    used: Sequence[int],
    kept: Path,
    origin: dict[str, str],
    workers: int | None = None,
) -> Sample:
    """Look at a sample of images, or read from the cache what was seen in it.

    Args:
        read: Reads the images at some positions, as in `Pictures`.
        used: The positions of the images that will be used, ascending.
        kept: The file in the cache.
        origin: What the file must have been made from.
        workers: As in `ReadOptions`.
    """

    def fits(tensors: dict[str, Tensor]) -> bool:
        sizes, has_colors = tensors["sizes"], tensors["has_colors"]
        return (
            sizes.dtype == torch.int64
            and sizes.ndim == 2
            and sizes.shape[1] == 2
            and len(sizes) <= HEADERS
            and bool((sizes > 0).all())
            and has_colors.dtype == torch.bool
            and has_colors.ndim == 0
        )

    tensors = read_kept(kept, origin, fits)
    if tensors is not None:
        pairs = tensors["sizes"].tolist()
        return Sample([(height, width) for height, width in pairs], bool(tensors["has_colors"]))
    sample = look_at_sample(read, used, workers)
    keep(
        kept,
        origin,
        {
            "sizes": torch.tensor(sample.sizes, dtype=torch.int64).reshape(-1, 2),
            "has_colors": torch.tensor(sample.has_colors),
        },
    )
    return sample


def look_at_sample(
    read: Callable[[Collection[int]], Iterator[Encoded]],
    used: Sequence[int],
    workers: int | None = None,
) -> Sample:
    """Read the sizes of some images, and decode some of those in which there may be colours.

    Images that cannot be read are skipped: whoever decodes them all will name them.

    Args:
        read: Reads the images at some positions, as in `Pictures`.
        used: The positions of the images that will be used, sorted by name, so that every class
            is in the sample.
        workers: As in `ReadOptions`.
    """
    sizes: dict[int, tuple[int, int]] = {}
    candidates = []
    with quiet_pillow():
        for content, name, positions in read(_spread(used, HEADERS)):
            try:
                header = read_header(content, name)
            except UnreadableImageError:
                continue
            for position in positions.values():
                sizes[position] = header.size
                if header.may_have_colors:
                    candidates.append(position)
        some = read(_spread(sorted(candidates), DECODED))
        with closing(map_in_turn(_has_colors, some, workers)) as answers:
            has_colors = any(answers)
    return Sample([sizes[position] for position in sorted(sizes)], has_colors)


def _spread(items: Sequence[_Item], most: int) -> list[_Item]:
    """At most this many items, evenly spaced from the first to the last."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def map_in_turn(
    work: Callable[[_Item], _Result], items: Iterator[_Item], workers: int | None
) -> Generator[_Result]:
    """Work on items in threads, with few of them in memory at once, and yield results in order.

    The threads end when the generator is closed.

    Args:
        work: Called with each item.
        items: The items.
        workers: The number of threads; None for as many as torch computes in.
    """
    threads = workers or torch.get_num_threads()
    pending: deque[Future[list[_Result]]] = deque()
    executor = ThreadPoolExecutor(threads)

    def work_on(some: tuple[_Item, ...]) -> list[_Result]:
        return [work(item) for item in some]

    try:
        while some := tuple(islice(items, AT_ONCE)):
            pending.append(executor.submit(work_on, some))
            if len(pending) >= 2 * threads:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)  # otherwise Ctrl-C would wait for all items


def _has_colors(encoded: Encoded) -> bool:
    """Whether any image of a file has colours, by its pixels; no if it cannot be read."""
    content, name, positions = encoded
    size, frames = (CHOSEN_SIDE, CHOSEN_SIDE), list(positions)
    try:
        images = decode_frames(content, frames, size=size, color=True, fit="stretch", name=name)
        return any(are_colored(image.pixels) for image in images)
    except UnreadableImageError:
        return False


def are_colored(pixels: NDArray[np.uint8]) -> bool:
    """Whether pixels, uint8 (3, height, width), have colours that are more than noise."""
    differences = pixels.max(axis=0) - pixels.min(axis=0)
    return bool((differences > TOLERANCE).mean() > COLORED_SHARE)


def choose_size(sample: Sample) -> tuple[int, int]:
    """Choose one size, height and width, for all images of a source.

    If all have the same size, this is it, or the same shape with a longest side of `CHOSEN_SIDE`
    where they are larger. Otherwise it is a square of which hardly any of them is smaller.
    """
    if not sample.sizes:
        return CHOSEN_SIDE, CHOSEN_SIDE
    if len(set(sample.sizes)) > 1:
        shorter = [min(size) for size in sample.sizes]
        side = min(CHOSEN_SIDE, int(np.quantile(shorter, SMALL_SHARE, method="lower")))
        return side, side
    height, width = sample.sizes[0]
    scale = min(1.0, CHOSEN_SIDE / max(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))


def describe_changes(sample: Sample, shape: tuple[int, int, int], fit: Fit) -> str | None:
    """Say in a few words what is done to the images of a sample so that they get a shape.

    Args:
        sample: The sample.
        shape: Channels, height and width of the images as they are read.
        fit: How they are brought to that size.

    Returns:
        Words such as ``colour, scaled from 400 wide × 300 high``; None if the images are read as
        they are.
    """
    channels, height, width = shape
    colors = {
        (3, True): "colour",
        (1, False): "grey",
        (1, True): "grey instead of colour",
        (3, False): "grey in three channels",
    }[channels, sample.has_colors]
    target = height, width
    changed = Counter(size for size in sample.sizes if size != target)
    if not changed:
        return colors if (channels == 3) != sample.has_colors else None
    same_shape = all(_is_scaled(size, target) for size in changed)
    words = {"crop": "cropped and scaled", "pad": "scaled and padded", "stretch": "stretched"}
    ((most_common, _),) = changed.most_common(1)
    # In words, as pictures are usually said to be as wide as the first number, and arrays as high.
    tall, wide = most_common
    size = format_shape(most_common) if tall == wide else f"{wide} wide × {tall} high"
    others = " and other sizes" if len(set(sample.sizes)) > 1 else ""
    return f"{colors}, {'scaled' if same_shape else words[fit]} from {size}{others}"


def _is_scaled(size: tuple[int, int], to: tuple[int, int]) -> bool:
    """Whether one size is the other one scaled, to the nearest pixel."""
    scales = [side / original for side, original in zip(to, size, strict=True)]
    return any(
        all(
            max(1, round(scale * original)) == side for side, original in zip(to, size, strict=True)
        )
        for scale in scales
    )
