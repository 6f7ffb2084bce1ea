"""The convolutional family: PCA, and a network that corrects it.

PCA of the training images is part of the model and is not trained. Beside it is a network of
patches and residual convolutions, whose last layers begin at zero. So the untrained model is
exactly PCA, and training starts from there: it has to learn only what PCA cannot do. (Branches that
begin at zero are from Goyal et al., 2017, section 5.1, "Accurate, Large Minibatch SGD".)

Within the network, images are grids of vectors, (n, height, width, channels). Where the resolution
changes, a linear layer makes one vector of a block of vectors, or a block of one, as the patch
merging of the Swin transformer does (Liu et al., 2021). On a CPU, this is several times as fast as
strided and transposed convolutions.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ae_cli.config import ModelConfig
from ae_cli.models.autoencoder import (
    ACTIVATIONS,
    AutoEncoder,
    DecoderDescription,
    Encoder,
    Layer,
    Line,
    to_numpy,
)

# Vectors along the longer side of the first grid, which decides how large the patches are. A finer
# grid takes more time than it is worth.
MOST_PATCHES = 16
LEAST_PIXEL = 0.01  # see `decode_logits`


class _Merge(nn.Module):
    """Make one vector of each block of vectors."""

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(inputs * factor * factor, outputs)

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        f = self.factor
        blocks = x.reshape(n, height // f, f, width // f, f, channels).transpose(2, 3)
        merged: Tensor = self.linear(blocks.reshape(n, height // f, width // f, -1))
        return merged


class _Expand(nn.Module):
    """Make a block of vectors of each vector."""

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(inputs, factor * factor * outputs)

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, _ = x.shape
        f = self.factor
        vectors: Tensor = self.linear(x)
        blocks = vectors.view(n, height, width, f, f, -1).transpose(2, 3)
        return blocks.reshape(n, height * f, width * f, -1)


class _Block(nn.Module):
    """Two 3 × 3 convolutions, whose output is added to their input; it begins as the identity."""

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = activation
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        _zero(self.second)

    def forward(self, x: Tensor) -> Tensor:
        # With these strides a tensor is what torch calls channels-last: nothing is copied.
        activated = self.activation(x).permute(0, 3, 1, 2)
        y: Tensor = self.second(self.activation(self.first(activated)))
        return x + y.permute(0, 2, 3, 1)


class _Half(nn.Module):
    """PCA in one of the two directions, which is not trained.

    Attributes:
        mean: (channels, height, width), the mean image.
        unit: (), the standard deviation of a pixel.
        line: (outputs, inputs), the linear map between images without their mean and latents.
    """

    mean: Tensor
    unit: Tensor
    line: Tensor

    def __init__(self, config: ModelConfig, *, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.shape))
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("line", torch.zeros(outputs, inputs))


class _Encoder(_Half, Encoder):
    """From images to latents: PCA's, each divided by its deviation, plus the network's."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, inputs=config.input_size, outputs=config.latent_dim)
        (*channels, dense), grids = config.hidden, _grids(config)
        self._height, self._width = (side * _patch(config) for side in grids[0])
        activation = ACTIVATIONS[config.activation]
        layers: list[nn.Module] = []
        for level, (inputs, outputs) in enumerate(pairwise([config.shape[0], *channels])):
            layers.append(_Merge(inputs, outputs, 2 if level else _patch(config)))
            if level < len(channels) - 1:
                layers.append(_Block(outputs, activation()))
            layers.append(activation())
        last = nn.Linear(dense, config.latent_dim)
        _zero(last)
        flat = nn.Linear(channels[-1] * math.prod(grids[-1]), dense)
        self.network = nn.Sequential(*layers, nn.Flatten(), flat, activation(), last)

    def features(self, x: Tensor) -> Tensor:
        padded = functional.pad(
            (x - self.mean) / self.unit,
            (0, self._width - x.shape[3], 0, self._height - x.shape[2]),
        )
        features: Tensor = self.network[:-1](padded.permute(0, 2, 3, 1))
        return features

    def to_latents(self, features: Tensor, x: Tensor) -> Tensor:
        correction: Tensor = self.network[-1](features)
        with torch.autocast(x.device.type, enabled=False):  # half precision is too coarse for PCA
            pca = functional.linear((x - self.mean).flatten(1), self.line)
            return pca + correction.float()


class _Decoder(_Half):
    """From latents to images: PCA's, plus the network's."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, inputs=config.latent_dim, outputs=config.input_size)
        (*channels, dense), grids = config.hidden, _grids(config)
        activation = ACTIVATIONS[config.activation]
        flat = nn.Linear(dense, channels[-1] * math.prod(grids[-1]))
        first = [nn.Linear(config.latent_dim, dense), activation(), flat]
        layers: list[nn.Module] = [*first, nn.Unflatten(1, (*grids[-1], channels[-1]))]
        for level, (outputs, inputs) in reversed(
            list(enumerate(pairwise([config.shape[0], *channels])))
        ):
            if level < len(channels) - 1:
                layers.append(_Block(inputs, activation()))
            expand = _Expand(inputs, outputs, 2 if level else _patch(config))
            layers += [activation(), expand]
        _zero(expand.linear)
        self.network = nn.Sequential(*layers)

    def unlimited(self, latent: Tensor) -> Tensor:
        channels, height, width = self.mean.shape
        correction: Tensor = self.network(latent)[:, :height, :width].permute(0, 3, 1, 2)
        with torch.autocast(latent.device.type, enabled=False):
            pca = functional.linear(latent, self.line).view(-1, channels, height, width)
            return self.mean + pca + self.unit * correction.float()

    def forward(self, latent: Tensor) -> Tensor:
        return self.unlimited(latent).clamp(0, 1)


class ConvolutionalAutoEncoder(AutoEncoder):
    """PCA, and a convolutional network that corrects it; see the module's text.

    Args:
        config: The layers. `hidden` has the channels of each grid and, last, the size of the dense
            layers beside the latents.
    """

    has_start = True
    may_use_half = True
    encoder: _Encoder
    decoder: _Decoder

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = _Encoder(config), _Decoder(config)
        if config.variational:
            self.log_variance = nn.Linear(config.hidden[-1], config.latent_dim)
            _zero(self.log_variance)

    def start_from(self, line: Line) -> None:
        """See `AutoEncoder`."""
        components, deviations = line.components, line.deviations[:, None]
        with torch.no_grad():
            for part in (self.encoder, self.decoder):
                part.mean.copy_(line.mean)
                part.unit.fill_(line.unit)
            self.encoder.line.copy_(components / deviations)
            self.decoder.line.copy_((components * deviations).T)
            if self.config.variational:
                self.log_variance.bias.copy_(_log_variance(line))

    def decode_unlimited(self, latent: Tensor) -> Tensor:
        """Decode without limiting the pixels to [0, 1]."""
        return self.decoder.unlimited(latent)

    def decode_logits(self, latent: Tensor) -> Tensor:
        """The logits of the pixels.

        Outside [`LEAST_PIXEL`, 1 - `LEAST_PIXEL`] they go on along the tangent, so that they and
        their gradients are finite.
        """
        pixels = self.decoder.unlimited(latent)
        inside = pixels.clamp(LEAST_PIXEL, 1 - LEAST_PIXEL)
        return inside.logit() + (pixels - inside) / (LEAST_PIXEL * (1 - LEAST_PIXEL))

    def describe_decoder(self) -> DecoderDescription:
        """The network's layers, and PCA as the line beside them."""
        name = self.config.activation
        grids = _grids(self.config)[::-1]
        layers: list[Layer] = []
        for part in self.decoder.network:
            if isinstance(part, nn.Linear):
                # Only the first of the two has an activation after it.
                after = "identity" if layers else name
                layers.append(Layer("linear", *_weights(part), after))
            elif isinstance(part, _Block):
                weight, bias = _weights(part.first)
                layers.append(Layer("convolution", weight, bias, name, grids[0], before=name))
                weight, bias = _weights(part.second)
                layers.append(
                    Layer("convolution", weight, bias, "identity", grids[0], adds_previous=True)
                )
            elif isinstance(part, _Expand):
                (weight, bias), factor = _weights(part.linear), part.factor
                if len(grids) == 1:
                    unit = float(self.decoder.unit)
                    weight, bias = weight * unit, bias * unit
                layers.append(
                    Layer("expand", weight, bias, "identity", grids.pop(0), factor, before=name)
                )
        line = to_numpy(self.decoder.line), to_numpy(self.decoder.mean.flatten())
        return DecoderDescription(layers, Layer("linear", *line, "identity"))

    @property
    def architecture(self) -> str:
        """The patches, the channels of each grid, the dense layer and the number of latents."""
        *channels, dense = self.config.hidden
        patch = _patch(self.config)
        sizes = "-".join(map(str, [*channels, dense, self.config.latent_dim]))
        return (
            f"PCA + convolutions on patches of {patch} × {patch}, {sizes}, {self.config.activation}"
        )


def _patch(config: ModelConfig) -> int:
    """Side of a patch in pixels."""
    return math.ceil(max(config.shape[1:]) / MOST_PATCHES)


def _grids(config: ModelConfig) -> list[tuple[int, int]]:
    """Height and width of each grid, from patches down; each is half as large as the one before."""
    levels = len(config.hidden) - 1
    most = 2 ** (levels - 1)
    sides = [math.ceil(side / (_patch(config) * most)) * most for side in config.shape[1:]]
    return [(sides[0] // 2**level, sides[1] // 2**level) for level in range(levels)]


def _weights(layer: nn.Linear | nn.Conv2d) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if layer.bias is None:
        raise AssertionError("all layers have a bias")
    return to_numpy(layer.weight), to_numpy(layer.bias)


def _log_variance(line: Line) -> Tensor:
    """How sure probabilistic PCA is of each latent value: the logarithm of its variance, (k,).

    It is the variance that PCA leaves in a pixel, divided by that along the component (Tipping and
    Bishop, 1999, "Probabilistic Principal Component Analysis", section 3.2, where the former is
    small against the latter).
    """
    size, variances = line.mean.numel(), line.deviations.square()
    left = line.unit**2 - variances.sum() / size
    return (left / variances).clamp(1e-4, 1).log()


def _zero(layer: nn.Linear | nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
