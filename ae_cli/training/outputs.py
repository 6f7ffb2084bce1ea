"""The outputs of a run, and checks that they can be written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ae_cli.config import CHECKPOINT
from ae_cli.config.training import TrainOptions
from ae_cli.errors import UsageError
from ae_cli.files import backup_path, check_output, resume_path, shell_word
from ae_cli.training import log


@dataclass(frozen=True)
class Outputs:
    """The files of a run.

    Attributes:
        out: The checkpoint.
        log: The log; None for none.
        log_every: Steps between two lines of the log, within an epoch.
        tensorboard: TensorBoard's folder; None for none.
        film: The film; None for none.
        curve: The picture of the losses; None for none.
    """

    out: Path
    log: Path | None = None
    log_every: int | None = None
    tensorboard: Path | None = None
    film: Path | None = None
    curve: Path | None = None

    @classmethod
    def of(cls, options: TrainOptions, out: Path) -> Outputs:
        """The outputs that the options ask for."""

        def path(given: Path | str | None) -> Path | None:
            return None if given is None else Path(given)

        return cls(
            out,
            path(options.log),
            options.log_every,
            path(options.tensorboard),
            path(options.film),
            path(options.curve),
        )

    @property
    def growing_files(self) -> list[Path]:
        """The files that are written throughout the run, and must belong to one run at a time."""
        return [self.out] if self.log is None else [self.out, self.log]

    @property
    def other_files(self) -> list[Path]:
        """The resume file, backups, and what is written at the end."""
        backups = [backup_path(path) for path in self.growing_files]
        last = [path for path in (self.film, self.curve) if path is not None]
        return [*backups, resume_path(self.out), resume_path(backups[0]), *last]

    def arguments(self) -> str:
        """Arguments for a suggested ``ae train --resume`` so that it writes the same outputs."""
        given = {
            "--out": None if self.out == CHECKPOINT else shell_word(self.out),
            "--log": self.log and shell_word(self.log),
            "--log-every": self.log_every,
            "--tensorboard": self.tensorboard and shell_word(self.tensorboard),
            "--curve": self.curve and shell_word(self.curve),
        }
        return "".join(f" {option} {value}" for option, value in given.items() if value)

    def check(self, data: Any, *, resumed: bool) -> None:
        """Make sure that all outputs can be written, before any work is done.

        Args:
            data: The images' source, which must not be overwritten.
            resumed: Whether a run is resumed.

        Raises:
            UsageError: An output cannot be written.
        """
        try:
            str(self.out).encode()
        except UnicodeEncodeError as error:  # safetensors could not open it again
            raise UsageError(f"the name {self.out} is not UTF-8", "choose another") from error
        if self.out.stem.endswith(".resume"):
            raise UsageError(f"{self.out} is the name of a resume file", "choose another")
        check_output(self.out, (CHECKPOINT.suffix,))
        if self.log is not None:
            check_output(self.log, log.ENDINGS)
        if self.tensorboard is not None:
            from ae_cli.training.tensorboard import check_tensorboard

            check_tensorboard(self.tensorboard, resuming=resumed)
        if self.film is not None:
            from ae_cli.figures import check_film

            check_film(self.film, "--film")
        if self.curve is not None:
            from ae_cli.figures import endings

            check_output(self.curve, endings())
        for path in self.other_files:
            check_output(path, (path.suffix.lower(),))
        folders = [] if self.tensorboard is None else [self.tensorboard]
        names: dict[Path, Path] = {}
        for path in (*self.growing_files, *self.other_files, *folders):
            if path.resolve() in names:
                raise UsageError(f"two outputs would be written to {path}", "name another file")
            names[path.resolve()] = path
        if isinstance(data, (str, Path)) and str(data) and Path(data).resolve() in names:
            raise UsageError(f"{data} is both an input and an output", "name another file")


def check(options: TrainOptions) -> None:
    """Make sure that all outputs can be written, before anything else is done.

    Raises:
        UsageError: An output cannot be written.
    """
    if options.out is not None:
        outputs = Outputs.of(options, Path(options.out))
        outputs.check(options.data, resumed=options.resume)
