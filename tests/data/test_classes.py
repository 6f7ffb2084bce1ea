from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ae_cli.data.classes import is_member, parse_classes, select_classes
from ae_cli.data.images import DataSet, Images
from ae_cli.data.store import PixelStore
from ae_cli.errors import DataError, UsageError


def labelled(classes: tuple[str, ...]) -> DataSet:
    """A set with two images of each class in each split."""
    labels = torch.arange(len(classes)).repeat(2)
    store = PixelStore(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8))
    images = Images(store, labels, classes=classes)
    return DataSet("/somewhere/photos", images, images)


DIGITS = tuple("0123456789")
ANIMALS = ("Bird", "cat", "dog, small", "3-5")
NUMBERED = ("1", "2", "5", "007", "10")


@pytest.mark.parametrize(
    ("classes", "text", "expected"),
    [
        (DIGITS, "0,1,3-5", ("0", "1", "3", "4", "5")),
        (DIGITS, " 7 , 7", ("7",)),
        (DIGITS, "9,0", ("0", "9")),
        (DIGITS, "8-20", ("8", "9")),
        (ANIMALS, "cat,bird", ("Bird", "cat")),
        (ANIMALS, "0,2", ("Bird", "dog, small")),
        (ANIMALS, "1-2", ("cat", "dog, small")),
        (ANIMALS, "3-5", ("3-5",)),
        (NUMBERED, "5,10", ("5", "10")),
        (NUMBERED, "2-7", ("2", "5", "007")),
        (NUMBERED, "7", ("007",)),
    ],
)
def test_classes_are_chosen_by_name_or_number(classes, text, expected):
    assert parse_classes("--classes", text, labelled(classes)) == expected


@pytest.mark.parametrize(
    ("classes", "text", "message"),
    [
        (
            DIGITS,
            "",
            "--classes '' is not a class of photos; choose among 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        ),
        (DIGITS, "0,,1", "--classes '' is not a class of photos"),
        (DIGITS, "10", "--classes '10' is not a class of photos"),
        (DIGITS, "20-30", "--classes '20-30' is not a class of photos"),
        (DIGITS, "5-3", "--classes '5-3' is not a class of photos"),
        (ANIMALS, "cats", "--classes 'cats' is not a class of photos; did you mean cat?"),
        (ANIMALS, "4", "--classes '4' is not a class of photos"),
        (
            tuple(f"n{i}" for i in range(30)),
            "x",
            "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11 a",
        ),
    ],
)
def test_an_unknown_class_is_refused(classes, text, message):
    with pytest.raises(UsageError) as caught:
        parse_classes("--classes", text, labelled(classes))
    assert message in str(caught.value)


def test_images_without_labels_have_no_classes():
    store = PixelStore(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
    images = replace(labelled(DIGITS), train=Images(store))
    with pytest.raises(UsageError, match="--classes is for labelled images, and photos has no lab"):
        parse_classes("--classes", "0", images)


@given(st.sets(st.sampled_from(DIGITS), min_size=1))
def test_selecting_keeps_the_images_of_the_chosen_classes(digits, chosen):
    classes = tuple(sorted(chosen))
    selected = select_classes(digits, classes)
    for name, part in selected.splits.items():
        whole = digits.splits[name]
        expected = np.flatnonzero([str(label) in chosen for label in whole.labels.tolist()])
        assert torch.equal(part.pixels, whole.pixels[expected])
        assert torch.equal(part.labels, whole.labels[expected])
        assert part.index().tolist() == expected.tolist()
        assert part.classes == DIGITS
        assert is_member(part, classes).all()


def test_a_split_without_images_is_refused(digits):
    test = digits.test.select(np.flatnonzero(digits.test.labels.numpy() != 3))
    with pytest.raises(DataError, match="the test split of digits has no image of 3; choose other"):
        select_classes(replace(digits, test=test), ("3",))
