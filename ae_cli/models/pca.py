"""PCA as a part of a model, and a network beside it that corrects it.

PCA of the training images is not trained. The network's last layers begin at zero. So the untrained
model is exactly PCA, and training starts from there: it has to learn only what PCA cannot do.
(Branches that begin at zero are from Goyal et al., 2017, section 5.1, "Accurate, Large Minibatch
SGD".)

The network sees images without their mean, in units of a pixel's standard deviation, and corrects
them in these units. So one learning rate suits dark, bright and pale images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ae_cli.config import ModelConfig
from ae_cli.models.autoencoder import AutoEncoder, Layer, Line, to_numpy

LEAST_PIXEL = 0.01  # see `decode_logits`


class _Half(nn.Module):
    """PCA in one of the two directions, which is not trained, and a network, which is.

    Attributes:
        mean: (channels, height, width), the mean image.
        unit: (), the standard deviation of a pixel.
        line: (outputs, inputs), the linear map between images without their mean and latents.
        network: Begins as zero.
    """

    mean: Tensor
    unit: Tensor
    line: Tensor

    def __init__(
        self, config: ModelConfig, network: nn.Module, *, inputs: int, outputs: int
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.shape))
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("line", torch.zeros(outputs, inputs))
        self.network = network


class PcaEncoder(_Half):
    """From images to latents: PCA's, each divided by its deviation, plus the network's.

    Args:
        config: The layers.
        network: From (n, channels, height, width) to (n, latent_dim).
    """

    def __init__(self, config: ModelConfig, network: nn.Module) -> None:
        super().__init__(config, network, inputs=config.input_size, outputs=config.latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images, (n, channels, height, width), to (n, latent_dim)."""
        centred = x - self.mean
        correction: Tensor = self.network(centred / self.unit)
        with torch.autocast(x.device.type, enabled=False):  # half precision is too coarse for PCA
            return functional.linear(centred.flatten(1), self.line) + correction.to(x.dtype)


class PcaDecoder(_Half):
    """From latents to images: PCA's, plus the network's.

    Args:
        config: The layers.
        network: From (n, latent_dim) to (n, channels, height, width).
    """

    def __init__(self, config: ModelConfig, network: nn.Module) -> None:
        super().__init__(config, network, inputs=config.latent_dim, outputs=config.input_size)

    def unlimited(self, latent: Tensor) -> Tensor:
        """Decode latents, (n, latent_dim), without limiting the pixels to [0, 1]."""
        correction: Tensor = self.network(latent)
        with torch.autocast(latent.device.type, enabled=False):
            pca = functional.linear(latent, self.line).view(-1, *self.mean.shape)
            return self.mean + pca + self.unit * correction.to(latent.dtype)

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

    def describe_line(self) -> Layer:
        """PCA as `DecoderDescription.line`."""
        line = to_numpy(self.decoder.line), to_numpy(self.decoder.mean.flatten())
        return Layer("linear", *line, "identity")


def begin_at_zero(layer: nn.Module) -> None:
    """Set a layer's weights and biases to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
