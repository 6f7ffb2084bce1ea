"""Keeping a run in its two files: the checkpoint, and the resume file beside it."""

from __future__ import annotations

import time
from copy import deepcopy
from pathlib import Path

import safetensors

from ae_cli.config import Metrics
from ae_cli.files import back_up, backup_path, copy_file, remove, resume_path
from ae_cli.models.checkpoint import RUN_ID, Checkpoint, save_checkpoint
from ae_cli.training.resume import Run, save_run

MOST_WRITING = 0.05  # share of the time in which files are written after epochs


class Keeper:
    """Keeps a run in two files, so that it can be resumed whenever it ends.

    After an epoch, the resume file is written first, since the checkpoint can be made from it.
    Files of another run are backed up before the first file is written. Where epochs are so short
    that writing would take more than `MOST_WRITING` of the time, some epochs are only kept in
    memory, until the files are due again.

    Args:
        run: The run.
        out: The checkpoint's file.
        source: The checkpoint whose run is resumed; None for a new run.
        writes: Whether to keep anything: of several processes, only the first one does.

    Attributes:
        saved: The epoch, and the steps taken in it, that the resume file holds; None if the file
            does not belong to the run.
        kept: Figures of the epoch that the checkpoint holds; None if it does not belong to the run.
        backup: The backup of the previous checkpoint; None until one is made.
    """

    def __init__(self, run: Run, out: Path, source: Path | None, *, writes: bool = True) -> None:
        self._run, self._out, self._source, self._writes = run, out, source, writes
        self._has_begun = False
        self._due = 0.0  # on the clock, when files may be written again
        self._pending: Checkpoint | None = None  # what the checkpoint should hold, but does not yet
        self.saved: tuple[int, int] | None = None
        self.kept: Metrics | None = None
        self.backup: Path | None = None
        if source is not None:
            self.saved = run.state.epoch, run.state.step

    def resume(self) -> None:
        """Make sure that both files of a resumed run exist.

        Raises:
            UsageError: A file cannot be written.
        """
        if self._source is None or not self._writes:
            return
        if read_run_id(self._out) == self._run.id:
            self.kept = self._run.kept
        if self._source != self._out:
            self.save_state()
            if read_run_id(self._source) == self._run.id and self._run.kept is not None:
                copy_file(self._source, self._out)
                self.kept = self._run.kept
        self.complete()

    def save_state(self) -> None:
        """Write the resume file.

        Raises:
            TrainingError: A weight or moment is not finite.
            UsageError: A file cannot be written.
        """
        if not self._writes:
            return
        self._begin()
        save_run(self._run, resume_path(self._out))
        self.saved = self._run.state.epoch, self._run.state.step
        self._write_pending()

    def save_epoch(self, *, stop: bool = False) -> None:
        """Keep an epoch: in both files if they are due or the run ends here, or else in memory.

        The checkpoint changes only if this epoch's weights are to be kept.

        Args:
            stop: Whether the run ends here, though it is not over.

        Raises:
            TrainingError: A weight or moment is not finite.
            UsageError: A file cannot be written.
        """
        began = time.monotonic()
        if began < self._due and not stop and not self._run.is_over:
            self._pending = self._checkpoint(copy=True) or self._pending
            return
        self.save_state()
        self.complete()
        ended = time.monotonic()
        self._due = ended + (ended - began) / MOST_WRITING

    def complete(self) -> None:
        """Write the checkpoint, if the current weights are to be kept.

        Raises:
            UsageError: The checkpoint cannot be written.
        """
        self._pending = self._checkpoint() or self._pending
        self._write_pending()

    def flush(self) -> None:
        """Write what is only in memory, where the run ends early.

        Raises:
            UsageError: A file cannot be written.
        """
        if self._pending is not None and self._run.state.step == 0:
            self.save_state()
        self._write_pending()

    def _write_pending(self) -> None:
        """Write the checkpoint, if it should hold an epoch that is only in memory."""
        if self._pending is not None and self._writes:
            self._begin()
            save_checkpoint(self._pending, self._out)
            self.kept, self._pending = self._pending.metrics, None

    def _checkpoint(self, *, copy: bool = False) -> Checkpoint | None:
        """The current weights as a checkpoint; None if they are not those to keep."""
        run, kept = self._run, self._run.kept
        if kept is None or not run.has_weights_of(kept):
            return None
        model = deepcopy(run.model) if copy else run.model
        return Checkpoint(model, run.training, run.data, kept, run.id)

    def _begin(self) -> None:
        """Back up the files of another run, once."""
        if not self._has_begun and read_run_id(self._out) != self._run.id:
            self.backup = back_up_training(self._out)
        self._has_begun = True


def read_run_id(path: Path) -> str | None:
    """Read the id of the run that a checkpoint or a resume file belongs to; None if it has none."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get(RUN_ID)
    except (OSError, safetensors.SafetensorError):
        return None  # not a file of a run


def back_up_training(checkpoint: Path) -> Path | None:
    """Copy a checkpoint, as `back_up` does, and its own resume file if it has one.

    Returns:
        The checkpoint's copy, or None if there was no checkpoint.

    Raises:
        UsageError: A file cannot be read or written.
    """
    if not checkpoint.exists():
        return None
    resume_copy, run_id = resume_path(backup_path(checkpoint)), read_run_id(checkpoint)
    if run_id is not None and read_run_id(resume_path(checkpoint)) == run_id:
        copy_file(resume_path(checkpoint), resume_copy)
    elif run_id is None or read_run_id(resume_copy) != run_id:
        remove(resume_copy)  # it belongs to the previous backup
    return back_up(checkpoint)
