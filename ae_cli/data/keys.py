"""Which of a file's arrays are the images and which the labels, by their names or shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ae_cli.data.columns import flat_shape
from ae_cli.errors import DataError

IMAGE_NAMES = ("images", "x", "data")
LABEL_NAMES = ("labels", "y")


def choose_keys(path: Path, keys: list[str], key: str | None) -> list[tuple[str, str | None]]:
    """Find the arrays with images and labels by their names.

    Args:
        path: The file, for errors.
        keys: The names of its arrays.
        key: The name of the images and, after a comma, of the labels; None for the usual names.

    Returns:
        Names of images and of labels, or None without: one pair, or one pair per split.

    Raises:
        DataError: There are no such arrays, or several that could be meant.
    """
    there = f"choose among {', '.join(keys)}" if keys else "save an array into it"
    if key is not None:
        images, comma, labels = (part.strip() for part in key.partition(","))
        for name in [images, labels] if comma else [images]:
            if name not in keys:
                raise DataError(f"{path} has no array {name!r}", there)
        return [(images, labels if comma else None)]

    def find(names: tuple[str, ...], split: str) -> list[str]:
        forms = [form for name in names for form in (f"{split}_{name}", f"{name}_{split}")]
        return [name for name in keys if _short(name) in (forms if split else names)]

    images_of = {split: find(IMAGE_NAMES, split) for split in ("", "train", "test")}
    splits = [split for split, found in images_of.items() if found]
    if not splits:
        raise DataError(
            f"{path} has no array called {', '.join(IMAGE_NAMES)}",
            f"name the one with the images with --key; {there}",
        )
    labels_of = {split: find(LABEL_NAMES, split) for split in splits}
    for what, arrays_of in (("images", images_of), ("labels", labels_of)):
        found = [name for names in arrays_of.values() for name in names]
        if len(found) > 1 and (splits[0] == "" or len(found) > len(splits)):
            raise DataError(
                f"{path} has several arrays that could be the {what} ({', '.join(found)})",
                "choose with --key IMAGES or --key IMAGES,LABELS",
            )
    if len(labels_of[splits[0]]) != len(labels_of[splits[-1]]):
        raise DataError(
            f"{path} has labels for only one of its splits",
            "save the others too, or choose one split with --key IMAGES or --key IMAGES,LABELS",
        )
    return [(images_of[split][0], next(iter(labels_of[split]), None)) for split in splits]


def _short(name: str) -> str:
    """A name as it is compared: of an array ``train/x`` in a group, ``train_x``."""
    return name.lower().strip("/").replace("/", "_")


def choose_arrays(
    path: Path, shapes: Mapping[str, tuple[int, ...]], key: str | None
) -> list[tuple[str, str | None]]:
    """Find the arrays with images and labels by their names, or else by their shapes.

    Args:
        path: The file, for errors.
        shapes: The shape of each array of numbers.
        key: As for `choose_keys`.

    Returns:
        As `choose_keys`.

    Raises:
        DataError: There are no such arrays, or several that could be meant.
    """
    usual = {*IMAGE_NAMES, *(f"{s}_{n}" for n in IMAGE_NAMES for s in ("train", "test"))}
    usual |= {f"{n}_{s}" for n in IMAGE_NAMES for s in ("train", "test")}
    if key is not None or any(_short(name) in usual for name in shapes):
        chosen = choose_keys(path, list(shapes), key)
    else:
        chosen = [(_find_images(path, shapes), None)]
    if key is not None:
        return chosen
    return [
        (images, labels or (_find_labels(shapes, images) if len(chosen) == 1 else None))
        for images, labels in chosen
    ]


def _find_images(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The array that has the shape of images: three or four axes, or flat rows of squares."""
    deep = [name for name, shape in shapes.items() if len(shape) in (3, 4)]
    flat = [
        name
        for name, shape in shapes.items()
        if len(shape) == 2 and min(shape) > 1 and any(flat_shape(n, None) for n in shape)
    ]
    found = deep or flat
    if len(found) == 1:
        return found[0]
    there = f"choose among {', '.join(list(shapes)[:12])}" if shapes else "save an array into it"
    what = "several arrays that could be the images" if found else "no array with a shape of images"
    raise DataError(f"{path} has {what}", f"name the one with the images with --key; {there}")


def _find_labels(shapes: Mapping[str, tuple[int, ...]], images: str) -> str | None:
    """The only array with one value for each image; None if there is none."""
    lengths = set(shapes[images])
    found = []
    for name, shape in shapes.items():
        longer = [size for size in shape if size > 1]
        if name != images and len(longer) == 1 and longer[0] in lengths:
            found.append(name)
    return found[0] if len(found) == 1 else None
