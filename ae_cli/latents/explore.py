"""A page in which the user walks through the latent space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ae_cli.config import takes
from ae_cli.config.checks import choose_count, parse_axes
from ae_cli.config.commands import EXPLORED, ExploreOptions
from ae_cli.data.images import Images
from ae_cli.errors import UsageError, warn
from ae_cli.files import check_output
from ae_cli.latents.infer import Floats, Reconstruction, collect, decode, reconstruct
from ae_cli.latents.inputs import ModelLike, load_inputs
from ae_cli.latents.table import join, to_rows
from ae_cli.models import AutoEncoder, choose_device
from ae_cli.models.health import describe_use
from ae_cli.page import ENDINGS, frame
from ae_cli.page.explorer import LARGEST, Changes, LatentSpace, write_explorer
from ae_cli.results import Result, count_images

HEAT_QUANTILE = 0.99  # of the pixels' squared errors: the end of the heat maps' colour scale
MOST_PLAIN = 3  # latents whose sliders need no order
REACH = 2  # standard deviations to both sides of the mean latent, to see what a latent changes
MEASURED = 64  # latents whose changes are measured at once, to save memory


@dataclass(frozen=True)
class Exploration(Result):
    """A page that was written.

    Attributes:
        out: The page; None if it was not written to a file.
        images: Number of images in the page.
        there: Number of images that they were drawn from.
        latent_dim: Latent values per image.
        mean_error: Mean reconstruction error over the images drawn.
        split_errors: The same of each split, by the split's name.
        bytes: The page's size.
        thumbnail: Height and width of the images in the page.
        lossless: Whether the images are stored without loss, rather than as a JPEG.
        decoder: The precision of the decoder's weights, ``float16`` or ``float32``.
        reduced: Whether the images are smaller than the originals.
        page: The page itself; None if it was written to a file.
    """

    out: Path | None
    images: int
    there: int
    latent_dim: int
    mean_error: float
    split_errors: dict[str, float]
    bytes: int
    thumbnail: tuple[int, int]
    lossless: bool
    decoder: str
    reduced: bool = field(repr=False)
    page: str | None = field(repr=False)

    def _repr_html_(self) -> str:
        return frame(self.page if self.out is None else self.out)


@takes(ExploreOptions)
def explore(model: ModelLike, options: ExploreOptions) -> Exploration:
    """Make a page that holds images, their latents and the decoder, and needs no network.

    Args:
        model: A trained model, or the path of its checkpoint.
        options: See `ExploreOptions`.

    Raises:
        AeError: The model or the images cannot be read, or the page cannot be written.
    """
    if options.out is None:
        with TemporaryDirectory() as folder:
            return _explore(model, options, Path(folder) / "explore.html")
    check_output(Path(options.out), ENDINGS)
    return _explore(model, options, Path(options.out))


def _explore(model: ModelLike, options: ExploreOptions, path: Path) -> Exploration:
    device = choose_device(options.device)
    inputs = load_inputs(model, options)
    images, network = inputs.images, inputs.trained.model
    dimensions = network.config.latent_dim
    axes = None
    if options.axes is not None:
        axes = tuple(parse_axes(options.axes, dimensions, counts=(2, 3), owner=inputs.name))
    splits = images.choose_splits(options.split)
    there = sum(map(len, splits.values()))
    count = choose_count("--n", options.n, there, EXPLORED, f"there are {there:,} images")
    has_labels = next(iter(splits.values())).labels is not None
    if options.color == "label" and not has_labels:
        raise UsageError("--color is label, but the images have no labels", "choose error or split")

    drawn = _draw(splits, count)
    survey = _Survey()

    def watched(batches: Iterator[Reconstruction]) -> Iterator[Reconstruction]:
        for batch in batches:
            survey.add(batch)
            options.progress("decode", survey.count, count, "images")
            yield batch

    rows = join(
        batch
        for name, members in drawn.items()
        for batch in to_rows(
            name,
            members,
            [collect(watched(reconstruct(network, members, device=device)), len(members))],
            inputs.trained.run_id,
        )
    )
    columns = rows.columns()
    errors, membership = columns["error"], columns["split"]
    mean_error = float(errors.mean(dtype="float64"))
    split_errors = {name: float(errors[membership == name].mean(dtype="float64")) for name in drawn}
    changes = None
    if dimensions > MOST_PLAIN and count > 1:
        changes = _measure_changes(network, rows.z, device)
    in_use = describe_use(inputs.trained.metrics.latents_in_use)
    by_split = ", ".join(f"{name} {error:.4f}" for name, error in split_errors.items())
    of_each = f" ({by_split})" if len(split_errors) > 1 else ""
    space = LatentSpace(
        title=images.name,
        summary=f"{describe_sample(count, there)}, {dimensions} latent{'s' * (dimensions > 1)}"
        f"{in_use}, mean error {mean_error:.4f}{of_each}",
        rows=rows,
        pixels=np.concatenate([members.pixels.numpy() for members in drawn.values()]),
        decoder=network.describe_decoder(),
        changes=changes,
        heat_most=float(np.mean(survey.heats)) or 1.0,
        axes=axes,
        color=options.color or ("label" if has_labels else "error"),
    )
    page = write_explorer(path, space)
    if page.size > LARGEST:
        warn(
            f"{path.name if options.out is None else path} is {page.size / 1e6:.0f} MB, mostly "
            "the decoder, which is slow on a phone; smaller --hidden layers or --image-size make "
            "it smaller"
        )
    return Exploration(
        out=None if options.out is None else path,
        images=count,
        there=there,
        latent_dim=dimensions,
        mean_error=mean_error,
        split_errors=split_errors,
        bytes=page.size,
        thumbnail=page.thumbnail,
        lossless=page.lossless,
        decoder="float16" if page.half else "float32",
        reduced=page.thumbnail != images.shape[1:],
        page=path.read_text("utf-8") if options.out is None else None,
    )


class _Survey:
    """What is remembered of batches of reconstructions, all of which might not fit in memory.

    Attributes:
        count: The number of images.
        heats: A high quantile of the squared errors of each batch's pixels.
    """

    def __init__(self) -> None:
        self.count = 0
        self.heats: list[float] = []

    def add(self, batch: Reconstruction) -> None:
        squares = np.square(batch.pixels - batch.originals).mean(axis=1)
        self.heats.append(float(np.quantile(squares, HEAT_QUANTILE)))
        self.count += len(batch.latents)


def _measure_changes(network: AutoEncoder, z: Floats, device: torch.device) -> Changes:
    """Measure what each latent changes in an image.

    The variance of a latent would not tell: a decoder can enlarge small latents, as that of a
    variational model does. So each latent is moved to both sides of the mean latent. With a linear
    decoder the squared difference of the two images is proportional to the variance of the images
    along the latent.
    """
    mean = z.mean(axis=0, dtype=np.float64)
    reach = REACH * z.std(axis=0, dtype=np.float64)
    squares = []
    for part in np.array_split(np.diag(reach), ceil(len(reach) / MEASURED)):
        low, high = (
            decode(network, (mean + move).astype(np.float32), device=device)
            for move in (-part, part)
        )
        difference = (high - low).reshape(len(part), -1)
        squares.append(np.square(difference).mean(axis=1, dtype=np.float64))
    changed = np.concatenate(squares)
    shares = changed / max(changed.sum(), np.finfo(float).tiny)
    return Changes(mean, mean - reach, mean + reach, shares)


def describe_sample(count: int, there: int) -> str:
    """Say how many of the images were drawn."""
    return count_images(there) if count == there else f"{count:,} of {count_images(there)}"


def _draw(splits: dict[str, Images], count: int) -> dict[str, Images]:
    """Draw `count` images from all splits at random, always the same ones, in their order."""
    ends = np.cumsum([len(members) for members in splits.values()])
    places = np.sort(np.random.default_rng(0).choice(ends[-1], count, replace=False))
    parts = np.split(places, np.searchsorted(places, ends[:-1]))
    starts = ends - [len(members) for members in splits.values()]
    drawn = {
        name: members.select(part - start)
        for (name, members), part, start in zip(splits.items(), parts, starts, strict=True)
    }
    return {name: members for name, members in drawn.items() if len(members)}
