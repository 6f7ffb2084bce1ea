"""``ae data``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ae_cli.catalog import KNOWN_SETS, on_disk
from ae_cli.cli.inputs import read_as_asked
from ae_cli.cli.options import (
    ClassesOption,
    ColorOption,
    DataDirOption,
    ExcludeClassesOption,
    FitOption,
    ImageSizeOption,
    JsonOption,
    KeyOption,
    QuietOption,
    StrictOption,
    ValFractionOption,
    parse_image_size,
)
from ae_cli.config import DataOptions, TrainConfig
from ae_cli.console import Reporter, format_shape
from ae_cli.errors import UsageError
from ae_cli.files import cache_folder, check_output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ae_cli.data import DataSet, Images

EXAMPLES = 10  # of each class, in the sheet
MOST_ROWS = 62  # classes in the sheet


def data(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="What --data would say: a name, a folder or a file. Without it, the sets that ae "
            "knows by name.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDirOption = None,
    image_size: ImageSizeOption = None,
    color: ColorOption = False,
    fit: FitOption = None,
    val_fraction: ValFractionOption = None,
    key: KeyOption = None,
    strict: StrictOption = False,
    seed: Annotated[
        int, typer.Option(help="Decides which images are held out.")
    ] = TrainConfig.seed,
    classes: ClassesOption = None,
    exclude_classes: ExcludeClassesOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw examples of each class: .png, .svg, .pdf, .jpg and more.",
            show_default=False,
        ),
    ] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """List the known data sets, or show what a data set, a folder or a file holds."""
    reporter = Reporter(quiet=quiet, json=json)
    if source is None:
        if out is not None:
            raise UsageError("--out draws examples of a data set", "name one: ae data digits")
        _list_known(data_dir, reporter)
        return
    options = DataOptions(
        image_size=parse_image_size(image_size),
        color=color,
        fit=fit,
        val_fraction=val_fraction,
        seed=seed,
        key=key,
        strict=strict,
    )
    if out is not None:
        from ae_cli import figures

        check_output(out, figures.endings())

    from ae_cli.data import choose_examples, concatenate, count_classes, measure_pixels

    images, selected = read_as_asked(
        source, options, data_dir, reporter, classes=classes, exclude_classes=exclude_classes
    )
    counts = {name: count_classes(part) for name, part in images.splits.items()}
    pixels = measure_pixels(images)
    examples = choose_examples(images.train, EXAMPLES)[:MOST_ROWS]
    if out is not None:
        figure, _ = figures.new_figure()
        figures.draw_examples(
            figure, [_to_floats(some) for _, some in examples], [name for name, _ in examples]
        )
        figures.save(figure, out)

    reporter.answer("source", images.source)
    reporter.answer("images", f"{_count(images)}, {format_shape(images.train.shape)}")
    reporter.answer(
        "pixels",
        f"from {pixels.minimum:.2f} to {pixels.maximum:.2f}, mean {pixels.mean:.3f}, standard "
        f"deviation {pixels.deviation:.3f}, {pixels.black:.0%} black, {pixels.white:.0%} white",
    )
    if counts["train"] is not None and counts["test"] is not None:
        test = counts["test"]
        rows = [[name, f"{n:,}", f"{test[name]:,}"] for name, n in counts["train"].items()]
        chosen = [row for row in rows if selected is None or row[0] in selected]
        reporter.table(["class", "train", "test"], chosen)
    firsts = [some.head(1) for _, some in examples]
    reporter.preview(_to_floats(concatenate(firsts) if len(firsts) > 1 else examples[0][1]))
    if out is not None:
        reporter.say("picture", str(out))
    reporter.emit(
        "result",
        source=images.source,
        shape=images.train.shape,
        train_images=len(images.train),
        test_images=len(images.test),
        val_fraction=images.val_fraction,
        classes=counts,
        pixels=pixels._asdict(),
        out=None if out is None else str(out),
    )


def _list_known(data_dir: Path | None, reporter: Reporter) -> None:
    """Print what can be named, and what of it is on disk."""
    folder = cache_folder(data_dir)
    rows, sets = [], []
    for name, known in KNOWN_SETS.items():
        there = on_disk(name, folder)
        where = "on disk" if there else f"{known.megabytes} MB to download"
        rows.append(
            [
                name,
                known.content,
                f"{known.train_images:,} + {known.test_images:,}",
                format_shape(known.shape),
                str(len(known.classes)),
                where,
            ]
        )
        sets.append({"name": name, **asdict(known), "on_disk": there})
    reporter.table(["name", "images of", "training + test", "pixels", "classes", "there"], rows)
    reporter.say("folder", str(folder))
    reporter.emit("result", folder=str(folder), sets=sets)


def _count(images: DataSet) -> str:
    held_out = "" if images.val_fraction is None else " (held out)"
    return f"{len(images.train):,} training + {len(images.test):,} test images{held_out}"


def _to_floats(images: Images) -> NDArray[np.float32]:
    from ae_cli.data import scale

    return scale(images.pixels).numpy()
