"""``ae reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ae_cli.cli.inputs import Choice, find_images, load_inputs
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
    ShowOption,
    StrictOption,
    checkpoint_argument,
    parse_whole_numbers,
)
from ae_cli.config import CHECKPOINT
from ae_cli.console import Reporter
from ae_cli.errors import UsageError
from ae_cli.files import check_output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_COUNT = 5


def reconstruct(
    n: Annotated[
        int | None,
        typer.Option("--n", help="How many images.", show_default=str(DEFAULT_COUNT)),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Which images, by position, such as 3,7,19. By default the first ones.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Draw the images at random with this seed.", show_default=False),
    ] = None,
    split: Annotated[
        Literal["train", "test"], typer.Option(help="Which images to take them from.")
    ] = "test",
    checkpoint: CheckpointOption = CHECKPOINT,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    classes: SameClassesOption = None,
    exclude_classes: ExcludeClassesOption = None,
    key: KeyOption = None,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The picture: .png, .svg, .pdf, .jpg and more.")
    ] = Path("reconstruction.png"),
    show: ShowOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Draw images above what the model makes of them.

    Each is titled with its label and its reconstruction error: the mean squared difference of its
    pixels, which go from 0 (black) to 1 (white).
    """
    reporter = Reporter(quiet=quiet, json=json)
    if seed is not None and seed < 0:
        raise UsageError(f"--seed is {seed}", "give a whole number, 0 or more")
    if index is not None and (n is not None or seed is not None):
        raise UsageError("--index already says which images", "leave out --n and --seed")
    chosen = None if index is None else parse_whole_numbers("--index", index, example="3,7,19")
    count = len(chosen) if chosen is not None else DEFAULT_COUNT if n is None else n
    if count < 1:
        raise UsageError(f"--n is {count}", "give a whole number, 1 or more")

    from ae_cli import figures

    if count > figures.MOST_IMAGES:
        raise UsageError(
            "a picture of so many images would be too large", f"give at most {figures.MOST_IMAGES}"
        )
    check_output(out, figures.endings())

    from ae_cli import infer
    from ae_cli.model import choose_device

    where = choose_device(device)
    choice = Choice(data, data_dir, classes, exclude_classes, key, strict)
    trained, images, _ = load_inputs(checkpoint, choice, reporter)
    source = images.splits[split]
    if chosen is not None:
        places = find_images("--index", chosen, source, split)
    else:
        places = _choose(len(source), split, n, seed)
    selected = source.select(places)
    drawn = infer.reconstruct_all(trained.model, selected, device=where)
    errors = infer.reconstruction_errors(trained.model, source, device=where)
    mean_error = float(errors.mean(dtype="float64"))
    labels = selected.label_values()

    figure, in_window = figures.new_figure(window=show)
    figures.draw_reconstructions(
        figure,
        drawn.originals,
        drawn.pixels,
        [
            f"{caption} (error {error:.4f})"
            for caption, error in zip(selected.captions(), drawn.errors, strict=True)
        ],
    )
    figures.save(figure, out)

    reporter.preview(drawn.originals, drawn.pixels)
    reporter.say(
        "error",
        f"mean {drawn.errors.mean():.4f} over the images drawn, "
        f"{mean_error:.4f} over all {len(source):,} {split} images",
    )
    reporter.say("picture", str(out))
    if show and not in_window:
        reporter.warn(f"no display to open a window on; the picture is in {out}")
    reporter.say("next", "ae embed --out latents.csv" + checkpoint_argument(checkpoint))
    reporter.emit(
        "result",
        split=split,
        images=[
            {
                "index": int(index),
                "label": None if labels is None else labels[i].item(),
                "error": float(drawn.errors[i]),
            }
            for i, index in enumerate(selected.index())
        ],
        mean_error=mean_error,
        out=str(out),
    )
    if in_window:
        figures.show()


def _choose(there: int, split: str, n: int | None, seed: int | None) -> NDArray[np.int64]:
    """Places in the split, (n,): a random draw, or the first ones."""
    import numpy as np

    count = min(DEFAULT_COUNT, there) if n is None else n
    if count > there:
        raise UsageError(
            f"--n is {count}, and the {split} split has {there:,} images", f"give at most {there}"
        )
    if seed is None:
        return np.arange(count)
    return np.random.default_rng(seed).choice(there, size=count, replace=False)
