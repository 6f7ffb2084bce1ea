"""A data set of pictures: decoded, with their names and labels, in its two splits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from ae_cli.config import FIT, ReadOptions
from ae_cli.data.decode import CUT
from ae_cli.data.decoding import Decoded, choose_shape, decode_or_recall
from ae_cli.data.images import DataSet, Images, hold_out, sort_classes
from ae_cli.data.layout import MASK_FOLDER, find_masks
from ae_cli.data.pictures import Pictures, are_labelled, count_files, list_kinds, list_some, to_text
from ae_cli.data.store import PixelStore
from ae_cli.errors import DataError, warn

MOST_UNREADABLE = 0.1  # share of the files
MOST_CHECKED = 100  # images whose labels are compared with the names of their folders
MOST_NAMED = 10  # unreadable files that get a warning of their own


def load_pictures(pictures: Pictures, options: ReadOptions, *, cache_folder: Path) -> DataSet:
    """Decode pictures, and arrange them in a training and a test split.

    Args:
        pictures: What is to be decoded.
        options: How to read the images.
        cache_folder: Decoded images are kept in its subfolder ``images``.

    Raises:
        DataError: There are too few images; or more than `MOST_UNREADABLE` of them, with ``strict``
            any of them, cannot be read.
    """
    shape, changes = choose_shape(pictures, options, cache_folder)
    decoded = decode_or_recall(pictures, shape, options, cache_folder)
    failures = {**pictures.failures, **decoded.failures}
    _warn_of(pictures, failures, strict=options.strict)
    _say_remarks(pictures, decoded.remarks)
    everything, splits = _assemble(pictures, decoded)
    understood = (*pictures.understood, *_describe_classes(pictures))
    if not any(splits):
        held_out = hold_out(pictures.source, everything, options)
        return replace(held_out, changes=changes, fit=options.fit or FIT, understood=understood)

    def members(split: str) -> Images:
        chosen = np.flatnonzero([own == split for own in splits])
        # In the table of latents, an index counts within the split.
        return replace(everything.select(chosen), positions=None).shuffle(options.seed)

    if unused := splits.count(None) - _count_masks(everything):
        warn(f"{unused:,} images of {pictures.name} are in neither split and are not used")
    for split in ("train", "test"):
        if split not in splits:
            raise DataError(
                f"no image of the {split} split of {pictures.source} can be read", "repair some"
            )
    return DataSet(
        pictures.source,
        members("train"),
        members("test"),
        changes=changes,
        fit=options.fit or FIT,
        understood=understood,
    )


def _assemble(pictures: Pictures, decoded: Decoded) -> tuple[Images, list[str | None]]:
    """Put pixels, names, labels and columns together; and the split of each image."""
    readable = [i for i, name in enumerate(pictures.names) if name not in decoded.failures]
    places = [pictures.places[i] for i in readable]
    classes: tuple[str, ...] = ()
    if are_labelled(pictures.places):
        classes = sort_classes({place.label for place in places if place.label is not None})
    number = {label: i for i, label in enumerate(classes)}
    labels = torch.tensor([number.get(place.label or "", 0) for place in places])
    names = tuple(to_text(pictures.names[i]) for i in readable)
    number_of = {position: number for number, position in enumerate(readable)}
    masks = find_masks(pictures.names)
    places_of_masks = [number_of.get(masks.get(i, -1), -1) for i in readable]
    everything = Images(
        PixelStore(decoded.pixels),
        labels=labels if classes else None,
        names=names if pictures.are_named else None,
        classes=classes or None,
        columns={name: values[readable] for name, values in pictures.columns.items()},
        mask_places=np.array(places_of_masks) if masks else None,
    )
    return everything, [place.split for place in places]


def _count_masks(images: Images) -> int:
    return 0 if images.mask_places is None else int((images.mask_places >= 0).sum())


def _describe_classes(pictures: Pictures) -> list[str]:
    """Say how many splits and classes there are."""
    splits = Counter(place.split for place in pictures.places if place.split is not None)
    counts = [f"{count:,} {split}" for split, count in sorted(splits.items(), reverse=True)]
    labels = {place.label for place in pictures.places} - {None}
    has_labels = are_labelled(pictures.places)
    some = zip(pictures.names[:MOST_CHECKED], pictures.places[:MOST_CHECKED], strict=True)
    is_by_folder = all(PurePosixPath(name).parent.name == place.label for name, place in some)
    by = ", named as the folders of their images" if is_by_folder else ""
    masks = len(find_masks(pictures.names))
    return [
        *([f"splits: {' + '.join(counts)}"] if splits else []),
        *([f"{len(labels):,} classes{by}"] if has_labels else []),
        *(["no classes: some images have no label"] if labels and not has_labels else []),
        *([f"masks of {masks:,} test images, in {MASK_FOLDER}"] if masks else []),
    ]


def _warn_of(pictures: Pictures, failures: dict[str, str], *, strict: bool) -> None:
    """Warn about images that cannot be read.

    Args:
        pictures: All images.
        failures: Why some cannot be read, by name.
        strict: Whether a single such image is an error.

    Raises:
        DataError: More than `MOST_UNREADABLE` of them cannot be read, or any with `strict`.
    """
    if not failures:
        return
    path, total = Path(pictures.source), len(pictures.names) + len(pictures.failures)
    is_folder = path.is_dir()
    lines = [
        f"{path / name if is_folder else f'{name} in {path}'} cannot be read ({cause})"
        for name, cause in failures.items()
    ]
    if strict:
        raise DataError(lines[0], "repair or remove it, or leave out --strict")
    count = f"{len(failures):,} of {total:,} images in {path} cannot be read"
    if len(failures) > MOST_UNREADABLE * total:
        name, cause = next(iter(failures.items()))
        raise DataError(f"{count}, such as {name} ({cause})", "repair or remove them")
    if len(lines) == 1:
        warn(f"{lines[0]} and is left out")
        return
    for line in lines[:MOST_NAMED]:
        warn(line)
    warn(f"{count} and are left out")


def _say_remarks(pictures: Pictures, remarks: dict[str, str]) -> None:
    """Say what was passed over, and what was read only in part: a line for each kind."""
    if pictures.passed_over:
        total = pictures.passed_over.total()
        warn(
            f"{count_files(total)} of {pictures.name} {'are' if total > 1 else 'is'} not in a "
            "format of images that ae reads, and passed over: "
            f"{list_kinds(pictures.passed_over)}"
        )
    cut = [name for name, remark in remarks.items() if remark == CUT]
    if cut:
        warn(
            f"{count_files(len(cut))} of {pictures.name} "
            f"{'are' if len(cut) > 1 else 'is'} cut short, and read as far as "
            f"{'they go' if len(cut) > 1 else 'it goes'}: {list_some(cut)}"
        )
    if several := [name for name, remark in remarks.items() if remark != CUT]:
        warn(
            f"{count_files(len(several))} of {pictures.name} with several pages or frames, of "
            f"which the first is read ({list_some(several)}); --frames all reads all"
        )
