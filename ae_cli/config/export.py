"""The options of ``export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ae_cli.config.checks import check_choice, parse_count
from ae_cli.config.images import Splits, UseOptions
from ae_cli.config.option import option
from ae_cli.errors import UsageError

Part = Literal["both", "encoder", "decoder"]
Pixels = Literal["float32", "uint8"]

MODEL = Path("ae.onnx")
PROJECTED = 10_000  # images for the Projector
KINDS = {".onnx": "ONNX", ".pt2": "torch.export", ".pt": "state_dict", "": "Projector"}


@dataclass(frozen=True, kw_only=True)
class ExportOptions(UseOptions):
    """How to write a model for another program.

    Attributes:
        out: The file. Its ending says which kind: a key of `KINDS`; a name without one is a folder.
        part: What the file computes.
        pixels: The dtype of the images that go in: float32 in [0, 1], or uint8.
        int8: Whether the weights are rounded to 8 bits.
        n: For the Projector, how many images, evenly spaced, or ``all``; None for `PROJECTED`.
        split: For the Projector, which images.
    """

    out: Path | str = option(
        MODEL,
        "What to write: a model as .onnx, .pt2 (torch.export) or .pt (its state_dict); or the "
        "latents of images, as a new folder for TensorBoard's Projector.",
        kind=Path,
        metavar="FILE",
    )
    part: Part = option("both", "What a .onnx or .pt2 file computes.")
    pixels: Pixels = option(
        "float32", "The images that go into it: float32 from 0 to 1, or uint8 from 0 to 255."
    )
    int8: bool = option(
        False,
        "Round the weights of a .onnx file to 8 bits, and say what it costs.",
        default_text="",
    )
    n: int | str | None = option(
        None,
        "How many images the folder for the Projector shows.",
        kind=str,
        metavar="N",
        default_text=f"{PROJECTED:,}, or all if there are fewer",
    )
    split: Splits = option("all", "Which images the folder for the Projector shows.")

    def __post_init__(self) -> None:
        kind = self.kind
        check_choice("--part", self.part, get_args(Part))
        check_choice("--pixels", self.pixels, get_args(Pixels))
        check_choice("--split", self.split, get_args(Splits))
        parse_count("--n", self.n)
        for names, kinds, what, remedy in (
            (("int8",), ("ONNX",), ".onnx files", "write one"),
            (("part", "pixels"), ("ONNX", "torch.export"), ".onnx and .pt2 files", "write one"),
            (("n", "split"), ("Projector",), "the Projector", "name a new folder"),
        ):
            for name in names:
                if kind not in kinds and getattr(self, name) != getattr(type(self), name):
                    raise UsageError(f"--{name} is for {what}", f"leave it out, or {remedy}")

    @property
    def kind(self) -> str:
        """The kind of file: a value of `KINDS`.

        Raises:
            UsageError: The ending is unknown.
        """
        suffix = Path(self.out).suffix.lower()
        if suffix not in KINDS:
            raise UsageError(
                f"{self.out} does not end in a format that can be written",
                f"choose {', '.join(kind for kind in KINDS if kind)}, or a folder without an "
                "ending",
            )
        return KINDS[suffix]
