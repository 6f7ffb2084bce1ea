"""The latents of every image, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ae_cli.config import takes
from ae_cli.config.commands import EmbedOptions
from ae_cli.files import check_output
from ae_cli.latents.infer import reconstruct
from ae_cli.latents.inputs import ModelLike, load_inputs
from ae_cli.latents.table import Latents, join, to_rows, write_latents
from ae_cli.latents.tables import ENDINGS
from ae_cli.models import choose_device
from ae_cli.results import Result


@dataclass(frozen=True)
class Embedding(Result):
    """The latents of images.

    Attributes:
        out: The table's file; None if it was not written.
        rows: Number of rows.
        latent_dim: Latent values per image.
        mean_error: Mean reconstruction error of each split, by the split's name.
        table: The table; None if it was written to a file.
    """

    out: Path | None
    rows: int
    latent_dim: int
    mean_error: dict[str, float]
    table: Latents | None = field(repr=False)


@takes(EmbedOptions)
def embed(model: ModelLike, options: EmbedOptions) -> Embedding:
    """Find the latents of images. A table that goes to a file is written batch by batch.

    Args:
        model: A trained model, or the path of its checkpoint.
        options: See `EmbedOptions`.

    Raises:
        AeError: The model or the images cannot be read, or the table cannot be written.
    """
    out = None if options.out is None else Path(options.out)
    if out is not None:
        check_output(out, ENDINGS)
    device = choose_device(options.device)
    inputs = load_inputs(model, options)
    network = inputs.trained.model
    splits = inputs.images.choose_splits(options.split)
    total = sum(map(len, splits.values()))
    error_sums = dict.fromkeys(splits, 0.0)

    def batches() -> Iterator[Latents]:
        done = 0
        for name, members in splits.items():
            for rows in to_rows(name, members, reconstruct(network, members, device=device)):
                yield rows
                error_sums[name] += float(rows.columns()["error"].sum(dtype="float64"))
                done += len(rows)
                options.progress("embed", done, total, "images")

    table = join(batches()) if out is None else None
    return Embedding(
        out=out,
        rows=write_latents(out, batches()) if out is not None else total,
        latent_dim=network.config.latent_dim,
        mean_error={name: error_sums[name] / len(members) for name, members in splits.items()},
        table=table,
    )
