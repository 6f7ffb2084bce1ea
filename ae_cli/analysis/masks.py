"""How well maps show where defects are, by masks of the defects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

MOST_FALSE = 0.3  # share of normal pixels, up to which regions are looked at


@dataclass(frozen=True)
class PixelScores:
    """How well maps separate the pixels of defects from all others, for any threshold.

    Attributes:
        auroc: Area under the receiver operating characteristic of all pixels.
        au_pro: Area under the curve of the per-region overlap, up to `MOST_FALSE` false positives,
            as a share of what is possible (Bergmann et al., 2021, "The MVTec Anomaly Detection
            Dataset").
        images: Number of images that were looked at.
        regions: Number of defects in them: connected pixels of a mask.
    """

    auroc: float
    au_pro: float
    images: int
    regions: int


def score_pixels(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> PixelScores | None:
    """Compare maps with masks.

    Args:
        maps: (n, height, width): higher where an image is more unusual.
        masks: (n, height, width), where the defects are.

    Returns:
        The scores; None if no pixel or every pixel belongs to a defect.
    """
    from skimage.measure import label
    from sklearn.metrics import roc_auc_score, roc_curve

    if not masks.any() or masks.all():
        return None
    weights, regions = np.ones(masks.shape), 0
    for mask, weight in zip(masks, weights, strict=True):
        labels = label(mask, connectivity=2)  # diagonally connected pixels are one region
        regions += int(labels.max())
        # Each region counts the same, however large it is.
        weight[mask] = 1 / np.bincount(labels[mask])[labels[mask]]
    truth, values = masks.ravel(), maps.ravel()
    # With these weights, the true positive rate is the mean overlap of the regions.
    false, overlap, _ = roc_curve(truth, values, sample_weight=weights.ravel())
    inside = false <= MOST_FALSE
    last = np.interp(MOST_FALSE, false, overlap)
    area = trapezoid(np.append(overlap[inside], last), np.append(false[inside], MOST_FALSE))
    return PixelScores(
        auroc=float(roc_auc_score(truth, values)),
        au_pro=float(area / MOST_FALSE),
        images=len(masks),
        regions=regions,
    )
