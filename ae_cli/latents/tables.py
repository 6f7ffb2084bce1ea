"""Writing tables, whose columns are numpy arrays, as CSV, Parquet or NPZ."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ae_cli.files import atomic_write, check_output

if TYPE_CHECKING:
    from ae_cli.data.images import Images

ENDINGS = (".csv", ".parquet", ".npz")

Columns: TypeAlias = dict[str, NDArray[Any]]

ROWS_IN_GROUP = 2**16  # in Parquet: small row groups would be slow to read


def check_table(out: Path | str | None, *beside: str) -> Path | None:
    """Make sure that a table, and files of its name with other endings, can be written.

    Args:
        out: The table; None for no table and no other file.
        beside: The other files' endings.

    Returns:
        The table's path.

    Raises:
        UsageError: One of them cannot be written.
    """
    if out is None:
        return None
    path = Path(out)
    check_output(path, ENDINGS)
    for ending in beside:
        check_output(path.with_suffix(ending), (ending,))
    return path


def name_rows(images: Images, splits: NDArray[np.str_], places: NDArray[np.int64]) -> Columns:
    """The columns that say which image a row is about.

    Args:
        images: n images.
        splits: (n,), the split of each.
        places: (rows,), which of them the rows are about.

    Returns:
        ``index, split, name, label``: `name` only if images have names, `label` only if they have
        labels.
    """
    columns: Columns = {"index": images.index()[places], "split": splits[places]}
    if images.names is not None:
        columns["name"] = np.array([images.names[i] for i in places])
    if (labels := images.label_values()) is not None:
        columns["label"] = labels[places]
    return columns


def write_table(path: Path, batches: Iterable[Columns]) -> int:
    """Write a table atomically.

    All are written batch by batch, and are never in memory as a whole.

    Args:
        path: Its ending, one of `ENDINGS`, chooses the format.
        batches: At least one batch, all with the same columns, each (rows of the batch,).

    Returns:
        The number of rows.

    Raises:
        UsageError: The file cannot be written.
    """
    write = {".csv": _write_csv, ".parquet": _write_parquet, ".npz": _write_npz}
    rows = 0

    def counted() -> Iterator[Columns]:
        nonlocal rows
        for columns in batches:
            rows += len(next(iter(columns.values())))
            yield columns

    with atomic_write(path) as file:
        write[path.suffix.lower()](file, counted())
    return rows


def _write_csv(file: BinaryIO, batches: Iterable[Columns]) -> None:
    import pyarrow.compute
    import pyarrow.csv

    first = True
    for columns in batches:
        table = pyarrow.table(columns)
        if first:
            file.write((",".join(table.column_names) + "\n").encode())
            first = False
        # Arrow's "needed" quotes all text. That is harder to read, so it is used only if some text
        # in the batch contains a comma, a quote or a line break.
        text = [column for column in table.columns if pyarrow.types.is_string(column.type)]
        special = any(
            pyarrow.compute.any(pyarrow.compute.match_substring_regex(column, '[",\r\n]')).as_py()
            for column in text
        )
        options = pyarrow.csv.WriteOptions(
            include_header=False, quoting_style="needed" if special else "none"
        )
        pyarrow.csv.write_csv(table, file, options)


def _write_parquet(file: BinaryIO, batches: Iterable[Columns]) -> None:
    import pyarrow
    import pyarrow.parquet

    with ExitStack() as stack:
        writer = None
        for table in _collect(pyarrow.table(columns) for columns in batches):
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(file, table.schema)
                # Closed even after a failure: an open writer would write again when deleted.
                stack.callback(writer.close)
            writer.write_table(table)


def _collect(tables: Iterable[Any]) -> Iterator[Any]:
    """Put tables together until they have enough rows for a row group.

    They are copied into one buffer of Arrow's: small arrays that stay between large ones that go
    would keep their memory.
    """
    import pyarrow

    tables = iter(tables)
    for first in tables:
        buffer, rows = pyarrow.BufferOutputStream(), len(first)
        with pyarrow.ipc.new_stream(buffer, first.schema) as stream:
            stream.write_table(first)
            while rows < ROWS_IN_GROUP and (table := next(tables, None)) is not None:
                stream.write_table(table)
                rows += len(table)
        yield pyarrow.ipc.open_stream(buffer.getvalue()).read_all()


def _write_npz(file: BinaryIO, batches: Iterable[Columns]) -> None:
    """Write an array per column, each of which has to be complete before the next one.

    So the batches of a column wait in a temporary file of its own, beside the table.
    """
    with ExitStack() as stack:
        columns: dict[str, _Column] = {}
        for batch in batches:
            for name, values in batch.items():
                if name not in columns:
                    folder = Path(file.name).parent
                    waiting = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                    columns[name] = _Column(waiting, values.dtype)
                columns[name].add(values)
        with zipfile.ZipFile(file, "w") as archive:
            for name, column in columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    column.write(member)


class _Column:
    """A column of which the batches come one by one, in a file.

    Args:
        file: Where they wait.
        kind: The type of the first batch; texts of the others may be longer.
    """

    def __init__(self, file: IO[bytes], kind: np.dtype[Any]) -> None:
        self._file, self._kind = file, kind
        self._batches = self._rows = 0

    def add(self, values: NDArray[Any]) -> None:
        """Add a batch, (rows,)."""
        np.save(self._file, values, allow_pickle=False)
        self._kind = np.promote_types(self._kind, values.dtype)
        self._batches, self._rows = self._batches + 1, self._rows + len(values)

    def write(self, member: IO[bytes]) -> None:
        """Write all of them as one array in NumPy's format."""
        description = np.lib.format.dtype_to_descr(self._kind)
        header = {"descr": description, "fortran_order": False, "shape": (self._rows,)}
        np.lib.format.write_array_header_1_0(member, header)
        self._file.seek(0)
        for _ in range(self._batches):
            values = np.load(self._file, allow_pickle=False)
            member.write(values.astype(self._kind, copy=False).tobytes())
