"""The latents of every image, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ae_cli.config import takes
from ae_cli.config.commands import EmbedOptions
from ae_cli.data.images import Images
from ae_cli.errors import UsageError
from ae_cli.latents.infer import reconstruct
from ae_cli.latents.inputs import ModelLike, load_inputs
from ae_cli.latents.table import Latents, join, to_rows, write_latents
from ae_cli.latents.tables import check_table
from ae_cli.models import choose_device
from ae_cli.processes import Place, find_team
from ae_cli.results import Result


@dataclass(frozen=True)
class Embedding(Result):
    """The latents of images.

    Attributes:
        out: The table's file, or of several processes the part that this one wrote; None if it was
            not written.
        rows: Number of rows, in all parts.
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
    out = check_table(options.out)
    device = choose_device(options.device)
    with closing(find_team(device)) as team:
        part = None if out is None else _name_part(out, team.place)
        with team.first_alone():
            inputs = load_inputs(model, options)
        network = inputs.trained.model
        splits = inputs.images.choose_splits(options.split)
        own = _choose_rows(splits, team.place)
        sums = torch.zeros(len(splits), dtype=torch.float64)

        def batches() -> Iterator[Latents]:
            done, total = 0, sum(map(len, own.values()))
            for i, (name, members) in enumerate(own.items()):
                made = reconstruct(network, members, device=device)
                for rows in to_rows(name, members, made, inputs.trained.run_id):
                    yield rows
                    sums[i] += float(rows.columns()["error"].sum(dtype="float64"))
                    done += len(rows)
                    options.progress("embed", done, total, "images")

        table = join(batches()) if part is None else None
        if part is not None:
            write_latents(part, batches())
        team.total(sums)
    return Embedding(
        out=part,
        rows=sum(map(len, splits.values())),
        latent_dim=network.config.latent_dim,
        mean_error={
            name: error / len(splits[name])
            for name, error in zip(splits, sums.tolist(), strict=True)
        },
        table=table,
    )


def _name_part(out: Path, place: Place) -> Path:
    """The file of this process: its part of the table, if there are several processes.

    Raises:
        UsageError: The format is not one of parts.
    """
    if place.size == 1:
        return out
    if out.suffix.lower() != ".parquet":
        raise UsageError(
            f"{out} would be written by {place.size} processes, and only Parquet may have parts",
            "choose a name that ends in .parquet",
        )
    return out.with_name(f"{out.stem}-{place.rank:05}-of-{place.size:05}{out.suffix}")


def _choose_rows(splits: dict[str, Images], place: Place) -> dict[str, Images]:
    """The images of this process: those of its part of the table, in the table's order.

    Raises:
        UsageError: There are fewer images than processes.
    """
    if place.size == 1:
        return splits
    total = sum(map(len, splits.values()))
    if total < place.size:
        raise UsageError(f"there are {total} images for {place.size} processes", "start fewer")
    share, first, chosen = place.share(total), 0, {}
    for name, images in splits.items():
        rows = range(max(share.start, first), min(share.stop, first + len(images)))
        chosen[name] = images.select(np.array(rows, np.int64) - first)
        first += len(images)
    return chosen
