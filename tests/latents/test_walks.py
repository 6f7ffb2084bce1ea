from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ae_cli.latents.walks import grid_over, line_between


@given(st.integers(2, 9), st.permutations(range(4)))
def test_a_grid_covers_the_range_of_the_latents(size, order):
    latents = np.random.default_rng(0).normal(size=(500, 4), scale=[1, 2, 3, 4]).astype(np.float32)
    across, down, *others = order
    grid = grid_over(latents, (across, down), size)
    assert grid.points.shape == (size * size, 4)
    assert grid.points.dtype == np.float32
    low, high = np.quantile(latents, (0.01, 0.99), axis=0)
    for values, axis in ((grid.across, across), (grid.down[::-1], down)):
        assert values[[0, -1]] == pytest.approx([low[axis], high[axis]], rel=1e-5)
        assert np.diff(values) == pytest.approx(np.ptp(values) / (size - 1), rel=1e-3)
    for row in range(size):
        for column in range(size):
            point = grid.points[row * size + column]
            assert (point[across], point[down]) == (grid.across[column], grid.down[row])
            assert point[others] == pytest.approx(np.median(latents, axis=0)[others])


def test_one_outlier_does_not_stretch_the_grid():
    latents = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    latents[0] = 1000
    assert grid_over(latents, (0, 1), 3).across[-1] < 4


def test_a_line_goes_from_one_end_to_the_other():
    start, end = np.float32([0, 1]), np.float32([1, -1])
    line = line_between(start, end, 5)
    assert line.dtype == np.float32
    assert line.tolist() == [[0, 1], [0.25, 0.5], [0.5, 0], [0.75, -0.5], [1, -1]]
