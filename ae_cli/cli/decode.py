"""``ae decode``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from ae_cli.cli.inputs import Choice, Inputs, find_images, load_inputs
from ae_cli.cli.options import (
    CheckpointOption,
    DataDirOption,
    DataOption,
    DeviceOption,
    ExcludeClassesOption,
    JsonOption,
    KeyOption,
    QuietOption,
    SameClassesOption,
    StrictOption,
    choose_count,
    parse_axes,
    parse_count,
    parse_whole_numbers,
)
from ae_cli.config import CHECKPOINT, TABLE
from ae_cli.console import Reporter
from ae_cli.errors import DataError, UsageError
from ae_cli.files import atomic_folder, atomic_write, check_folder, check_output

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ae_cli.model import AutoEncoder

DEFAULT_COUNT = 100  # images in a picture
DEFAULT_STEPS = 12
MOST_STEPS = 1000
LARGEST_GRID = 100  # images to the side


def decode(
    table: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TABLE]",
            help="A table of latents: that which `ae embed` made, or any with columns z1, z2, …",
            show_default=str(TABLE),
        ),
    ] = None,
    n: Annotated[
        str | None,
        typer.Option(
            "--n",
            metavar="N",
            help="How many rows, from the first; or all.",
            show_default=f"{DEFAULT_COUNT} in a picture, or all elsewhere",
        ),
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Instead of a table: N × N images from a regular grid over two latents.",
            show_default=False,
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="The two latents that --grid walks over, such as z1,z3. The others keep the "
            "median of the training images.",
            show_default="z1,z2",
        ),
    ] = None,
    between: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Instead of a table: images on the straight line between the latents of two "
            "images, by their index, such as 3,19.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="How many images --between makes, with both ends.",
            show_default=str(DEFAULT_STEPS),
        ),
    ] = None,
    split: Annotated[
        Literal["train", "test"] | None,
        typer.Option(help="Which images --between means.", show_default="test"),
    ] = None,
    checkpoint: CheckpointOption = CHECKPOINT,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    classes: SameClassesOption = None,
    exclude_classes: ExcludeClassesOption = None,
    key: KeyOption = None,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
    out: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="A picture (.png, .svg, .pdf, .jpg and more), an .npy file, or a new folder for "
            "a PNG file each.",
        ),
    ] = Path("decoded.png"),
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Draw the images that latents stand for: of a table, on a grid, or between two images."""
    reporter = Reporter(quiet=quiet, json=json)
    if (table is not None) + (grid is not None) + (between is not None) > 1:
        raise UsageError("a table, --grid and --between exclude one another", "give one of them")
    from_table = grid is None and between is None
    for option, value, owner, there in (
        ("--n", n, "a table", from_table),
        ("--axes", axes, "--grid", grid is not None),
        ("--steps", steps, "--between", between is not None),
        ("--split", split, "--between", between is not None),
        ("--data", data, "--grid or --between", not from_table),
        ("--classes", classes, "--grid or --between", not from_table),
        ("--exclude-classes", exclude_classes, "--grid or --between", not from_table),
        ("--key", key, "--grid or --between", not from_table),
        ("--strict", strict or None, "--grid or --between", not from_table),
    ):
        if value is not None and not there:
            raise UsageError(f"{option} is for {owner}", f"leave it out, or give {owner}")
    if grid is not None and not 2 <= grid <= LARGEST_GRID:
        raise UsageError(f"--grid is {grid}", f"give a whole number from 2 to {LARGEST_GRID}")
    steps = DEFAULT_STEPS if steps is None else steps
    if not 2 <= steps <= MOST_STEPS:
        raise UsageError(f"--steps is {steps}", f"give a whole number from 2 to {MOST_STEPS}")
    ends = None if between is None else parse_whole_numbers("--between", between, example="3,19")
    if ends is not None and len(ends) != 2:
        raise UsageError(f"--between is {between!r}", "give two numbers, such as 3,19")
    parse_count("--n", n)
    is_folder = not out.suffix or out.is_dir()
    is_array = not is_folder and out.suffix.lower() == ".npy"
    is_picture = not is_folder and not is_array

    from ae_cli import figures

    if is_folder:
        check_folder(out)
    else:
        check_output(out, (*figures.endings(), ".npy"))

    from ae_cli import infer
    from ae_cli.model import choose_device

    where = choose_device(device)
    choice = Choice(data, data_dir, classes, exclude_classes, key, strict)
    if grid is not None:
        points = _on_grid(load_inputs(checkpoint, choice, reporter), checkpoint, grid, axes, where)
    elif ends is not None:
        inputs = load_inputs(checkpoint, choice, reporter)
        points = _on_line(inputs, ends, split or "test", steps, where)
    else:
        default = DEFAULT_COUNT if is_picture else None
        points = _in_table(table or TABLE, checkpoint, n, default)
    if is_picture and points.grid is None and len(points.z) > figures.MOST_IMAGES:
        raise UsageError(
            f"a picture of {len(points.z):,} images would be too large",
            f"ask for {figures.MOST_IMAGES} at most, or write to a folder or an .npy file",
        )
    images = infer.decode(points.model, points.z, device=where)

    if is_folder:
        with atomic_folder(out) as folder:
            figures.save_each(images, folder)
    elif is_array:
        import numpy as np

        with atomic_write(out) as file:
            np.save(file, images)
    else:
        figure, _ = figures.new_figure()
        if points.grid is None:
            figures.draw_sheet(figure, images, points.captions)
        else:
            figures.draw_grid(figure, images, *points.grid)
        figures.save(figure, out)
        reporter.preview(images)
    reporter.say("decoded", points.what)
    reporter.say("array" if is_array else "folder" if is_folder else "picture", str(out))
    reporter.emit("result", out=str(out), images=len(images), latent_dim=points.z.shape[1])


class _Points(NamedTuple):
    """What to decode.

    Attributes:
        model: What decodes it.
        z: float32 (n, latent_dim).
        what: What it is, for a person.
        captions: n texts to write above the images; None for none.
        grid: Names and values of the two axes, where the points are a grid.
    """

    model: AutoEncoder
    z: NDArray[np.float32]
    what: str
    captions: list[str] | None = None
    grid: tuple[tuple[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]] | None = None


def _in_table(path: Path, checkpoint: Path, n: str | None, default: int | None) -> _Points:
    """The rows of a table.

    Args:
        path: The table.
        checkpoint: The model that they are for.
        n: How many, from the first, as a person says it.
        default: As for `choose_count`.
    """
    from ae_cli.latents import read_latents
    from ae_cli.model import load_checkpoint

    model = load_checkpoint(checkpoint).model
    latents = read_latents(path)
    there, given = len(latents), latents.z.shape[1]
    if given != model.config.latent_dim:
        raise DataError(
            f"{path} has {given} latents, and {checkpoint} is for {model.config.latent_dim}",
            "give the table that `ae embed` made with this checkpoint",
        )
    count = choose_count("--n", n, there, default, f"{path} has {there:,} rows")
    rows = latents.head(count)
    return _Points(model, rows.z, f"{count:,} of {there:,} rows of {path}", rows.captions())


def _on_grid(
    inputs: Inputs, checkpoint: Path, size: int, axes: str | None, device: torch.device
) -> _Points:
    """A grid over the range of two latents of the training images."""
    from ae_cli.infer import encode
    from ae_cli.walks import grid_over

    model = inputs.trained.model
    dimensions = model.config.latent_dim
    if dimensions < 2:
        raise UsageError(
            f"--grid needs two latents, and {checkpoint} has one", "use --between, or a table"
        )
    across, down = parse_axes(axes or "z1,z2", dimensions, counts=(2,), owner=checkpoint)
    grid = grid_over(encode(model, inputs.images.train, device=device), (across, down), size)
    names = f"z{across + 1}", f"z{down + 1}"
    return _Points(
        model,
        grid.points,
        f"{size} × {size} images over {names[0]} from {grid.across[0]:.3g} to "
        f"{grid.across[-1]:.3g} and {names[1]} from {grid.down[-1]:.3g} to {grid.down[0]:.3g}",
        grid=(names, (grid.across, grid.down)),
    )


def _on_line(
    inputs: Inputs, ends: tuple[int, ...], split: str, steps: int, device: torch.device
) -> _Points:
    """The straight line between the latents of two images."""
    from ae_cli.infer import encode
    from ae_cli.walks import line_between

    model = inputs.trained.model
    images = inputs.images.splits[split]
    pair = images.select(find_images("--between", ends, images, split))
    start, end = encode(model, pair, device=device)
    first, last = pair.captions()
    return _Points(
        model,
        line_between(start, end, steps),
        f"{steps} images from {split} image {ends[0]} ({first}) to {ends[1]} ({last})",
        [first, *[""] * (steps - 2), last],
    )
