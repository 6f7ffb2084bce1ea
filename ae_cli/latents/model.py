"""A trained model, as Python sees it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.config import Device, Source, Split, Splits
from ae_cli.files import check_output
from ae_cli.latents.decode import decode
from ae_cli.latents.embed import embed
from ae_cli.latents.reconstruct import Reconstructions, reconstruct
from ae_cli.latents.table import Latents
from ae_cli.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


class Model(Checkpoint):
    """A trained model: a checkpoint with methods to use it.

    Images are whatever `ae_cli.load` takes; by default those that the model was trained on. Arrays
    keep their order.
    """

    def embed(
        self, data: Source = None, *, split: Splits = "all", device: Device = "auto"
    ) -> Latents:
        """Find the latents and the reconstruction error of each image.

        Raises:
            AeError: The images cannot be read, or do not fit the model.
        """
        table = embed(self, data, split=split, device=device).table
        if table is None:
            raise AssertionError("embed returns the table if it does not write it")
        return table

    def reconstruct(
        self,
        data: Source = None,
        *,
        n: int | None = None,
        index: Collection[int] | str | None = None,
        seed: int | None = None,
        split: Split = "test",
        device: Device = "auto",
    ) -> Reconstructions:
        """Reconstruct some images of a split. `ReconstructOptions` describes the arguments.

        Raises:
            AeError: The images cannot be read, do not fit the model, or an index does not exist.
        """
        return reconstruct(self, data, n=n, index=index, seed=seed, split=split, device=device)

    def decode(self, z: Any, *, device: Device = "auto") -> NDArray[np.float32]:
        """Decode latents: an array (n, latent_dim), a table of latents, or its path.

        Returns:
            float32 (n, channels, height, width) in [0, 1].

        Raises:
            AeError: The latents cannot be read, or do not fit the model.
        """
        return decode(self, z, device=device).pixels

    def save(self, path: Path | str) -> None:
        """Write the checkpoint atomically.

        Raises:
            UsageError: The name does not end in ``.safetensors``, or the file cannot be written.
        """
        check_output(Path(path), (".safetensors",))
        save_checkpoint(self, Path(path))

    def __repr__(self) -> str:
        return (
            f"<Model {self.model.architecture}, trained on {self.data.source}, mean "
            f"reconstruction error {self.metrics.test_error:.4f} over the test split>"
        )


def load_model(path: Path | str) -> Model:
    """Read a checkpoint that ``ae train`` or `Model.save` wrote.

    Raises:
        CheckpointError: The checkpoint cannot be read.
    """
    checkpoint = load_checkpoint(Path(path))
    return Model(**{f.name: getattr(checkpoint, f.name) for f in fields(Checkpoint)})
