"""The table of latents, one row per image, as CSV, Parquet or NPZ.

Its columns are ``index, split, name, label, z1 … zk, error, run``: `name` only if images have
names, `label` only if they have labels, `run` only if the model knows its run. After them come
further columns of the images' own table. This module needs numpy and pyarrow, and no torch.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.errors import DataError
from ae_cli.files import check_output
from ae_cli.latents.tables import ENDINGS, write_table
from ae_cli.results import to_frame

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ae_cli.data.images import Images
    from ae_cli.latents.infer import Found, Reconstruction

SHOWN = 10  # rows in a notebook
RUN_LENGTH = 8  # characters of a run's id


@dataclass(frozen=True)
class Latents:
    """Rows of the table.

    Attributes:
        z: float32 (n, k), the latents.
        index: int64 (n,), each image's position in its split, or in a source without splits; None
            if the table has no such column.
        split: str (n,), ``train`` or ``test``; None if the table has no such column.
        name: str (n,), file names, or None.
        label: int64 or str (n,), or None.
        error: float32 (n,), reconstruction errors; None if the table has no such column.
        run: str (n,), the first characters of the id of the run whose model found the latents, by
            which `decode` knows its own tables; None if the table has no such column.
        carried: Further columns of the images' own table, by name, each (n,).
    """

    z: NDArray[np.float32]
    index: NDArray[np.int64] | None = None
    split: NDArray[np.str_] | None = None
    name: NDArray[np.str_] | None = None
    label: NDArray[np.int64] | NDArray[np.str_] | None = None
    error: NDArray[np.float32] | None = None
    run: NDArray[np.str_] | None = None
    carried: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.z)

    def head(self, count: int) -> Latents:
        """The first rows, at most `count`."""

        def column(name: str) -> Any:
            values = getattr(self, name)
            if name == "carried":
                return {own: cells[:count] for own, cells in values.items()}
            return None if values is None else values[:count]

        return Latents(**{f.name: column(f.name) for f in fields(Latents)})

    def captions(self) -> list[str]:
        """A caption for each row's decoded image: its label, or else its name, or else its index.

        What the image looks like may be another label, and so the caption says that it is one.
        """
        columns = {
            "label ": self.label, "": self.name, "index ": self.index, "row ": np.arange(len(self))
        }  # fmt: skip
        word, values = next((word, c) for word, c in columns.items() if c is not None)
        return [f"{word}{value}" for value in values]

    def to_arrow(self) -> pa.Table:
        """The table as an Arrow table."""
        import pyarrow

        return pyarrow.table(self.columns())

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas data frame.

        Raises:
            UsageError: pandas is not installed.
        """
        return to_frame(self.columns())

    def save(self, path: Path | str) -> None:
        """Write the table atomically, as CSV, Parquet or NPZ by the path's ending.

        Raises:
            UsageError: The ending is not supported, or the file cannot be written.
        """
        check_output(Path(path), ENDINGS)
        write_latents(Path(path), [self])

    def _repr_html_(self) -> str:
        columns = self.columns()
        head = "".join(f"<th>{name}</th>" for name in columns)
        rows = zip(*(values[:SHOWN] for values in columns.values()), strict=True)
        lines = ["".join(f"<td>{html.escape(_write(cell))}</td>" for cell in row) for row in rows]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table><tr>{head}</tr>{body}</table><p>{len(self):,} rows</p>"

    def columns(self) -> dict[str, NDArray[Any]]:
        """The existing columns by name, in the table's order, each (n,)."""
        columns = {
            "index": self.index,
            "split": self.split,
            "name": self.name,
            "label": self.label,
            **{f"z{i}": values for i, values in enumerate(self.z.T, start=1)},
            "error": self.error,
            "run": self.run,
        }
        for name, values in self.carried.items():
            # A column of the images that has the name of one of the table's own
            columns[f"{name}_" if name in columns else name] = values
        return {name: values for name, values in columns.items() if values is not None}


def _write(cell: Any) -> str:
    return f"{cell:.4g}" if isinstance(cell, np.floating) else str(cell)


def to_rows(
    split: str, images: Images, reconstructions: Iterable[Reconstruction | Found], run_id: str
) -> Iterator[Latents]:
    """Turn the reconstructions of a split's images into rows of the table, batch by batch."""
    run = shorten_run(run_id)
    labels, index = images.label_values(), images.index()
    first = 0
    for batch in reconstructions:
        count = len(batch.latents)
        rows = slice(first, first + count)
        yield Latents(
            z=batch.latents,
            index=index[rows],
            split=np.full(count, split),
            name=None if images.names is None else np.array(images.names[rows]),
            label=None if labels is None else labels[rows],
            error=batch.errors,
            run=np.full(count, run) if run else None,
            carried={name: values[rows] for name, values in images.columns.items()},
        )
        first += count


def shorten_run(run_id: str) -> str:
    """What a table shows of a run's id: enough to tell runs apart."""
    return run_id[:RUN_LENGTH]


def join(batches: Iterable[Latents]) -> Latents:
    """Concatenate rows with the same columns."""
    parts = list(batches)

    def column(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if name == "carried":
            return {own: np.concatenate([cells[own] for cells in values]) for own in values[0]}
        return None if values[0] is None else np.concatenate(values)

    return Latents(**{f.name: column(f.name) for f in fields(Latents)})


def write_latents(path: Path, batches: Iterable[Latents]) -> int:
    """Write the table atomically.

    Args:
        path: Its ending, one of `ENDINGS`, chooses the format.
        batches: At least one batch, all with the same columns.

    Returns:
        The number of rows.

    Raises:
        UsageError: The file cannot be written.
    """
    return write_table(path, (batch.columns() for batch in batches))


def to_latents(values: Any) -> Latents:
    """Take an array or a tensor, (n, latent_dim) or (latent_dim,), for latents.

    Raises:
        DataError: It is something else.
    """
    if hasattr(values, "detach"):  # a tensor
        values = values.detach().cpu()
    try:
        z = np.atleast_2d(np.asarray(values, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{type(values).__name__} is not an array of latents", "give an array (n, latent_dim)"
        ) from error
    if z.ndim != 2 or not len(z):
        raise DataError(f"latents have the shape {z.shape}", "give an array (n, latent_dim)")
    return Latents(np.ascontiguousarray(z))
