"""The base class of all families of models: an encoder and a decoder of images."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ae_cli.config import Activation, ModelConfig

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


class Layer(NamedTuple):
    """A layer of a decoder, described for programs that do not use torch.

    Attributes:
        kind: ``linear``: the output is ``activation(weight @ input + bias)``. The other kinds work
            on a grid of vectors, stored row by row. ``convolution``: 3 × 3, with zeros around the
            grid. ``expand``: a linear layer at each position, whose output is a block of ``factor``
            × ``factor`` vectors of the next grid, row by row.
        weight: float32 (outputs, inputs); of a convolution, (outputs, inputs, 3, 3).
        bias: float32 (outputs,).
        activation: ``tanh``, ``relu``, ``silu``, ``gelu``, ``sigmoid`` or ``identity``.
        grid: Height and width of the input's grid; None for a linear layer.
        factor: Sides of the block that `expand` makes of each vector; 1 for the other kinds.
        adds_previous: Whether the input of the layer before is added to the output at the end.
        before: The activation that is applied to the input first.
    """

    kind: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: str
    grid: tuple[int, int] | None = None
    factor: int = 1
    adds_previous: bool = False
    before: str = "identity"


class DecoderDescription(NamedTuple):
    """A decoder, described for programs that do not use torch.

    Attributes:
        layers: The layers from the latent to the image, in order. After a linear layer the output
            is an image already, (channels, height, width); otherwise a grid of pixels, (height,
            width, channels), of which the part at the bottom and at the right that lies outside
            the image is cut off.
        line: A linear layer from the latent to an image, (channels, height, width), which is added
            to the output of the layers before it is limited to [0, 1]; None for none.
    """

    layers: list[Layer]
    line: Layer | None = None


class Line(NamedTuple):
    """PCA of images, which a model may start from.

    Attributes:
        mean: float32 (channels, height, width), the mean image.
        components: float32 (latent_dim, channels × height × width), orthonormal rows.
        deviations: float32 (latent_dim,), the standard deviation along each component, above 0.
        unit: The standard deviation of a pixel, over all pixels and images, above 0.
    """

    mean: Tensor
    components: Tensor
    deviations: Tensor
    unit: float


class Encoder(nn.Module):
    """An encoder that shows what its last layer sees, as a variational model has a second one."""

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From images to latents and to what the last layer sees, (n, size of the last hidden)."""

    def forward(self, x: Tensor) -> Tensor:
        """From images to latents."""
        return self.encode(x)[0]


class SequentialEncoder(Encoder, nn.Sequential):
    """An encoder whose layers follow one another."""

    @abstractmethod
    def arrange(self, x: Tensor) -> Tensor:
        """From images to what the first layer sees."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder`."""
        *layers, last = self
        features = self.arrange(x)
        for layer in layers:
            features = layer(features)
        return last(features), features


class AutoEncoder(nn.Module):
    """An encoder from images to latents, and a decoder back.

    Attributes:
        config: The configuration it was built from.
        encoder: From float32 (n, channels, height, width) in [0, 1] to (n, latent_dim).
        decoder: From (n, latent_dim) to (n, channels, height, width) in [0, 1].
        log_variance: Only in a variational model: from the encoder's last features to the logarithm
            of the variance of each latent value.
        has_start: Whether it starts from PCA, by `start_from`, so that it is of use untrained.
        may_use_half: Whether training may compute in half precision where that is faster.
    """

    has_start = False
    may_use_half = False

    config: ModelConfig
    encoder: Encoder
    decoder: nn.Module
    log_variance: nn.Linear

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode and decode.

        Args:
            x: float32 (n, channels, height, width) in [0, 1].

        Returns:
            The latents, float32 (n, latent_dim), and the reconstructions, shaped like `x`.
        """
        latent = self.encoder(x)
        return latent, self.decoder(latent)

    def encode_distribution(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode to normal distributions, which only a variational model can.

        Args:
            x: As for `forward`.

        Returns:
            Means, which are the latents, and logarithms of variances; each float32 (n, latent_dim).
        """
        latents, features = self.encoder.encode(x)
        return latents, self.log_variance(features).to(x.dtype)

    def add_log_variance(self) -> None:
        """Add the second last layer of a variational model."""
        self.log_variance = nn.Linear(self.config.encoder_sizes[-2], self.config.latent_dim)

    def start_from(self, line: Line) -> None:
        """Make PCA part of the model, so that the untrained model is PCA.

        Only models with `has_start` can.
        """
        raise NotImplementedError

    @property
    def latent_scale(self) -> Tensor:
        """In which units latents are compared with one another, (latent_dim,) or ().

        A family in which some latents are smaller than others by design says so here, so that these
        do not seem unused, and are not penalised less.
        """
        return torch.ones(())

    def decode_unlimited(self, latent: Tensor) -> Tensor:
        """Decode for the squared error: pixels, which a family need not limit to [0, 1] here.

        Where a family cuts them off, a pixel outside would have no gradient.
        """
        pixels: Tensor = self.decoder(latent)
        return pixels

    @abstractmethod
    def decode_logits(self, latent: Tensor) -> Tensor:
        """Decode to the logits of pixels: (n, channels, height, width), unbounded values."""

    @abstractmethod
    def describe_decoder(self) -> DecoderDescription:
        """The decoder, layer by layer, for programs that do not use torch."""

    @property
    @abstractmethod
    def architecture(self) -> str:
        """The architecture in a few words: 784-128-64-12-3-12-64-128-784, tanh."""


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def to_numpy(tensor: Tensor) -> NDArray[np.float32]:
    """Copy a tensor on any device to an array."""
    array: NDArray[np.float32] = tensor.detach().float().cpu().numpy().copy()
    return array
