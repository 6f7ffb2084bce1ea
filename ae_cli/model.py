"""The autoencoder and its checkpoint file: what every command shares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

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
from ae_cli.errors import CheckpointError, UsageError
from ae_cli.files import atomic_write

# Raised by one whenever an older program could no longer read the file rightly. Version 1 had no
# schedule, engine or preset, and version 2 no choice of classes and no quantiles of errors: the
# defaults say how it was trained.
FORMAT_VERSION = 3
READABLE_VERSIONS = ("1", "2", "3")

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
    """A trained model with all that is known of it."""

    model: AutoEncoder
    training: TrainConfig
    data: DataConfig
    metrics: Metrics
    format_version: int = FORMAT_VERSION


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint whole, or leave what stood there.

    The weights are tensors under their ``state_dict`` keys; the rest is metadata, as JSON.

    Raises:
        UsageError: The file cannot be written.
    """
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "ae_version": __version__,
        "model": to_json(checkpoint.model.config),
        "training": to_json(checkpoint.training),
        "data": to_json(checkpoint.data),
        "metrics": to_json(checkpoint.metrics),
    }
    # Parameters that share a tensor, as the fused step makes them, are parts of it with gaps.
    weights = {
        key: value.detach().cpu().contiguous()
        for key, value in checkpoint.model.state_dict().items()
    }
    with atomic_write(path) as file:
        file.write(safetensors.torch.save(weights, metadata))


_REMAKE = "train again, or name another checkpoint"


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, on the CPU.

    Nothing in the file is trusted before it is checked, and nothing is unpickled.

    Raises:
        CheckpointError: It is not there, not whole, of an unknown format version, or its metadata
            do not describe its tensors.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            _check_version(path, metadata)
            config, training, data, metrics = _parse_metadata(path, metadata)
            if shapes != _expected_shapes(config):
                raise CheckpointError(f"{path} holds other layers than its metadata say", _REMAKE)
            weights = {key: file.get_tensor(key) for key in shapes}
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no checkpoint at {path}", "make one with `ae train`, or name another"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror or error})", _REMAKE
        ) from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a safetensors file, or is cut short", _REMAKE
        ) from error
    for key, tensor in weights.items():
        if tensor.dtype != torch.float32 or not tensor.isfinite().all():
            raise CheckpointError(f"{path} holds something else than numbers in {key}", _REMAKE)
    model = build(config, seed=0)
    model.load_state_dict(weights)
    return Checkpoint(model, training, data, metrics, int(metadata["format_version"]))


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


def _parse_metadata(
    path: Path, metadata: dict[str, str]
) -> tuple[ModelConfig, TrainConfig, DataConfig, Metrics]:
    try:
        return (
            from_json(ModelConfig, metadata["model"]),
            from_json(TrainConfig, metadata["training"]),
            from_json(DataConfig, metadata["data"]),
            from_json(Metrics, metadata["metrics"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError, UsageError) as error:
        raise CheckpointError(
            f"{path} has metadata that ae cannot read ({error})",
            _REMAKE,
        ) from error


def _expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The ``state_dict`` keys and shapes of a model, without making one of unknown size."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part, sizes in (("encoder", config.encoder_sizes), ("decoder", config.decoder_sizes)):
        for position, (inputs, outputs) in enumerate(pairwise(sizes)):
            # Every second place in the Sequential is an activation.
            shapes[f"{part}.{2 * position}.weight"] = (outputs, inputs)
            shapes[f"{part}.{2 * position}.bias"] = (outputs,)
    return shapes
