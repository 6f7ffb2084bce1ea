"""``ae data``."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ae_cli.cached import Contents, find_kept, remove
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
from ae_cli.console import Reporter, format_shape, one_line
from ae_cli.errors import UsageError
from ae_cli.files import cache_folder, check_output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ae_cli.data import DataSet, Images

EXAMPLES = 10  # of each class, in the sheet
MOST_ROWS = 62  # classes in the sheet
MOST_NAMED = 5  # files that are left alone


def data(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="What --data would say: a name, a folder or a file. Without it, the sets that ae "
            "knows by name.",
            autocompletion=lambda incomplete: [n for n in KNOWN_SETS if n.startswith(incomplete)],
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
    clear: Annotated[
        bool,
        typer.Option(
            "--clear",
            help="Empty the cache folder of downloads and decoded images, after asking; with the "
            "name of a set, of that set alone.",
            show_default=False,
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --clear: do not ask.", show_default=False)
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """List the known data sets, or show what a data set, a folder or a file holds."""
    reporter = Reporter(quiet=quiet, json=json)
    if clear:
        for option, given in (
            ("--image-size", image_size is not None),
            ("--color", color),
            ("--fit", fit is not None),
            ("--val-fraction", val_fraction is not None),
            ("--key", key is not None),
            ("--strict", strict),
            ("--seed", seed != TrainConfig.seed),
            ("--classes", classes is not None),
            ("--exclude-classes", exclude_classes is not None),
            ("--out", out is not None),
        ):
            if given:
                raise UsageError(f"{option} and --clear exclude one another", "give one of them")
        _clear(source, cache_folder(data_dir), reporter, ask=not yes, can_ask=not json)
        return
    if yes:
        raise UsageError("--yes is given without --clear", "leave it out, or add --clear")
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


def _clear(
    source: str | None, folder: Path, reporter: Reporter, *, ask: bool, can_ask: bool
) -> None:
    """Show what the cache folder holds, and remove it.

    Args:
        source: The known set to remove; None for all, and the decoded images of folders.
        folder: The cache folder.
        reporter: Shows it.
        ask: Whether to ask first.
        can_ask: Whether a person can be asked, if there is a terminal.

    Raises:
        UsageError: The source is no known set, there is nobody to ask, or a file stays.
    """
    if source is not None and source not in KNOWN_SETS:
        raise UsageError(
            f"--clear is for sets that ae knows, and {source} is none",
            "see `ae data` for their names, or leave it out to clear all",
        )
    contents = find_kept(folder, source)
    if contents.kept:
        if ask and not (can_ask and sys.stdin is not None and sys.stdin.isatty()):
            raise UsageError(
                "--clear asks before it removes anything, and cannot ask here", "add --yes"
            )
        rows = [
            [kept.name, kept.kind, kept.folder, f"{len(kept.paths):,}", _megabytes(kept.size)]
            for kept in contents.kept
        ]
        reporter.table(["of", "what", "in", "files", "MB"], rows)
    if contents.left:
        reporter.say("left alone", _summarize(contents.left))
    reporter.say("folder", str(folder))
    count = sum(len(kept.paths) for kept in contents.kept)
    size = (
        f"{count:,} file{'s' * (count != 1)}, {_megabytes(sum(k.size for k in contents.kept))} MB"
    )
    if contents.kept and ask and not _confirm(f"remove {size}, from {folder}?"):
        reporter.say("cleared", "nothing")
        return
    remove(contents)
    nothing = f"nothing: it holds no files of {source or 'ae'}"
    reporter.say("cleared", size if contents.kept else nothing)
    reporter.emit("result", folder=str(folder), cleared=_add_up(contents), left=contents.left)


def _add_up(contents: Contents) -> list[dict[str, str | int]]:
    """Name, number of files and bytes of each set, and of the decoded images of folders."""
    names = dict.fromkeys(kept.name for kept in contents.kept)
    return [
        {
            "name": name,
            "files": sum(len(kept.paths) for kept in contents.kept if kept.name == name),
            "bytes": sum(kept.size for kept in contents.kept if kept.name == name),
        }
        for name in names
    ]


def _confirm(question: str) -> bool:
    """Ask a person at the terminal, on stderr, so that stdout can be a file."""
    answer = ""
    try:
        print(f"{one_line(question)} [y/N] ", end="", file=sys.stderr, flush=True)
        with suppress(UnicodeDecodeError):
            answer = sys.stdin.readline()
    finally:
        if not answer.endswith("\n"):  # Ctrl-C or Ctrl-D
            print(file=sys.stderr)
    return answer.strip().lower() in ("y", "yes")


def _summarize(paths: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(paths) - MOST_NAMED
    return ", ".join(paths[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _count(images: DataSet) -> str:
    held_out = "" if images.val_fraction is None else " (held out)"
    return f"{len(images.train):,} training + {len(images.test):,} test images{held_out}"


def _to_floats(images: Images) -> NDArray[np.float32]:
    from ae_cli.data import scale

    return scale(images.pixels).numpy()
