"""The 1,797 handwritten digits that come with scikit-learn, for use without a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from ae_cli.data.images import DataSet, Images
from ae_cli.data.store import PixelStore

SIZE = 28
TRAIN_IMAGES = 1500


def load_digits() -> DataSet:
    """Read scikit-learn's digits, enlarged from 8 × 8 to MNIST's 28 × 28 pixels.

    The split into 1,500 training and 297 test images is random but always the same.
    """
    from sklearn.datasets import load_digits as load

    digits = load()
    pixels = torch.from_numpy(digits.images).unsqueeze(1)  # float64 (1797, 1, 8, 8) in 0..16
    pixels = functional.interpolate(pixels, size=(SIZE, SIZE), mode="bilinear")
    pixels = (pixels * (255 / 16)).round().to(torch.uint8)
    images = Images(
        PixelStore(pixels),
        labels=torch.from_numpy(digits.target).long(),
        classes=tuple(str(name) for name in digits.target_names),
    )
    # RandomState, because its stream is frozen: every version of numpy gives the same split.
    order = np.random.RandomState(0).permutation(len(images))
    train, test = images.select(order[:TRAIN_IMAGES]), images.select(order[TRAIN_IMAGES:])
    # As in MNIST, the split belongs to the set, so the images of each split count from 0.
    return DataSet("digits", replace(train, positions=None), replace(test, positions=None))
