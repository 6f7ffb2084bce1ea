"""The resume file, which is written beside the checkpoint.

It is enough to continue a run, except that the best epoch's weights may be in the checkpoint only
(with ``--keep best``).
"""

from __future__ import annotations

import math
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import safetensors

from ae_cli.config import (
    DataConfig,
    Metrics,
    ModelConfig,
    Position,
    TrainConfig,
    from_json,
    to_json,
)
from ae_cli.errors import CheckpointError, TrainingError
from ae_cli.files import back_up, backup_path, copy_file, remove, resume_path
from ae_cli.models import AutoEncoder, build, expected_shapes, sketch
from ae_cli.models.checkpoint import (
    RUN_ID,
    Checkpoint,
    check_finite,
    read_safetensors,
    readable_metadata,
    save_checkpoint,
    write_safetensors,
)
from ae_cli.training.events import TrainState
from ae_cli.training.optimizer import Moments

# Names of the resume file's tensors: a group, a dot and the name of a weight; or `LOSS_SUM`
MODEL, MOMENTS = "model", ("first_moment", "second_moment")
LOSS_SUM = "loss_sum"

MOST_WRITING = 0.05  # share of the time in which files are written after epochs


@dataclass
class Run:
    """A run from its beginning to its end, which may be interrupted and resumed.

    Attributes:
        id: Its unique id.
        model: The model in its current state.
        training: How it is trained.
        data: What it is trained on.
        images_crc32: Checksum of the training images.
        state: The state of training.
        reached: Figures of the last whole epoch; None before the end of the first.
        best: Figures of the epoch with the lowest `choosing_loss`.
    """

    id: str
    model: AutoEncoder
    training: TrainConfig
    data: DataConfig
    images_crc32: int
    state: TrainState
    reached: Metrics | None = None
    best: Metrics | None = None

    @property
    def kept(self) -> Metrics | None:
        """Figures of the epoch whose weights the checkpoint should hold."""
        return self.best if self.training.keep == "best" else self.reached

    @property
    def steps(self) -> int:
        """Steps in a whole epoch."""
        return math.ceil(self.data.train_images / self.training.batch_size)

    @property
    def updates(self) -> int:
        """Steps taken since training began."""
        return self.state.updates(self.steps)

    @property
    def has_stopped_early(self) -> bool:
        """Whether the test loss has not decreased for `patience` epochs."""
        patience, reached, best = self.training.patience, self.reached, self.best
        if patience is None or reached is None or best is None:
            return False
        return reached.epoch - best.epoch >= patience

    def has_weights_of(self, reached: Metrics) -> bool:
        """Whether the model has the weights that an epoch with these figures ended with."""
        return self.state.step == 0 and reached.epoch == self.state.epoch - 1

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train."""
        return self.state.epoch > self.training.epochs or self.has_stopped_early

    def finish_epoch(self, reached: Metrics) -> None:
        """Record the figures of a finished epoch."""
        self.reached = reached = reached.after(self.reached)
        if self.best is None or reached.choosing_loss < self.best.choosing_loss:
            self.best = reached


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


def save_run(run: Run, path: Path) -> None:
    """Write everything that resuming a run needs, atomically.

    Raises:
        TrainingError: A weight or moment is not finite.
        UsageError: The file cannot be written.
    """
    state, weights = run.state, run.model.state_dict()
    if state.moments is None:
        raise AssertionError("a run is saved after its first step")
    trained = [key for key, _ in run.model.named_parameters()]
    tensors = {LOSS_SUM: state.loss_sum, **{f"{MODEL}.{key}": weights[key] for key in weights}}
    for group, values in zip(MOMENTS, state.moments, strict=True):
        tensors |= {f"{group}.{key}": value for key, value in zip(trained, values, strict=True)}
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise TrainingError(
            f"the weights or their moments are no longer finite numbers in epoch {state.epoch}",
            f"choose a smaller --lr than {run.training.lr:g}",
        )
    position = Position(state.epoch, state.step, state.seconds, run.images_crc32)
    metadata = {
        "model": to_json(run.model.config),
        "training": to_json(run.training),
        "data": to_json(run.data),
        "position": to_json(position),
        RUN_ID: run.id,
    }
    if run.reached is not None:
        metadata["reached"] = to_json(run.reached)
    if run.best is not None:
        metadata["best"] = to_json(run.best)
    write_safetensors(path, tensors, metadata)


def load_run(checkpoint: Path) -> Run:
    """Read everything that resuming a checkpoint's run needs, on the CPU.

    Everything in the file is checked before it is used, and nothing is unpickled.

    Args:
        checkpoint: The checkpoint, which need not exist: its resume file is enough.

    Raises:
        CheckpointError: The resume file does not exist, is incomplete, of an unknown format version
            or inconsistent.
    """
    path = resume_path(checkpoint)
    missing = CheckpointError(
        f"there is no run to resume at {path}",
        "train without --resume" if not checkpoint.exists() else "train again without --resume",
    )
    with read_safetensors(path, missing) as file:
        with readable_metadata(path):
            config = from_json(ModelConfig, file.metadata["model"])
            training = from_json(TrainConfig, file.metadata["training"])
            data = from_json(DataConfig, file.metadata["data"])
            position = from_json(Position, file.metadata["position"])
            run_id = file.metadata[RUN_ID]
            reached, best = (
                from_json(Metrics, file.metadata[name]) if name in file.metadata else None
                for name in ("reached", "best")
            )
        shapes = expected_shapes(config)
        trained = [key for key, _ in sketch(config).named_parameters()]
        tensors = file.tensors(
            {
                LOSS_SUM: (),
                **{f"{MODEL}.{key}": shape for key, shape in shapes.items()},
                **{f"{group}.{key}": shapes[key] for group in MOMENTS for key in trained},
            }
        )
    check_finite(path, tensors)
    model = build(config, seed=0)
    model.load_state_dict({key: tensors[f"{MODEL}.{key}"] for key in shapes})
    moments = Moments(*([tensors[f"{group}.{key}"] for key in trained] for group in MOMENTS))
    state = TrainState(
        epoch=position.epoch,
        step=position.step,
        seconds=position.seconds,
        loss_sum=tensors[LOSS_SUM],
        moments=moments,
    )
    run = Run(run_id, model, training, data, position.images_crc32, state, reached, best)
    reached_epoch = 0 if reached is None else reached.epoch
    best_epoch = reached_epoch if best is None else best.epoch
    if state.step > run.steps or reached_epoch != state.epoch - 1 or best_epoch > reached_epoch:
        raise CheckpointError(f"{path} contradicts itself", "train again without --resume")
    return run
