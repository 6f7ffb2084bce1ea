"""Which classes of a labelled set to keep: ``--classes`` and ``--exclude-classes``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ae_cli.config import Chosen
from ae_cli.data.images import DataSet, Images
from ae_cli.errors import DataError, UsageError

ALL_CLASSES = "all"  # for --classes: undoes a selection that is recorded in the checkpoint


def parse_classes(option: str, text: Chosen, images: DataSet) -> tuple[str, ...]:
    """Parse a list of classes, such as ``0,1,3-5`` or ``cat,dog``.

    If all classes are named by numbers, a number means the class of that name, and otherwise the
    position of a class, from 0. A range such as ``3-5`` includes both ends.

    Args:
        option: The option that the text was given for, named in errors.
        text: The list.
        images: The data set that has these classes.

    Returns:
        The names of the classes, each once, in the order of the data set.

    Raises:
        UsageError: The set has no labels, or no such class.
    """
    if not isinstance(text, str):
        text = ",".join(map(str, text if isinstance(text, Collection) else [text]))
    classes = images.train.classes
    if classes is None:
        raise UsageError(
            f"{option} is for labelled images, and {images.name} has no labels", "leave it out"
        )
    numbered = all(re.fullmatch(r"\d+", name) for name in classes)
    by_number = dict(enumerate(classes))
    if numbered:
        by_number = {int(name): name for name in classes}
    chosen: set[str] = set()
    for part in (part.strip() for part in text.split(",")):
        between = re.fullmatch(r"(\d{1,9})-(\d{1,9})", part)
        if part in classes:
            found = [part]
        elif between:
            low, high = map(int, between.groups())
            found = [name for number, name in by_number.items() if low <= number <= high]
        elif re.fullmatch(r"\d{1,9}", part) and int(part) in by_number:
            found = [by_number[int(part)]]
        else:
            found = [name for name in classes if name.lower() == part.lower()]
        if not found:
            near = difflib.get_close_matches(part, classes, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"choose among {_list(classes)}"
            raise UsageError(f"{option} {part!r} is not a class of {images.name}", remedy)
        chosen.update(found)
    return tuple(name for name in classes if name in chosen)


def select_classes(images: DataSet, classes: tuple[str, ...]) -> DataSet:
    """Keep only the images of some classes. Their labels do not change.

    Raises:
        DataError: A split has no image of these classes.
    """
    selected = replace(
        images,
        train=_select(images.train, classes),
        test=_select(images.test, classes),
        selected_classes=classes,
    )
    for name, split in selected.splits.items():
        if not len(split):
            raise DataError(
                f"the {name} split of {images.name} has no image of {_list(classes)}",
                "choose other classes",
            )
    return selected


def choose_classes(
    images: DataSet, classes: Chosen | None, exclude_classes: Chosen | None
) -> tuple[str, ...] | None:
    """Find the classes that are selected by ``--classes`` or ``--exclude-classes``.

    Returns:
        The names of the classes; None for all.

    Raises:
        UsageError: There is no such class, no class is left, or both options are given.
    """
    if classes is not None and exclude_classes is not None:
        raise UsageError("--classes and --exclude-classes are both given", "give one of them")
    if exclude_classes is not None:
        excluded = parse_classes("--exclude-classes", exclude_classes, images)
        left = tuple(name for name in images.train.classes or () if name not in excluded)
        if not left:
            raise UsageError(f"--exclude-classes {exclude_classes} leaves no class", "keep some")
        return left
    if classes is None or classes == ALL_CLASSES:
        return None
    return parse_classes("--classes", classes, images)


def is_member(images: Images, classes: tuple[str, ...]) -> NDArray[np.bool_]:
    """Whether each image belongs to one of these classes, bool (n,)."""
    if images.labels is None or images.classes is None:
        raise AssertionError("these images have no labels")
    positions = [i for i, name in enumerate(images.classes) if name in classes]
    member: NDArray[np.bool_] = np.isin(images.labels.numpy(), positions)
    return member


def _select(images: Images, classes: tuple[str, ...]) -> Images:
    return images.select(np.flatnonzero(is_member(images, classes)))


def _list(classes: tuple[str, ...], most: int = 12) -> str:
    """Join names with commas, and leave out all after the first `most`."""
    rest = len(classes) - most
    return ", ".join(classes[:most]) + (f" and {rest} more" if rest > 0 else "")
