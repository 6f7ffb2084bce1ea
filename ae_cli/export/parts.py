"""What an exported file computes: a module from images or latents to tensors with names."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ae_cli.config.export import Part, Pixels
from ae_cli.models import AutoEncoder

CHECKED = 16  # images, or latents, that a file is checked on


class Exportable(NamedTuple):
    """A module with the names of its tensors; the first dimension of each is free.

    Attributes:
        module: From one tensor to one or several.
        input: The name of the tensor that goes in.
        outputs: The names of those that come out.
        example: float32 or uint8 (`CHECKED`, …), what might go in.
    """

    module: nn.Module
    input: str
    outputs: tuple[str, ...]
    example: Tensor


class _Both(nn.Module):
    def __init__(self, model: AutoEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        latents, reconstructions = self.model(_scale(images))
        return latents, reconstructions


class _Encoder(nn.Module):
    def __init__(self, model: AutoEncoder) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.encoder(_scale(images)),)


class _Decoder(nn.Module):
    def __init__(self, model: AutoEncoder) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        return (self.decoder(latents),)


def _scale(images: Tensor) -> Tensor:
    """To [0, 1], if they are uint8."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def choose_part(model: AutoEncoder, part: Part, pixels: Pixels) -> Exportable:
    """Choose what to export.

    Args:
        model: The model, on the CPU.
        part: What it is to compute.
        pixels: The dtype of images.
    """
    model = model.cpu().eval()
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (CHECKED, *model.config.shape), generator=random)
    example = images.to(torch.uint8) if pixels == "uint8" else images / 255
    if part == "both":
        return Exportable(_Both(model), "images", ("latents", "reconstructions"), example)
    if part == "encoder":
        return Exportable(_Encoder(model), "images", ("latents",), example)
    with torch.inference_mode():
        latents = model.encoder(images / 255).clone()
    return Exportable(_Decoder(model), "latents", ("reconstructions",), latents)
