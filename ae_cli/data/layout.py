"""Which split and class an image belongs to, by the folders that it is in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TRAIN_FOLDER = "train"
TEST_FOLDERS = ("test", "val", "valid", "validation")  # the first that exists is the test split
MASK_FOLDER = "ground_truth"
# A table that says what is in the images of a folder, or of a folder in it
METADATA = re.compile(r"(?:([^/]+)/)?metadata\.(?:csv|jsonl|parquet)")


class Place(NamedTuple):
    """The split and the class of one image.

    Attributes:
        split: ``train`` or ``test``; None if there are no splits, or the image is in neither.
        label: The name of its class; None if the images have no classes.
    """

    split: str | None
    label: str | None


def find_used(places: Sequence[Place]) -> list[int]:
    """The positions of the images that are in a split; of all if there are no splits."""
    has_splits = any(place.split for place in places)
    return [i for i, place in enumerate(places) if place.split or not has_splits]


def arrange(names: Sequence[str]) -> list[Place]:
    """Find the split and the class of each image.

    If there are images in a folder ``train`` and in one of `TEST_FOLDERS`, these are the splits.
    If every image in the splits (or, without splits, every image) is in a further folder, that
    folder is its class.

    Args:
        names: The paths of the images within the whole folder, with slashes.
    """
    parts = [name.split("/") for name in names]
    top = {folders[0].lower() for folders in parts if len(folders) > 1}
    test = next((name for name in TEST_FOLDERS if name in top), None)
    splits: list[str | None] = [None] * len(parts)
    if TRAIN_FOLDER in top and test is not None:
        meaning = {TRAIN_FOLDER: "train", test: "test"}
        splits = [meaning.get(p[0].lower()) if len(p) > 1 else None for p in parts]
        parts = [p[1:] if split else p for p, split in zip(parts, splits, strict=True)]
    has_splits = any(splits)
    is_used = [split is not None or not has_splits for split in splits]
    labelled = all(len(p) > 1 for p, used in zip(parts, is_used, strict=True) if used)
    return [
        Place(split, p[0] if used and labelled else None)
        for p, split, used in zip(parts, splits, is_used, strict=True)
    ]


def find_masks(names: Sequence[str]) -> dict[int, int]:
    """Find masks, which show where the defects of test images are, in the layout of MVTec AD.

    There, ``ground_truth/scratch/000_mask.png`` is the mask of ``test/scratch/000.png``.

    Args:
        names: The paths of the images and masks within the whole folder, with slashes.

    Returns:
        The position of an image's mask by the position of the image.
    """

    def stem(name: str) -> tuple[str, str]:
        """The top folder, and what is in it without the ending."""
        top, _, rest = name.partition("/")
        folders, slash, file = rest.rpartition("/")
        return top.lower(), folders + slash + file.rpartition(".")[0]

    stems = [stem(name) for name in names]
    masks = {
        rest.removesuffix("_mask"): i for i, (top, rest) in enumerate(stems) if top == MASK_FOLDER
    }
    return {
        i: masks[rest]
        for i, (top, rest) in enumerate(stems)
        if top in TEST_FOLDERS and rest in masks
    }


def find_file_splits(paths: Sequence[Path]) -> list[str | None]:
    """The split of each file by its name, ``train-00000-of-00002.parquet``, or its folder's.

    Returns:
        ``train`` or ``test`` for each; None for all if there are not both, and for the files of a
        third one.
    """
    words = (TRAIN_FOLDER, *TEST_FOLDERS)

    def word_of(path: Path) -> str | None:
        for name in (path.name.lower(), path.parent.name.lower()):
            start = re.match(r"[a-z]*", name)
            if start is not None and start.group() in words:
                return start.group()
        return None

    found = [word_of(path) for path in paths]
    test = next((word for word in TEST_FOLDERS if word in found), None)
    if TRAIN_FOLDER not in found or test is None:
        return [None] * len(paths)
    meaning = {TRAIN_FOLDER: "train", test: "test"}
    return [None if word is None else meaning.get(word) for word in found]
