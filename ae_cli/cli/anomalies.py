"""``ae anomalies``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import (
    CheckpointOption,
    JsonOption,
    QuietOption,
    checkpoint_argument,
    expand,
)
from ae_cli.config import CHECKPOINT, call_with, option_name
from ae_cli.config.commands import AnomaliesOptions
from ae_cli.errors import UsageError
from ae_cli.results import count_rows

if TYPE_CHECKING:
    from ae_cli.analysis.anomalies import AnomalyReport

ANOMALY_FOUND = 6  # the exit code of --fail-on-anomaly


@expand
def anomalies(
    options: AnomaliesOptions,
    checkpoint: CheckpointOption = CHECKPOINT,
    watch: Annotated[
        Path | None,
        typer.Option(
            "--watch",
            metavar="FOLDER",
            help="Judge the images of a folder, and then each that comes into it, until you press "
            "Ctrl-C: a line of JSON for each on standard output.",
            show_default=False,
        ),
    ] = None,
    fail_on_anomaly: Annotated[
        bool,
        typer.Option(
            "--fail-on-anomaly",
            help=f"End with exit code {ANOMALY_FOUND} if an image is above the threshold.",
            show_default=False,
        ),
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Find images that are unlike a model's training images.

    The threshold comes from the held-out images, and is stored in the checkpoint. Of the images
    that the model was trained on, only the test split is new to it.
    """
    if watch is not None:
        _watch(watch, options, checkpoint, quiet=quiet, fail=fail_on_anomaly)
        return
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.analysis import anomalies

    with reporter.progress() as progress:
        report = call_with(anomalies.anomalies, checkpoint, options, progress=progress)
    reporter.preview(
        report.originals,
        report.pixels,
        what="images with the highest scores, above their reconstructions",
    )
    columns, rows = report.summary()
    reporter.table(columns, rows)
    if report.maps is not None:
        reporter.say("score", _explain_score(report))
    reporter.say("threshold", f"{report.threshold:.4g}: {_explain_threshold(report)}")
    _say_counts(report, reporter)
    if report.pixel_scores is not None:
        pixels = report.pixel_scores
        reporter.say(
            "masks",
            f"pixel AUROC {pixels.auroc:.3f}, AU-PRO {pixels.au_pro:.3f}: "
            f"{pixels.regions:,} defects in {pixels.images:,} images",
        )
    reporter.say_written("table", report.out, count_rows(len(report.table["error"]), len(rows)))
    reporter.say_written("picture", report.picture)
    reporter.say_written("page", report.page)
    if options.maps is not None:
        reporter.say(
            "maps", f"{options.maps}: overlays and maps of {len(report.table['error']):,} images"
        )
    reporter.say("next", f"ae explore --show{checkpoint_argument(checkpoint)}")
    reporter.emit("result", **report.as_json())
    if fail_on_anomaly and report.anomalies:
        raise typer.Exit(ANOMALY_FOUND)


def _say_counts(report: AnomalyReport, reporter: Reporter) -> None:
    """Print how many images are above the threshold, and if it is known, which these are."""
    are = "is" if report.anomalies == 1 else "are"
    reporter.say("anomalies", f"{report.anomalies:,} of {report.images:,} images {are} above it")
    if report.own and report.maps is None and "train" in report.table["split"]:
        reporter.say(
            "learned",
            "the training images, which have lower errors than others; --split test omits them",
        )
    if report.scores is not None:
        scores, pca, test = report.scores, report.pca_scores, " test" if report.own else ""
        reporter.say(
            "detected",
            f"{report.detected:,} of {scores.anomalous:,} anomalous and {report.false_alarms:,} of "
            f"{scores.normal:,} normal{test} images are above it",
        )
        beside = "" if pca is None else f" (PCA's errors: {pca.auroc:.3f})"
        reporter.say(
            "AUROC", f"{scores.auroc:.3f}{beside}, average precision {scores.average_precision:.3f}"
        )


def _explain_score(report: AnomalyReport) -> str:
    """Say what the score is made of."""
    from ae_cli.analysis.scores import list_shares

    if report.shares is None:
        return report.score
    shown = ", ".join(list_shares(report.shares).values())
    return f"{report.score}: {shown}; or latent, if that is clearly higher"


def _explain_threshold(report: AnomalyReport) -> str:
    """Say which share of which images is below the threshold."""
    from ae_cli.models.normal import CONFIDENCE

    share = f"{100 * report.quantile:.4g} %"
    held_out = f"{report.held_out:,} held-out {report.held_out_from} images"
    if report.confidence is None:
        is_few = 0 < report.held_out * (1 - report.quantile) < 1
        return f"the {share} quantile of {held_out}{', which are few for it' if is_few else ''}"
    text = f"{share} of normal images are below it, with {100 * report.confidence:.0f} % confidence"
    if report.confidence < CONFIDENCE:
        return f"the highest of the {held_out}; {text}"
    return f"{text}, by {held_out}"


def _watch(
    folder: Path, options: AnomaliesOptions, checkpoint: Path, *, quiet: bool, fail: bool
) -> None:
    """Print what comes into a folder, until the process is interrupted."""
    from ae_cli.analysis import watch

    used = {"score", "quantile", "threshold", "device", "out", "data_dir", "progress"}
    for f in fields(options):
        if f.name not in used and getattr(options, f.name) != f.default:
            raise UsageError(
                f"{option_name(f.name)} and --watch exclude one another", "leave one of them out"
            )
    reporter = Reporter(quiet=quiet, json=True)
    reporter.say("watch", f"{folder}; press Ctrl-C to stop")
    try:
        for judged in watch.watch(
            checkpoint,
            folder,
            score=options.score,
            quantile=options.quantile,
            threshold=options.threshold,
            device=options.device,
        ):
            reporter.emit("image", **judged.as_json())
            if fail and judged.is_anomaly:
                raise typer.Exit(ANOMALY_FOUND)
    except KeyboardInterrupt:  # this is how watching ends
        reporter.say("stopped", str(folder))
