"""Maps of where images are unusual, as pictures."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ae_cli.data.images import Images
from ae_cli.files import atomic_write

UNIT = 256  # what a usual pixel, 1 in a map, is in a 16-bit picture
LEAST_SIDE = 256  # pixels of an overlay's longer side: smaller images are enlarged


def map_names(images: Images) -> list[str]:
    """The name of each image's map, without an ending: the image's own, or else its index."""
    if images.names is None:
        return [f"{index:06}" for index in images.index()]
    # A name may come from an archive or a table: no part of it may lead out of the folder.
    parts = [PurePosixPath(name.replace("\\", "/")).parts for name in images.names]
    cleaned = ["/".join(p for p in some if p not in ("/", "..", ".")) for some in parts]
    return [str(PurePosixPath(name).with_suffix("")) if name else "image" for name in cleaned]


def write_maps(
    folder: Path,
    names: list[str],
    originals: NDArray[np.float32],
    maps: NDArray[np.float32],
) -> None:
    """Write two pictures for each image: its map in colours over it, and as numbers of 16 bits.

    They are ``overlays/NAME.png`` and ``maps/NAME.png`` in the folder. In the latter, `UNIT` stands
    for a usual pixel, and what is above 65,535 is cut off.

    Args:
        folder: The folder; it is made if it does not exist.
        names: The name of each image, without an ending.
        originals: (n, channels, height, width) in [0, 1].
        maps: (n, height, width), in which 1 is usual.

    Raises:
        UsageError: A file cannot be written.
    """
    from ae_cli.figures.overlays import overlay

    factor = max(1, -(-LEAST_SIDE // max(maps.shape[1:])))
    for name, pixels, values in zip(names, overlay(originals, maps), maps, strict=True):
        numbers = (values * UNIT).round().clip(0, 65535).astype(np.uint16)
        small = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        size = factor * small.width, factor * small.height
        large = small.resize(size, Image.Resampling.NEAREST)
        for kind, picture in (("overlays", large), ("maps", Image.fromarray(numbers))):
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                picture.save(file, format="png")
