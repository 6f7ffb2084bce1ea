"""Tables with all pixels of an image in one cell: a text such as ``70 80 82``, or a list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.data.arrays import Arrays
from ae_cli.data.columns import (
    Roles,
    arrow_errors,
    check_length,
    describe_roles,
    find_splits,
    is_number,
    to_column,
)
from ae_cli.data.listings import Sheet
from ae_cli.data.values import Part
from ae_cli.errors import DataError, warn

if TYPE_CHECKING:
    import pyarrow as pa


def parse_cells(path: Path, name: str, column: pa.Array, first_row: int) -> NDArray[Any]:
    """Parse a column of texts of pixels.

    Args:
        path: The table, for errors.
        name: The column's name.
        column: Its cells.
        first_row: The number of the first cell's row.

    Returns:
        uint8 (n, values) if they are whole numbers up to 255, and otherwise float32 (n, values).

    Raises:
        DataError: A cell is not valid, or they do not have the same number of pixels.
    """
    import pyarrow
    import pyarrow.compute as pc

    with arrow_errors():
        bare = pc.utf8_trim(pc.replace_substring_regex(column, r"[\[\](),;\s]+", " "), " ")
        lists = pc.split_pattern(bare, " ")
        counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        words = lists.flatten()
        if len(column) and (counts != counts[0]).any():
            row = int(np.flatnonzero(counts != counts[0])[0])
            raise DataError(
                f"{path} has {counts[row]} pixels for {name} in row {first_row + row}, but "
                f"{counts[0]} in the first row that was read with it",
                "save all images with the same size",
            )
        try:
            numbers = words.cast(pyarrow.uint8())
        except pyarrow.ArrowInvalid:
            numbers = _to_floats(path, name, words, counts, first_row)
    values: NDArray[Any] = numbers.to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def _to_floats(
    path: Path, name: str, words: pa.Array, counts: NDArray[Any], first_row: int
) -> pa.Array:
    """Parse numbers that are not whole numbers up to 255.

    Raises:
        DataError: One is not a number.
    """
    import pyarrow

    try:
        return words.cast(pyarrow.float32())
    except pyarrow.ArrowInvalid as error:
        texts = words.to_pylist()
        place = next((i for i, word in enumerate(texts) if not is_number(word)), 0)
        raise DataError(
            f"{path} has {texts[place][:40]!r} among the pixels for {name} in row "
            f"{first_row + place // int(counts[0])}",
            "correct the row or leave it out",
        ) from error


def to_arrays(sheet: Sheet, roles: Roles, pixels: list[NDArray[Any]]) -> Arrays:
    """Put the pixels and the other columns of a table together, split by split.

    Args:
        sheet: The table's other columns.
        roles: What the columns mean.
        pixels: The images, batch by batch, (n, values) each.

    Raises:
        DataError: There are no images, or not all have the same number of values.
    """
    path = sheet.path
    widths = {values.shape[1] for values in pixels if len(values)}
    if not widths:
        raise DataError(f"{path} holds no images", "give at least two")
    if len(widths) > 1:
        raise DataError(
            f"{path} has images of {' and '.join(map(str, sorted(widths)))} pixels for "
            f"{roles.image}",
            "save all images with the same size",
        )
    images = np.concatenate(pixels)
    if images.dtype != np.uint8 and images.max() > 1 and (images == np.rint(images)).all():
        images = images.astype(np.int64)  # whole numbers: some are too large or too small
    for cells in sheet.columns.values():
        check_length(path, cells)
    labels = None if roles.label is None else np.array(sheet.columns[roles.label])
    columns = {name: to_column(sheet.columns[name]) for name in roles.others}
    splits: list[str | None] = [None]
    chosen: list[Any] = [slice(None)]
    if roles.split is not None:
        found = find_splits(sheet.columns[roles.split])
        if any(found):
            splits = ["train", "test"]
            chosen = [np.flatnonzero([own == split for own in found]) for split in splits]
            if unused := found.count(None):
                warn(f"{unused:,} rows of {path.name} are in neither split and are not used")
    parts = [
        Part(
            str(path),
            images[rows],
            None if labels is None else labels[rows],
            split,
            {name: values[rows] for name, values in columns.items()},
        )
        for split, rows in zip(splits, chosen, strict=True)
    ]
    understood = f"images: column {roles.image}, {images.shape[1]:,} pixels each"
    return Arrays(str(path), parts, (*sheet.understood, understood, *describe_roles(roles)))
