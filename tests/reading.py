"""What tests of reading images look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ae_cli.data.images import DataSet
from ae_cli.data.load import load
from ae_cli.errors import DataError


def in_order(data: DataSet) -> tuple[np.ndarray, list[str] | None]:
    """All pixels, and the names of their classes, in the order of the source."""
    order = np.argsort(np.concatenate([data.train.index(), data.test.index()]))
    both = torch.cat([data.train.pixels, data.test.pixels]).numpy()[order]
    if data.train.labels is None:
        return both, None
    found = torch.cat([data.train.labels, data.test.labels]).numpy()[order]
    return both, [data.train.classes[i] for i in found]


def refusal(source: Path | str, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(str(source), **options)
    return str(caught.value).replace(f"{Path(source).parent}/", "")
