"""A configuration → a network. Only this module knows which families of models exist."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ae_cli.config import Family, ModelConfig
from ae_cli.models.autoencoder import (
    AutoEncoder,
    DecoderDescription,
    Layer,
    Line,
    count_parameters,
)
from ae_cli.models.conv import ConvolutionalAutoEncoder
from ae_cli.models.device import choose_device, enough_memory, supports_half
from ae_cli.models.mlp import build_perceptron

__all__ = [
    "AutoEncoder",
    "DecoderDescription",
    "Layer",
    "Line",
    "build",
    "choose_device",
    "count_parameters",
    "enough_memory",
    "expected_shapes",
    "sketch",
    "supports_half",
]


_FAMILIES: dict[Family, Callable[[ModelConfig], AutoEncoder]] = {
    "mlp": build_perceptron,
    "conv": ConvolutionalAutoEncoder,
}


def build(config: ModelConfig, *, seed: int) -> AutoEncoder:
    """Build a model with torch's default random weights, which depend on the seed alone.

    Raises:
        UsageError: The model does not fit in memory.
    """
    # The fork leaves the caller's random state unchanged.
    with torch.random.fork_rng(devices=[]), enough_memory("the model"):
        torch.manual_seed(seed)
        return _FAMILIES[config.model](config)


def sketch(config: ModelConfig) -> AutoEncoder:
    """Build a model without weights, which takes no memory, however large it is."""
    with torch.device("meta"):
        return _FAMILIES[config.model](config)


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The ``state_dict`` keys and shapes of a model."""
    return {key: tuple(value.shape) for key, value in sketch(config).state_dict().items()}
