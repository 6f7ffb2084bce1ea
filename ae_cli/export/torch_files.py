"""Models as torch's own files: torch.export programs, and weights alone."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.export.parts import Exportable
from ae_cli.models import AutoEncoder


def to_program(exportable: Exportable) -> bytes:
    """Convert to a file of `torch.export`, with a free first dimension."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own workings
        program = torch.export.export(
            exportable.module,
            (exportable.example,),
            dynamic_shapes=({0: torch.export.Dim("n")},),
        )
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
    return buffer.getvalue()


def load_program(content: bytes) -> Callable[[NDArray[Any]], list[NDArray[np.float32]]]:
    """Run a file of `torch.export`."""
    module = torch.export.load(io.BytesIO(content)).module()

    def run(array: NDArray[Any]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            return [output.numpy() for output in module(torch.from_numpy(array))]

    return run


def to_weights(model: AutoEncoder) -> bytes:
    """The model's ``state_dict``, which torch.load reads with ``weights_only``."""
    buffer = io.BytesIO()
    weights = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
    torch.save(weights, buffer)
    return buffer.getvalue()
