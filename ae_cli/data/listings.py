"""Tables that name images: a row with the path of a file, its label, and what else is known."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ae_cli.config import ReadOptions
from ae_cli.data.columns import (
    LOOKED_AT,
    Roles,
    check_length,
    describe_roles,
    find_paths,
    find_roles,
    find_splits,
    to_column,
)
from ae_cli.data.folder import list_files
from ae_cli.data.image_formats import is_image
from ae_cli.data.layout import Place
from ae_cli.data.pictures import Pictures, list_some
from ae_cli.data.sample import Encoded
from ae_cli.errors import DataError, warn

MOST_FOLDERS = 50  # beside a table, in which its images may be


class Sheet(NamedTuple):
    """The columns of a table, as text.

    Attributes:
        path: The table.
        columns: The cells of each column, by name.
        understood: How the table was understood, a line per decision.
    """

    path: Path
    columns: dict[str, list[str]]
    understood: tuple[str, ...] = ()

    @property
    def head(self) -> dict[str, list[str]]:
        """The first cells of each column."""
        return {name: cells[:LOOKED_AT] for name, cells in self.columns.items()}


class _Finder:
    """Finds the files that a table means, in a folder.

    Args:
        base: The folder that the paths are relative to.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self._folders: dict[str, dict[str, str]] = {}

    def find(self, name: str) -> str | None:
        """The path of an image, relative to the folder; None if there is no such file.

        Without an ending, it is the image file there that has one.
        """
        folder, _, file = name.strip().replace("\\", "/").rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self._list(folder)
        there = self._folders[folder].get(file)
        return None if there is None else f"{folder}/{there}" if folder else there

    def _list(self, folder: str) -> dict[str, str]:
        """The images of a folder by their names, and by their names without the ending."""
        try:
            there = os.listdir(self.base / folder)  # noqa: PTH208
            files = [name for name in there if is_image(name)]
        except (OSError, ValueError):  # it does not exist, or has a null byte in it
            return {}
        stems = {Path(name).stem: name for name in sorted(files, reverse=True)}
        return {**stems, **{name: name for name in files}}


def list_pictures(
    path: Path,
    head: Mapping[str, Sequence[str]],
    read_sheet: Callable[[], Sheet],
    options: ReadOptions,
) -> Pictures | None:
    """Find the images that a table names.

    Args:
        path: The table. Paths in it are relative to its folder, or to a folder beside it.
        head: The first cells of its columns.
        read_sheet: Reads all of it.
        options: `key` is the column with the labels; None to find it.

    Returns:
        The images, in the order of the table; None if no column has paths of images.

    Raises:
        DataError: No image is there, one has no label, or several columns could be the labels.
    """
    best = None
    for base in _find_folders(path):
        finder = _Finder(base)
        if (image := find_paths(head, finder.find)) is not None:
            there = sum(finder.find(cell) is not None for cell in head[image])
            if best is None or there > best[0]:
                best = there, finder, image
    if best is None:
        named = [cell for cells in head.values() for cell in cells[:1] if is_image(cell)]
        if named:
            raise DataError(
                f"{path} names images such as {named[0]}, which are not there",
                "put it beside them: paths are relative to its folder, or to a folder in it",
            )
        return None
    _, finder, image = best
    sheet = read_sheet()
    roles = find_roles(path, sheet.columns, image, options.key)
    rows, names, failures = _find_rows(sheet, image, finder)
    listed = list_files(finder.base, names, source=path)
    understood = f"images: column {image}, paths in {finder.base}"
    listed = replace(
        listed,
        failures={**failures, **listed.failures},
        understood=(*sheet.understood, understood, *describe_roles(roles)),
    )
    row_of = dict(zip(names, rows, strict=True))
    rows = [row_of[name] for name in listed.names]
    return _describe(listed, sheet, roles, rows)


def label_pictures(
    pictures: Pictures, sheets: Mapping[str, Sheet], options: ReadOptions
) -> Pictures:
    """Give images the labels, and what else tables say about them; leave out those not in any.

    Args:
        pictures: The images. A table means one of them by its path, its name, or either without
            the ending.
        sheets: Tables, by what their paths are relative to within the source; all in one form.
        options: `key` is the column with the labels; None to find it.

    Raises:
        DataError: No image is in a table, or one has no label.
    """
    known: dict[str, str] = {}
    for short in (_bare_name, os.path.basename, _without_ending, str):  # the last one counts most
        shorts = [short(name) for name in pictures.names]
        twice = {name for name, count in Counter(shorts).items() if count > 1}
        known |= {s: name for s, name in zip(shorts, pictures.names, strict=True) if s not in twice}

    def find(cell: str, prefix: str = "") -> str | None:
        cell = cell.strip().replace("\\", "/")
        return known.get(prefix + cell) or known.get(cell)

    images = (find_paths(s.columns, partial(find, prefix=p)) for p, s in sheets.items())
    image = next((name for name in images if name is not None), None)
    sheet, prefixes = _join_sheets(sheets)
    if image is None:
        raise DataError(
            f"no image of {pictures.source} is named in {sheet.path}",
            "give a table with a column of file names",
        )
    roles = find_roles(sheet.path, sheet.columns, image, options.key)
    row_of: dict[str, int] = {}
    for row, cell in enumerate(sheet.columns[image]):
        if (name := find(cell, prefixes[row])) is not None:
            row_of.setdefault(name, row)
    kept = [i for i, name in enumerate(pictures.names) if name in row_of]
    if left := [name for name in pictures.names if name not in row_of]:
        warn(
            f"{len(left):,} of {len(pictures.names):,} images of {pictures.name} are not in "
            f"{sheet.path.name} and are left out ({list_some(left)})"
        )
    chosen = select(pictures, kept)
    understood = (*chosen.understood, f"table {sheet.path.name}: names in column {image}")
    chosen = replace(chosen, understood=(*understood, *describe_roles(roles)))
    return _describe(chosen, sheet, roles, [row_of[name] for name in chosen.names])


def _join_sheets(sheets: Mapping[str, Sheet]) -> tuple[Sheet, list[str]]:
    """Join tables, one after the other, and say what the paths in each row are relative to."""
    first, *_ = sheets.values()
    counts = [len(next(iter(own.columns.values()), [])) for own in sheets.values()]
    columns = {
        name: [
            cell
            for own, count in zip(sheets.values(), counts, strict=True)
            for cell in own.columns.get(name, [""] * count)
        ]
        for own in sheets.values()
        for name in own.columns
    }
    prefixes = [p for p, count in zip(sheets, counts, strict=True) for _ in range(count)]
    return Sheet(first.path, columns), prefixes


def select(pictures: Pictures, chosen: Sequence[int]) -> Pictures:
    """Only some of the pictures, in their order."""
    if len(chosen) == len(pictures.names):
        return pictures

    def read(wanted: Collection[int]) -> Iterator[Encoded]:
        own = {chosen[position]: position for position in wanted}
        for content, name, positions in pictures.read(list(own)):
            yield Encoded(content, name, {f: own[i] for f, i in positions.items()})

    names = [pictures.names[i] for i in chosen]
    digest = hashlib.sha256(os.fsencode("\0".join(names))).hexdigest()
    return replace(
        pictures,
        names=names,
        places=[pictures.places[i] for i in chosen],
        read=read,
        fingerprint=f"{pictures.fingerprint} {digest}",
        columns={name: values[list(chosen)] for name, values in pictures.columns.items()},
    )


def _describe(pictures: Pictures, sheet: Sheet, roles: Roles, rows: Sequence[int]) -> Pictures:
    """Add the labels, splits and other columns in some rows of a table to pictures."""
    labels: list[str | None] = [place.label for place in pictures.places]
    splits: list[str | None] = [place.split for place in pictures.places]
    if roles.label is not None:
        cells = sheet.columns[roles.label]
        labels = [cells[row].strip() for row in rows]
        if "" in labels:
            row = rows[labels.index("")]
            raise DataError(
                f"{sheet.path} has nothing for {roles.label} in row {row + 1}",
                "give each image a label, or name another column with --key",
            )
    if roles.split is not None:
        cells = sheet.columns[roles.split]
        splits = find_splits([cells[row] for row in rows])
    columns = {}
    for name in roles.others:
        cells = [sheet.columns[name][row] for row in rows]
        check_length(sheet.path, cells)
        columns[name] = to_column(cells)
    return replace(
        pictures,
        places=[Place(split, label) for split, label in zip(splits, labels, strict=True)],
        columns={**pictures.columns, **columns},
    )


def _find_folders(path: Path) -> list[Path]:
    """The folder of a table and the folders in it, those first that are named like the table."""
    with os.scandir(path.parent) as entries:
        folders = [e.name for e in entries if not e.name.startswith(".") and e.is_dir()]
    name = path.name.partition(".")[0]
    folders.sort(key=lambda folder: (folder != name, not folder.startswith(name), folder))
    return [path.parent, *(path.parent / folder for folder in folders[:MOST_FOLDERS])]


def _find_rows(
    sheet: Sheet, image: str, finder: _Finder
) -> tuple[list[int], list[str], dict[str, str]]:
    """Find the images of a table's rows.

    Returns:
        The rows, the path of each one's image, and why others have none, by what is in the table.
    """
    rows: dict[str, int] = {}
    failures = {}
    repeated = 0
    for row, cell in enumerate(sheet.columns[image]):
        name = finder.find(cell)
        if name is None:
            failures[cell.strip() or f"row {row + 1}"] = "there is no such file"
        elif name in rows:
            repeated += 1
        else:
            rows[name] = row
    if repeated:
        warn(
            f"{repeated:,} rows of {sheet.path.name} name an image that an earlier row names, and "
            "are not used"
        )
    return list(rows.values()), list(rows), failures


def _without_ending(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - several times as fast as pathlib


def _bare_name(name: str) -> str:
    return _without_ending(os.path.basename(name))  # noqa: PTH119
