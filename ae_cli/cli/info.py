"""``ae info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ae_cli.cli.console import Reporter, report_warning
from ae_cli.cli.options import JsonOption, QuietOption, suggest_use
from ae_cli.config import CHECKPOINT
from ae_cli.errors import UsageError
from ae_cli.results import format_shape


def info(
    given: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CHECKPOINT]",
            help="The model that `ae train` made.",
            show_default=str(CHECKPOINT),
        ),
    ] = None,
    named: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="The same, as for other commands.",
            show_default=False,
        ),
    ] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Show what a checkpoint contains: model, training, data, and how good it is."""
    if given is not None and named is not None:
        raise UsageError(f"the checkpoint is named twice: {given} and {named}", "name it once")
    checkpoint = given or named or CHECKPOINT
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.models.checkpoint import info
    from ae_cli.models.health import describe_use

    made = info(checkpoint)
    reporter.emit("result", **made.as_json())
    training, data, metrics = made.training, made.data, made.metrics
    limit = "" if training.limit is None else f", limit {training.limit:,}"
    best = "best after " if training.keep == "best" else ""
    keep = "" if training.keep == "last" else f", keep {training.keep}"
    patience = "" if training.patience is None else f", patience {training.patience}"
    warmup = f" after a warm-up of {training.warmup:g}" if training.warmup else ""
    classes = f", {len(data.classes)} classes" if data.classes else ", no labels"
    if data.selected_classes is not None:
        classes = f", only {', '.join(data.selected_classes)}"
    varied = f", varied by {' and '.join(training.augment)}" if training.augment else ""
    use = "held out for the threshold" if data.for_anomalies else "to choose an epoch"
    chosen = f" + {data.val_images:,} {use}" if data.val_images else ""
    held_out = "" if data.val_fraction is None else f" ({data.val_fraction:g} held out)"
    fit = "" if data.fit is None else f", {data.fit}"
    folder = f", in {data.data_dir}" if data.data_dir else ""
    kl = "" if metrics.kl is None else f", KL {metrics.kl:.1f} nats"
    for label, text in {
        "checkpoint": f"{checkpoint}, format version {made.format_version}",
        "model": f"{made.architecture}, {made.model['parameters']:,} parameters",
        "images": f"{format_shape(made.model['shape'])} (channels × height × width){fit}",
        "data": f"{data.source}: {data.train_images:,} training{chosen} + "
        f"{data.test_images:,} test images{held_out}{classes}{folder}",
        "training": f"{best}{metrics.epoch} of {training.epochs} epochs, {metrics.step:,} steps of "
        f"{training.batch_size} images, {metrics.seconds:.1f} s",
        "recipe": f"{training.preset}: Adam, lr {training.lr:g} {training.schedule}{warmup}, "
        f"{made.objective}{varied}, seed {training.seed}{limit}{keep}{patience}, "
        f"engine {training.engine}",
        "loss": f"train {metrics.train_loss:.4f}, test {metrics.test_loss:.4f}{kl}",
        "error": f"{metrics.test_error:.4f} mean reconstruction error over the {data.judged}",
        "latents": f"{made.model['latent_dim']}{describe_use(metrics.latents_in_use)}",
    }.items():
        reporter.answer(label, text)
    if made.detection is not None:
        best_first = sorted(made.detection.items(), key=lambda item: -item[1])
        values = ", ".join(f"{score} {auroc:.3f}" for score, auroc in best_first)
        reporter.answer("anomalies", f"AUROC for artificial defects in held-out images: {values}")
    for problem in made.problems:
        report_warning(problem)
    use = suggest_use(
        checkpoint, latent_dim=made.model["latent_dim"], for_anomalies=data.for_anomalies
    )
    reporter.say("next", use)
