"""The checkpoint: one safetensors file with a model and everything recorded about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ae_cli.config import (
    VERSION,
    DataConfig,
    Metrics,
    ModelConfig,
    Recipe,
    TrainConfig,
    from_json,
    to_json,
)
from ae_cli.errors import CheckpointError, UsageError, brief
from ae_cli.files import atomic_write, suggest_near
from ae_cli.models import AutoEncoder, build, count_parameters, expected_shapes
from ae_cli.models.health import find_problems
from ae_cli.models.normal import Normal, from_text, to_text
from ae_cli.results import Result

# Increased by one whenever an older program could no longer read the file correctly. Version 1 had
# no schedule, engine or preset, version 2 no selected classes and no error quantiles, version 3 no
# `keep`, version 5 no objectives such as `denoise`, and version 6 no `for_anomalies`: the defaults
# of these fields say how such a model was trained. Version 7 had no `SCALES`, which were 1.
FORMAT_VERSION = 8
SCALES, SCALED_SINCE = ("encoder.scale", "decoder.scale"), 8
READABLE_VERSIONS = tuple(str(version) for version in range(1, FORMAT_VERSION + 1))

RUN_ID = "run_id"  # metadata key of the id that a checkpoint and its resume file share
NORMAL = "normal"


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with everything recorded about it.

    Attributes:
        model: The model.
        training: How it was trained.
        data: What it was trained on.
        metrics: Its figures.
        run_id: The id of its run, which its resume file has as well; empty in checkpoints older
            than format version 4.
        format_version: Format version of the file.
        normal: What is normal, where the model is for anomalies and was trained to the end.
    """

    model: AutoEncoder
    training: TrainConfig
    data: DataConfig
    metrics: Metrics
    run_id: str = ""
    format_version: int = FORMAT_VERSION
    normal: Normal | None = None

    @property
    def problems(self) -> list[str]:
        """What is wrong with the model and what would help, in a sentence each."""
        return find_problems(self.model.config, self.training, self.data, self.metrics)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint atomically.

    The weights are tensors under their ``state_dict`` keys; the rest is metadata, as JSON.

    Raises:
        UsageError: The file cannot be written.
    """
    metadata = {
        "model": to_json(checkpoint.model.config),
        "training": to_json(checkpoint.training),
        "data": to_json(checkpoint.data),
        "metrics": to_json(checkpoint.metrics),
        RUN_ID: checkpoint.run_id,
    }
    if checkpoint.normal is not None:
        metadata[NORMAL] = to_text(checkpoint.normal)
    write_safetensors(path, checkpoint.model.state_dict(), metadata)


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors, on any device, and metadata to a file atomically.

    Raises:
        UsageError: The file cannot be written.
    """
    # Parameters may be views of a shared tensor with gaps, as those of the fused step are.
    whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    metadata = {"format_version": str(FORMAT_VERSION), "ae_version": VERSION, **metadata}
    with atomic_write(path) as file:
        file.write(safetensors.torch.save(whole, metadata))


_REMAKE = "train again, or name another checkpoint"


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, on the CPU.

    Everything in the file is checked before it is used, and nothing is unpickled.

    Raises:
        CheckpointError: The file does not exist, is incomplete or of an unknown format version, or
            its metadata does not describe its tensors.
    """

    def missing() -> CheckpointError:
        remedy = suggest_near(path, "make one with `ae train`, or name another")
        return CheckpointError(f"there is no checkpoint at {path}", remedy)

    with read_safetensors(path, missing) as file:
        if "position" in file.metadata:
            raise CheckpointError(
                f"{path} is a resume file, which `ae train --resume` needs beside a checkpoint",
                "name the checkpoint itself",
            )
        with readable_metadata(path):
            config = from_json(ModelConfig, file.metadata["model"])
            training = from_json(TrainConfig, file.metadata["training"])
            data = from_json(DataConfig, file.metadata["data"])
            metrics = from_json(Metrics, file.metadata["metrics"])
            normal = _read_normal(file.metadata.get(NORMAL), config)
        weights = file.tensors(expected_shapes(config))
    check_finite(path, weights)
    model = build(config, seed=0)
    model.load_state_dict(weights)
    run_id, version = file.metadata.get(RUN_ID, ""), int(file.metadata["format_version"])
    return Checkpoint(model, training, data, metrics, run_id, version, normal)


def _read_normal(text: str | None, config: ModelConfig) -> Normal | None:
    """Read what is normal for a model.

    Raises:
        KeyError, TypeError, ValueError, UsageError: It cannot be read, or is for another model.
    """
    if text is None:
        return None
    normal = from_text(text)
    if (len(normal.mean), *normal.spread.shape) != (config.latent_dim, *config.shape[1:]):
        raise ValueError("it is for another model")
    return normal


class ModelFile(NamedTuple):
    """An open file of a supported format version.

    Attributes:
        path: Its path.
        metadata: Its metadata by name.
        file: The open file.
    """

    path: Path
    metadata: dict[str, str]
    file: Any  # safetensors has no types

    def tensors(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Read all tensors.

        Args:
            shapes: The names and shapes that they must have.

        Returns:
            float32 tensors by name.

        Raises:
            CheckpointError: The file has other tensors.
        """
        there = {key: self.file.get_slice(key) for key in self.file.keys()}  # noqa: SIM118
        is_scaled = int(self.metadata["format_version"]) >= SCALED_SINCE
        expected = {
            key: shape for key, shape in shapes.items() if is_scaled or not key.endswith(SCALES)
        }
        if {key: tuple(part.get_shape()) for key, part in there.items()} != expected:
            raise CheckpointError(f"{self.path} holds other layers than its metadata says", _REMAKE)
        for key, part in there.items():
            if part.get_dtype() != "F32":
                raise _not_finite(self.path, key)
        return {
            key: self.file.get_tensor(key) if key in expected else torch.ones(shape)
            for key, shape in shapes.items()
        }


@contextmanager
def read_safetensors(path: Path, missing: Callable[[], CheckpointError]) -> Iterator[ModelFile]:
    """Open a safetensors file that ae wrote, while the block runs.

    Args:
        path: The file.
        missing: Makes what to raise if the file does not exist.

    Raises:
        CheckpointError: The file cannot be read, is incomplete, or has an unknown format version.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_version(path, metadata)
            yield ModelFile(path, metadata, file)
    except FileNotFoundError as error:
        raise missing() from error
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror or error})", _REMAKE
        ) from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a safetensors file, or is cut short", _REMAKE
        ) from error


def _check_version(path: Path, metadata: dict[str, str]) -> None:
    version = metadata.get("format_version")
    if version is None:
        raise CheckpointError(
            f"{path} was not written by ae", "give a checkpoint made by `ae train`"
        )
    if version not in READABLE_VERSIONS:
        known = f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}"
        raise CheckpointError(
            f"{path} has format version {version}, and this ae reads {known}",
            "use the ae that wrote it, or train again",
        )


@contextmanager
def readable_metadata(path: Path) -> Iterator[None]:
    """Turn any error in the metadata that the block reads into a `CheckpointError`.

    Raises:
        CheckpointError: The metadata cannot be read.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError, UsageError) as error:
        raise CheckpointError(
            f"{path} has metadata that ae cannot read ({brief(error)})", _REMAKE
        ) from error


def check_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse tensors from a file that contain infinities or NaN.

    Raises:
        CheckpointError: A value is not finite.
    """
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise _not_finite(path, key)


def _not_finite(path: Path, key: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds values that are not finite float32 numbers in {key}", _REMAKE
    )


@dataclass(frozen=True)
class CheckpointInfo(Result):
    """What a checkpoint holds, apart from the weights.

    Attributes:
        checkpoint: The file.
        format_version: The file's format version.
        model: The model's configuration, and the number of its ``parameters``.
        training: How it was trained.
        data: What it was trained on.
        metrics: Its figures.
        detection: How well each score for anomalies tells held-out images with artificial defects
            from others (area under the ROC curve); None if the model knows no such scores.
        problems: What is wrong with the model and what would help, in a sentence each.
        architecture: The model's architecture in a few words.
        objective: What training minimised, in a few words.
    """

    checkpoint: Path
    format_version: int
    model: dict[str, Any]
    training: TrainConfig
    data: DataConfig
    metrics: Metrics
    detection: dict[str, float] | None
    problems: list[str]
    architecture: str = field(repr=False)
    objective: str = field(repr=False)


def info(checkpoint: Path | str) -> CheckpointInfo:
    """Describe a checkpoint: its model, training, data, and how good it is.

    Raises:
        CheckpointError: The checkpoint cannot be read.
    """
    path = Path(checkpoint)
    loaded = load_checkpoint(path)
    return CheckpointInfo(
        checkpoint=path,
        format_version=loaded.format_version,
        model={**asdict(loaded.model.config), "parameters": count_parameters(loaded.model)},
        training=loaded.training,
        data=loaded.data,
        metrics=loaded.metrics,
        detection=None if loaded.normal is None else loaded.normal.detection,
        problems=loaded.problems,
        architecture=loaded.model.architecture,
        objective=Recipe(loaded.model.config, loaded.training).objective,
    )
