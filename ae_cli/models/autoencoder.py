"""The base class of all families of models: an encoder and a decoder of images."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ae_cli.config import ModelConfig


class Layer(NamedTuple):
    """A layer of a decoder, described for programs that do not use torch.

    Attributes:
        kind: ``linear``: the output is ``activation(weight @ input + bias)``.
        weight: float32 (outputs, inputs).
        bias: float32 (outputs,).
        activation: ``tanh``, ``relu``, ``silu``, ``gelu``, ``sigmoid`` or ``identity``.
    """

    kind: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: str


class AutoEncoder(nn.Module):
    """An encoder from images to latents, and a decoder back.

    Attributes:
        config: The configuration it was built from.
        encoder: From float32 (n, channels, height, width) in [0, 1] to (n, latent_dim).
        decoder: From (n, latent_dim) to (n, channels, height, width) in [0, 1].
    """

    config: ModelConfig
    encoder: nn.Module
    decoder: nn.Module

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode and decode.

        Args:
            x: float32 (n, channels, height, width) in [0, 1].

        Returns:
            The latents, float32 (n, latent_dim), and the reconstructions, shaped like `x`.
        """
        latent = self.encoder(x)
        return latent, self.decoder(latent)

    @abstractmethod
    def decode_logits(self, latent: Tensor) -> Tensor:
        """Decode without the final sigmoid: (n, channels, height, width), unbounded values."""

    @abstractmethod
    def describe_decoder(self) -> list[Layer]:
        """The decoder, layer by layer, for programs that do not use torch."""

    @property
    @abstractmethod
    def architecture(self) -> str:
        """The architecture in a few words: 784-128-64-12-3-12-64-128-784, tanh."""


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
