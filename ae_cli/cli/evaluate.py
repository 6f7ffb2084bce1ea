"""``ae evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ae_cli.cli.inputs import Choice, load_inputs
from ae_cli.cli.options import (
    CheckpointOption,
    DataDirOption,
    DataOption,
    DeviceOption,
    ExcludeClassesOption,
    JsonOption,
    KeyOption,
    QuietOption,
    SameClassesOption,
    StrictOption,
)
from ae_cli.config import CHECKPOINT
from ae_cli.console import Reporter
from ae_cli.errors import UsageError
from ae_cli.files import check_output

if TYPE_CHECKING:
    from ae_cli.evaluate import Accuracy, Report

DRAWN = 10  # images in the picture


def evaluate(
    split: Annotated[
        Literal["train", "test"],
        typer.Option(help="Which images to judge reconstructions and latents on."),
    ] = "test",
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Fit PCA and the classifiers to the first N training images only, which is "
            "faster.",
            show_default="all",
        ),
    ] = None,
    checkpoint: CheckpointOption = CHECKPOINT,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    classes: SameClassesOption = None,
    exclude_classes: ExcludeClassesOption = None,
    key: KeyOption = None,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw some reconstructions beside PCA's, and the accuracies: .png, .svg and more.",
            show_default=False,
        ),
    ] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Report how good a model is, beside PCA with as many components.

    How well images are reconstructed; whether neighbours in a picture of the latents are neighbours
    among the images; and, where there are labels, how well these can be told from the latents.
    """
    reporter = Reporter(quiet=quiet, json=json)
    if limit is not None and limit < 1:
        raise UsageError(f"--limit is {limit}", "give a whole number, 1 or more")
    if out is not None:
        from ae_cli import figures

        check_output(out, figures.endings())

    from ae_cli import evaluate as evaluation
    from ae_cli.infer import join, reconstruct_all
    from ae_cli.model import choose_device

    where = choose_device(device)
    choice = Choice(data, data_dir, classes, exclude_classes, key, strict)
    trained, images, own = load_inputs(checkpoint, choice, reporter)
    model = trained.model
    # PCA learns from no more than the model did.
    limits = [n for n in (limit, trained.training.limit if own else None) if n is not None]
    train = evaluation.fitting_images(images.train, min(limits, default=None))
    with reporter.stages("evaluate") as progress:
        progress("fitting PCA")
        pca = evaluation.fit_pca(train, model.config.latent_dim)
        report = evaluation.evaluate(
            model, pca, train, images.splits[split], images.test,
            split=split, device=where, progress=progress,
        )  # fmt: skip
    verdict = evaluation.judge(report, model.config.latent_dim)
    if out is not None:
        drawn = images.splits[split].head(DRAWN)
        own_drawn = reconstruct_all(model, drawn, device=where)
        figure, _ = figures.new_figure()
        figures.draw_evaluation(
            figure,
            own_drawn.originals,
            own_drawn.pixels,
            join(evaluation.reconstruct_by_pca(pca, drawn)).pixels.clip(0, 1),
            errors=(report.autoencoder.mean_error, report.pca.mean_error),
            accuracies=report.accuracy,
            chance=report.chance,
        )
        figures.save(figure, out)
    reporter.table(*_quality_table(report))
    if report.accuracy is not None:
        reporter.table(*_accuracy_table(report.accuracy, report.chance))
    reporter.answer(
        "fitted",
        f"PCA{' and classifiers' if report.accuracy else ''} to {report.fitted:,} training images; "
        f"neighbours looked for among {report.sample:,} {report.split} images",
    )
    reporter.answer("trust", verdict)
    if out is not None:
        reporter.say("picture", str(out))
    reporter.emit(
        "result",
        split=report.split,
        images=report.images,
        fitted=report.fitted,
        sample=report.sample,
        components=report.components,
        autoencoder=report.autoencoder._asdict(),
        pca=report.pca._asdict(),
        accuracy=report.accuracy and {k: v._asdict() for k, v in report.accuracy.items()},
        chance=report.chance,
        trust=verdict,
        out=None if out is None else str(out),
    )


def _quality_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: the model beside PCA."""
    formats = {
        "mean_error": ("mean reconstruction error", "{:.4f}"),
        "median_error": ("median", "{:.4f}"),
        "error_95": ("95 % are below", "{:.4f}"),
        "psnr": ("PSNR, dB", "{:.2f}"),
        "ssim": ("SSIM", "{:.3f}"),
        "variance_kept": ("variance kept", "{:.1%}"),
        "trustworthiness": ("trustworthiness", "{:.3f}"),
        "continuity": ("continuity", "{:.3f}"),
    }
    rows = []
    for field, (name, form) in formats.items():
        values = (getattr(quality, field) for quality in (report.autoencoder, report.pca))
        rows.append([name, *("–" if value is None else form.format(value) for value in values)])
    title = f"{report.images:,} {report.split} images"
    return [title, "autoencoder", f"PCA, {report.components} components"], rows


def _accuracy_table(
    accuracy: dict[str, Accuracy], chance: float | None
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: what labels can be told from."""
    rows = [
        [name, f"{shares.knn:.1%}", f"{shares.logistic:.1%}"] for name, shares in accuracy.items()
    ]
    rows.append(["chance", f"{chance:.1%}", f"{chance:.1%}"])
    return ["labels told from", "k-nearest neighbours", "logistic regression"], rows
