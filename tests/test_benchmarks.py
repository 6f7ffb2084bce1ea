"""What the benchmarks compare with has to be right, or the comparison means nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.images import (
    BEST,
    MEAN,
    PRINCIPAL,
    TEXTBOOK,
    TRAIN,
    Cell,
    Textbook,
    Trial,
    losses,
    mean_image_error,
    pca_errors,
    row,
    run_textbook,
)

from ae_cli.data.images import DataSet


@pytest.fixture
def few(digits) -> DataSet:
    return DataSet("few", digits.train.head(300), digits.test.head(100))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 5), (1, 75, 112), (3, 1, 2)])
def test_the_textbook_s_network_takes_images_of_any_size(shape):
    network = Textbook(shape, 7)
    x = torch.rand(2, *shape)
    assert network.encoder(x).shape == (2, 7)
    assert network(x).shape == x.shape
    kinds = [type(layer).__name__ for layer in (*network.encoder, *network.decoder)]
    assert kinds == [
        *["Conv2d", "ReLU"] * 3,
        *["Flatten", "Linear", "Linear", "Unflatten"],
        *["ReLU", "ConvTranspose2d"] * 3,
        "Sigmoid",
    ]


@pytest.mark.parametrize("count", [300, 1000])  # images, fewer and more than the 784 values
def test_pca_is_that_of_a_singular_value_decomposition(digits, count):
    few = DataSet("few", digits.train.head(count), digits.test.head(100))
    train, test = (
        images.pixels.numpy().reshape(len(images), -1) / 255 for images in (few.train, few.test)
    )
    mean = train.mean(0)
    directions = np.linalg.svd(train - mean, full_matrices=False)[2]
    numbers = [1, 3, 64, 1000]  # as many as images or values, if there are fewer than 1000
    expected = [
        np.square(test - mean - (test - mean) @ directions[:k].T @ directions[:k]).mean()
        for k in numbers
    ]
    assert pca_errors(few, numbers) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert mean_image_error(few) == pytest.approx(np.square(test - mean).mean(), rel=1e-5)


def test_the_textbook_s_network_learns_for_the_given_time(few):
    device = torch.device("cpu")
    trial = run_textbook(few, 3, 0, 0.5, device)
    assert 0.5 <= trial.seconds < 5
    one_step = run_textbook(few, 3, 0, 0, device)
    assert one_step.details == {"epochs": 1 / 5}
    assert trial.error < one_step.error


def test_a_row_shows_shares_and_marks_where_ae_is_worse():
    errors = {MEAN: 0.07, PRINCIPAL: 0.04, TEXTBOOK: 0.025, TRAIN: 0.03, BEST: 0.02}
    trials = {name: [Trial(error, 2.0)] for name, error in errors.items()}
    cell = Cell("few", 3, trials)
    assert row(cell) == (
        "| 3 | 0.0700 | 0.0400 | 0.0250 (0.62) | **0.0300 (0.75) > textbook** | 2.0 "
        "| 0.0200 (0.50) | 2.0 |"
    )
    assert losses([cell]) == ["few, 3 latents: ae train 0.03 > textbook 0.025 (1.200)"]
    trials[BEST] = [Trial(0.04, 2.0), Trial(0.06, 3.0)]
    assert row(cell).endswith("| **0.0500 ± 0.0141 (1.25) > PCA, textbook** | 2.5 ± 0.7 |")
