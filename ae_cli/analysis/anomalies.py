"""Finding images that a model reconstructs badly, as they are unlike its training images."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_cli.analysis.judge import Judge
from ae_cli.analysis.maps import map_names, write_maps
from ae_cli.analysis.masks import PixelScores, score_pixels
from ae_cli.analysis.pca import fit_pca, fitting_images, reconstruct_by_pca
from ae_cli.config import Chosen, Progress, takes
from ae_cli.config.checks import parse_count
from ae_cli.config.commands import AnomaliesOptions
from ae_cli.data.classes import is_member, parse_classes, select_classes
from ae_cli.data.images import Images, concatenate
from ae_cli.errors import UsageError, warn
from ae_cli.files import atomic_folder, check_folder, check_output
from ae_cli.latents.infer import Floats, collect, reconstruct_all, stack
from ae_cli.latents.inputs import Inputs, ModelLike, load_inputs
from ae_cli.latents.tables import ENDINGS, Columns, write_table
from ae_cli.models import choose_device
from ae_cli.results import Result, Rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LISTED = 5  # images in a summary
MOST_MASKED = 2**24  # pixels that are compared with masks


def tabulate(
    images: Images,
    splits: NDArray[np.str_],
    errors: NDArray[np.float32],
    scores: NDArray[np.floating[Any]],
    threshold: float,
    most: int | None = None,
) -> Columns:
    """Make the table of anomalies, the highest score first.

    Args:
        images: n images.
        splits: (n,), the split of each.
        errors: (n,), the reconstruction error of each.
        scores: (n,), the score of each.
        threshold: The score above which an image is an anomaly.
        most: Number of rows; None for all.

    Returns:
        The columns ``index, split, name, label, error, score, threshold, is_anomaly``, each
        (rows,): `name` only if images have names, `label` only if they have labels.
    """
    order = worst_first(scores)[:most]
    labels = images.label_values()
    columns = {
        "index": images.index()[order],
        "split": splits[order],
        "name": None if images.names is None else np.array([images.names[i] for i in order]),
        "label": None if labels is None else labels[order],
        "error": errors[order],
        "score": scores[order],
        "threshold": np.full(len(order), threshold),
        "is_anomaly": scores[order] > threshold,
    }
    return {name: values for name, values in columns.items() if values is not None}


def worst_first(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Places of scores, (n,), from the highest to the lowest; equal ones keep their order."""
    return np.argsort(-scores, kind="stable")


@dataclass(frozen=True)
class Scores:
    """How well scores separate anomalous images from normal ones, for any threshold.

    Attributes:
        auroc: Area under the receiver operating characteristic: the chance that an anomalous image
            has a higher score than a normal one.
        average_precision: Area under the precision-recall curve, as scikit-learn defines it.
        normal: Number of normal images.
        anomalous: Number of anomalous images.
    """

    auroc: float
    average_precision: float
    normal: int
    anomalous: int


def separate(scores: NDArray[np.floating[Any]], anomalous: NDArray[np.bool_]) -> Scores:
    """Measure how well scores separate anomalous images from normal ones.

    Args:
        scores: (n,).
        anomalous: (n,), which of the images are anomalous: some, but not all.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    count = int(anomalous.sum())
    return Scores(
        auroc=float(roc_auc_score(anomalous, scores)),
        average_precision=float(average_precision_score(anomalous, scores)),
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
        anomalies: Number of those whose score is above the threshold.
        score: How it was measured how unusual an image is: ``mse``, ``auto`` and so on.
        shares: What each score contributes to ``auto``; None for other scores.
        threshold: The score above which an image is an anomaly. Where the model is not for
            anomalies, a score is a reconstruction error.
        quantile: Share of the held-out images whose score is below it.
        confidence: How likely it is that such a share of all normal images is below the highest
            score of the held-out ones; None where the model is not for anomalies.
        normal_classes: The classes that are normal; None if that is not known.
        scores: How well the scores separate anomalous images from normal ones; None if it is not
            known which images are anomalous.
        pca_scores: The same for PCA's errors, on the model's own images.
        pixel_scores: How well maps of the scored images show the defects in their masks; None
            without masks.
        held_out: Number of held-out images that the threshold comes from.
        held_out_from: The split of these images.
        own: Whether the images are from the source that the model was trained on. Then the scores
            are computed on test images only.
        table: The columns ``index, split, name, label, error, score, threshold, is_anomaly`` of the
            worst images, as many as were asked for.
        titles: The titles above the worst images.
        originals: float32 (n, channels, height, width) in [0, 1], the worst images.
        pixels: Their reconstructions.
        maps: float32 (n, height, width), where they are unusual: 1 is usual; None where the model
            is not for anomalies.
        masks: bool (n, height, width), where they are known to have defects; None without masks.
        values: float (images,), the scores of the images that `scores` is computed from.
        anomalous: bool (images,), which of these images are anomalous; None if that is not known.
    """

    out: Path | None
    picture: Path | None
    images: int
    anomalies: int
    score: str
    shares: dict[str, float] | None
    threshold: float
    quantile: float
    confidence: float | None
    normal_classes: tuple[str, ...] | None
    scores: Scores | None
    pca_scores: Scores | None
    pixel_scores: PixelScores | None
    held_out: int
    held_out_from: str
    own: bool = field(repr=False)
    table: Columns = field(repr=False)
    titles: list[str] = field(repr=False)
    originals: Floats = field(repr=False)
    pixels: Floats = field(repr=False)
    maps: Floats | None = field(repr=False)
    masks: NDArray[np.bool_] | None = field(repr=False)
    values: NDArray[np.floating[Any]] = field(repr=False)
    anomalous: NDArray[np.bool_] | None = field(repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas data frame. pandas must be installed."""
        import pyarrow

        return pyarrow.table(self.table).to_pandas()

    def summary(self) -> Rows:
        """The worst images."""
        names = [name for name in self.table if name not in ("threshold", "is_anomaly")]
        rows = zip(*(self.table[name][:LISTED] for name in names), strict=True)
        return names, [[*map(str, row[:-2]), f"{row[-2]:.4f}", f"{row[-1]:.4g}"] for row in rows]

    def draw(self, figure: Figure) -> None:
        """Draw the worst images above their reconstructions, and the distribution of all scores."""
        from ae_cli.figures import draw_anomalies

        draw_anomalies(
            figure,
            self.originals,
            self.pixels,
            self.titles,
            maps=self.maps,
            masks=self.masks,
            scores=self.values,
            name="reconstruction error" if self.confidence is None else f"score: {self.score}",
            threshold=self.threshold,
            anomalous=self.anomalous,
        )

    def _repr_png_(self) -> bytes:
        from ae_cli.figures import to_png

        return to_png(self.draw)


@takes(AnomaliesOptions)
def anomalies(model: ModelLike, options: AnomaliesOptions) -> AnomalyReport:
    """Find images that are unlike a model's training images.

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
    if options.maps is not None:
        check_folder(Path(options.maps))
    device = choose_device(options.device)
    inputs = load_inputs(model, options, as_trained=False)
    judge = Judge(inputs.trained, inputs.name, options.score, options.quantile, device)
    splits = inputs.images.choose_splits(options.split)
    examined = concatenate(list(splits.values()))
    membership = np.repeat(list(splits), [len(members) for members in splits.values()])
    known = _find_known(options.normal_classes, inputs, examined, membership)
    options.progress(f"{len(examined):,} images", 0, None, "")
    errors, values = judge(examined)
    order, rows = worst_first(values), parse_count("--top", options.top)
    worst = examined.select(order[: options.n])
    made = reconstruct_all(inputs.trained.model, worst, device=device)
    report = AnomalyReport(
        out=out,
        picture=None if out is None else out.with_suffix(".png"),
        images=len(examined),
        anomalies=int((values > judge.threshold).sum()),
        score=judge.score,
        shares=judge.shares,
        threshold=judge.threshold,
        quantile=options.quantile,
        confidence=judge.confidence,
        normal_classes=known.classes,
        **_score(judge, inputs, examined, values, known, options.progress),
        held_out=judge.held_out,
        held_out_from="train" if inputs.trained.data.for_anomalies else "test",
        own=inputs.own,
        table=tabulate(examined, membership, errors, values, judge.threshold, rows),
        titles=[
            f"{name} ({value:.3g})"
            for name, value in zip(worst.captions(), values[order], strict=False)
        ],
        originals=made.originals,
        pixels=made.pixels,
        maps=None if judge.confidence is None else judge.maps(made),
        masks=None if worst.mask_places is None else worst.masks(),
        values=values if known.anomalous is None else values[known.places],
        anomalous=known.anomalous,
    )
    if report.out is not None and report.picture is not None:
        from ae_cli import figures

        write_table(report.out, [report.table])
        figures.write(report.picture, report.draw)
    if options.maps is not None:
        options.progress("maps", 0, None, "")
        _write_maps(Path(options.maps), judge, examined.select(order[:rows]))
    return report


class _Known(NamedTuple):
    """What is known about examined images without judging them.

    Attributes:
        classes: The classes that are normal; None if that is not known.
        places: int64 (m,), the places of the images that scores are compared on.
        anomalous: bool (m,), which of these are anomalous; None if that is not known, or if all or
            none are.
    """

    classes: tuple[str, ...] | None
    places: NDArray[np.int64]
    anomalous: NDArray[np.bool_] | None


def _find_known(
    text: Chosen | None, inputs: Inputs, examined: Images, membership: NDArray[np.str_]
) -> _Known:
    """Find out which images are anomalous.

    Args:
        text: The option ``--normal-classes``.
        inputs: The model, and all images.
        examined: n images.
        membership: (n,), the split of each.

    Raises:
        UsageError: The normal classes leave nothing to tell apart.
    """
    normal = _find_normal(text, inputs)
    # The model's errors on its own training images say nothing about new ones.
    places = np.flatnonzero(membership == "test") if inputs.own else np.arange(len(examined))
    anomalous = None
    if normal is not None:
        anomalous = ~is_member(examined, normal)[places]
        if len(set(anomalous)) < 2:
            anomalous = None
    if anomalous is None and text is not None:
        raise UsageError(
            "--normal-classes leaves nothing to tell apart: all images are normal, or none is",
            "choose other classes, or leave it out",
        )
    if anomalous is not None and inputs.own and not inputs.trained.data.for_anomalies:
        warn(
            f"the threshold of {inputs.name} comes from the test images, which are judged here; "
            "train again for one from images that are not"
        )
    return _Known(normal, places, anomalous)


def _score(
    judge: Judge,
    inputs: Inputs,
    examined: Images,
    values: NDArray[np.floating[Any]],
    known: _Known,
    progress: Progress,
) -> dict[str, Any]:
    """Compute `scores`, `pca_scores` and `pixel_scores` of an `AnomalyReport`."""
    found: dict[str, Any] = dict.fromkeys(("scores", "pca_scores", "pixel_scores"))
    if known.anomalous is None:
        return found
    images = examined.select(known.places)
    found["scores"] = separate(values[known.places], known.anomalous)
    if inputs.own:
        progress("PCA", 0, None, "")
        found["pca_scores"] = _score_pca(inputs, images, known.anomalous)
    if images.mask_places is not None:
        progress("masks", 0, None, "")
        found["pixel_scores"] = _score_masks(judge, images, known.anomalous)
    return found


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


def _score_masks(
    judge: Judge, examined: Images, anomalous: NDArray[np.bool_]
) -> PixelScores | None:
    """Compare maps of images with their masks; normal images need none."""
    if examined.mask_places is None:
        return None
    known = np.flatnonzero(~anomalous | (examined.mask_places >= 0))
    most = max(1, MOST_MASKED // math.prod(examined.shape[1:]))
    if len(known) > most:
        known = known[np.linspace(0, len(known) - 1, most).round().astype(int)]
    images = examined.select(known)
    batches = judge.reconstruct(images)
    maps = stack((judge.maps(batch) for batch in batches), (len(images), *images.shape[1:]))
    return score_pixels(maps, images.masks())


def _write_maps(folder: Path, judge: Judge, images: Images) -> None:
    """Write the maps of images; see `write_maps`."""
    names, done = map_names(images), 0
    with atomic_folder(folder) as temporary:
        for batch in judge.reconstruct(images):
            stop = done + len(batch.errors)
            write_maps(temporary, names[done:stop], batch.originals, judge.maps(batch))
            done = stop


def _score_pca(inputs: Inputs, examined: Images, anomalous: NDArray[np.bool_]) -> Scores:
    """Score PCA's errors. PCA has as many components as latents, and the same training images."""
    images, trained = inputs.images, inputs.trained
    if trained.data.selected_classes is not None:
        images = select_classes(images, trained.data.selected_classes)
    train = fitting_images(images.train, trained.training.limit)
    pca = fit_pca(train, trained.model.config.latent_dim)
    errors = collect(reconstruct_by_pca(pca, examined), len(examined)).errors
    return separate(errors, anomalous)
