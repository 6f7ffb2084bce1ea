"""The multilayer perceptron, the tutorial's model, which sees an image as a row of pixels."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ae_cli.config import ModelConfig
from ae_cli.models.autoencoder import (
    ACTIVATIONS,
    AutoEncoder,
    DecoderDescription,
    Encoder,
    Layer,
    to_numpy,
)


class _Encoder(Encoder, nn.Sequential):
    def features(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in list(self)[:-1]:
            x = layer(x)
        return x

    def to_latents(self, features: Tensor, x: Tensor) -> Tensor:
        latents: Tensor = self[-1](features)
        return latents


class _Decoder(nn.Sequential):
    shape: tuple[int, int, int]

    def logits(self, latent: Tensor) -> Tensor:
        for layer in list(self)[:-1]:
            latent = layer(latent)
        return latent.view(-1, *self.shape)

    def forward(self, latent: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(latent))


class MultilayerPerceptron(AutoEncoder):
    """A multilayer perceptron from the image to the latents, and its mirror image back.

    With the default configuration its ``state_dict`` has the tutorial's keys and shapes.

    Args:
        config: The layers.
    """

    encoder: _Encoder
    decoder: _Decoder

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        activation = ACTIVATIONS[config.activation]
        self.encoder = _Encoder(*_layers(config.encoder_sizes, activation))
        self.decoder = _Decoder(*_layers(config.decoder_sizes, activation), nn.Sigmoid())
        self.decoder.shape = config.shape
        if config.variational:
            self.log_variance = nn.Linear(config.encoder_sizes[-2], config.latent_dim)

    def decode_logits(self, latent: Tensor) -> Tensor:
        """Decode without the final sigmoid."""
        return self.decoder.logits(latent)

    def describe_decoder(self) -> DecoderDescription:
        """The decoder's linear layers, each with the activation that follows."""
        linears = [part for part in self.decoder if isinstance(part, nn.Linear)]
        activations = [*[self.config.activation] * (len(linears) - 1), "sigmoid"]
        layers = [
            Layer("linear", to_numpy(linear.weight), to_numpy(linear.bias), activation)
            for linear, activation in zip(linears, activations, strict=True)
        ]
        return DecoderDescription(layers)

    @property
    def architecture(self) -> str:
        """The sizes of the layers, and the activation."""
        return f"{'-'.join(map(str, self.config.sizes))}, {self.config.activation}"


def _layers(sizes: tuple[int, ...], activation: type[nn.Module]) -> list[nn.Module]:
    """Linear layers of these sizes, with activations between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return layers[:-1]
