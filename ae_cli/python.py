"""The parts of the library that only Python has: training with a progress bar, reading a table."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from ae_cli.cli.console import Reporter
from ae_cli.cli.screen import Screen
from ae_cli.config import Progress, ignore_progress
from ae_cli.config.option import takes_only
from ae_cli.config.training import TrainOptions
from ae_cli.errors import warn
from ae_cli.latents.model import Model
from ae_cli.latents.read_table import read_latents
from ae_cli.latents.table import Latents
from ae_cli.training.events import Begun, Epoch, Step, Trained
from ae_cli.training.session import Session


@dataclass(frozen=True)
class PythonTrainOptions(TrainOptions):
    """`TrainOptions` with another way to show progress.

    Attributes:
        progress: True for a bar in a terminal or a notebook, and a line per epoch elsewhere; False
            for nothing; or a function, as in `TrainOptions`.
    """

    progress: Progress | bool = field(  # type: ignore[assignment]
        default=True, repr=False, compare=False, kw_only=True
    )


@takes_only(PythonTrainOptions)
def train(options: PythonTrainOptions) -> Model:
    """Train an autoencoder, as ``ae train`` does. Only the named outputs are written.

    Args:
        options: See `TrainOptions` and `PythonTrainOptions`.

    Returns:
        The trained model.

    Raises:
        AeError: The images cannot be read, an option is out of range, a file cannot be written, or
            the loss is no longer finite.
    """
    with Screen(Reporter(quiet=options.progress is not True), options.log_every) as screen:
        progress = options.progress
        if isinstance(progress, bool):
            progress = screen.progress if progress else ignore_progress
        names = {f.name for f in fields(TrainOptions)} - {"progress"}
        values = {name: getattr(options, name) for name in names}
        with Session(TrainOptions(progress=progress, **values)) as session:
            for event in session:
                if isinstance(event, Begun):
                    screen.begin(event)
                elif isinstance(event, (Step, Epoch)):
                    screen.step(event)
                else:
                    screen.end()
                if isinstance(event, Trained):
                    for problem in event.problems:
                        warn(problem)
    session.linger()
    return session.model()


def read_table(path: Path | str) -> Latents:
    """Read a table of latents that ``ae embed`` or `Latents.save` wrote.

    Raises:
        DataError: The table cannot be read.
    """
    return read_latents(Path(path))
