"""Parquet tables: with a column for each pixel, or with encoded images, lists or paths in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.config import ReadOptions
from ae_cli.data.arrays import Arrays
from ae_cli.data.columns import (
    LOOKED_AT,
    arrow_errors,
    bad_cell,
    check_names,
    find_label_column,
    find_pixel_columns,
    find_roles,
    holds_pixels,
    to_label_array,
    to_list,
    to_texts,
)
from ae_cli.data.image_tables import find_image_column, read_image_table
from ae_cli.data.listings import Sheet, list_pictures
from ae_cli.data.pictures import Pictures
from ae_cli.data.pixel_cells import PixelCells, to_arrays
from ae_cli.data.scratch import Scratch
from ae_cli.data.values import Part, to_bytes
from ae_cli.errors import DataError
from ae_cli.files.reading import ROW_BYTES, check_parquet, check_unpacked, is_plain, is_text

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FORM = "a Parquet table"
_MOST_CELLS = 2**24  # that are read at once


def read_parquet(path: Path, options: ReadOptions, scratch: Scratch) -> Arrays | Pictures:
    """Read a Parquet file.

    Args:
        path: The file.
        options: `key` is the column with the labels; None for the one called as in `LABELS`.
        scratch: Where pixels are.

    Raises:
        DataError: A column or a cell is not valid.
        OSError, ValueError: It cannot be read as Parquet at all.
    """
    import pyarrow.parquet

    with arrow_errors():
        metadata = pyarrow.parquet.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        check_parquet(path, metadata, ROW_BYTES)
        names = _own_columns(schema)
        check_names(path, names)
        if (column := find_image_column(path, schema)) is not None:
            return read_image_table(path, column, options)
        texts = [name for name in names if is_text(schema.field(name).type)]
        if texts:
            head = _read_head(path, metadata, [n for n in names if is_plain(schema.field(n).type)])
            image = next((name for name in texts if holds_pixels(head[name])), None)
            if image is not None:
                return _read_texts(path, list(head), image, options, scratch)
            listed = list_pictures(path, head, lambda: read_sheet(path), options)
            if listed is not None:
                return listed
        return _read_pixels(path, metadata, schema, options, scratch)


def _own_columns(schema: pa.Schema) -> list[str]:
    """The columns, without those that pandas made of a table's index: they are not meant."""
    return [name for name in schema.names if not name.startswith("__index_level_")]


def _read_head(path: Path, metadata: pq.FileMetaData, columns: list[str]) -> dict[str, list[str]]:
    """The first cells of some columns, as text."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, metadata=metadata) as file:
        batch = next(file.iter_batches(batch_size=LOOKED_AT, columns=columns), None)
    if batch is None:
        return {name: [] for name in columns}
    return {name: to_texts(batch.column(name)) for name in columns}


def read_sheet(path: Path) -> Sheet:
    """Read the plain columns of a Parquet table as text.

    Raises:
        ValueError, OSError: It cannot be read.
    """
    import pyarrow.parquet

    with arrow_errors():
        metadata = pyarrow.parquet.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        check_names(path, _own_columns(schema))
        names = [n for n in _own_columns(schema) if is_plain(schema.field(n).type)]
        check_parquet(path, metadata, ROW_BYTES * len(names))
        cells: dict[str, list[str]] = {name: [] for name in names}
        text = [name for name in names if is_text(schema.field(name).type)]
        with pyarrow.parquet.ParquetFile(path, metadata=metadata, read_dictionary=text) as file:
            for batch in file.iter_batches(columns=names):
                for name in names:
                    cells[name] += to_texts(batch.column(name))
    return Sheet(path, cells, (FORM,))


def _read_texts(
    path: Path, names: list[str], image: str, options: ReadOptions, scratch: Scratch
) -> Arrays:
    """Read a table with a column of texts of pixels."""
    import pyarrow.parquet

    cells: dict[str, list[str]] = {name: [] for name in names if name != image}
    pixels = PixelCells(path, image, scratch)
    # Mapped, since otherwise all of a column's bytes in a group of rows would be in memory.
    with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
        for batch in file.iter_batches(batch_size=1024, columns=names):
            column = batch.column(image)
            _check_filled(path, image, column, pixels.count)
            if not pyarrow.types.is_string(column.type):
                column = column.cast(pyarrow.string())
            pixels.add(column)
            check_unpacked(path, pixels.rows.nbytes)
            for name, own in cells.items():
                own += to_texts(batch.column(name))
    roles = find_roles(path, cells, image, options.key)
    return to_arrays(Sheet(path, cells, (FORM,)), roles, pixels)


def _read_pixels(
    path: Path,
    metadata: pq.FileMetaData,
    schema: pa.Schema,
    options: ReadOptions,
    scratch: Scratch,
) -> Arrays:
    """Read a table with a column for each pixel."""
    import pyarrow.parquet

    columns = _own_columns(schema)
    label = find_label_column(path, columns, options.key)
    names = find_pixel_columns(path, columns, label)
    kind = _pixel_type(path, schema, names)
    check_parquet(path, metadata, kind.itemsize * len(names) + ROW_BYTES)
    labels = None if label is None else _read_labels(path, schema, label)
    # Larger whole numbers are no pixels, except those of 16 bits.
    narrow = kind.kind in "iu" and kind != np.uint16
    pixels = scratch.new((metadata.num_rows, len(names)), np.uint8 if narrow else kind)
    with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
        start = 0
        for group in range(metadata.num_row_groups):
            count = metadata.row_group(group).num_rows
            # A column's page may be all of its cells in the group.
            some = max(1, _MOST_CELLS // max(1, count))
            for first in range(0, len(names), some):
                row, chosen = start, names[first : first + some]
                for batch in file.iter_batches(4096, row_groups=[group], columns=chosen):
                    values = np.empty((len(batch), len(chosen)), kind)
                    for i, name in enumerate(chosen):
                        column = batch.column(name)
                        _check_filled(path, name, column, row)
                        values[:, i] = column.to_numpy(zero_copy_only=False)
                    if narrow:
                        values = to_bytes(Part(str(path), values), values, row, 255)
                    pixels[row : row + len(batch), first : first + some] = values
                    row += len(batch)
                if row != start + count:
                    raise ValueError("it has fewer rows than it says")
            start += count
    part = Part(str(path), pixels, labels)
    named = f"labels: column {label}" if label is not None else "no column of labels"
    return Arrays(str(path), [part], (FORM, f"{len(names):,} columns of pixels", named))


def _read_labels(path: Path, schema: pa.Schema, label: str) -> NDArray[Any]:
    """Read the column with the labels, (n,)."""
    import pyarrow.parquet

    kind = schema.field(label).type
    if not is_plain(kind):
        raise DataError(f"the labels of {path} are of type {kind}", "save whole numbers or text")
    labels: list[Any] = []
    # As a dictionary, a label that occurs often is kept in memory once.
    text = [label] if is_text(kind) else None
    with pyarrow.parquet.ParquetFile(path, read_dictionary=text) as file:
        for batch in file.iter_batches(columns=[label]):
            _check_filled(path, label, batch.column(0), len(labels))
            labels += to_list(batch.column(0))
    return to_label_array(path, labels)


def _check_filled(path: Path, name: str, column: pa.Array, start: int) -> None:
    """Refuse a column with an empty cell; its first row is `start`, counted from 0."""
    if column.null_count:
        raise bad_cell(path, name, start + column.is_null().to_pylist().index(True) + 1)


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
