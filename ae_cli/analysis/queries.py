"""The images whose neighbours are wanted: some of the searched ones, or others."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.config import FIT, Source
from ae_cli.config.neighbours import NeighboursOptions
from ae_cli.data.decode import UnreadableImageError, decode
from ae_cli.data.image_formats import ending_of, image_formats
from ae_cli.data.images import Images, concatenate
from ae_cli.data.load import kind_of, to_word
from ae_cli.data.paths import find_paths
from ae_cli.data.quiet import quiet_pillow
from ae_cli.data.store import PixelStore
from ae_cli.errors import DataError, UsageError
from ae_cli.latents.inputs import Inputs, find_images, read_as_recorded
from ae_cli.models.checkpoint import Checkpoint

MOST_COMPARED = 10_000  # names that are compared with a misspelt one


class Queries(NamedTuple):
    """Images whose neighbours are wanted.

    Attributes:
        images: The images.
        names: A name for each.
        places: int64 (q,), where each is among the searched images, or -1.
    """

    images: Images
    names: list[str]
    places: NDArray[np.int64]


def find_queries(
    inputs: Inputs, options: NeighboursOptions, searched: Images, membership: NDArray[np.str_]
) -> Queries:
    """Find the images that the options name.

    Args:
        inputs: The model, and the source that is searched.
        options: The images are named by `chosen`, or else by `like`.
        searched: The images that are searched, of one or both splits.
        membership: (n,), the split of each of these.

    Raises:
        AeError: An index does not exist, or the images cannot be read.
    """
    if options.chosen is not None:
        split = options.index_split or "test"
        source = inputs.images.split(split)
        chosen = find_images("--index", options.chosen, inputs.images, split, "--index-split")
        images = source.select(chosen)
        there = np.flatnonzero(membership == split)  # as many as `source` has, or none
        places = there[chosen] if len(there) else np.full(len(chosen), -1)
        return Queries(images, [f"{split} {index}" for index in images.index()], places)
    if (place := _find_name(options.like, searched)) is not None:
        names = [PurePosixPath(str(options.like)).name]
        return Queries(searched.select(np.array([place])), names, np.array([place]))
    if files := _find_files(options.like):
        images = _decode(files, inputs.trained)
        places = _find_places(files, searched, inputs.images.source)
        return Queries(images, [path.name for path in files], places)
    if isinstance(like := to_word(options.like), (str, Path)):
        _check_there(str(like), searched)
    images = _read(inputs, options)
    names = list(images.names or map(str, images.index()))
    return Queries(images, names, np.full(len(images), -1))


def _find_name(like: Source, searched: Images) -> int | None:
    """Where the image with this name is among the searched ones; None if it is none.

    Args:
        like: Its name as tables show it, or only the file's name without its folder.
        searched: The images.

    Raises:
        UsageError: Several images have a file of that name.
    """
    if not isinstance(like, (str, Path)) or searched.names is None or find_paths(str(like)):
        return None
    names, wanted = searched.names, str(like)
    found = [i for i, name in enumerate(names) if name == wanted]
    found = found or [i for i, name in enumerate(names) if name.rpartition("/")[2] == wanted]
    if len(found) > 1:
        raise UsageError(
            f"--like {like} is the name of {len(found):,} images",
            f"give it with its folder, such as {names[found[0]]}",
        )
    return found[0] if found else None


def _find_files(like: Source) -> list[Path]:
    """The image files that are named; none if it is something else."""
    source = to_word(like)
    paths = (find_paths(str(source)) or []) if isinstance(source, (str, Path)) else []
    return paths if all(ending_of(path.name) in image_formats() for path in paths) else []


def _check_there(like: str, searched: Images) -> None:
    """Make sure that there are images at this path, or a known set of this name.

    Raises:
        DataError: There are none.
    """
    try:
        kind_of(like, "--like")
    except DataError as error:
        files = {name.rpartition("/")[2]: name for name in (searched.names or [])[:MOST_COMPARED]}
        near = get_close_matches(PurePosixPath(like).name, files, n=1, cutoff=0.8)
        if like.isdecimal():
            remedy = f"for an image by its index, give --index {like}"
        elif near:
            remedy = f"did you mean {files[near[0]]}?"
        elif error.remedy.startswith("did you mean"):
            remedy = error.remedy
        else:
            remedy = "give the path of an image, or a name that `ae embed` writes to its table"
        raise DataError(
            f"--like {like} is neither a file nor the name of an image", remedy
        ) from None


def _read(inputs: Inputs, options: NeighboursOptions) -> Images:
    """Read images that are not image files, in the size that the model is for.

    Raises:
        DataError: They cannot be read.
    """
    trained = inputs.trained
    found = read_as_recorded(
        inputs.name,
        trained.data,
        trained.model.config.shape,
        seed=trained.training.seed,
        source=options.like,
        data_dir=options.data_dir,
        key=None,
        labels=None,
        frames=None,
        strict=options.strict,
        workers=options.workers,
        progress=options.progress,
    )
    return concatenate([images for images in found.splits.values() if len(images)])


def _decode(paths: list[Path], trained: Checkpoint) -> Images:
    """Read image files."""
    channels, height, width = trained.model.config.shape
    size, fit = (height, width), trained.data.fit or FIT

    def read(path: Path) -> NDArray[np.uint8]:
        try:
            with quiet_pillow():
                return decode(path, size=size, color=channels == 3, fit=fit).pixels
        except UnreadableImageError as problem:
            raise DataError(f"{path} cannot be read ({problem})", "name another image") from problem

    pixels = torch.from_numpy(np.stack([read(path) for path in paths]))
    return Images(PixelStore(pixels))


def _find_places(files: list[Path], searched: Images, source: str) -> NDArray[np.int64]:
    """Where each file is among the searched images, (q,), or -1, if their source is a folder."""
    places = np.full(len(files), -1)
    (folder, *others) = find_paths(source) or [Path()]
    if searched.names is None or others or not folder.is_dir():
        return places
    known = {name: i for i, name in enumerate(searched.names)}
    for i, path in enumerate(map(Path.resolve, files)):
        if path.is_relative_to(folder):
            places[i] = known.get(path.relative_to(folder).as_posix(), -1)
    return places
