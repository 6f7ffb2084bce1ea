"""The losses of a run's epochs, which its resume file keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from ae_cli.config.checks import check_number, check_whole


class Losses(NamedTuple):
    """The losses of an epoch.

    Attributes:
        epoch: Its number, from 1; 0 for the model that training starts from, if it is PCA.
        train_loss: As in `ae_cli.config.Metrics`.
        test_loss: As in `ae_cli.config.Metrics`.
    """

    epoch: int
    train_loss: float
    test_loss: float


def to_text(history: Iterable[Losses]) -> str:
    """Convert the losses of several epochs to JSON: a list for each epoch."""
    return json.dumps(list(history))


def from_text(text: str) -> list[Losses]:
    """Read losses that `to_text` wrote.

    Raises:
        ValueError, TypeError: The text is not such JSON.
        UsageError: A value is out of range.
    """
    rows: Any = json.loads(text)
    history = [Losses(*row) for row in rows]
    for losses in history:
        check_whole("epoch", losses.epoch, minimum=0)
        check_number("train_loss", losses.train_loss)
        check_number("test_loss", losses.test_loss)
    return history
