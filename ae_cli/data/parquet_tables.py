"""Images in a Parquet file: a row of pixels per image, with or without a label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ae_cli.data.pixel_tables import (
    Table,
    arrow_errors,
    bad_cell,
    find_label_column,
    find_pixel_columns,
    to_label_array,
)
from ae_cli.errors import DataError
from ae_cli.files.reading import ROW_BYTES, check_parquet, is_plain, is_text

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(path: Path, key: str | None) -> Table:
    """Read a Parquet file.

    Args:
        path: The file.
        key: The column with the labels; None for the one called as in `LABELS`.

    Returns:
        Pixels, (n, d), of bool, integers or floats, like the columns; and labels, (n,), or None.

    Raises:
        DataError: A column or a cell is not valid.
        OSError, ValueError: It cannot be read as Parquet at all.
    """
    import pyarrow.parquet

    with arrow_errors():
        metadata = pyarrow.parquet.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        # A column that pandas made of a table's index has such a name. It is not part of an image.
        columns = [name for name in schema.names if not name.startswith("__index_level_")]
        label = find_label_column(path, columns, key)
        names = find_pixel_columns(path, columns, label)
        kind = _pixel_type(path, schema, names)
        count = metadata.num_rows
        check_parquet(path, metadata, kind.itemsize * len(names) + ROW_BYTES)
        pixels = np.empty((count, len(names)), kind)
        labels: list[Any] = []
        row = 0
        # As a dictionary, a label that occurs often is kept in memory once.
        text = None
        if label is not None:
            what = schema.field(label).type
            if not is_plain(what):
                raise DataError(
                    f"the labels of {path} are of type {what}", "save whole numbers or text"
                )
            text = [label] if is_text(what) else None
        with pyarrow.parquet.ParquetFile(path, metadata=metadata, read_dictionary=text) as file:
            for batch in file.iter_batches(batch_size=4096, columns=columns):
                rows = slice(row, row + len(batch))
                for name, column in zip(columns, batch.columns, strict=True):
                    if column.null_count:
                        raise bad_cell(
                            path, name, row + column.is_null().to_pylist().index(True) + 1
                        )
                for i, name in enumerate(names):
                    pixels[rows, i] = batch.column(name).to_numpy(zero_copy_only=False)
                if label is not None:
                    labels += _to_list(batch.column(label))
                row += len(batch)
    return pixels, None if label is None else to_label_array(path, labels)


def _to_list(column: pa.Array) -> list[Any]:
    """The values of a column; equal ones may be the same object."""
    import pyarrow

    if not pyarrow.types.is_dictionary(column.type):
        cells: list[Any] = column.to_pylist()
        return cells
    column.validate(full=True)  # otherwise Arrow does not check the positions
    values = column.dictionary.to_pylist()
    return [values[position] for position in column.indices.to_pylist()]


def _pixel_type(path: Path, schema: pa.Schema, names: list[str]) -> np.dtype[Any]:
    """The type that can hold all pixels of a Parquet file."""
    import pyarrow

    numbers = (pyarrow.types.is_integer, pyarrow.types.is_floating, pyarrow.types.is_boolean)
    types = {}
    for name in names:
        kind = schema.field(name).type
        if not any(fits(kind) for fits in numbers):
            raise DataError(
                f"{path} has values of type {kind} for {name} instead of numbers",
                "save each pixel in a column of its own; if this is the label, name it with --key",
            )
        types[name] = np.dtype(kind.to_pandas_dtype())
    groups = {kind.kind.replace("u", "i"): name for name, kind in types.items()}
    if len(groups) > 1:
        first, second = list(groups.values())[:2]
        raise DataError(
            f"{path} has pixels of several types ({types[first]} for {first}, {types[second]} for "
            f"{second})",
            "save all with the same type: uint8 from 0 to 255, or floats from 0 to 1",
        )
    if "i" in groups:
        common = np.result_type(*set(types.values()))
        # No integer type holds all of uint64 and int64, but what does not fit is not a pixel.
        return common if common.kind in "iu" else np.dtype(np.int64)
    return np.result_type(*set(types.values()))
