"""Finding images that a model reconstructs badly, as they are unlike its training images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.analysis.pca import fit_pca, fitting_images, reconstruct_by_pca
from ae_cli.config import Chosen, takes
from ae_cli.config.checks import parse_count
from ae_cli.config.commands import AnomaliesOptions
from ae_cli.data.classes import is_member, parse_classes, select_classes
from ae_cli.data.images import Images, concatenate
from ae_cli.errors import CheckpointError, UsageError
from ae_cli.files import check_output
from ae_cli.latents.infer import Floats, collect, reconstruct_all, reconstruction_errors
from ae_cli.latents.inputs import Inputs, ModelLike, load_inputs
from ae_cli.latents.tables import ENDINGS, Columns, write_table
from ae_cli.models import choose_device
from ae_cli.results import Result, Rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LISTED = 5  # images in a summary
QUANTILES = 1001  # of the held-out images' errors: one for every 0.1 %
DIGITS = 6  # significant digits of a quantile, to keep checkpoints small


def error_quantiles(errors: NDArray[np.float32]) -> tuple[float, ...]:
    """Summarise reconstruction errors, so that `threshold_at` needs no images.

    Args:
        errors: (n,), n at least 1.

    Returns:
        `QUANTILES` evenly spaced quantiles, ascending from the smallest error to the largest.
    """
    quantiles = np.quantile(errors.astype(np.float64), np.linspace(0, 1, QUANTILES))
    return tuple(float(f"{value:.{DIGITS}g}") for value in np.maximum.accumulate(quantiles))


def threshold_at(quantile: float, quantiles: tuple[float, ...]) -> float:
    """The error that a share `quantile`, from 0 to 1, of the images stays below.

    It is interpolated between the given `quantiles`.
    """
    return float(np.interp(quantile, np.linspace(0, 1, len(quantiles)), quantiles))


def tabulate(
    images: Images, splits: NDArray[np.str_], errors: NDArray[np.float32], threshold: float
) -> Columns:
    """Make the table of anomalies, the largest error first.

    Args:
        images: n images.
        splits: (n,), the split of each.
        errors: (n,), the reconstruction error of each.
        threshold: The error above which an image is an anomaly.

    Returns:
        The columns ``index, split, name, label, error, threshold, is_anomaly``, each (n,): `name`
        only if images have names, `label` only if they have labels.
    """
    columns = {
        "index": images.index(),
        "split": splits,
        "name": None if images.names is None else np.array(images.names),
        "label": images.label_values(),
        "error": errors,
        "threshold": np.full(len(errors), threshold),
        "is_anomaly": errors > threshold,
    }
    order = worst_first(errors)
    return {name: values[order] for name, values in columns.items() if values is not None}


def worst_first(errors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Places of errors, (n,), from the largest to the smallest; equal ones keep their order."""
    return np.argsort(-errors, kind="stable")


@dataclass(frozen=True)
class Scores:
    """How well errors separate anomalous images from normal ones, for any threshold.

    Attributes:
        auroc: Area under the receiver operating characteristic: the chance that an anomalous image
            has a larger error than a normal one.
        average_precision: Area under the precision-recall curve, as scikit-learn defines it.
        normal: Number of normal images.
        anomalous: Number of anomalous images.
    """

    auroc: float
    average_precision: float
    normal: int
    anomalous: int


def score(errors: NDArray[np.floating[Any]], anomalous: NDArray[np.bool_]) -> Scores:
    """Measure how well errors separate anomalous images from normal ones.

    Args:
        errors: (n,).
        anomalous: (n,), which of the images are anomalous: some, but not all.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    count = int(anomalous.sum())
    return Scores(
        auroc=float(roc_auc_score(anomalous, errors)),
        average_precision=float(average_precision_score(anomalous, errors)),
        normal=len(anomalous) - count,
        anomalous=count,
    )


@dataclass(frozen=True)
class AnomalyReport(Result):
    """Which images are anomalies.

    Attributes:
        out: The table's file; None if none was written.
        picture: The picture; None if none was drawn.
        images: Number of images examined.
        anomalies: Number of those whose error is above the threshold.
        threshold: The error above which an image is an anomaly.
        quantile: Share of the held-out images whose error is below it.
        normal_classes: The classes that are normal; None if that is not known.
        scores: How well the errors separate anomalous images from normal ones; None if it is not
            known which images are anomalous.
        pca_scores: The same for PCA's errors, on the model's own images.
        held_out: Number of held-out images that the threshold comes from.
        own: Whether the images are from the source that the model was trained on. Then the scores
            are computed on test images only.
        table: The columns ``index, split, name, label, error, threshold, is_anomaly`` of the worst
            images, as many as were asked for.
        titles: The titles above the worst images.
        originals: float32 (n, channels, height, width) in [0, 1], the worst images.
        pixels: Their reconstructions.
        errors: float32 (images,), the errors that the scores are computed from.
        anomalous: bool (images,), which of these images are anomalous; None if that is not known.
    """

    out: Path | None
    picture: Path | None
    images: int
    anomalies: int
    threshold: float
    quantile: float
    normal_classes: tuple[str, ...] | None
    scores: Scores | None
    pca_scores: Scores | None
    held_out: int = field(repr=False)
    own: bool = field(repr=False)
    table: Columns = field(repr=False)
    titles: list[str] = field(repr=False)
    originals: Floats = field(repr=False)
    pixels: Floats = field(repr=False)
    errors: Floats = field(repr=False)
    anomalous: NDArray[np.bool_] | None = field(repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas data frame. pandas must be installed."""
        import pyarrow

        return pyarrow.table(self.table).to_pandas()

    def summary(self) -> Rows:
        """The worst images."""
        names = [name for name in self.table if name not in ("threshold", "is_anomaly")]
        rows = zip(*(self.table[name][:LISTED] for name in names), strict=True)
        return names, [[*map(str, row[:-1]), f"{row[-1]:.4f}"] for row in rows]

    def draw(self, figure: Figure) -> None:
        """Draw the worst images above their reconstructions, and the distribution of all errors."""
        from ae_cli.figures import draw_anomalies

        draw_anomalies(
            figure,
            self.originals,
            self.pixels,
            self.titles,
            errors=self.errors,
            threshold=self.threshold,
            anomalous=self.anomalous,
        )

    def _repr_png_(self) -> bytes:
        from ae_cli.figures import to_png

        return to_png(self.draw)


@takes(AnomaliesOptions)
def anomalies(model: ModelLike, options: AnomaliesOptions) -> AnomalyReport:
    """Find images that are unlike a model's training images, by their reconstruction errors.

    Args:
        model: A trained model, or the path of its checkpoint.
        options: See `AnomaliesOptions`.

    Raises:
        AeError: The model or the images cannot be read, the checkpoint has no threshold, or an
            output cannot be written.
    """
    out = None if options.out is None else Path(options.out)
    if out is not None:
        check_output(out, ENDINGS)
        check_output(out.with_suffix(".png"), (".png",))
    device = choose_device(options.device)
    inputs = load_inputs(model, options, as_trained=False)
    network, metrics = inputs.trained.model, inputs.trained.metrics
    if not metrics.error_quantiles:
        raise CheckpointError(
            f"{inputs.name} is from an older ae, and has no threshold", "train again"
        )
    threshold = threshold_at(options.quantile, metrics.error_quantiles)
    normal = _find_normal(options.normal_classes, inputs)
    splits = inputs.images.choose_splits(options.split)
    examined = concatenate(list(splits.values()))
    membership = np.repeat(list(splits), [len(members) for members in splits.values()])
    scored, anomalous = _find_anomalous(examined, membership, normal, inputs.own)
    if anomalous is None and options.normal_classes is not None:
        raise UsageError(
            "--normal-classes leaves nothing to tell apart: all images are normal, or none is",
            "choose other classes, or leave it out",
        )
    options.progress(f"{len(examined):,} images", 0, None, "")
    errors = reconstruction_errors(network, examined, device=device)
    scores = pca_scores = None
    if anomalous is not None:
        scores = score(errors[scored], anomalous)
        if inputs.own:
            options.progress("PCA", 0, None, "")
            pca_scores = _score_pca(inputs, examined.select(scored), anomalous)
    columns = tabulate(examined, membership, errors, threshold)
    rows = parse_count("--top", options.top)
    worst = examined.select(worst_first(errors)[: options.n])
    made = reconstruct_all(network, worst, device=device)
    report = AnomalyReport(
        out=out,
        picture=None if out is None else out.with_suffix(".png"),
        images=len(examined),
        anomalies=int(columns["is_anomaly"].sum()),
        threshold=threshold,
        quantile=options.quantile,
        normal_classes=normal,
        scores=scores,
        pca_scores=pca_scores,
        held_out=inputs.trained.data.test_images,
        own=inputs.own,
        table={name: values[:rows] for name, values in columns.items()},
        titles=[f"{name} ({e:.3f})" for name, e in zip(worst.captions(), made.errors, strict=True)],
        originals=made.originals,
        pixels=made.pixels,
        errors=errors if anomalous is None else errors[scored],
        anomalous=anomalous,
    )
    if report.out is not None and report.picture is not None:
        from ae_cli import figures

        write_table(report.out, [report.table])
        figures.write(report.picture, report.draw)
    return report


def _find_normal(text: Chosen | None, inputs: Inputs) -> tuple[str, ...] | None:
    """The classes whose images are normal; None if that is not known."""
    train = inputs.images.train
    if text is not None:
        return parse_classes("--normal-classes", text, inputs.images)
    selected = inputs.trained.data.selected_classes
    if selected is None and inputs.own and train.labels is not None and train.classes is not None:
        # A set for visual inspection may have only good examples in its training split.
        selected = tuple(train.classes[i] for i in train.labels.unique())
    if selected is None or train.classes is None or set(selected) >= set(train.classes):
        return None
    return selected


def _find_anomalous(
    examined: Images, membership: NDArray[np.str_], normal: tuple[str, ...] | None, own: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
    """Find the images that the errors are scored on.

    Args:
        examined: n images.
        membership: (n,), the split of each.
        normal: The classes that are normal; None if that is not known.
        own: Whether the images are from the source that the model was trained on.

    Returns:
        The places of the images to score, (m,), and which of them are anomalous, (m,); None if that
        is not known, or if all or none are.
    """
    # The model's errors on its own training images say nothing about new ones.
    scored = np.flatnonzero(membership == "test") if own else np.arange(len(examined))
    if normal is None:
        return scored, None
    anomalous = ~is_member(examined, normal)[scored]
    return scored, anomalous if len(set(anomalous)) == 2 else None


def _score_pca(inputs: Inputs, examined: Images, anomalous: NDArray[np.bool_]) -> Scores:
    """Score PCA's errors. PCA has as many components as latents, and the same training images."""
    images, trained = inputs.images, inputs.trained
    if trained.data.selected_classes is not None:
        images = select_classes(images, trained.data.selected_classes)
    train = fitting_images(images.train, trained.training.limit)
    pca = fit_pca(train, trained.model.config.latent_dim)
    errors = collect(reconstruct_by_pca(pca, examined), len(examined)).errors
    return score(errors, anomalous)
