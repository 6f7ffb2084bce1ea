"""Some images and their reconstructions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.config import takes
from ae_cli.config.commands import SHOWN, ReconstructOptions
from ae_cli.errors import UsageError
from ae_cli.files import check_output
from ae_cli.latents.infer import reconstruct_all, reconstruction_errors
from ae_cli.latents.inputs import ModelLike, find_images, load_inputs
from ae_cli.models import choose_device
from ae_cli.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Reconstructions(Result):
    """Some images and their reconstructions.

    Attributes:
        split: The split that they are from.
        images: The ``index``, ``label`` (None without labels) and ``error`` of each image.
        mean_error: Mean reconstruction error over the whole split.
        out: The picture; None if none was drawn.
        split_images: Number of images in the split.
        captions: A caption for each image.
        originals: float32 (n, channels, height, width) in [0, 1].
        pixels: The reconstructions, shaped like `originals`, in [0, 1].
        errors: float32 (n,), reconstruction errors.
    """

    split: str
    images: list[dict[str, Any]]
    mean_error: float
    out: Path | None
    split_images: int = field(repr=False)
    captions: list[str] = field(repr=False)
    originals: NDArray[np.float32] = field(repr=False)
    pixels: NDArray[np.float32] = field(repr=False)
    errors: NDArray[np.float32] = field(repr=False)

    def draw(self, figure: Figure) -> None:
        """Draw the images above their reconstructions."""
        from ae_cli.figures import draw_reconstructions

        titles = [
            f"{caption} (error {error:.4f})"
            for caption, error in zip(self.captions, self.errors, strict=True)
        ]
        draw_reconstructions(figure, self.originals, self.pixels, titles)

    def _repr_png_(self) -> bytes:
        from ae_cli.figures import to_png

        return to_png(self.draw)


@takes(ReconstructOptions)
def reconstruct(model: ModelLike, options: ReconstructOptions) -> Reconstructions:
    """Reconstruct some images, and measure the reconstruction error of their split.

    Args:
        model: A trained model, or the path of its checkpoint.
        options: See `ReconstructOptions`.

    Raises:
        AeError: The model or the images cannot be read, the chosen images do not exist, or the
            picture cannot be written.
    """
    out = None if options.out is None else Path(options.out)
    if out is not None:
        from ae_cli import figures

        check_output(out, figures.endings())
    device = choose_device(options.device)
    inputs = load_inputs(model, options)
    source, network = inputs.images.split(options.split), inputs.trained.model
    if options.chosen is not None:
        places = find_images("--index", options.chosen, inputs.images, options.split, "--split")
    else:
        places = _choose(len(source), options)
    selected = source.select(places)
    made = reconstruct_all(network, selected, device=device)
    errors = reconstruction_errors(network, source, device=device)
    labels = selected.label_values()
    result = Reconstructions(
        split=options.split,
        images=[
            {
                "index": int(index),
                "label": None if labels is None else labels[i].item(),
                "error": float(made.errors[i]),
            }
            for i, index in enumerate(selected.index())
        ],
        mean_error=float(errors.mean(dtype="float64")),
        out=out,
        split_images=len(source),
        captions=selected.captions(),
        originals=made.originals,
        pixels=made.pixels,
        errors=made.errors,
    )
    if out is not None:
        figures.write(out, result.draw)
    return result


def _choose(there: int, options: ReconstructOptions) -> NDArray[np.int64]:
    """Choose places in the split, (n,): the first ones, or a random draw."""
    count = min(SHOWN, there) if options.n is None else options.n
    if count > there:
        raise UsageError(
            f"--n is {count}, and the {options.split} split has {there:,} images",
            f"give at most {there}",
        )
    if options.seed is None:
        return np.arange(count)
    return np.random.default_rng(options.seed).choice(there, size=count, replace=False)
