"""``ae anomalies``."""

from __future__ import annotations

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import CheckpointOption, JsonOption, QuietOption, expand
from ae_cli.config import CHECKPOINT, call_with
from ae_cli.config.commands import AnomaliesOptions


@expand
def anomalies(
    options: AnomaliesOptions,
    checkpoint: CheckpointOption = CHECKPOINT,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Find images that are unlike a model's training images, by their reconstruction errors.

    The threshold comes from the held-out images, and is stored in the checkpoint. Of the images
    that the model was trained on, only the test split is new to it.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.analysis import anomalies

    with reporter.progress() as progress:
        report = call_with(anomalies.anomalies, checkpoint, options, progress=progress)
    reporter.preview(report.originals, report.pixels)
    reporter.table(*report.summary())
    reporter.say(
        "threshold",
        f"{report.threshold:.4f}: {100 * report.quantile:.4g} % of the {report.held_out:,} "
        "held-out images are below it",
    )
    reporter.say("anomalies", f"{report.anomalies:,} of {report.images:,} images are above it")
    if report.scores is not None:
        scores, pca = report.scores, report.pca_scores
        beside = "" if pca is None else f" (PCA's errors: {pca.auroc:.3f})"
        reporter.say(
            "AUROC",
            f"{scores.auroc:.3f}{beside}, average precision {scores.average_precision:.3f}: "
            f"{scores.normal:,} normal and {scores.anomalous:,} anomalous"
            f"{' test' if report.own else ''} images",
        )
    reporter.say("table", f"{report.out}: {len(report.table['error']):,} rows")
    reporter.say("picture", str(report.picture))
    reporter.emit("result", **report.as_json())
