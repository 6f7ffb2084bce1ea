"""The resume file, which is written beside the checkpoint.

It is enough to continue a run, except that the best epoch's weights may be in the checkpoint only
(with ``--keep best``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

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
from ae_cli.files import resume_path
from ae_cli.models import AutoEncoder, build, expected_shapes, sketch
from ae_cli.models.checkpoint import (
    RUN_ID,
    check_finite,
    read_safetensors,
    readable_metadata,
    write_safetensors,
)
from ae_cli.training.events import TrainState
from ae_cli.training.history import Losses, from_text, to_text
from ae_cli.training.optimizer import Moments

# Names of the resume file's tensors: a group, a dot and the name of a weight; or `LOSS_SUM`
MODEL, MOMENTS = "model", ("first_moment", "second_moment")
LOSS_SUM = "loss_sum"
HISTORY = "history"  # metadata key


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
        history: The losses of all whole epochs; of a run whose resume file an older program wrote,
            only of those since it was resumed.
    """

    id: str
    model: AutoEncoder
    training: TrainConfig
    data: DataConfig
    images_crc32: int
    state: TrainState
    reached: Metrics | None = None
    best: Metrics | None = None
    history: list[Losses] = field(default_factory=list)

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
        self.history.append(Losses(reached.epoch, reached.train_loss, reached.test_loss))
        if self.best is None or reached.choosing_loss < self.best.choosing_loss:
            self.best = reached


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
        HISTORY: to_text(run.history),
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

    def missing() -> CheckpointError:
        again = "train again" if checkpoint.exists() else "train"
        return CheckpointError(f"there is no run to resume at {path}", f"{again} without --resume")

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
            history = from_text(file.metadata.get(HISTORY, "[]"))
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
    run = Run(run_id, model, training, data, position.images_crc32, state, reached, best, history)
    reached_epoch = 0 if reached is None else reached.epoch
    best_epoch = reached_epoch if best is None else best.epoch
    if state.step > run.steps or reached_epoch != state.epoch - 1 or best_epoch > reached_epoch:
        raise CheckpointError(f"{path} contradicts itself", "train again without --resume")
    return run


def load_history(checkpoint: Path) -> list[Losses]:
    """Read the losses of a run's epochs from its resume file.

    Args:
        checkpoint: The checkpoint, which need not exist: its resume file is enough.

    Raises:
        CheckpointError: The resume file does not exist, or cannot be read.
    """
    path = resume_path(checkpoint)

    def missing() -> CheckpointError:
        return CheckpointError(
            f"there is no {path}, which holds the losses of the epochs",
            "make it with `ae train`, or name another checkpoint, or a log",
        )

    with read_safetensors(path, missing) as file, readable_metadata(path):
        return from_text(file.metadata.get(HISTORY, "[]"))
