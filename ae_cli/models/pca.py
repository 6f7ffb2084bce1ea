"""PCA as a part of a model, and a network beside it that corrects it.

PCA of the training images is not trained. The network's last layers begin at zero. So the untrained
model is exactly PCA, and training starts from there: it has to learn only what PCA cannot do.
(Branches that begin at zero are from Goyal et al., 2017, section 5.1, "Accurate, Large Minibatch
SGD".)

The network sees images without their mean, in units of a pixel's standard deviation, and corrects
them in these units. So one learning rate suits dark, bright and pale images. Likewise it sees each
latent in units of PCA's deviation along it. Outside, latents have PCA's own scale, in which two of
them are about as far apart as their images: what changes an image little counts little.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ae_cli.config import ModelConfig
from ae_cli.models.autoencoder import (
    AutoEncoder,
    DecoderDescription,
    Encoder,
    Layer,
    Line,
    SequentialEncoder,
    to_numpy,
)

LEAST_PIXEL = 0.01  # see `decode_logits`


_Network = TypeVar("_Network", bound=nn.Module)


class _Half(nn.Module, Generic[_Network]):
    """PCA in one of the two directions, which is not trained, and a network, which is.

    Attributes:
        mean: (channels, height, width), the mean image.
        unit: (), the standard deviation of a pixel.
        scale: (latent_dim,), the unit in which `line` and the network see each latent.
        line: (outputs, inputs), the linear map between images without their mean and latents.
        network: Begins as zero.
    """

    mean: Tensor
    unit: Tensor
    scale: Tensor
    line: Tensor
    network: _Network

    def __init__(
        self, config: ModelConfig, network: _Network, *, inputs: int, outputs: int
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.shape))
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("scale", torch.ones(config.latent_dim))
        self.register_buffer("line", torch.zeros(outputs, inputs))
        self.network = network


class PcaEncoder(_Half[SequentialEncoder], Encoder):
    """From images to latents: PCA's, plus the network's.

    Args:
        config: The layers.
        network: From (n, channels, height, width) to (n, latent_dim).
    """

    def __init__(self, config: ModelConfig, network: SequentialEncoder) -> None:
        super().__init__(config, network, inputs=config.input_size, outputs=config.latent_dim)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder`; the last layer is the network's."""
        centred = x - self.mean
        correction, features = self.network.encode(centred / self.unit)
        with torch.autocast(x.device.type, enabled=False):  # half precision is too coarse for PCA
            pca = functional.linear(centred.flatten(1), self.line)
            return self.scale * (pca + correction.to(x.dtype)), features


class PcaDecoder(_Half[nn.Module]):
    """From latents to images: PCA's, plus the network's.

    Args:
        config: The layers.
        network: From (n, latent_dim) to (n, channels, height, width).
    """

    def __init__(self, config: ModelConfig, network: nn.Module) -> None:
        super().__init__(config, network, inputs=config.latent_dim, outputs=config.input_size)

    def unlimited(self, latent: Tensor) -> Tensor:
        """Decode latents, (n, latent_dim), without limiting the pixels to [0, 1]."""
        latent = latent / self.scale
        correction: Tensor = self.network(latent)
        with torch.autocast(latent.device.type, enabled=False):
            pca = functional.linear(latent, self.line, self.mean.flatten())
            return pca.view(-1, *self.mean.shape).addcmul(correction.to(latent.dtype), self.unit)

    def forward(self, latent: Tensor) -> Tensor:
        """Decode latents, (n, latent_dim), to (n, channels, height, width) in [0, 1]."""
        return self.unlimited(latent).clamp(0, 1)


class PcaAutoEncoder(AutoEncoder):
    """PCA, and a network that corrects it; see the module's text."""

    has_start = True
    encoder: PcaEncoder
    decoder: PcaDecoder

    def start_from(self, line: Line) -> None:
        """See `AutoEncoder`."""
        components, deviations = line.components, line.deviations[:, None]
        with torch.no_grad():
            for part in (self.encoder, self.decoder):
                part.mean.copy_(line.mean)
                part.unit.fill_(line.unit)
            self.encoder.line.copy_(components / deviations)
            self.decoder.line.copy_((components * deviations).T)
            if self.config.variational:  # its prior fixes the scale: variances of 1
                self.log_variance.bias.copy_(_log_variance(line))
                return
            for part in (self.encoder, self.decoder):
                part.scale.copy_(line.deviations)

    def add_log_variance(self) -> None:
        """See `AutoEncoder`; this layer begins at zero, too."""
        super().add_log_variance()
        begin_at_zero(self.log_variance)

    @property
    def latent_scale(self) -> Tensor:
        """See `AutoEncoder`."""
        return self.encoder.scale

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

    def describe_with_line(self, layers: list[Layer]) -> DecoderDescription:
        """Describe the decoder, with PCA as the line beside the network.

        Args:
            layers: The network's, from latents in units of their scale to pixels.
        """
        scale = to_numpy(self.decoder.scale)
        first, *others = layers
        line = to_numpy(self.decoder.line) / scale, to_numpy(self.decoder.mean.flatten())
        first = first._replace(weight=first.weight / scale)
        return DecoderDescription([first, *others], Layer("linear", *line, "identity"))


def _log_variance(line: Line) -> Tensor:
    """How sure probabilistic PCA is of each latent value: the logarithm of its variance, (k,).

    It is the variance that PCA leaves in a pixel, divided by that along the component (Tipping and
    Bishop, 1999, "Probabilistic Principal Component Analysis", section 3.2, where the former is
    small against the latter).
    """
    size, variances = line.mean.numel(), line.deviations.square()
    left = line.unit**2 - variances.sum() / size
    return (left / variances).clamp(1e-4, 1).log()


def begin_at_zero(layer: nn.Module) -> None:
    """Set a layer's weights and biases to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
