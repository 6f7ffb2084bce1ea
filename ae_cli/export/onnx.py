"""Models as ONNX files, which onnxruntime and many other programs run."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.errors import AeError, UsageError
from ae_cli.export.parts import Exportable

OPSET = 18
TOLERANCE = 1e-4  # relative, and absolute, of onnxruntime's numbers to torch's
EXTRA = "pip install 'ae-cli[onnx]'"

# From one array to those that come out, in the order of `Exportable.outputs`
Run: TypeAlias = Callable[[NDArray[Any]], list[NDArray[np.float32]]]


def check_installed() -> None:
    """Make sure that the libraries are there, before any work is done.

    Raises:
        UsageError: One is not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"a .onnx file needs {error.name}", f"install it: {EXTRA}") from error


def to_onnx(exportable: Exportable) -> bytes:
    """Convert to an ONNX file with a free first dimension, ``n``."""
    with _quiet():
        program = torch.onnx.export(
            exportable.module,
            (exportable.example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[exportable.input],
            output_names=list(exportable.outputs),
            dynamic_shapes=({0: torch.export.Dim("n")},),
        )
    if program is None:
        raise AssertionError("torch.onnx.export returns the program if it does not write it")
    content: bytes = program.model_proto.SerializeToString()
    return content


def quantise(content: bytes) -> bytes:
    """Round the weights of an ONNX file to 8 bits; other numbers are rounded as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quiet():
        before, after = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        before.write_bytes(content)
        # onnxruntime has convolutions of uint8 weights only.
        quantize_dynamic(before, after, weight_type=QuantType.QUInt8)
        return after.read_bytes()


def load(content: bytes) -> Run:
    """Run an ONNX file by onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return lambda array: session.run(None, {taken.name: array})


def check(exportable: Exportable, run: Run) -> float:
    """Compare what a file computes with what torch does, for one input and for several.

    Returns:
        The largest difference.

    Raises:
        AeError: It is beyond `TOLERANCE`.
    """
    largest = 0.0
    for count in (1, len(exportable.example)):
        example = exportable.example[:count]
        with torch.inference_mode():
            expected = [output.numpy() for output in exportable.module(example)]
        for there, wanted in zip(run(example.numpy()), expected, strict=True):
            if not np.allclose(there, wanted, rtol=TOLERANCE, atol=TOLERANCE):
                raise AeError(
                    "the exported model computes other numbers than torch",
                    "update torch and onnxruntime, or export to .pt2",
                )
            largest = max(largest, float(np.abs(there - wanted).max()))
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep libraries from talking about their own progress while the block runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
