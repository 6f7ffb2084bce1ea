"""The autoencoder and its checkpoint file: what every command shares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ae_cli import __version__
from ae_cli.config import (
    Activation,
    DataConfig,
    Device,
    Metrics,
    ModelConfig,
    TrainConfig,
    from_json,
    to_json,
)
from ae_cli.errors import CheckpointError, UsageError, brief
from ae_cli.files import atomic_write

# Raised by one whenever an older program could no longer read the file rightly. Version 1 had no
# schedule, engine or preset, version 2 no choice of classes and no quantiles of errors, and version
# 3 no choice of the epoch to keep: the defaults say how it was trained.
FORMAT_VERSION = 4
READABLE_VERSIONS = ("1", "2", "3", "4")

RUN_ID = "run_id"  # in the metadata: what a checkpoint and its resume file have in common

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


class AutoEncoder(nn.Module):
    """A multilayer perceptron from the image to the latent, and its mirror image back.

    With the default configuration its ``state_dict`` has the tutorial's keys and shapes.

    Args:
        config: The layers.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        activation = ACTIVATIONS[config.activation]
        self.encoder = nn.Sequential(*_layers(config.encoder_sizes, activation))
        self.decoder = nn.Sequential(*_layers(config.decoder_sizes, activation), nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode and decode.

        Args:
            x: float32 (batch, input_size): flattened images in [0, 1].

        Returns:
            The latents, float32 (batch, latent_dim), and the reconstructions, shaped like `x`.
        """
        latent = self.encoder(x)
        return latent, self.decoder(latent)


def _layers(sizes: tuple[int, ...], activation: type[nn.Module]) -> list[nn.Module]:
    """Linear layers of these sizes with an activation between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return layers[:-1]


def build(config: ModelConfig, *, seed: int) -> AutoEncoder:
    """Make a model with torch's usual random weights, the same for the same seed.

    Raises:
        UsageError: There is not enough memory for it.
    """
    # The fork leaves the caller's random numbers as they were.
    with torch.random.fork_rng(devices=[]), enough_memory("the model"):
        torch.manual_seed(seed)
        return AutoEncoder(config)


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Turn torch's several words for memory that is not there into one of ours.

    Raises:
        UsageError: The block ran out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On the CPU it is a bare RuntimeError; torch.OutOfMemoryError is one too.
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        raise UsageError(
            f"{what} does not fit in memory", "choose smaller --hidden layers or --batch-size"
        ) from error


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters())


def decoder_layers(model: AutoEncoder) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Each decoder layer's weights, (outputs, inputs), and biases, (outputs,), in order."""
    linears = [part for part in model.decoder if isinstance(part, nn.Linear)]
    return [
        (linear.weight.detach().cpu().numpy(), linear.bias.detach().cpu().numpy())
        for linear in linears
    ]


def choose_device(name: Device) -> torch.device:
    """Find the device that ``--device`` means.

    Args:
        name: ``auto`` takes CUDA, then MPS, where they are there, and the CPU otherwise.

    Raises:
        UsageError: The device is not there.
    """
    there: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if not there[name]:
        raise UsageError(f"--device {name} is not there on this machine", "use --device cpu")
    return torch.device(name)


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with all that is known of it.

    Attributes:
        model: The model.
        training: How it was trained.
        data: On what.
        metrics: What it had reached.
        run_id: The training that it is of, as its resume file has it; empty in checkpoints older
            than format version 4.
        format_version: Of the file.
    """

    model: AutoEncoder
    training: TrainConfig
    data: DataConfig
    metrics: Metrics
    run_id: str = ""
    format_version: int = FORMAT_VERSION


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint whole, or leave what stood there.

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
    write_safetensors(path, checkpoint.model.state_dict(), metadata)


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors, wherever they are, and texts to a file, whole or not at all.

    Raises:
        UsageError: The file cannot be written.
    """
    # What shares a tensor, as the fused step's parameters do, is a part of it with gaps.
    whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    metadata = {"format_version": str(FORMAT_VERSION), "ae_version": __version__, **metadata}
    with atomic_write(path) as file:
        file.write(safetensors.torch.save(whole, metadata))


_REMAKE = "train again, or name another checkpoint"


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, on the CPU.

    Nothing in the file is trusted before it is checked, and nothing is unpickled.

    Raises:
        CheckpointError: It is not there, not whole, of an unknown format version, or its metadata
            do not describe its tensors.
    """
    missing = CheckpointError(
        f"there is no checkpoint at {path}", "make one with `ae train`, or name another"
    )
    with read_safetensors(path, missing) as file:
        if "position" in file.metadata:
            raise CheckpointError(
                f"{path} is what `ae train --resume` needs beside a checkpoint",
                "name the checkpoint itself",
            )
        with readable_metadata(path):
            config = from_json(ModelConfig, file.metadata["model"])
            training = from_json(TrainConfig, file.metadata["training"])
            data = from_json(DataConfig, file.metadata["data"])
            metrics = from_json(Metrics, file.metadata["metrics"])
        weights = file.tensors(expected_shapes(config))
    check_finite(path, weights)
    model = build(config, seed=0)
    model.load_state_dict(weights)
    run_id, version = file.metadata.get(RUN_ID, ""), int(file.metadata["format_version"])
    return Checkpoint(model, training, data, metrics, run_id, version)


class ModelFile(NamedTuple):
    """An open file of a version that can be read.

    Attributes:
        path: Where it is.
        metadata: Its texts by name.
        file: The open file.
    """

    path: Path
    metadata: dict[str, str]
    file: Any  # of safetensors, without types

    def tensors(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Read all tensors.

        Args:
            shapes: The names and shapes that they must have.

        Returns:
            float32 tensors by name.

        Raises:
            CheckpointError: They are others.
        """
        there = {key: self.file.get_slice(key) for key in self.file.keys()}  # noqa: SIM118
        if {key: tuple(part.get_shape()) for key, part in there.items()} != shapes:
            raise CheckpointError(f"{self.path} holds other layers than its metadata say", _REMAKE)
        for key, part in there.items():
            if part.get_dtype() != "F32":
                raise _no_numbers(self.path, key)
        return {key: self.file.get_tensor(key) for key in shapes}


@contextmanager
def read_safetensors(path: Path, missing: CheckpointError) -> Iterator[ModelFile]:
    """Open a file that ae wrote, while the block runs.

    Args:
        path: The file.
        missing: What to raise where there is none.

    Raises:
        CheckpointError: It cannot be read, is not whole, or of an unknown format version.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_version(path, metadata)
            yield ModelFile(path, metadata, file)
    except FileNotFoundError as error:
        raise missing from error
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
    """Turn whatever is wrong with the metadata that a block reads into a line of ours.

    Raises:
        CheckpointError: They cannot be read.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, RecursionError, UsageError) as error:
        raise CheckpointError(
            f"{path} has metadata that ae cannot read ({brief(error)})", _REMAKE
        ) from error


def check_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse numbers from a file that are infinite, or none.

    Raises:
        CheckpointError: There is one.
    """
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise _no_numbers(path, key)


def _no_numbers(path: Path, key: str) -> CheckpointError:
    return CheckpointError(f"{path} holds something else than numbers in {key}", _REMAKE)


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The ``state_dict`` keys and shapes of a model, without making one of unknown size."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part, sizes in (("encoder", config.encoder_sizes), ("decoder", config.decoder_sizes)):
        for position, (inputs, outputs) in enumerate(pairwise(sizes)):
            # Every second place in the Sequential is an activation.
            shapes[f"{part}.{2 * position}.weight"] = (outputs, inputs)
            shapes[f"{part}.{2 * position}.bias"] = (outputs,)
    return shapes
