"""``ae explore``."""

from __future__ import annotations

import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ae_cli.cli.inputs import Choice, load_inputs
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
)
from ae_cli.config import CHECKPOINT
from ae_cli.console import Reporter, format_shape
from ae_cli.errors import UsageError
from ae_cli.files import check_output

if TYPE_CHECKING:
    from ae_cli.data import Images
    from ae_cli.infer import Reconstruction

DEFAULT_COUNT = 5000
HEAT_QUANTILE = 0.99  # of the squared errors of pixels: what lies above it looks the same


def explore(
    n: Annotated[
        str | None,
        typer.Option(
            "--n",
            metavar="N",
            help="How many images, drawn at random; or all.",
            show_default=str(DEFAULT_COUNT),
        ),
    ] = None,
    split: Annotated[
        Literal["train", "test", "all"], typer.Option(help="Which images to draw from.")
    ] = "all",
    color: Annotated[
        Literal["label", "error", "split"] | None,
        typer.Option(
            help="What the colours mean at first.",
            show_default="label if there are labels, or else error",
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Which two or three latents to draw at first, such as z2,z5,z7.",
            show_default="all up to three, or else their principal components",
        ),
    ] = None,
    checkpoint: CheckpointOption = CHECKPOINT,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    classes: SameClassesOption = None,
    exclude_classes: ExcludeClassesOption = None,
    key: KeyOption = None,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("explore.html"),
    show: Annotated[
        bool, typer.Option("--show", help="Open the page in a browser.", show_default=False)
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Make a page in which one walks through the latent space.

    It is one HTML file that needs no network: it holds images, their latents, and the decoder,
    which draws what stands at any point of the latent space while one moves through it.
    """
    reporter = Reporter(quiet=quiet, json=json)
    parse_count("--n", n)

    from ae_cli.page import ENDINGS

    check_output(out, ENDINGS)

    import numpy as np

    from ae_cli import infer
    from ae_cli.latents import join, to_rows
    from ae_cli.model import choose_device, decoder_layers
    from ae_cli.page.explorer import LARGEST, LatentSpace, write_explorer

    where = choose_device(device)
    choice = Choice(data, data_dir, classes, exclude_classes, key, strict)
    trained, images, _ = load_inputs(checkpoint, choice, reporter)
    model = trained.model
    places = (
        None
        if axes is None
        else tuple(parse_axes(axes, model.config.latent_dim, counts=(2, 3), owner=checkpoint))
    )
    splits = images.choose_splits(split)
    there = sum(map(len, splits.values()))
    count = choose_count("--n", n, there, DEFAULT_COUNT, f"there are {there:,} images")
    has_labels = images.train.labels is not None
    if color == "label" and not has_labels:
        raise UsageError("--color is label, and the images have none", "choose error or split")

    drawn = _draw(splits, count)
    heats: list[float] = []  # of each batch: all errors together might not fit in memory
    with reporter.progress("decode", count) as advance:

        def watched(batches: Iterator[Reconstruction]) -> Iterator[Reconstruction]:
            for batch in batches:
                squares = np.square(batch.pixels - batch.originals).mean(axis=1)
                heats.append(float(np.quantile(squares, HEAT_QUANTILE)))
                advance(len(batch.latents))
                yield batch

        rows = join(
            batch
            for name, members in drawn.items()
            for batch in to_rows(
                name, members, watched(infer.reconstruct(model, members, device=where))
            )
        )
    mean_error = float(rows.columns()["error"].mean(dtype="float64"))
    dimensions = model.config.latent_dim
    sample = f"{count:,} images" if count == there else f"{count:,} of {there:,} images"
    page = write_explorer(
        out,
        LatentSpace(
            title=images.name,
            summary=f"{sample}, {dimensions} latent{'s' * (dimensions > 1)}, "
            f"mean reconstruction error {mean_error:.4f}",
            rows=rows,
            pixels=np.concatenate([members.pixels.numpy() for members in drawn.values()]),
            layers=decoder_layers(model),
            activation=model.config.activation,
            heat_most=float(np.mean(heats)) or 1.0,
            axes=places,
            color=color or ("label" if has_labels else "error"),
        ),
    )
    reporter.say("error", f"mean {mean_error:.4f} over the images drawn")
    changes = [] if page.lossless else ["kept as a JPEG"]
    if page.thumbnail != model.config.shape[1:]:
        changes.append(f"reduced to {format_shape(page.thumbnail)} pixels")
    if changes:
        reporter.say("images", " and ".join(changes) + "; fewer of them, with --n, stay sharper")
    if page.size > LARGEST:
        reporter.warn(
            f"{out} has {page.size / 1e6:.0f} MB, mostly the decoder, which is slow on a phone; "
            "smaller --hidden layers or --image-size make it smaller"
        )
    reporter.say("page", f"{out}: {sample}, {page.size / 1e6:.1f} MB")
    reporter.emit(
        "result",
        out=str(out),
        images=count,
        there=there,
        latent_dim=dimensions,
        mean_error=mean_error,
        bytes=page.size,
        thumbnail=page.thumbnail,
        lossless=page.lossless,
        decoder="float16" if page.half else "float32",
    )
    if show and not webbrowser.open(out.resolve().as_uri()):
        reporter.warn(f"no browser to open; the page is in {out}")


def _draw(splits: dict[str, Images], count: int) -> dict[str, Images]:
    """Draw so many images from all splits at random, always the same ones, in their order."""
    import numpy as np

    ends = np.cumsum([len(members) for members in splits.values()])
    places = np.sort(np.random.default_rng(0).choice(ends[-1], count, replace=False))
    parts = np.split(places, np.searchsorted(places, ends[:-1]))
    starts = ends - [len(members) for members in splits.values()]
    drawn = {
        name: members.select(part - start)
        for (name, members), part, start in zip(splits.items(), parts, starts, strict=True)
    }
    return {name: members for name, members in drawn.items() if len(members)}
