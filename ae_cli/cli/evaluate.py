"""``ae evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import (
    CheckpointOption,
    JsonOption,
    QuietOption,
    checkpoint_argument,
    expand,
)
from ae_cli.config import CHECKPOINT, call_with
from ae_cli.config.commands import EvaluateOptions

if TYPE_CHECKING:
    from ae_cli.analysis.quality import Accuracy
    from ae_cli.results import Rows


@expand
def evaluate(
    options: EvaluateOptions,
    checkpoint: CheckpointOption = CHECKPOINT,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Report how good a model is, compared with PCA with as many components.

    The report says how well images are reconstructed; whether neighbours in a picture of the
    latents are similar images; if there are labels, how well the latents predict them; and what
    would make the model better, by what was measured.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.analysis import evaluate
    from ae_cli.models.health import describe_use

    with reporter.progress() as progress:
        report = call_with(evaluate.evaluate, checkpoint, options, progress=progress)
    reporter.table(*report.summary())
    if report.accuracy is not None:
        reporter.table(*_accuracy_table(report.accuracy, report.chance))
    reporter.answer(
        "fitted",
        f"PCA{' and classifiers' if report.accuracy else ''} to {report.fitted:,} training images; "
        f"neighbours among {report.sample:,} {report.split} images"
        + (f"; pixels as {report.pixel_components} principal components" * bool(report.accuracy)),
    )
    reporter.answer("latents", f"{report.latent_dim}{describe_use(report.latents_in_use)}")
    reporter.answer("trust", report.trust)
    for sentence in report.advice:
        reporter.answer("advice", sentence)
    reporter.say_written("picture", report.out)
    reporter.say("next", f"ae neighbours --index 0{checkpoint_argument(checkpoint)}")
    reporter.emit("result", **report.as_json())


def _accuracy_table(accuracy: dict[str, Accuracy], chance: float | None) -> Rows:
    """A table of the accuracies."""
    rows = [
        [name, f"{shares.knn:.1%}", f"{shares.logistic:.1%}"] for name, shares in accuracy.items()
    ]
    rows.append(["chance", f"{chance:.1%}", f"{chance:.1%}"])
    return ["labels predicted from", "k-nearest neighbours", "logistic regression"], rows
