"""A configuration → a network. Only this module knows which families of models exist."""

from __future__ import annotations

import torch

from ae_cli.config import ModelConfig
from ae_cli.models.autoencoder import AutoEncoder, Layer, count_parameters
from ae_cli.models.device import choose_device, enough_memory
from ae_cli.models.mlp import MultilayerPerceptron
from ae_cli.models.mlp import expected_shapes as expected_shapes  # so far there is only one family

__all__ = [
    "AutoEncoder",
    "Layer",
    "build",
    "choose_device",
    "count_parameters",
    "enough_memory",
    "expected_shapes",
]


def build(config: ModelConfig, *, seed: int) -> AutoEncoder:
    """Build a model with torch's default random weights, which depend on the seed alone.

    Raises:
        UsageError: The model does not fit in memory.
    """
    # The fork leaves the caller's random state unchanged.
    with torch.random.fork_rng(devices=[]), enough_memory("the model"):
        torch.manual_seed(seed)
        return MultilayerPerceptron(config)
