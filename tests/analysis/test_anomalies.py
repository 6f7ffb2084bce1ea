from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ae_cli.analysis.anomalies import tabulate, worst_first
from ae_cli.analysis.judge import QUANTILES, error_quantiles, threshold_at
from ae_cli.analysis.separation import separate
from ae_cli.data.images import Images

errors = arrays(np.float32, st.integers(1, 50), elements=st.floats(0, 1, width=32))


@given(errors, st.integers(0, 1000))
def test_the_threshold_matches_numpys_quantile(errors, thousandths):
    quantiles = error_quantiles(errors)
    assert len(quantiles) == QUANTILES
    assert list(quantiles) == sorted(quantiles)
    expected = np.quantile(errors.astype(np.float64), thousandths / 1000)
    assert threshold_at(thousandths / 1000, quantiles) == pytest.approx(expected, rel=1e-5)


def test_the_threshold_is_interpolated_between_quantiles():
    quantiles = tuple(np.linspace(0, 1, QUANTILES) ** 2)
    assert quantiles[990] < threshold_at(0.9905, quantiles) < quantiles[991]


@given(errors, st.floats(0, 1))
def test_the_table_is_sorted_and_marks_anomalies(errors, threshold):
    count = len(errors)
    names = tuple(f"{i}.png" for i in range(count))
    images = Images(torch.zeros(count, 1, 2, 2, dtype=torch.uint8), names=names)
    splits = np.array(["train", "test"] * count)[:count]
    scores = errors * 3.0 - 1
    columns = tabulate(images, splits, errors, scores, threshold)
    kept = ("index", "split", "name", "error", "score")
    assert list(columns) == [*kept, "threshold", "is_anomaly"]
    assert columns["score"].tolist() == sorted(scores.tolist(), reverse=True)
    assert sorted(columns["index"]) == list(range(count))
    assert columns["is_anomaly"].tolist() == (columns["score"] > threshold).tolist()
    for index, *row in zip(*(columns[name] for name in kept), strict=True):
        assert row == [splits[index], names[index], errors[index], scores[index]]
    first = tabulate(images, splits, errors, scores, threshold, most=2)
    assert all(first[name].tolist() == columns[name][:2].tolist() for name in columns)


def test_equal_errors_keep_their_order():
    assert worst_first(np.float32([0.5, 1, 0.5, 1])).tolist() == [1, 3, 0, 2]


def test_scores_match_their_definitions():
    rng = np.random.default_rng(0)
    normal, anomalous = rng.normal(0, 1, 80), rng.normal(1, 1, 50)
    both = np.concatenate([normal, anomalous])
    known = np.arange(130) >= 80
    scores = separate(both, known)
    # The share of pairs in which the anomalous image has the larger error
    assert scores.auroc == pytest.approx((anomalous[:, None] > normal).mean())
    # Precision at each anomalous image, from the largest error down
    found = known[np.argsort(-both)]
    precision = np.cumsum(found) / np.arange(1, 131)
    assert scores.average_precision == pytest.approx(precision[found].mean())
    assert (scores.normal, scores.anomalous) == (80, 50)
