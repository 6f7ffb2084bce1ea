"""``ae anomalies``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ae_cli.cli.inputs import Choice, Inputs, load_inputs
from ae_cli.cli.options import (
    CheckpointOption,
    ClassesOption,
    DataDirOption,
    DataOption,
    DeviceOption,
    ExcludeClassesOption,
    JsonOption,
    KeyOption,
    QuietOption,
    StrictOption,
    parse_count,
)
from ae_cli.config import CHECKPOINT, QUANTILE
from ae_cli.console import Reporter
from ae_cli.errors import CheckpointError, UsageError
from ae_cli.files import check_output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ae_cli.anomalies import Scores
    from ae_cli.data import Images
    from ae_cli.tables import Columns

TABLE = Path("anomalies.csv")
DRAWN = 10  # images in the picture
MOST_DRAWN = 100
PRINTED = 5  # rows on the screen


def anomalies(
    top: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="How many rows the table gets, the worst first.", show_default="all"
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="How many of the worst images to draw.")] = DRAWN,
    quantile: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Share of the images held out from training that are below the threshold.",
        ),
    ] = QUANTILE,
    normal_classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Classes that are normal, such as 0,1,3-5 or good: all others are anomalous, and "
            "the errors are judged by that.",
            show_default="those it was trained on",
        ),
    ] = None,
    split: Annotated[
        Literal["train", "test", "all"], typer.Option(help="Which images to look at.")
    ] = "all",
    checkpoint: CheckpointOption = CHECKPOINT,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    classes: ClassesOption = None,
    exclude_classes: ExcludeClassesOption = None,
    key: KeyOption = None,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The table: .csv, .parquet or .npz. The picture has its name, with .png.",
        ),
    ] = TABLE,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Find images unlike those that a model learned from, by their reconstruction errors.

    The threshold comes from images that were held out from training, and is in the checkpoint.
    Images of the training data have been learned from, but for its test split.
    """
    reporter = Reporter(quiet=quiet, json=json)
    rows = parse_count("--top", top)
    if not 0 <= quantile <= 1:
        raise UsageError(f"--quantile is {quantile}", "give a share from 0 to 1")
    if not 1 <= n <= MOST_DRAWN:
        raise UsageError(f"--n is {n}", f"give a whole number from 1 to {MOST_DRAWN}")
    picture = out.with_suffix(".png")

    from ae_cli import figures
    from ae_cli.tables import ENDINGS, write_table

    check_output(out, ENDINGS)
    check_output(picture, (".png",))

    import numpy as np

    from ae_cli import anomalies as detection
    from ae_cli import infer
    from ae_cli.data import concatenate, is_member
    from ae_cli.model import choose_device

    where = choose_device(device)
    choice = Choice(data, data_dir, classes, exclude_classes, key, strict)
    inputs = load_inputs(checkpoint, choice, reporter, as_trained=False)
    model, images, metrics = inputs.trained.model, inputs.images, inputs.trained.metrics
    if not metrics.error_quantiles:
        raise CheckpointError(
            f"{checkpoint} is from an older ae, and has no threshold", "train again"
        )
    threshold = detection.threshold_at(quantile, metrics.error_quantiles)
    normal = _find_normal(normal_classes, inputs)
    splits = images.choose_splits(split)
    examined = concatenate(list(splits.values()))
    membership = np.repeat(list(splits), [len(members) for members in splits.values()])
    # What the model makes of images that it has learned from proves nothing.
    judged = np.flatnonzero(membership == "test") if inputs.own else np.arange(len(examined))
    known = None if normal is None else ~is_member(examined, normal)[judged]
    if known is not None and len(set(known)) < 2:
        if normal_classes is not None:
            raise UsageError(
                "--normal-classes leaves nothing to tell apart: all images are normal, or none is",
                "choose other classes, or leave it out",
            )
        known = None
    with reporter.stages("anomalies") as progress:
        progress(f"{len(examined):,} images")
        errors = infer.reconstruction_errors(model, examined, device=where)
        scores = pca_scores = None
        if known is not None:
            scores = detection.score(errors[judged], known)
            if inputs.own:
                progress("PCA")
                pca_scores = _score_pca(inputs, examined.select(judged), known)
    columns = detection.tabulate(examined, membership, errors, threshold)
    write_table(out, [{name: values[:rows] for name, values in columns.items()}])

    worst = examined.select(detection.worst_first(errors)[:n])
    drawn = infer.reconstruct_all(model, worst, device=where)
    figure, _ = figures.new_figure()
    figures.draw_anomalies(
        figure,
        drawn.originals,
        drawn.pixels,
        [f"{name} ({e:.3f})" for name, e in zip(worst.captions(), drawn.errors, strict=True)],
        errors=errors if known is None else errors[judged],
        threshold=threshold,
        anomalous=known,
    )
    figures.save(figure, picture)

    found = int(columns["is_anomaly"].sum())
    reporter.preview(drawn.originals, drawn.pixels)
    reporter.table(*_list_worst(columns))
    reporter.say(
        "threshold",
        f"{threshold:.4f}: below it are {100 * quantile:.4g} % of the "
        f"{inputs.trained.data.test_images:,} images held out from training",
    )
    reporter.say("anomalies", f"{found:,} of {len(examined):,} images are above it")
    if scores is not None:
        beside = "" if pca_scores is None else f" (PCA's errors: {pca_scores.auroc:.3f})"
        reporter.say(
            "AUROC",
            f"{scores.auroc:.3f}{beside}, average precision {scores.average_precision:.3f}: "
            f"{scores.normal:,} normal and {scores.anomalous:,} anomalous"
            f"{' test' if inputs.own else ''} images",
        )
    reporter.say("table", f"{out}: {len(columns['error'][:rows]):,} rows")
    reporter.say("picture", str(picture))
    reporter.emit(
        "result",
        out=str(out),
        picture=str(picture),
        images=len(examined),
        anomalies=found,
        threshold=threshold,
        quantile=quantile,
        normal_classes=normal,
        scores=None if scores is None else asdict(scores),
        pca_scores=None if pca_scores is None else asdict(pca_scores),
    )


def _find_normal(text: str | None, inputs: Inputs) -> tuple[str, ...] | None:
    """The classes whose images are normal; None where nothing says so."""
    from ae_cli.data import parse_classes

    train = inputs.images.train
    if text is not None:
        return parse_classes("--normal-classes", text, inputs.images)
    selected = inputs.trained.data.selected_classes
    if selected is None and inputs.own and train.labels is not None and train.classes is not None:
        # A set for inspection may have good examples alone in its training split.
        selected = tuple(train.classes[i] for i in train.labels.unique())
    if selected is None or train.classes is None or set(selected) >= set(train.classes):
        return None
    return selected


def _score_pca(inputs: Inputs, examined: Images, known: NDArray[np.bool_]) -> Scores:
    """What PCA's errors tell, with as many components as latents and the same training images."""
    import numpy as np

    from ae_cli.anomalies import score
    from ae_cli.data import select_classes
    from ae_cli.evaluate import fit_pca, fitting_images, reconstruct_by_pca

    images, trained = inputs.images, inputs.trained
    if trained.data.selected_classes is not None:
        images = select_classes(images, trained.data.selected_classes)
    train = fitting_images(images.train, trained.training.limit)
    pca = fit_pca(train, trained.model.config.latent_dim)
    errors = np.concatenate([batch.errors for batch in reconstruct_by_pca(pca, examined)])
    return score(errors, known)


def _list_worst(columns: Columns) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the worst images, for a person to read."""
    names = [name for name in columns if name not in ("threshold", "is_anomaly")]
    rows = list(zip(*(columns[name][:PRINTED] for name in names), strict=True))
    return names, [[*map(str, row[:-1]), f"{row[-1]:.4f}"] for row in rows]
