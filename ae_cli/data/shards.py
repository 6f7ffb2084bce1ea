"""Shards of a WebDataset: tar archives in which the files of one name are one sample."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from ae_cli.config import ReadOptions
from ae_cli.data.archives import Archive, list_archive, make_pictures, open_archive
from ae_cli.data.columns import check_length, find_roles, to_column
from ae_cli.data.folder import kind_of_file
from ae_cli.data.image_formats import is_image
from ae_cli.data.layout import Place
from ae_cli.data.pictures import Pictures
from ae_cli.data.scratch import Scratch
from ae_cli.errors import DataError

_BESIDE = (".cls", ".json", ".txt")  # the kinds of files that say something about an image
_LONGEST_LABEL = 64  # characters; a longer text describes one image
_LARGEST = 1 << 20  # bytes of a file beside an image


def read_archive(path: Path, options: ReadOptions, _: Scratch) -> Pictures:
    """List the samples of a shard, or the images in another archive.

    Raises:
        DataError: It is damaged, or has no images.
    """
    archive = open_archive(path)
    samples = find_samples(archive, options) if options.labels is None else None
    return list_archive(archive, options) if samples is None else samples


def _find_key(name: str) -> str:
    """The name of the sample that a file belongs to: its path, up to the first dot in its name."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def find_samples(archive: Archive, options: ReadOptions) -> Pictures | None:
    """List the samples of a shard.

    Args:
        archive: A tar archive.
        options: `key` is the field of the ``.json`` files with the labels; None to find it.

    Returns:
        The images; None if fewer than half of them have a file of the same name that says something
        about them, and the archive therefore is no shard.

    Raises:
        DataError: An image has no label, though others do.
    """
    if archive.path.suffix.lower() == ".zip":
        return None
    images: dict[str, str] = {}
    beside: dict[str, list[str]] = {}
    passed_over = Counter(archive.passed_over)
    for name in sorted(archive.members):
        key, kind = _find_key(name), kind_of_file(name)
        if kind in _BESIDE:
            beside.setdefault(key, []).append(name)
        elif not is_image(name):
            passed_over[kind] += 1
        elif images.setdefault(key, name) != name:
            passed_over["further images of a sample"] += 1
    described = [key for key in images if key in beside]
    if not described or 2 * len(described) < len(images):
        return None
    wanted = [name for key in described for name in beside[key]]
    facts: dict[str, dict[str, str]] = {key: {} for key in images}
    for name, content in archive.read(wanted):
        if isinstance(content, bytes) and len(content) <= _LARGEST:
            facts[_find_key(name)] |= _parse(name, content)
    fields = dict.fromkeys(field for own in facts.values() for field in own)
    columns = {field: [own.get(field, "") for own in facts.values()] for field in fields}
    for cells in columns.values():
        check_length(archive.path, cells)
    label = _choose_label(archive, columns, options.key)
    labels: list[str | None] = [None] * len(images)
    if label is not None:
        cells = columns.pop(label)
        if "" in cells:
            sample = list(images)[cells.index("")]
            raise DataError(
                f"{archive.path} has no label for {sample}, though it has some for others",
                "give each sample a label, or name another field with --key",
            )
        labels = [*cells]
    carried = ", ".join(list(columns)[:8])
    return make_pictures(
        archive,
        list(images.values()),
        places=[Place(None, own) for own in labels],
        passed_over=passed_over,
        columns={field: to_column(cells) for field, cells in columns.items()},
        understood=(
            "a shard of a WebDataset",
            f"labels: {label}" if label is not None else "no labels (--key names them)",
            *([f"carried along by embed: {carried}"] if carried else []),
        ),
    )


def _parse(name: str, content: bytes) -> dict[str, str]:
    """What a file beside an image says: the fields of JSON, or a text."""
    text = content.decode(errors="replace").strip()
    if not name.endswith(".json"):
        return {name.rpartition(".")[2].lower(): text}
    fields: Any = None
    with suppress(ValueError, RecursionError):
        fields = json.loads(text)
    if not isinstance(fields, dict):
        return {}
    plain = (str, int, float, bool)
    return {str(field): str(value) for field, value in fields.items() if isinstance(value, plain)}


def _choose_label(archive: Archive, columns: dict[str, list[str]], key: str | None) -> str | None:
    """The field with the labels: `key`, ``cls``, one that is called so, or texts that repeat."""
    if key is None and "cls" in columns:
        return "cls"
    named = {name: cells for name, cells in columns.items() if name != "txt" or key == "txt"}
    label = find_roles(archive.path, {"": [], **named}, "", key).label
    if label is None and "txt" in columns:
        texts = set(columns["txt"])
        if 2 * len(texts) <= len(columns["txt"]) and max(map(len, texts)) <= _LONGEST_LABEL:
            return "txt"
    return label
