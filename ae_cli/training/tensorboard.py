"""Writing a run for TensorBoard: curves, reconstructions, and latents for its Projector.

The event file is written here, with tensorboard's own record writer. torch's `SummaryWriter` would
write it in a thread, which prints a traceback when the disk is full, and would import TensorFlow if
it is installed, which takes seconds and prints many messages.
"""

from __future__ import annotations

import io
import os
import re
import socket
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ae_cli.errors import DivergedError, UsageError, brief
from ae_cli.export.projector import CONFIG, FOLDER, describe_latents
from ae_cli.export.sprite import encode_png, shrink, tile
from ae_cli.files import atomic_write, cannot_write

if TYPE_CHECKING:
    import torch

    from ae_cli.data.images import Images
    from ae_cli.models import AutoEncoder
    from ae_cli.training.events import Epoch

MOST_POINTS = 2000  # in the Projector, which turns them smoothly on any computer
GRID_IMAGES = 10  # side by side
GRID_SIDE = 128  # pixels of an image's longer side
EVENT_FILES = "*tfevents*"  # TensorBoard reads all of them, whatever program wrote them


def check_tensorboard(folder: Path, *, resuming: bool) -> None:
    """Make sure that TensorBoard is installed and the folder can be written, before any work.

    Args:
        folder: The folder; it need not exist.
        resuming: Whether a run is resumed, whose own files may be in the folder. `TensorBoard`
            checks that they are its own.

    Raises:
        UsageError: TensorBoard is not installed, the folder cannot be written to, or it holds
            another run, as TensorBoard would show the two as one.
    """
    spec = find_spec("tensorboard")
    if spec is None or spec.origin is None:  # a folder of that name counts as a package
        raise UsageError(
            "--tensorboard needs tensorboard", "install it: pip install 'ae-cli[tensorboard]'"
        )
    with _writing_to(folder):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is not a folder", "name a folder for --tensorboard")
        existing = folder.resolve()
        while not existing.exists():
            existing = existing.parent
        # Only writing is a sure test: permissions do not show a read-only or full file system.
        with tempfile.TemporaryFile(dir=existing):
            pass
        if not resuming and ((folder / CONFIG).exists() or any(folder.glob(EVENT_FILES))):
            raise _holds_another(folder)


class TensorBoard:
    """Writes a folder for TensorBoard, which can show it during the run.

    After each call everything is written, so nothing needs to be flushed or closed at the end.
    Until the first call, the folder stays unchanged.

    Args:
        folder: The folder, which is created if it does not exist.
        model: The model, which is evaluated after each epoch.
        images: The test images.
        device: Where to compute.
        run_id: The id of the run, which is part of its files' names.
        after_step: None for a new run; for a resumed run, the steps taken so far. TensorBoard no
            longer shows what the run had written after this step.

    Raises:
        UsageError: TensorBoard cannot be imported, or the folder holds another run.
    """

    def __init__(
        self,
        folder: Path,
        model: AutoEncoder,
        images: Images,
        *,
        device: torch.device,
        run_id: str,
        after_step: int | None,
    ) -> None:
        self._folder, self._model, self._images = folder, model, images
        self._device, self._run_id, self._after_step = device, run_id, after_step
        if any(file.suffix != f".{run_id}" for file in folder.glob(EVENT_FILES)):
            raise _holds_another(folder)
        self._file: Path | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from a protobuf that is newer than tensorboard
                self._events = import_module("tensorboard.compat.proto.event_pb2")
                self._summaries = import_module("tensorboard.compat.proto.summary_pb2")
                writer = import_module("tensorboard.summary.writer.record_writer")
        except Exception as error:  # too old for numpy or protobuf, or broken
            raise UsageError(
                f"tensorboard cannot be imported ({brief(error)})",
                "install a newer one: pip install --upgrade tensorboard",
            ) from error
        self._record_writer = writer.RecordWriter

    def write_epoch(self, epoch: Epoch) -> None:
        """Write an epoch's curves, and the first test images above their reconstructions.

        Raises:
            UsageError: The folder cannot be written to.
        """
        from ae_cli.latents.infer import reconstruct_all

        images = self._images.head(GRID_IMAGES)
        drawn = reconstruct_all(self._model, images, device=self._device).pixels
        rows = [images.pixels.numpy(), np.round(255 * drawn.clip(0, 1)).astype(np.uint8)]
        grid = tile(np.concatenate([shrink(row, GRID_SIDE) for row in rows]), len(images))
        height, width, channels = grid.shape
        picture = self._summaries.Summary.Image(
            height=height,
            width=width,
            colorspace=channels,
            encoded_image_string=encode_png(grid),
        )
        curves = {
            "loss/train": epoch.train_loss,
            "loss/test": epoch.test_loss,
            "learning_rate": epoch.learning_rate,
            "images_per_second": epoch.images_per_second,
        }
        if epoch.kl is not None:
            curves["kl"] = epoch.kl
        value = self._summaries.Summary.Value
        values = [value(tag=tag, simple_value=number) for tag, number in curves.items()]
        values.append(value(tag="reconstructions", image=picture))
        self._append(step=epoch.step, summary=self._summaries.Summary(value=values))

    def write_latents(self, step: int) -> int:
        """Write latents, labels and thumbnails of test images for the Projector.

        Up to `MOST_POINTS` images are used, evenly spaced from the first to the last. With fewer
        than three latents, the missing ones are zeros. Files from before the run was resumed are
        replaced.

        Args:
            step: Steps taken since training began.

        Returns:
            The number of images; 0 if the model has diverged, and then nothing is written.

        Raises:
            UsageError: The folder cannot be written to.
        """
        from ae_cli.latents.infer import reconstruct_all

        images = self._images.spread(MOST_POINTS)
        try:
            made = reconstruct_all(self._model, images, device=self._device)
        except DivergedError:
            return 0
        # It names the step, since a running TensorBoard does not read a tensor of the same name
        # again.
        files = describe_latents(f"latents after step {step}", images, made.latents, made.errors)
        with _writing_to(self._folder):
            (self._folder.resolve() / FOLDER).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with atomic_write(self._folder / name) as file:
                file.write(content)
        return len(images)

    def _append(self, **fields: Any) -> None:
        """Append an event to the event file, and create it before the first event."""
        content = io.BytesIO()
        write = self._record_writer(content).write
        kind, now = self._events.Event, time.time()
        with _writing_to(self._folder):
            path = self._file
            if path is None:
                folder = self._folder.resolve()
                folder.mkdir(parents=True, exist_ok=True)
                path = _next_file(folder, now, self._run_id)
                write(kind(wall_time=now, file_version="brain.Event:2").SerializeToString())
                if self._after_step is not None:
                    status = self._events.SessionLog(status=self._events.SessionLog.START)
                    start = kind(wall_time=now, step=self._after_step + 1, session_log=status)
                    write(start.SerializeToString())
            write(kind(wall_time=now, **fields).SerializeToString())
            with path.open("ab") as file:
                file.write(content.getvalue())
            self._file = path


def _holds_another(folder: Path) -> UsageError:
    return UsageError(f"{folder} already holds another run", "name a new folder for --tensorboard")


def _next_file(folder: Path, now: float, run_id: str) -> Path:
    """Choose the name of a new event file. TensorBoard reads them in the order of their names."""
    found = [re.match(r"events\.out\.tfevents\.(\d{10})\.", path.name) for path in folder.iterdir()]
    second = max([int(now), *(int(match[1]) + 1 for match in found if match)])
    host, process = socket.gethostname(), os.getpid()
    return folder / f"events.out.tfevents.{second:010}.{host}.{process}.{run_id}"


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Turn an `OSError` of the block, which writes to a folder, into a `UsageError`.

    Raises:
        UsageError: The folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from error
