from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import Run

from ae_cli.config import TrainConfig
from ae_cli.training.augment import BRIGHTNESS, augment, kinds_in


@pytest.fixture
def images(digits) -> torch.Tensor:
    return digits.train.head(40).pixels


def test_without_augmentation_nothing_is_copied(images):
    assert augment(images, (), (0, 1, 0)) is images


def test_flips_swap_left_and_right_in_some_images(images):
    varied = augment(images, ("flip",), (0, 1, 0))
    same = [torch.equal(a, b) for a, b in zip(varied, images, strict=True)]
    flipped = [torch.equal(a, b.flip(2)) for a, b in zip(varied, images, strict=True)]
    assert all(a or b for a, b in zip(same, flipped, strict=True))
    assert 5 < sum(flipped) < 35


def test_shifts_move_images_by_a_pixel_at_most(images):
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    seen = set()
    for varied, image in zip(augment(images, ("shift",), (0, 1, 0)).numpy(), padded, strict=True):
        moves = {
            (y, x)
            for y in range(3)
            for x in range(3)
            if np.array_equal(varied, image[:, y : y + 28, x : x + 28])
        }
        assert moves
        seen |= moves
    assert len(seen) > 5


def test_brightness_multiplies_pixels(images):
    varied = augment(images, ("brightness",), (0, 1, 0)).float()
    bright = images > 100
    factors = varied[bright] / images[bright]
    assert 1 - BRIGHTNESS - 0.01 < factors.min() < 0.97
    assert factors.max() < 1 + BRIGHTNESS + 0.01


def test_variations_depend_on_seed_epoch_and_step_alone(images):
    kinds = ("shift", "flip", "brightness")
    first = augment(images, kinds, (0, 1, 2))
    assert torch.equal(first, augment(images, kinds, (0, 1, 2)))
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert not torch.equal(first, augment(images, kinds, other))


def test_the_last_epochs_see_images_as_they_are_or_mirrored():
    kinds = ("shift", "flip", "brightness")
    for settle, left in ((0.3, 3), (0.0, 0), (0.075, 0), (1.0, 10)):
        config = TrainConfig(epochs=10, augment=kinds, settle=settle)
        used = [kinds_in(epoch, config) for epoch in range(1, 11)]
        assert used == [kinds] * (10 - left) + [("flip",)] * left
    assert kinds_in(1, TrainConfig(epochs=1, augment=kinds)) == kinds


def test_the_recipe_says_until_when_images_are_varied(run: Run):
    few = ("--data", "digits", "--limit", "60", "--hidden", "8,16")
    line = run("train", *few, "--epochs", "10", "--augment", "shift,flip,brightness").stderr
    assert "images varied by flip, and by shift until epoch 7 and brightness until epoch 7" in line
    assert (
        "images varied by flip\n"
        in run("train", *few, "--augment", "flip", "--keep", "last").stderr
    )
