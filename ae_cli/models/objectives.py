"""The losses that training minimises, and the reconstruction error, which compares all models."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor
from torch.nn import functional

from ae_cli.config import Loss
from ae_cli.models.autoencoder import AutoEncoder


class Measured(NamedTuple):
    """What a model does with a batch of images.

    Attributes:
        loss: (), the mean loss over all pixels.
        errors: (n,), the reconstruction error of each image.
        latents: (n, latent_dim).
    """

    loss: Tensor
    errors: Tensor
    latents: Tensor


class Objective(Protocol):
    """A loss of a model on images, float32 (n, channels, height, width) in [0, 1]."""

    def loss(self, model: AutoEncoder, x: Tensor) -> Tensor:
        """The mean loss over all pixels, (), differentiable."""

    def measure(self, model: AutoEncoder, x: Tensor) -> Measured:
        """Measure the model."""


class MeanSquaredError:
    """The mean squared difference between an image and its reconstruction."""

    def loss(self, model: AutoEncoder, x: Tensor) -> Tensor:
        """See `Objective`."""
        return functional.mse_loss(model.decode_unlimited(model.encoder(x)), x)

    def measure(self, model: AutoEncoder, x: Tensor) -> Measured:
        """See `Objective`."""
        latent, reconstruction = model(x)
        errors = reconstruction_errors(reconstruction, x)
        return Measured(functional.mse_loss(reconstruction, x), errors, latent)


class BinaryCrossEntropy:
    """Binary cross-entropy, which treats a pixel's value as the probability that it is white.

    It is computed from the logits, so that its gradient does not vanish where the sigmoid is flat.
    """

    def loss(self, model: AutoEncoder, x: Tensor) -> Tensor:
        """See `Objective`."""
        logits = model.decode_logits(model.encoder(x))
        return functional.binary_cross_entropy_with_logits(logits, x)

    def measure(self, model: AutoEncoder, x: Tensor) -> Measured:
        """See `Objective`."""
        latent, reconstruction = model(x)
        logits = model.decode_logits(latent)
        loss = functional.binary_cross_entropy_with_logits(logits, x)
        return Measured(loss, reconstruction_errors(reconstruction, x), latent)


def choose_objective(loss: Loss) -> Objective:
    """Find the objective that ``--loss`` means."""
    return MeanSquaredError() if loss == "mse" else BinaryCrossEntropy()


def reconstruction_errors(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Mean squared error of each image over its pixels, (n,); both (n, …)."""
    return (reconstruction - x).square_().flatten(1).mean(1)
