"""``ae data``."""

from __future__ import annotations

import math
import os
import shlex
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ae_cli.cli.console import Reporter, one_line
from ae_cli.cli.options import JsonOption, QuietOption, expand
from ae_cli.config import call_with
from ae_cli.config.commands import DescribeOptions
from ae_cli.config.images import DATA_DIR_VARIABLE
from ae_cli.errors import UsageError
from ae_cli.files import find_unquoted, shell_word
from ae_cli.results import format_shape

if TYPE_CHECKING:
    from ae_cli.data.summary import DataReport
    from ae_cli.files.cache import Contents

MOST_NAMED = 5  # of the other files in the cache folder
LARGE = 28 * 28  # pixel values; for images with more, the default of three latents is few
LATENTS = 64  # suggested for these


def _complete(incomplete: str) -> list[str]:
    """Names of known sets that begin so."""
    from ae_cli.data.catalog import KNOWN_SETS

    return [name for name in KNOWN_SETS if name.startswith(incomplete)]


@expand
def data(
    options: DescribeOptions,
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="A name, a folder or a file, as for --data; several are joined. Without it, the "
            "known data sets are listed.",
            autocompletion=_complete,
            show_default=False,
        ),
    ] = None,
    clear: Annotated[
        bool,
        typer.Option(
            "--clear",
            help="Remove downloads and decoded images from the cache folder, after asking; with "
            "the name of a set, only those of that set.",
            show_default=False,
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --clear: do not ask.", show_default=False)
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """List the known data sets, or show what a data set, a folder or a file contains."""
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.files.cache import cache_folder

    if clear:
        if source is not None and len(source) > 1:
            raise UsageError("--clear is for one set", "name one, or none to clear all")
        for given in sorted(options.given - {"data_dir"}):
            raise UsageError(
                f"{options.option_of(given)} and --clear exclude one another", "give one of them"
            )
        name, folder = source[0] if source else None, cache_folder(options.data_dir)
        _clear(name, folder, reporter, ask=not yes, can_ask=not json)
    elif yes:
        raise UsageError("--yes is given without --clear", "leave it out, or add --clear")
    elif not source:
        if options.out is not None:
            raise UsageError("--out draws examples of a data set", "name one: ae data digits")
        _list_known(options.data_dir, reporter)
    else:
        from ae_cli.data import summary

        are_there = all(map(os.path.exists, source))
        if not are_there and (path := find_unquoted(source)) is not None:
            raise UsageError(
                f"{source[0]} does not exist", f"did you mean {shell_word(path)}, in quotes?"
            )
        with reporter.progress() as progress:
            report = call_with(
                summary.describe_data,
                source[0] if len(source) == 1 else source,
                options,
                progress=progress,
            )
        _say_report(report, reporter)
        reporter.say("next", _suggest_training(source, options, report))


def _suggest_training(source: list[str], options: DescribeOptions, report: DataReport) -> str:
    """The command to train on the images that were described, read as they were."""
    words = ["ae train", *(f"--data {shell_word(Path(word))}" for word in source)]
    inherited = (
        {"data_dir"} if os.environ.get(DATA_DIR_VARIABLE) == str(options.data_dir) else set()
    )
    for name in sorted(options.given - {"out"} - inherited):
        value = getattr(options, name)
        words.append(options.option_of(name))
        if not isinstance(value, bool):
            words.append(shlex.quote(str(value)))
    if math.prod(report.shape) > LARGE and not report.has_unlearned_classes:
        words.append(f"--latent-dim {LATENTS}")
    return " ".join(words)


def _say_report(report: DataReport, reporter: Reporter) -> None:
    held_out = "" if report.val_fraction is None else " (held out)"
    reporter.answer("source", report.source)
    for decision in report.understood:
        reporter.answer("understood", decision)
    reporter.answer(
        "images",
        f"{report.train_images:,} training + {report.test_images:,} test images{held_out}, "
        f"{format_shape(report.shape, report.changes)}",
    )
    pixels = report.pixels
    reporter.answer(
        "pixels",
        f"from {pixels.minimum:.2f} to {pixels.maximum:.2f}, mean {pixels.mean:.3f}, standard "
        f"deviation {pixels.deviation:.3f}, {pixels.black:.0%} black, {pixels.white:.0%} white",
    )
    if (table := report.summary()) is not None:
        reporter.table(*table)
    reporter.preview(report.first_examples(), what="images")
    reporter.say_written("picture", report.out)
    reporter.emit("result", **report.as_json())


def _list_known(data_dir: Path | str | None, reporter: Reporter) -> None:
    """Print the known data sets, and whether they are on disk."""
    from ae_cli.data.catalog import KNOWN_SETS, on_disk
    from ae_cli.files.cache import cache_folder

    folder = cache_folder(data_dir)
    rows, sets = [], []
    for name, known in KNOWN_SETS.items():
        there = on_disk(name, folder)
        rows.append(
            [
                name,
                known.content,
                f"{known.train_images:,} + {known.test_images:,}",
                format_shape(known.shape),
                str(len(known.classes)),
                "on disk" if there else f"{known.megabytes} MB to download",
            ]
        )
        sets.append({"name": name, **asdict(known), "on_disk": there})
    reporter.table(["name", "images of", "training + test", "pixels", "classes", "status"], rows)
    reporter.say("folder", str(folder))
    reporter.say("next", "ae train --data digits")
    reporter.emit("result", folder=str(folder), sets=sets)


def _clear(
    source: str | None, folder: Path, reporter: Reporter, *, ask: bool, can_ask: bool
) -> None:
    """Show the program's files in the cache folder, and remove them.

    Args:
        source: The known set to remove; None for all of them and the decoded images of folders.
        folder: The cache folder.
        reporter: Prints the files.
        ask: Whether to ask first.
        can_ask: Whether asking is possible, provided that there is a terminal.

    Raises:
        UsageError: The source is not a known set, asking is impossible, or a file cannot be
            removed.
    """
    from ae_cli.data.catalog import KNOWN_SETS, cached_sets
    from ae_cli.files.cache import find_kept, remove

    if source is not None and source not in KNOWN_SETS:
        raise UsageError(
            f"--clear is for sets that ae knows, and {source} is not one",
            "see `ae data` for their names, or leave it out to clear all",
        )
    contents = find_kept(folder, cached_sets(), source)
    if contents.kept:
        if ask and not (can_ask and sys.stdin is not None and sys.stdin.isatty()):
            raise UsageError(
                "--clear asks before it removes anything, and cannot ask here", "add --yes"
            )
        rows = [
            [kept.name, kept.kind, kept.folder, f"{len(kept.paths):,}", _megabytes(kept.size)]
            for kept in contents.kept
        ]
        reporter.table(["set", "kind", "folder", "files", "MB"], rows)
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
    """Number and total size of files, by set; the decoded images of folders are one of them."""
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
    """Ask the user at the terminal, on stderr, so that stdout can be a file."""
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
    """The first few paths, and how many more there are."""
    more = len(paths) - MOST_NAMED
    return ", ".join(paths[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"
