"""Parquet tables with an encoded image in each row, such as those on Hugging Face."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ae_cli.config import ReadOptions
from ae_cli.data.columns import (
    arrow_errors,
    check_length,
    describe_roles,
    find_roles,
    find_splits,
    to_column,
    to_list,
    to_texts,
)
from ae_cli.data.decode import UnreadableImageError, read_header
from ae_cli.data.layout import Place
from ae_cli.data.pictures import Pictures
from ae_cli.data.quiet import quiet_pillow
from ae_cli.data.sample import Encoded
from ae_cli.errors import warn
from ae_cli.files.reading import ROW_BYTES, UNREADABLE, check_parquet, is_plain, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 32  # images that are read together


class _Column(NamedTuple):
    """A column with encoded images.

    Attributes:
        name: Its name.
        content: The column, or the field of it, that holds them.
        path: The field of it that holds their names; None if it has none.
    """

    name: str
    content: str
    path: str | None


def find_image_column(path: Path, schema: pa.Schema) -> _Column | None:
    """Find the column with encoded images: one with a field ``bytes``, or of bytes alone."""
    import pyarrow.parquet
    from pyarrow import types

    for field in schema:
        if types.is_struct(field.type):
            inner = {own.name: own.type for own in field.type}
            if "bytes" in inner and _is_binary(inner["bytes"]):
                named = f"{field.name}.path" if "path" in inner else None
                return _Column(field.name, f"{field.name}.bytes", named)
    for field in schema:
        if _is_binary(field.type):
            with pyarrow.parquet.ParquetFile(path) as file:
                batch = next(file.iter_batches(batch_size=1, columns=[field.name]), None)
            if batch is not None and len(batch) and _is_encoded(batch.column(0)[0].as_py()):
                return _Column(field.name, field.name, None)
    return None


def _is_binary(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_encoded(content: bytes | None) -> bool:
    """Whether bytes are an encoded image."""
    if content is None:
        return False
    with suppress(UnreadableImageError), quiet_pillow():
        read_header(content)
        return True
    return False


def read_image_table(path: Path, column: _Column, options: ReadOptions) -> Pictures:
    """List the images in a table.

    Args:
        path: The table.
        column: The column with the images, from `find_image_column`.
        options: `key` is the column with the labels; None to find it.

    Raises:
        DataError: There is no column `key`, or several could have the labels.
        OSError, ValueError: The table cannot be read.
    """
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(path)
    schema = metadata.schema.to_arrow_schema()
    plain = [f.name for f in schema if f.name != column.name and is_plain(f.type)]
    plain = [name for name in plain if not name.startswith("__index_level_")]
    check_parquet(path, metadata, ROW_BYTES * (len(plain) + 1))
    cells: dict[str, list[str]] = {name: [] for name in plain}
    names: list[str] = []
    wanted = [*plain, *([column.path] if column.path else [])]
    with pyarrow.parquet.ParquetFile(path, metadata=metadata) as file:
        for batch in file.iter_batches(1024, columns=wanted) if wanted else ():
            for name, own in cells.items():
                own += to_texts(batch.column(name))
            if column.path:
                names += to_texts(batch.column(column.name).flatten()[0])
    for own in (*cells.values(), names):
        check_length(path, own)
    are_named = bool(names) and all(names) and len(set(names)) == len(names)
    if not are_named:
        names = [f"{path.name}#{row}" for row in range(metadata.num_rows)]
    return _to_pictures(path, column, names, cells, _find_classes(schema), are_named, options)


def _find_classes(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of classes in the metadata that Hugging Face's tables have."""
    with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return {
            name: [str(own) for own in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    return {}


def _to_pictures(
    path: Path,
    column: _Column,
    names: list[str],
    cells: dict[str, list[str]],
    classes: dict[str, list[str]],
    are_named: bool,
    options: ReadOptions,
) -> Pictures:
    roles = find_roles(path, cells, column.name, options.key)
    labels: list[str | None] = [None] * len(names)
    named: tuple[str, ...] = ()
    if roles.label is not None:
        labels, named = _to_labels(cells[roles.label], classes.get(roles.label))
    splits: list[str | None] = [None] * len(names)
    if roles.split is not None:
        splits = find_splits(cells[roles.split])
    used = [row for row, label in enumerate(labels) if label is not None]
    if used and len(used) < len(labels):
        warn(f"{len(labels) - len(used):,} rows of {path.name} have no label and are not used")
    else:
        used = list(range(len(labels)))

    def read(wanted: Collection[int]) -> Iterator[Encoded]:
        positions = {used[i]: i for i in wanted}
        if positions:
            for row, content in _read_images(path, column, positions):
                yield Encoded(content, "", {0: positions[row]})

    state = path.stat()
    text = f"{state.st_size} {state.st_mtime_ns}"
    return Pictures(
        source=str(path),
        names=[names[row] for row in used],
        places=[Place(splits[row], labels[row]) for row in used],
        read=read,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        are_named=are_named,
        columns={name: to_column([cells[name][row] for row in used]) for name in roles.others},
        understood=(
            f"a Parquet table with encoded images in column {column.name}",
            *describe_roles(roles),
            *named,
        ),
    )


def _to_labels(
    cells: list[str], classes: list[str] | None
) -> tuple[list[str | None], tuple[str, ...]]:
    """The label of each row, None where there is none; and how its name was found."""
    if classes is None:
        return [cell.strip() or None for cell in cells], ()
    names = {str(number): name for number, name in enumerate(classes)}
    return [names.get(cell) for cell in cells], ("class names: from the table's metadata",)


def _read_images(
    path: Path, column: _Column, rows: dict[int, Any]
) -> Iterator[tuple[int, bytes | UnreadableImageError]]:
    """Read the encoded images in some rows of a table, group by group of its rows."""
    import pyarrow.parquet

    try:
        with arrow_errors(), pyarrow.parquet.ParquetFile(path) as file:
            start, ordered = 0, sorted(rows)
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if bisect_left(ordered, start) < bisect_left(ordered, start + count):
                    row = start
                    for batch in file.iter_batches(
                        _AT_ONCE, row_groups=[group], columns=[column.content]
                    ):
                        cells = batch.column(0)
                        if column.content != column.name:
                            cells = cells.flatten()[0]
                        for number, content in enumerate(to_list(cells), start=row):
                            if number in rows:
                                missing = UnreadableImageError("the table has no bytes of it")
                                yield number, missing if content is None else content
                        row += len(batch)
                start += count
    except UNREADABLE as error:
        raise unreadable(path, "PARQUET", error) from error
