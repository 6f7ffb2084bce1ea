"""Describe images: counts, brightness, and some examples."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ae_cli.config import LoadOptions, Source, takes
from ae_cli.config.commands import DescribeOptions
from ae_cli.data.images import DataSet, Images, concatenate
from ae_cli.data.load import load
from ae_cli.data.paths import warn_of_output
from ae_cli.files import check_output
from ae_cli.results import Result, Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 10  # of each class, in the sheet
MOST_ROWS = 62  # classes in the sheet


class PixelStatistics(NamedTuple):
    """Statistics of the pixels' values, in [0, 1].

    Attributes:
        minimum: The smallest value.
        maximum: The largest value.
        mean: The mean.
        deviation: The standard deviation.
        black: The share of pixels that are 0.
        white: The share of pixels that are 1.
    """

    minimum: float
    maximum: float
    mean: float
    deviation: float
    black: float
    white: float


def measure_pixels(images: DataSet) -> PixelStatistics:
    """Measure all pixels of both splits."""
    counts = np.zeros(256)
    for part in images.splits.values():
        for batch in part.raw_batches():
            counts += np.bincount(batch.numpy().ravel(), minlength=256)
    shares = counts / counts.sum()
    values = np.arange(256) / 255
    present = values[counts > 0]
    mean = float(shares @ values)
    return PixelStatistics(
        minimum=float(present[0]),
        maximum=float(present[-1]),
        mean=mean,
        deviation=float(np.sqrt(shares @ (values - mean) ** 2)),
        black=float(shares[0]),
        white=float(shares[255]),
    )


def count_classes(images: Images) -> dict[str, int] | None:
    """The number of images of each class, by name; None without labels."""
    if images.labels is None or images.classes is None:
        return None
    counts = torch.bincount(images.labels, minlength=len(images.classes))
    return dict(zip(images.classes, counts.tolist(), strict=True))


def choose_examples(images: Images, count: int) -> list[tuple[str, Images]]:
    """The first `count` images of each class that has any, with its name.

    Without labels, these are the first images, in up to five rows of `count` without a name.
    """
    if images.labels is None or images.classes is None:
        rows = np.split(np.arange(len(images)), range(count, len(images), count))
        return [("", images.select(row)) for row in rows[:5]]
    members = ((name, np.flatnonzero(images.labels == i)) for i, name in enumerate(images.classes))
    return [(name, images.select(some[:count])) for name, some in members if len(some)]


@dataclass(frozen=True)
class DataReport(Result):
    """What `describe_data` found out about images.

    Attributes:
        source: What to give as ``--data`` to get these images.
        shape: Channels, height and width of an image.
        understood: How the source was understood, a line per decision.
        changes: What was done to a folder's images, as in `DataSet`.
        train_images: The number of training images.
        test_images: The number of test images.
        val_fraction: The share of the images that was held out as the test split; None if the
            source has its own test split.
        classes: The number of images of each class, by split and name; None without labels.
        pixels: Statistics of the pixels' values.
        out: The file with the sheet of examples; None if none was drawn.
        selected_classes: The classes that were selected; None for all.
        has_unlearned_classes: As in `DataSet`: by default, a model of them is to find anomalies.
        examples: The first images of each class, with its name.
    """

    source: str
    understood: tuple[str, ...]
    shape: tuple[int, int, int]
    changes: str | None
    train_images: int
    test_images: int
    val_fraction: float | None
    classes: dict[str, dict[str, int] | None]
    pixels: PixelStatistics
    out: Path | None
    selected_classes: tuple[str, ...] | None = field(repr=False)
    has_unlearned_classes: bool = field(repr=False)
    examples: list[tuple[str, Images]] = field(repr=False)

    def summary(self) -> Rows | None:
        """The number of images of each class; None without labels."""
        train, test = self.classes["train"], self.classes["test"]
        if train is None or test is None:
            return None
        rows = [[name, f"{count:,}", f"{test[name]:,}"] for name, count in train.items()]
        chosen = self.selected_classes
        return ["class", "train", "test"], [r for r in rows if chosen is None or r[0] in chosen]

    def first_examples(self) -> NDArray[np.float32]:
        """The first image of each class, float32 (n, channels, height, width) in [0, 1]."""
        firsts = [images.head(1) for _, images in self.examples]
        return concatenate(firsts).floats() if len(firsts) > 1 else self.examples[0][1].floats()

    def draw(self, figure: Figure) -> None:
        """Draw the examples."""
        from ae_cli.figures import draw_examples

        rows = [images.floats() for _, images in self.examples]
        draw_examples(figure, rows, [name for name, _ in self.examples])

    def _repr_png_(self) -> bytes:
        from ae_cli.figures import to_png

        return to_png(self.draw)


@takes(DescribeOptions)
def describe_data(data: Source, options: DescribeOptions) -> DataReport:
    """Load images, like `load`, and describe them.

    Args:
        data: As for `load`.
        options: See `DescribeOptions`.

    Raises:
        AeError: Like `load`; or the sheet cannot be written.
    """
    out = None if options.out is None else Path(options.out)
    if out is not None:
        from ae_cli import figures

        check_output(out, figures.endings())
    names = {f.name for f in fields(LoadOptions)}
    images = load(data, **{name: getattr(options, name) for name in names})
    report = DataReport(
        source=images.source,
        understood=images.understood,
        shape=images.shape,
        changes=images.changes,
        train_images=len(images.train),
        test_images=len(images.test),
        val_fraction=images.val_fraction,
        classes={name: count_classes(part) for name, part in images.splits.items()},
        pixels=measure_pixels(images),
        out=out,
        selected_classes=images.selected_classes,
        has_unlearned_classes=images.has_unlearned_classes,
        examples=choose_examples(images.train, EXAMPLES)[:MOST_ROWS],
    )
    if out is not None:
        warn_of_output(images.source, out)
        figures.write(out, report.draw)
    return report
