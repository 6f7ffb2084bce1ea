"""Latents for TensorBoard's Projector: numbers, what is known of each image, and thumbnails."""

from __future__ import annotations

import io
import re

import numpy as np
from numpy.typing import NDArray

from ae_cli.data.images import Images
from ae_cli.export.sprite import encode_png, make_sprite

FOLDER = "latents"  # with the files that the configuration names
CONFIG = "projector_config.pbtxt"  # TensorBoard expects this name
LEAST_DIMENSIONS = 3  # the Projector shows nothing with fewer

# Characters that would break a line or a cell of a table, or would be invisible
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def describe_latents(
    title: str, images: Images, latents: NDArray[np.float32], errors: NDArray[np.float32]
) -> dict[str, bytes]:
    """Make the Projector's files.

    Args:
        title: What they are called there.
        images: n images.
        latents: (n, latent_dim). With fewer than three, the missing ones are zeros.
        errors: (n,), the reconstruction errors.

    Returns:
        The content of each file, by its name. The last one names the others.
    """
    sprite, side = make_sprite(images.gather(np.arange(len(images))).numpy())
    missing = max(0, LEAST_DIMENSIONS - latents.shape[1])
    vectors = io.BytesIO()
    np.savetxt(vectors, np.pad(latents, ((0, 0), (0, missing))), fmt="%.9g", delimiter="\t")
    return {
        f"{FOLDER}/vectors.tsv": vectors.getvalue(),
        f"{FOLDER}/metadata.tsv": _describe(images, errors),
        f"{FOLDER}/sprite.png": encode_png(sprite),
        CONFIG: (
            "embeddings {\n"
            f'  tensor_name: "{title}"\n'
            f'  tensor_path: "{FOLDER}/vectors.tsv"\n'
            f'  metadata_path: "{FOLDER}/metadata.tsv"\n'
            "  sprite {\n"
            f'    image_path: "{FOLDER}/sprite.png"\n'
            f"    single_image_dim: {side}\n"
            f"    single_image_dim: {side}\n"
            "  }\n"
            "}\n"
        ).encode(),
    }


def _describe(images: Images, errors: NDArray[np.float32]) -> bytes:
    """The Projector's table of labels, names, indices and errors, one row per image.

    The Projector shows the first column beside a point.
    """
    labels = images.label_values()
    columns: dict[str, list[str]] = {
        **({} if labels is None else {"label": [str(label) for label in labels]}),
        **({} if images.names is None else {"name": list(images.names)}),
        "index": [str(index) for index in images.index()],
        "error": [f"{error:.6g}" for error in errors],
    }
    lines = [tuple(columns), *zip(*columns.values(), strict=True)]
    text = "".join("\t".join(_CONTROLS.sub(" ", cell) for cell in line) + "\n" for line in lines)
    return text.encode(errors="replace")  # file names may not be valid Unicode
