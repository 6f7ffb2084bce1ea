"""What the commands after ``train`` begin with: a checkpoint and images that fit it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ae_cli.console import Reporter, format_shape
from ae_cli.errors import CheckpointError, DataError

if TYPE_CHECKING:
    from ae_cli.data import DataSet
    from ae_cli.model import Checkpoint


def load_inputs(
    checkpoint: Path, data: str | None, data_dir: Path | None, reporter: Reporter
) -> tuple[Checkpoint, DataSet]:
    """Read a checkpoint, and the images it was trained on or others that are asked for.

    Args:
        checkpoint: The checkpoint's file.
        data: What ``--data`` says; None for the data set that the checkpoint names.
        data_dir: What ``--data-dir`` says; None for the folder that the checkpoint names.
        reporter: Shows downloads and warnings.

    Raises:
        CheckpointError: The checkpoint cannot be read, or names images that are not known.
        DataError: The images cannot be read, or are of another size than the model's.
    """
    from ae_cli.data import SOURCES, load
    from ae_cli.model import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    recorded = loaded.data.data_dir
    if data_dir is None and recorded is not None and Path(recorded).is_dir():
        data_dir = Path(recorded)
    if data is None:
        data = loaded.data.source
        if data not in SOURCES:
            raise CheckpointError(
                f"{checkpoint} was trained on {data}, which this ae does not know",
                f"name a data set with --data: {', '.join(SOURCES)}",
            )
    with reporter.downloads() as progress:
        images = load(data, data_dir=data_dir, progress=progress)
    if images.warning:
        reporter.warn(images.warning)
    wanted, given = loaded.model.config.shape, images.train.shape
    if wanted != given:
        raise DataError(
            f"{checkpoint} is for images of {format_shape(wanted)}, "
            f"and those of {images.source} have {format_shape(given)}",
            "give the --data that it was trained on",
        )
    return loaded, images
