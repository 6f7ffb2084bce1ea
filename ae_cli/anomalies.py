"""Which images a model reconstructs so badly that they are unlike those it learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.data import Images
from ae_cli.tables import Columns

# Of the errors of the images held out, in steps of a thousandth.
QUANTILES = 1001
DIGITS = 6  # of a quantile, so that a checkpoint stays small


def error_quantiles(errors: NDArray[np.float32]) -> tuple[float, ...]:
    """Sum up reconstruction errors, so that `threshold_at` can be found without the images.

    Args:
        errors: (n,), n at least 1.

    Returns:
        `QUANTILES` numbers, ascending, evenly spaced from the smallest error to the largest.
    """
    quantiles = np.quantile(errors.astype(np.float64), np.linspace(0, 1, QUANTILES))
    return tuple(float(f"{value:.{DIGITS}g}") for value in np.maximum.accumulate(quantiles))


def threshold_at(quantile: float, quantiles: tuple[float, ...]) -> float:
    """The error that a share of `quantile`, from 0 to 1, of the images stays below.

    Between two of the quantiles it is interpolated.
    """
    return float(np.interp(quantile, np.linspace(0, 1, len(quantiles)), quantiles))


def tabulate(
    images: Images, splits: NDArray[np.str_], errors: NDArray[np.float32], threshold: float
) -> Columns:
    """Make the table of anomalies, the largest error first.

    Args:
        images: n of them.
        splits: (n,), the split of each.
        errors: (n,), the reconstruction error of each.
        threshold: The error above which an image is an anomaly.

    Returns:
        The columns ``index, split, name, label, error, threshold, is_anomaly``, each (n,): `name`
        only where images have names, `label` only where they have labels.
    """
    columns = {
        "index": images.index(),
        "split": splits,
        "name": None if images.names is None else np.array(images.names),
        "label": images.label_values(),
        "error": errors,
        "threshold": np.full(len(errors), threshold),
        "is_anomaly": errors > threshold,
    }
    order = worst_first(errors)
    return {name: values[order] for name, values in columns.items() if values is not None}


def worst_first(errors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Places of errors, (n,), from the largest to the smallest; of equal ones, in their order."""
    return np.argsort(-errors, kind="stable")


@dataclass(frozen=True)
class Scores:
    """How well errors tell anomalous images from normal ones, whatever the threshold.

    Attributes:
        auroc: Area under the receiver operating characteristic: the chance that an anomalous image
            has a larger error than a normal one.
        average_precision: Area under the precision-recall curve, as scikit-learn defines it.
        normal: Number of normal images.
        anomalous: Number of anomalous images.
    """

    auroc: float
    average_precision: float
    normal: int
    anomalous: int


def score(errors: NDArray[np.floating[Any]], anomalous: NDArray[np.bool_]) -> Scores:
    """Compare errors with what is known.

    Args:
        errors: (n,).
        anomalous: (n,), of which some are true and some false.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    count = int(anomalous.sum())
    return Scores(
        auroc=float(roc_auc_score(anomalous, errors)),
        average_precision=float(average_precision_score(anomalous, errors)),
        normal=len(anomalous) - count,
        anomalous=count,
    )
