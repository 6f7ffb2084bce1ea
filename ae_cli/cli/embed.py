"""``ae embed``."""

from __future__ import annotations

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
    shell_word,
)
from ae_cli.config import CHECKPOINT, TABLE
from ae_cli.console import Reporter
from ae_cli.files import check_output

if TYPE_CHECKING:
    from ae_cli.latents import Latents


def embed(
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The table: .csv, .parquet or .npz.")
    ] = TABLE,
    split: Annotated[
        Literal["train", "test", "all"], typer.Option(help="Which images to encode.")
    ] = "all",
    checkpoint: CheckpointOption = CHECKPOINT,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    classes: SameClassesOption = None,
    exclude_classes: ExcludeClassesOption = None,
    key: KeyOption = None,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Write a table with the latents of every image.

    Its columns are index, split, name, label, z1, z2, … and error, the reconstruction error; name
    and label are there only where the images have them.
    """
    reporter = Reporter(quiet=quiet, json=json)

    from ae_cli.latents import to_rows, write_latents
    from ae_cli.tables import ENDINGS

    check_output(out, ENDINGS)

    from ae_cli import infer
    from ae_cli.model import choose_device

    where = choose_device(device)
    choice = Choice(data, data_dir, classes, exclude_classes, key, strict)
    trained, images, _ = load_inputs(checkpoint, choice, reporter)
    splits = images.choose_splits(split)
    error_sums = dict.fromkeys(splits, 0.0)

    def batches() -> Iterator[Latents]:
        for name, members in splits.items():
            made = infer.reconstruct(trained.model, members, device=where)
            for rows in to_rows(name, members, made):
                yield rows
                error_sums[name] += float(rows.columns()["error"].sum(dtype="float64"))
                advance(len(rows))

    with reporter.progress("embed", sum(map(len, splits.values()))) as advance:
        count = write_latents(out, batches())
    mean_errors = {name: error_sums[name] / len(members) for name, members in splits.items()}
    reporter.say(
        "error",
        "mean " + ", ".join(f"{error:.4f} over {name}" for name, error in mean_errors.items()),
    )
    dimensions = trained.model.config.latent_dim
    reporter.say("table", f"{out}: {count:,} rows, latents z1 to z{dimensions}")
    reporter.say("next", f"ae plot3d {shell_word(out)}")
    reporter.emit(
        "result",
        out=str(out),
        rows=count,
        latent_dim=dimensions,
        mean_error=mean_errors,
    )
