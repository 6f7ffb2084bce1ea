"""Artificial defects, by which scores are compared where no real ones are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ae_cli.analysis.smoothing import smooth

Floats = NDArray[np.float32]


def add_defects(images: Floats, seed: int = 0) -> dict[str, Floats]:
    """Copies of images with a defect in each, by the kind of the defect.

    Args:
        images: float32 (n, channels, height, width) in [0, 1].
        seed: Decides the defects.

    Returns:
        Arrays like `images`. The kinds are a rectangle of another image at a place where it does
        not belong (as in CutPaste: Li et al., 2021), a scratch, a spot, a warped image, and a
        rotated one.
    """
    contrast = float(images.std())
    return {
        name: np.stack([defect(images, i, contrast, random) for i in range(len(images))])
        for number, (name, defect) in enumerate(_DEFECTS.items())
        for random in [np.random.default_rng((seed, number))]
    }


def _paste(images: Floats, i: int, _: float, random: np.random.Generator) -> Floats:
    """A rectangle of 2 to 15 % of the image, from another place in the same image or another."""
    image: Floats = images[i].copy()
    height, width = image.shape[1:]
    source = images[i if random.random() < 0.5 else random.integers(len(images))]
    area, ratio = random.uniform(0.02, 0.15) * height * width, np.exp(random.uniform(-1, 1))
    rows = int(np.clip(np.sqrt(area * ratio), 1, height))
    columns = int(np.clip(area / rows, 1, width))
    tops, lefts = (random.integers(0, n + 1, 2) for n in (height - rows, width - columns))
    image[:, tops[1] : tops[1] + rows, lefts[1] : lefts[1] + columns] = source[
        :, tops[0] : tops[0] + rows, lefts[0] : lefts[0] + columns
    ]
    return image


def _scratch(images: Floats, i: int, contrast: float, random: np.random.Generator) -> Floats:
    """A brighter or darker line, which ends softly."""
    y, x, side = _grid(images)
    angle, length = random.uniform(0, np.pi), random.uniform(0.15, 0.5) * side
    thickness = random.uniform(0.5, 1.5) * max(1.0, side / 32)
    y, x = (axis - random.uniform(0.2, 0.8) * (axis.max() + 1) for axis in (y, x))
    along, across = (
        x * np.cos(angle) + y * np.sin(angle),
        y * np.cos(angle) - x * np.sin(angle),
    )
    mask = np.clip(length / 2 - abs(along) + 0.5, 0, 1)
    mask = mask * np.clip(thickness - abs(across) + 0.5, 0, 1)
    return _tint(images[i], mask, contrast, random)


def _spot(images: Floats, i: int, contrast: float, random: np.random.Generator) -> Floats:
    """A brighter or darker spot without an edge."""
    y, x, side = _grid(images)
    radius = random.uniform(0.02, 0.08) * side + 0.5
    y, x = (axis - random.uniform(0.15, 0.85) * (axis.max() + 1) for axis in (y, x))
    return _tint(images[i], np.exp(-(y**2 + x**2) / (2 * radius**2)), contrast, random)


def _warp(images: Floats, i: int, _: float, random: np.random.Generator) -> Floats:
    """All pixels moved, by a twelfth of the image on average, and neighbours alike."""
    shape, side = images.shape[2:], min(images.shape[2:])
    noise = torch.from_numpy(random.normal(size=(1, 2, *shape))).float()
    moves = smooth(noise, side / 10)
    # In the units of the grid, in which an image is 2 wide and 2 high.
    moves *= 0.16 / np.sqrt(2) / max(float(moves.std()), 1e-9)
    upright = torch.eye(2, 3)[None]
    return _move(images[i], upright, moves)


def _rotate(images: Floats, i: int, _: float, random: np.random.Generator) -> Floats:
    """The image turned by 25 to 90 degrees to either side."""
    height, width = images.shape[2:]
    angle = np.radians(random.choice([-1, 1]) * random.uniform(25, 90))
    cosine, sine, ratio = float(np.cos(angle)), float(np.sin(angle)), height / width
    turned = torch.tensor([[[cosine, -sine * ratio, 0], [sine / ratio, cosine, 0]]])
    return _move(images[i], turned, torch.zeros(1, 2, height, width))


def _move(image: Floats, matrix: Tensor, moves: Tensor) -> Floats:
    """Sample an image at other places; beyond its edges, the nearest pixels are repeated.

    Args:
        image: (channels, height, width).
        matrix: (1, 2, 3), where a place in the result comes from, as `affine_grid` has it.
        moves: (1, 2, height, width), what is added to that.
    """
    shape = (1, *image.shape)
    grid = functional.affine_grid(matrix, list(shape), align_corners=False)
    grid = grid + moves.permute(0, 2, 3, 1)
    moved = functional.grid_sample(
        torch.from_numpy(image)[None], grid, padding_mode="border", align_corners=False
    )
    result: Floats = moved[0].numpy()
    return result


_DEFECTS: dict[str, Callable[[Floats, int, float, np.random.Generator], Floats]] = {
    "paste": _paste,
    "scratch": _scratch,
    "spot": _spot,
    "warp": _warp,
    "rotate": _rotate,
}


def _grid(images: Floats) -> tuple[NDArray[Any], NDArray[Any], int]:
    """The rows and columns of all pixels, (height, 1) and (1, width), and the shorter side."""
    height, width = images.shape[2:]
    return np.arange(height)[:, None] + 0.0, np.arange(width)[None] + 0.0, min(height, width)


def _tint(
    image: Floats, mask: NDArray[Any], contrast: float, random: np.random.Generator
) -> Floats:
    """Make an image brighter or darker where a mask, (height, width), is above 0."""
    change = random.choice([-1, 1]) * random.uniform(0.6, 2) * contrast
    tinted: Floats = np.clip(image + change * mask, 0, 1).astype(np.float32)
    return tinted
