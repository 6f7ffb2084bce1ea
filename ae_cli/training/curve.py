"""The curves of losses: how one or several runs learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ae_cli import figures
from ae_cli.config import CHECKPOINT, takes
from ae_cli.config.curve import CurveOptions
from ae_cli.errors import DataError
from ae_cli.files import check_output
from ae_cli.results import Result
from ae_cli.training import log
from ae_cli.training.history import Losses

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class RunLosses(Result):
    """The losses of a run.

    Attributes:
        source: The checkpoint or the log.
        epochs: How many whole epochs were trained.
        lowest_test_loss: The lowest test loss.
        lowest_epoch: The epoch that it is of, the first of several.
        train_losses: The training loss of each epoch; if the model started from PCA, the first one
            is from before training.
        test_losses: The test loss of each, likewise.
        history: The same, with the numbers of the epochs.
    """

    source: Path
    epochs: int
    lowest_test_loss: float
    lowest_epoch: int
    train_losses: list[float]
    test_losses: list[float]
    history: list[Losses] = field(repr=False)


@dataclass(frozen=True)
class Curve(Result):
    """The losses of one or several runs.

    Attributes:
        runs: The runs.
        out: The picture; None if none was written.
    """

    runs: list[RunLosses]
    out: Path | None

    def draw(self, figure: Figure) -> None:
        """Draw the losses over the epochs."""
        names = [run.source.name for run in self.runs]
        if len(set(names)) < len(names):
            names = [str(run.source) for run in self.runs]
        histories = [run.history for run in self.runs]
        figures.draw_losses(figure, dict(zip(names, histories, strict=True)))

    def _repr_png_(self) -> bytes:
        return figures.to_png(self.draw)


@takes(CurveOptions)
def curve(runs: Path | str | Sequence[Path | str] | None, options: CurveOptions) -> Curve:
    """Draw the losses of runs over their epochs.

    Args:
        runs: Checkpoints, with their resume files beside them, or logs that ``train`` wrote; one or
            several. None for `CHECKPOINT`.
        options: See `CurveOptions`.

    Raises:
        AeError: A file cannot be read, or the picture cannot be written.
    """
    out = None if options.out is None else Path(options.out)
    if out is not None:
        check_output(out, figures.endings())
    sources = [CHECKPOINT] if runs is None else [runs] if isinstance(runs, (str, Path)) else runs
    made = Curve([_read(path) for path in dict.fromkeys(map(Path, sources))], out)
    if out is not None:
        figures.write(out, made.draw)
    return made


def _read(source: Path) -> RunLosses:
    """Read the losses of a run from its log, or from the resume file of its checkpoint."""
    if source.suffix.lower() in log.ENDINGS:
        history = log.read_losses(source)
    else:
        from ae_cli.training.resume import load_history  # and torch with it

        history = load_history(source)
    if not history:
        raise DataError(f"{source} has no whole epoch yet", "let `ae train` finish one")
    best = min(history, key=lambda losses: losses.test_loss)
    return RunLosses(
        source=source,
        epochs=history[-1].epoch,
        lowest_test_loss=best.test_loss,
        lowest_epoch=best.epoch,
        train_losses=[losses.train_loss for losses in history],
        test_losses=[losses.test_loss for losses in history],
        history=history,
    )
