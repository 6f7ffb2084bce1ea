"""Which classes of a labelled set to keep: ``--classes`` and ``--exclude-classes``."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ae_cli.data.images import DataSet, Images
from ae_cli.errors import DataError, UsageError


def parse_classes(option: str, text: str, images: DataSet) -> tuple[str, ...]:
    """Read a choice of classes, such as ``0,1,3-5`` or ``cat,dog``.

    A number is the class of that name where all classes have numbers for names, and otherwise the
    position of a class, from 0. A range, ``3-5``, holds both of its ends.

    Args:
        option: What a person typed before the text, to be named in an error.
        text: The choice.
        images: The set whose classes they are.

    Returns:
        Names of classes in their order, each once.

    Raises:
        UsageError: The set has no labels, or no such class.
    """
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
            raise UsageError(f"{option} {part!r} is no class of {images.name}", remedy)
        chosen.update(found)
    return tuple(name for name in classes if name in chosen)


def select_classes(images: DataSet, classes: tuple[str, ...]) -> DataSet:
    """Keep the images of some classes. Their labels stay what they are.

    Raises:
        DataError: A split has no image of these classes.
    """
    selected = replace(
        images, train=_select(images.train, classes), test=_select(images.test, classes)
    )
    for name, split in selected.splits.items():
        if not len(split):
            raise DataError(
                f"the {name} split of {images.name} has no image of {_list(classes)}",
                "choose other classes",
            )
    return selected


def is_member(images: Images, classes: tuple[str, ...]) -> NDArray[np.bool_]:
    """Whether each image is of one of these classes, bool (n,)."""
    if images.labels is None or images.classes is None:
        raise AssertionError("there are classes to choose from where there are labels")
    positions = [i for i, name in enumerate(images.classes) if name in classes]
    member: NDArray[np.bool_] = np.isin(images.labels.numpy(), positions)
    return member


def _select(images: Images, classes: tuple[str, ...]) -> Images:
    return images.select(np.flatnonzero(is_member(images, classes)))


def _list(classes: tuple[str, ...], most: int = 12) -> str:
    """Names with commas between, but not hundreds of them."""
    rest = len(classes) - most
    return ", ".join(classes[:most]) + (f" and {rest} more" if rest > 0 else "")
