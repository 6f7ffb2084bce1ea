"""Judging image files as they come into a folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ae_cli.analysis.judge import Judge
from ae_cli.config import FIT, takes
from ae_cli.config.commands import WatchOptions
from ae_cli.data.decode import UnreadableImageError, decode
from ae_cli.data.image_formats import ending_of, image_formats
from ae_cli.data.images import Images
from ae_cli.data.quiet import quiet_pillow
from ae_cli.data.store import PixelStore
from ae_cli.errors import DataError
from ae_cli.latents.inputs import ModelLike, load_trained
from ae_cli.models import choose_device
from ae_cli.results import Result


@dataclass(frozen=True)
class Judged(Result):
    """An image file that came into the folder.

    Attributes:
        name: Its path within the folder.
        error: Its reconstruction error; None if it cannot be read.
        score: How unusual it is; None if it cannot be read.
        threshold: The score above which an image is an anomaly.
        is_anomaly: Whether its score is above; None if it cannot be read.
        problem: Why it cannot be read; None if it can.
    """

    name: str
    error: float | None
    score: float | None
    threshold: float
    is_anomaly: bool | None
    problem: str | None


@takes(WatchOptions)
def watch(model: ModelLike, options: WatchOptions) -> Iterator[Judged]:
    """Judge the image files in a folder, and then those that come into it, until it is closed.

    A file is judged when it has not changed from one look to the next, and again when it has
    changed after that.

    Args:
        model: A trained model, or the path of its checkpoint.
        options: See `WatchOptions`.

    Raises:
        AeError: The model cannot be read or has no threshold, or the folder does not exist.
    """
    folder = Path(options.folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", "make it, or name another")
    trained, model_name = load_trained(model)
    device = choose_device(options.device)
    judge = Judge(trained, model_name, options.score, options.quantile, options.threshold, device)
    channels, *size = trained.model.config.shape
    shape, fit = (size[0], size[1]), trained.data.fit or FIT
    seen: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    while True:
        for path, state in _list_images(folder):
            if seen.get(path) == state != done.get(path):
                done[path] = state
                name = path.relative_to(folder).as_posix()
                try:
                    with quiet_pillow():
                        image = decode(path, size=shape, color=channels == 3, fit=fit).pixels
                except UnreadableImageError as problem:
                    yield Judged(name, None, None, judge.threshold, None, str(problem))
                else:
                    pixels = torch.from_numpy(image.copy())[None]
                    (error,), (score,) = (v.tolist() for v in judge(Images(PixelStore(pixels))))
                    is_anomaly = score > judge.threshold
                    yield Judged(name, error, score, judge.threshold, is_anomaly, None)
            seen[path] = state
        time.sleep(options.every)


def _list_images(folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    """The image files in a folder and its subfolders, with their sizes and times."""
    for path in sorted(folder.rglob("*")):
        if ending_of(path.name) in image_formats():
            try:
                state = path.stat()
            except OSError:  # it has gone since
                continue
            yield path, (state.st_size, state.st_mtime_ns)
