"""Decoding latents to images: from a table, on a grid, between two images, or at random."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.config import TABLE, takes
from ae_cli.config.checks import choose_count, parse_axes
from ae_cli.config.commands import DECODED, MOST_IMAGES, DecodeOptions
from ae_cli.errors import DataError, UsageError, warn
from ae_cli.files import atomic_folder, atomic_write, check_folder, check_output
from ae_cli.latents.infer import decode as decode_points
from ae_cli.latents.infer import encode
from ae_cli.latents.inputs import ModelLike, find_images, load_inputs, load_trained
from ae_cli.latents.read_table import read_latents
from ae_cli.latents.table import Latents, shorten_run, to_latents
from ae_cli.latents.walks import grid_over, line_between
from ae_cli.models import AutoEncoder, choose_device
from ae_cli.results import Result, count_images

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

Floats = NDArray[np.float32]


class Points(NamedTuple):
    """Points of the latent space.

    Attributes:
        model: The model that decodes them.
        z: float32 (n, latent_dim), the points.
        what: A description of the points, for a message.
        captions: n captions for the images; None for none.
        grid: Names and values of the two axes if the points form a grid.
    """

    model: AutoEncoder
    z: Floats
    what: str
    captions: list[str] | None = None
    grid: tuple[tuple[str, str], tuple[Floats, Floats]] | None = None


@dataclass(frozen=True)
class Decoded(Result):
    """Decoded images.

    Attributes:
        out: The picture, file or folder; None if none was written.
        images: Number of images.
        latent_dim: Latent values per image.
        kind: What `out` is: ``picture``, ``array`` or ``folder``.
        pixels: float32 (n, channels, height, width) in [0, 1].
        points: The points that were decoded.
    """

    out: Path | None
    images: int
    latent_dim: int
    kind: str = field(repr=False)
    pixels: Floats = field(repr=False)
    points: Points = field(repr=False)

    def draw(self, figure: Figure) -> None:
        """Draw the images on one sheet."""
        from ae_cli import figures

        if self.points.grid is None:
            figures.draw_sheet(figure, self.pixels, self.points.captions)
        else:
            figures.draw_grid(figure, self.pixels, *self.points.grid)

    def _repr_png_(self) -> bytes:
        from ae_cli.figures import to_png

        return to_png(self.draw)


@takes(DecodeOptions)
def decode(model: ModelLike, options: DecodeOptions) -> Decoded:
    """Decode a table's rows, a grid over two latents, a line between two images, or random points.

    Args:
        model: A trained model, or the path of its checkpoint.
        options: See `DecodeOptions`.

    Raises:
        AeError: The model, the table or the images cannot be read or do not fit, or the output
            cannot be written.
    """
    out = None if options.out is None else Path(options.out)
    kind = "picture" if out is None else _check_output(out)
    device = choose_device(options.device)
    if options.grid is not None:
        points = _on_grid(model, options, options.grid, device)
    elif options.ends is not None:
        points = _on_line(model, options, options.ends, device)
    elif options.sample is not None:
        points = _at_random(model, options.sample, options.seed or 0)
    else:
        points = _in_table(model, options, None if kind != "picture" or out is None else DECODED)
    is_sheet = kind == "picture" and out is not None and points.grid is None
    if is_sheet and len(points.z) > MOST_IMAGES:
        raise UsageError(
            f"a picture of {len(points.z):,} images would be too large",
            f"ask for {MOST_IMAGES} at most, or write to a folder or an .npy file",
        )
    pixels = decode_points(points.model, points.z, device=device)
    result = Decoded(out, len(pixels), points.z.shape[1], kind, pixels, points)
    if out is not None:
        _write(result, out)
    return result


def _check_output(out: Path) -> str:
    """Make sure that the output can be written, and return its kind."""
    from ae_cli import figures

    if not out.suffix or out.is_dir():
        check_folder(out)
        return "folder"
    check_output(out, (*figures.endings(), ".npy"))
    return "array" if out.suffix.lower() == ".npy" else "picture"


def _write(result: Decoded, out: Path) -> None:
    from ae_cli import figures

    if result.kind == "folder":
        with atomic_folder(out) as folder:
            figures.save_each(result.pixels, folder)
    elif result.kind == "array":
        with atomic_write(out) as file:
            np.save(file, result.pixels)
    else:
        figures.write(out, result.draw)


def _in_table(model: ModelLike, options: DecodeOptions, default: int | None) -> Points:
    """The first rows of a table; `default` as for `choose_count`."""
    trained, name = load_trained(model)
    table: Any = TABLE if options.table is None else options.table
    if isinstance(table, (str, Path)):
        latents, owner = read_latents(Path(table)), str(table)
    else:
        latents = table if isinstance(table, Latents) else to_latents(table)
        owner = "the table"
    there, given = len(latents), latents.z.shape[1]
    if given != trained.model.config.latent_dim:
        raise DataError(
            f"{owner} has {given} latents, and {name} is for {trained.model.config.latent_dim}",
            "give the table that `ae embed` made with this checkpoint",
        )
    _check_run(latents, owner, name, trained.run_id)
    count = choose_count("--n", options.n, there, default, f"{owner} has {there:,} rows")
    rows = latents.head(count)
    return Points(trained.model, rows.z, f"{count:,} of {there:,} rows of {owner}", rows.captions())


def _check_run(latents: Latents, owner: str, name: str, run_id: str) -> None:
    """Make sure that a table, if it says which model made it, was made by this one.

    Raises:
        DataError: It was made by another.
    """
    run = shorten_run(run_id)
    if latents.run is not None and run and (latents.run != run).any():
        raise DataError(
            f"{owner} was made by another model than {name}",
            "make it again with `ae embed`, or name the other model with --checkpoint",
        )
    if latents.run is None and latents.index is not None:
        warn(
            f"{owner} does not say which model made it, as tables of `ae embed` do; "
            "another model's latents give meaningless images"
        )


def _at_random(model: ModelLike, count: int, seed: int) -> Points:
    """Points drawn from the prior of a variational model: the standard normal distribution."""
    trained, name = load_trained(model)
    if not trained.model.config.variational:
        raise UsageError(
            f"--sample needs a model with a prior, and {name} has none",
            "train with --variational, or use --grid or --between",
        )
    drawn = np.random.default_rng(seed).standard_normal((count, trained.model.config.latent_dim))
    return Points(
        trained.model,
        drawn.astype(np.float32),
        f"{count_images(count)} drawn from the prior, seed {seed}",
    )


def _on_grid(model: ModelLike, options: DecodeOptions, size: int, device: torch.device) -> Points:
    """A grid over the range of two latents of the training images."""
    inputs = load_inputs(model, options)
    network = inputs.trained.model
    dimensions = network.config.latent_dim
    if dimensions < 2:
        raise UsageError(
            f"--grid needs two latents, and {inputs.name} has one", "use --between, or a table"
        )
    axes = options.axes or "z1,z2"
    across, down = parse_axes(axes, dimensions, counts=(2,), owner=inputs.name)
    grid = grid_over(
        encode(network, inputs.images.split("train"), device=device), (across, down), size
    )
    names = f"z{across + 1}", f"z{down + 1}"
    others = [k for k in range(dimensions) if k not in (across, down)]
    fixed = f"; z{others[0] + 1} at its median" if len(others) == 1 else ""
    if len(others) > 1:
        fixed = f"; the other {len(others):,} latents at their medians"
    return Points(
        network,
        grid.points,
        f"{size} × {size} images over {names[0]} from {grid.across[0]:.3g} to "
        f"{grid.across[-1]:.3g} and {names[1]} from {grid.down[-1]:.3g} to {grid.down[0]:.3g}"
        f"{fixed}",
        grid=(names, (grid.across, grid.down)),
    )


def _on_line(
    model: ModelLike, options: DecodeOptions, ends: tuple[int, ...], device: torch.device
) -> Points:
    """The straight line between the latents of two images."""
    inputs = load_inputs(model, options)
    network, split = inputs.trained.model, options.split or "test"
    images = inputs.images.split(split)
    pair = images.select(find_images("--between", ends, inputs.images, split, "--split"))
    rows = Latents(
        z=encode(network, pair, device=device),
        index=pair.index(),
        name=None if pair.names is None else np.array(pair.names),
        label=pair.label_values(),
    )
    start, end = rows.z
    first, last = rows.captions()
    steps = options.step_count
    return Points(
        network,
        line_between(start, end, steps),
        f"{steps} images from {split} image {ends[0]} ({first}) to {ends[1]} ({last})",
        [first, *[""] * (steps - 2), last],
    )
