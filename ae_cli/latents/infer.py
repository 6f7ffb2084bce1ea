"""Using a trained model on images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_cli.config import Progress, ignore_progress
from ae_cli.data.images import Images, batch_size
from ae_cli.errors import DivergedError
from ae_cli.models import AutoEncoder
from ae_cli.models.objectives import reconstruction_errors as errors_of

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Reconstruction:
    """Images, their latents and their reconstructions.

    Attributes:
        originals: float32 (n, channels, height, width) in [0, 1].
        latents: float32 (n, latent_dim).
        pixels: The reconstructions, shaped like `originals`, in [0, 1].
        errors: float32 (n,): mean squared error of each image over its pixels.
    """

    originals: NDArray[np.float32]
    latents: NDArray[np.float32]
    pixels: NDArray[np.float32]
    errors: NDArray[np.float32]


def reconstruct(
    model: AutoEncoder, images: Images, *, device: torch.device
) -> Iterator[Reconstruction]:
    """Encode and decode all images in order, yielding a batch at a time.

    Args:
        model: Moved to `device`.
        images: Images of the shape that the model is for.
        device: Where to compute.

    Raises:
        DivergedError: A latent or an error is not finite.
    """
    model.to(device)
    for originals in images.batches():
        # Inference mode must end before the yield, or it would apply to the caller as well.
        with torch.inference_mode():
            x = originals.to(device)
            latents, pixels = model(x)
            errors = errors_of(pixels, x)
        yield Reconstruction(
            originals=originals.numpy(),
            latents=_require_finite(latents),
            pixels=pixels.cpu().numpy(),
            errors=_require_finite(errors),
        )


def reconstruct_all(model: AutoEncoder, images: Images, *, device: torch.device) -> Reconstruction:
    """Encode and decode all images in order, as `reconstruct` does, in one batch in memory."""
    return join(reconstruct(model, images, device=device))


def join(batches: Iterable[Reconstruction]) -> Reconstruction:
    """Concatenate batches."""
    parts = list(batches)
    return Reconstruction(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Reconstruction)
        }
    )


def encode_batches(
    model: AutoEncoder,
    images: Images,
    *,
    device: torch.device,
    progress: Progress = ignore_progress,
    name: str = "embed",
) -> Iterator[NDArray[np.float32]]:
    """Find the latents of all images in order, yielding a batch at a time, (batch, latent_dim).

    Args:
        model: Moved to `device`.
        images: Images of the shape that the model is for.
        device: Where to compute.
        progress: Called after each batch was used.
        name: What it is told that this operation is.

    Raises:
        DivergedError: A latent is not finite.
    """
    model.to(device)
    done = 0
    for batch in images.batches():
        with torch.inference_mode():  # see `reconstruct`
            latents = model.encoder(batch.to(device))
        yield _require_finite(latents)
        done += len(batch)
        progress(name, done, len(images), "images")


def encode(model: AutoEncoder, images: Images, *, device: torch.device) -> NDArray[np.float32]:
    """Find the latents of all images in order, float32 (n, latent_dim).

    Raises:
        DivergedError: A latent is not finite.
    """
    batches = encode_batches(model, images, device=device)
    return stack(batches, (len(images), model.config.latent_dim))


def decode(
    model: AutoEncoder, latents: NDArray[np.float32], *, device: torch.device
) -> NDArray[np.float32]:
    """Decode latents to images.

    Args:
        model: Moved to `device`.
        latents: (n, latent_dim).
        device: Where to compute.

    Returns:
        float32 (n, channels, height, width) in [0, 1].

    Raises:
        DivergedError: A pixel is not finite.
    """
    model.to(device)
    with torch.inference_mode():
        batches = torch.from_numpy(latents).split(batch_size(model.config.shape))
        return np.concatenate([_require_finite(model.decoder(x.to(device))) for x in batches])


def _require_finite(values: Tensor) -> NDArray[np.float32]:
    if not values.isfinite().all():
        raise DivergedError
    array: NDArray[np.float32] = values.cpu().numpy()
    return array


def stack(batches: Iterable[Floats], shape: tuple[int, ...]) -> Floats:
    """Put batches of rows into one array, float32 of this shape.

    It is made first: small arrays that stay between large ones that go would keep their memory.
    """
    rows, filled = np.empty(shape, np.float32), 0
    for batch in batches:
        rows[filled : filled + len(batch)] = batch
        filled += len(batch)
    return rows


def reconstruction_errors(
    model: AutoEncoder, images: Images, *, device: torch.device
) -> NDArray[np.float32]:
    """Mean squared error of each image over its pixels, (n,)."""
    return collect(reconstruct(model, images, device=device), len(images)).errors


class Found(NamedTuple):
    """What is remembered of reconstructions where the pixels would take too much memory.

    Attributes:
        latents: float32 (n, latent_dim).
        errors: float32 (n,).
    """

    latents: NDArray[np.float32]
    errors: NDArray[np.float32]


def collect(batches: Iterable[Reconstruction], count: int) -> Found:
    """Remember the latents and errors of `count` images; at least one."""
    # Made first, for the reason that `stack` gives
    errors, filled = np.empty(count, np.float32), 0
    latents = np.empty((0, 0), np.float32)
    for batch in batches:
        if not filled:
            latents = np.empty((count, batch.latents.shape[1]), np.float32)
        rows = slice(filled, filled + len(batch.errors))
        latents[rows], errors[rows], filled = batch.latents, batch.errors, rows.stop
    return Found(latents, errors)
