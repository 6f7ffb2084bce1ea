"""Multilayer perceptrons, which see an image as a row of pixels; the first is the tutorial's."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ae_cli.config import ModelConfig
from ae_cli.models.autoencoder import (
    ACTIVATIONS,
    AutoEncoder,
    DecoderDescription,
    Layer,
    SequentialEncoder,
    to_numpy,
)
from ae_cli.models.pca import PcaAutoEncoder, PcaDecoder, PcaEncoder, begin_at_zero


class _Encoder(SequentialEncoder):
    def arrange(self, x: Tensor) -> Tensor:
        return x.flatten(1)


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
            self.add_log_variance()

    def decode_logits(self, latent: Tensor) -> Tensor:
        """Decode without the final sigmoid."""
        return self.decoder.logits(latent)

    def describe_decoder(self) -> DecoderDescription:
        """The decoder's linear layers, each with the activation that follows."""
        return DecoderDescription(_describe(self.decoder, self.config.activation, "sigmoid"))

    @property
    def architecture(self) -> str:
        """The sizes of the layers, and the activation."""
        return _architecture(self.config)


class PcaPerceptron(PcaAutoEncoder):
    """PCA, and a multilayer perceptron that corrects it; see `ae_cli.models.pca`.

    Args:
        config: The layers.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        activation = ACTIVATIONS[config.activation]
        encoder = _layers(config.encoder_sizes, activation)
        decoder = _layers(config.decoder_sizes, activation)
        for last in (encoder[-1], decoder[-1]):
            begin_at_zero(last)
        self.encoder = PcaEncoder(config, _Encoder(*encoder))
        unflatten = nn.Unflatten(1, config.shape)
        self.decoder = PcaDecoder(config, nn.Sequential(*decoder, unflatten))
        if config.variational:
            self.add_log_variance()

    def describe_decoder(self) -> DecoderDescription:
        """The perceptron's layers, and PCA as the line beside them."""
        *layers, last = _describe(self.decoder.network, self.config.activation, "identity")
        unit = float(self.decoder.unit)
        last = last._replace(weight=last.weight * unit, bias=last.bias * unit)
        return self.describe_with_line([*layers, last])

    @property
    def architecture(self) -> str:
        """The sizes of the perceptron's layers, and the activation."""
        return f"PCA + {_architecture(self.config)}"


def build_perceptron(config: ModelConfig) -> AutoEncoder:
    """Build a perceptron with PCA or without."""
    return PcaPerceptron(config) if config.pca else MultilayerPerceptron(config)


def _layers(sizes: tuple[int, ...], activation: type[nn.Module]) -> list[nn.Module]:
    """Linear layers of these sizes, with activations between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return layers[:-1]


def _describe(network: nn.Module, activation: str, last: str) -> list[Layer]:
    """Linear layers with the activation between them, and the one after the last."""
    linears = [part for part in network.children() if isinstance(part, nn.Linear)]
    activations = [*[activation] * (len(linears) - 1), last]
    return [
        Layer("linear", to_numpy(linear.weight), to_numpy(linear.bias), after)
        for linear, after in zip(linears, activations, strict=True)
    ]


def _architecture(config: ModelConfig) -> str:
    return f"{'-'.join(map(str, config.sizes))}, {config.activation}"
