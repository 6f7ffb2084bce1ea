"""What training minimises, and the reconstruction error, which compares all models."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ae_cli.config import Loss, TrainConfig
from ae_cli.models.autoencoder import AutoEncoder

# The window and the constants of Wang et al. (2004), for pixels in [0, 1]
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
TEXTURE = 0.84  # weight of SSIM against the absolute error, from Zhao et al. (2017), section III-D


class Measured(NamedTuple):
    """What a model does with a batch of images.

    Attributes:
        loss: (), the mean loss.
        errors: (n,), the reconstruction error of each image.
        latents: (n, latent_dim).
        kl: (), the mean divergence from the prior in nats; None if the model is not variational.
    """

    loss: Tensor
    errors: Tensor
    latents: Tensor
    kl: Tensor | None


class Objective:
    """The loss of a model on images: how far reconstructions are off, plus what else is wanted.

    - A denoising autoencoder (Vincent et al., 2010, "Stacked Denoising Autoencoders", section 3)
      sees images with noise, and has to reconstruct them without.
    - A variational autoencoder (Kingma and Welling, 2014, "Auto-Encoding Variational Bayes") draws
      its latents from a normal distribution, and its loss is the negative evidence lower bound,
      where `beta` weights the divergence (Higgins et al., 2017, "beta-VAE"); see
      `weight_of_divergence`.
    - A sparse autoencoder (Goodfellow et al., 2016, "Deep Learning", section 14.2.1) adds the mean
      absolute value of the latents, in units of `AutoEncoder.latent_scale`.

    Args:
        config: How the model is trained.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config

    def loss(
        self,
        model: AutoEncoder,
        x: Tensor,
        random: Random,
        average: Callable[[Tensor], Tensor] = lambda mean: mean,
    ) -> Tensor:
        """The loss to differentiate, ().

        Args:
            model: The model.
            x: float32 (n, channels, height, width) in [0, 1].
            random: Decides the noise and what is drawn.
            average: Gives the mean of a value over a batch, from that over `x`, where `x` is a
                process's share of it.
        """
        seen = self._add_noise(x, random) if self._config.denoise else x
        if not model.config.variational:
            latent = model.encoder(seen)
            return self._penalise(model, self._compare(model, latent, x), latent, None, x)
        mean, log_variance = model.encode_distribution(seen)
        compared = self._compare(model, draw(mean, log_variance, random), x)
        kl = divergence(mean, log_variance).mean()
        return self._penalise(model, compared, mean, kl, x, average(compared.detach()))

    def measure(self, model: AutoEncoder, x: Tensor) -> Measured:
        """Measure a model on images.

        The loss is that of training, so that it can choose an epoch, but always with the same noise
        and draws. The reconstruction error is of images without noise, and of their mean latents.

        Args:
            model: The model.
            x: As for `loss`.
        """
        latent, reconstruction = model(x)
        if not self._config.denoise and not model.config.variational:
            compared = self._compare(model, latent, x, reconstruction)
            loss = self._penalise(model, compared, latent, None, x)
            return Measured(loss, reconstruction_errors(reconstruction, x), latent, None)
        random = Random(torch.Generator(x.device).manual_seed(0))
        seen = self._add_noise(x, random) if self._config.denoise else x
        kl = None
        if model.config.variational:
            mean, log_variance = model.encode_distribution(seen)
            drawn, kl = draw(mean, log_variance, random), divergence(mean, log_variance).mean()
        else:
            mean = drawn = model.encoder(seen)
        made = None if self._config.loss == "bce" else model.decoder(drawn)
        loss = self._penalise(model, self._compare(model, drawn, x, made), mean, kl, x)
        return Measured(loss, reconstruction_errors(reconstruction, x), latent, kl)

    def _add_noise(self, x: Tensor, random: Random) -> Tensor:
        # Each image gets another amount, so that the model also learns images without noise, for
        # which it is used. Where half of all pixels were always black, it took those of bright
        # images for too bright by half.
        amounts = self._config.denoise * random.uniform(x[:, :1, :1, :1])
        if self._config.noise == "gaussian":
            return x + amounts * random.normal(x)
        return x * (random.uniform(x[:, :1]) >= amounts)

    def _compare(
        self, model: AutoEncoder, latent: Tensor, x: Tensor, reconstruction: Tensor | None = None
    ) -> Tensor:
        """The mean loss over pixels, ().

        Args:
            model: Decodes the latents.
            latent: (n, latent_dim).
            x: The images.
            reconstruction: The decoded latents; None in training, where pixels are not limited.
        """
        if self._config.loss == "bce":
            # Computed from logits, the gradient does not vanish where a sigmoid is flat.
            return functional.binary_cross_entropy_with_logits(model.decode_logits(latent), x)
        pixels = model.decode_unlimited(latent) if reconstruction is None else reconstruction
        return _COMPARISONS[self._config.loss](pixels, x)

    def _penalise(
        self,
        model: AutoEncoder,
        compared: Tensor,
        latent: Tensor,
        kl: Tensor | None,
        x: Tensor,
        weighed: Tensor | None = None,
    ) -> Tensor:
        """Add the other terms of the loss to that of the pixels, ().

        Args:
            model: Made the latents.
            compared: The mean loss over pixels.
            latent: (n, latent_dim).
            kl: The mean divergence; None if there is none.
            x: The images.
            weighed: The loss over pixels that the divergence is weighed by; None for `compared`.
        """
        total = compared
        if kl is not None:
            total = total + self._config.beta * kl * weight_of_divergence(
                self._config.loss, compared.detach() if weighed is None else weighed, x[0].numel()
            )
        if self._config.sparse:
            total = total + self._config.sparse * (latent / model.latent_scale).abs().mean()
        return total


class Random:
    """Random numbers for the images of a batch, or for a process's share of one.

    Each image gets the numbers that it would get if the batch were not shared.

    Args:
        generator: On the device of the images.
        count: Images in the batch; None for those that the numbers are for.
        share: Which of them the numbers are for.
    """

    def __init__(
        self, generator: torch.Generator, count: int | None = None, share: slice = slice(None)
    ) -> None:
        self._generator, self._count, self._share = generator, count, share

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers, shaped like `like`, whose rows are images."""
        return self._whole(like).normal_(generator=self._generator)[self._share]

    def uniform(self, like: Tensor) -> Tensor:
        """Evenly distributed numbers from 0 to 1, shaped like `like`, whose rows are images."""
        return self._whole(like).uniform_(0, 1, generator=self._generator)[self._share]

    def _whole(self, like: Tensor) -> Tensor:
        return like.new_empty(self._count or len(like), *like.shape[1:])


def draw(mean: Tensor, log_variance: Tensor, random: Random) -> Tensor:
    """Draw from normal distributions, differentiable with respect to both, (n, latent_dim)."""
    return mean + random.normal(mean) * (log_variance / 2).exp()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of each image's latents from the prior, the standard normal one.

    From Kingma and Welling (2014), appendix B.

    Returns:
        (n,), in nats.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def weight_of_divergence(loss: Loss, compared: Tensor, size: int) -> Tensor:
    """What a nat weighs in a loss that is a mean over pixels, ().

    The loss stands for a distribution of pixels around the reconstruction: ``mse`` for a normal,
    ``l1`` for a Laplace, ``bce`` for a Bernoulli distribution. The first two have a scale, for
    which the best possible is taken (Rybkin et al., 2021, "Simple and Effective VAE Training with
    Calibrated Decoders"). The gradient is then that of the lower bound, up to a factor, for images
    of any contrast: for ``mse`` of size / 2 × log(loss) + beta × divergence.

    Args:
        loss: Which loss.
        compared: (), the mean loss over pixels.
        size: Values in an image.
    """
    if loss == "bce":
        return torch.ones_like(compared) / size
    return (2 if loss == "mse" else 1) * compared / size


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of pairs of images, Wang et al., 2004, "Image Quality Assessment", section III-B.

    The window is 11 × 11, or smaller for smaller images, and stays inside the image.

    Args:
        a: (n, channels, height, width), with pixels in [0, 1].
        b: The same.

    Returns:
        float32 (n,): the mean over positions and channels, at most 1.
    """
    down, across = (_window(side, a.device) for side in a.shape[2:])
    # Half precision would be too coarse for the difference of two large numbers.
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        moments = torch.stack([a, b, a * a, b * b, a * b])
        mean_a, mean_b, square_a, square_b, product = down @ moments @ across.T
        both = mean_a * mean_b
        squares = mean_a.square() + mean_b.square()
        variances = square_a + square_b - squares
        similarity = (2 * both + C1) * (2 * (product - both) + C2)
        similarity = similarity / ((squares + C1) * (variances + C2))
        means: Tensor = similarity.flatten(1).mean(1)
    return means


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)  # a tensor from inference mode could not be used in training
def _window(side: int, device: torch.device) -> Tensor:
    """The normal window at each position along a side, float32 (positions, side).

    Its rows sum to 1.
    """
    size = min(WINDOW, side - (side + 1) % 2)  # odd
    offsets = torch.arange(size) - size // 2
    weights = (-offsets.square() / (2 * SIGMA**2)).exp()
    window = torch.zeros(side - size + 1, side)
    for position, row in enumerate(window):
        row[position : position + size] = weights / weights.sum()
    return window.to(device)


def _texture(pixels: Tensor, x: Tensor) -> Tensor:
    """SSIM mixed with the absolute error, as SSIM alone does not mind a shift of all colours.

    From Zhao et al., 2017, "Loss Functions for Image Restoration". Unlike theirs, it has one scale,
    since small images have no more, and the absolute error is not weighted by a window.
    """
    dissimilarity = 1 - structural_similarity(pixels, x).mean()
    return TEXTURE * dissimilarity + (1 - TEXTURE) * functional.l1_loss(pixels, x)


_COMPARISONS: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "ssim": _texture,
}


def reconstruction_errors(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Mean squared error of each image over its pixels, (n,); both (n, …)."""
    return (reconstruction - x).square_().flatten(1).mean(1)
