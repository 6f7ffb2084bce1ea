"""Writing a trained model, or the latents of images, for another program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.config import takes
from ae_cli.config.checks import choose_count
from ae_cli.config.export import PROJECTED, ExportOptions
from ae_cli.data.images import concatenate
from ae_cli.export import onnx, torch_files
from ae_cli.export.parts import Exportable, choose_part
from ae_cli.export.projector import describe_latents
from ae_cli.files import atomic_folder, atomic_write, check_folder, check_output
from ae_cli.latents.infer import collect, encode, reconstruct
from ae_cli.latents.infer import decode as decode_points
from ae_cli.latents.inputs import ModelLike, load_inputs, load_trained
from ae_cli.models import AutoEncoder, choose_device
from ae_cli.results import Result

CPU = torch.device("cpu")
MOST_MEASURED = 1000  # images on which the cost of rounding is measured


@dataclass(frozen=True)
class Tensor:
    """A tensor that goes into an exported model, or comes out.

    Attributes:
        name: Its name.
        dtype: ``float32`` or ``uint8``.
        shape: Its dimensions; ``n`` is any number.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Cost:
    """What rounding the weights costs: mean reconstruction errors over the same images.

    Attributes:
        images: Number of images.
        before: The model's own error.
        after: The error if the exported part is used in its place.
    """

    images: int
    before: float
    after: float


@dataclass(frozen=True)
class Exported(Result):
    """A file or folder that was written for another program.

    Attributes:
        out: The file, or the folder.
        kind: ``ONNX``, ``torch.export``, ``state_dict`` or ``Projector``.
        bytes: The size of the file, or of all files in the folder.
        opset: The version of ONNX's operators; None for other kinds.
        inputs: What goes in; empty if the file computes nothing.
        outputs: What comes out.
        difference: The largest difference from torch's numbers, on random images; None if the
            weights were rounded, or if the file computes nothing.
        cost: What rounding the weights costs; None if they were not.
        images: Number of images in the folder for the Projector; None for other kinds.
    """

    out: Path
    kind: str
    bytes: int
    opset: int | None = None
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    difference: float | None = None
    cost: Cost | None = None
    images: int | None = None


@takes(ExportOptions)
def export_model(model: ModelLike, options: ExportOptions) -> Exported:
    """Write a trained model, or the latents of images, for another program.

    Args:
        model: A trained model, or the path of its checkpoint.
        options: See `ExportOptions`.

    Raises:
        AeError: The model or the images cannot be read, a library is missing, what was exported
            computes other numbers than torch, or the output cannot be written.
    """
    out, kind = Path(options.out), options.kind
    if kind == "Projector":
        return _project(model, options, out)
    check_output(out, (out.suffix.lower(),))
    if kind == "ONNX":
        onnx.check_installed()
    trained, _ = load_trained(model)
    if kind == "state_dict":
        content = torch_files.to_weights(trained.model)
        _write(out, content)
        return Exported(out, kind, len(content))
    options.progress("export", 0, None, "")
    exportable = choose_part(trained.model, options.part, options.pixels)
    if kind == "ONNX":
        content = onnx.to_onnx(exportable)
        run = onnx.load(content)
    else:
        content = torch_files.to_program(exportable)
        run = torch_files.load_program(content)
    difference: float | None = onnx.check(exportable, run)
    cost = None
    if options.int8:
        content, difference = onnx.quantise(content), None
        cost = _measure_cost(model, options, exportable, onnx.load(content))
    _write(out, content)
    with torch.inference_mode():
        results = exportable.module(exportable.example)
    return Exported(
        out,
        kind,
        len(content),
        opset=onnx.OPSET if kind == "ONNX" else None,
        inputs=(_describe(exportable.input, exportable.example),),
        outputs=tuple(map(_describe, exportable.outputs, results)),
        difference=difference,
        cost=cost,
    )


def _write(out: Path, content: bytes) -> None:
    with atomic_write(out) as file:
        file.write(content)


def _describe(name: str, value: torch.Tensor) -> Tensor:
    return Tensor(name, str(value.dtype).removeprefix("torch."), ("n", *value.shape[1:]))


def _project(model: ModelLike, options: ExportOptions, out: Path) -> Exported:
    check_folder(out)
    device = choose_device(options.device)
    inputs = load_inputs(model, options)
    there = concatenate(list(inputs.images.choose_splits(options.split).values()))
    count = choose_count(
        "--n", options.n, len(there), PROJECTED, f"there are {len(there):,} images"
    )
    images = there.spread(count)
    options.progress("embed", 0, None, "")
    found = collect(reconstruct(inputs.trained.model, images, device=device), len(images))
    files = describe_latents(f"latents of {inputs.images.name}", images, *found)
    with atomic_folder(out) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
    return Exported(out, "Projector", sum(map(len, files.values())), images=len(images))


def _measure_cost(
    model: ModelLike, options: ExportOptions, exportable: Exportable, run: onnx.Run
) -> Cost:
    """Measure what rounding costs, on images of the test split."""
    inputs = load_inputs(model, options)
    test = inputs.images.choose_splits("test")["test"]
    images = test.spread(MOST_MEASURED)
    network: AutoEncoder = inputs.trained.model
    before = collect(reconstruct(network, images, device=CPU), len(images)).errors
    uint8 = images.gather(np.arange(len(images))).numpy()
    originals = uint8.astype(np.float32) / 255
    given = uint8 if exportable.example.dtype == torch.uint8 else originals
    pixels: NDArray[np.float32]
    if exportable.input == "latents":
        (pixels,) = run(encode(network, images, device=CPU))
    elif exportable.outputs == ("latents",):
        pixels = decode_points(network, run(given)[0], device=CPU)
    else:
        _, pixels = run(given)
    after = float(np.square(pixels - originals).mean())
    return Cost(len(images), float(before.mean(dtype=np.float64)), after)
