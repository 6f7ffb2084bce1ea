"""Finding images that a model reconstructs badly, as they are unlike its training images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ae_cli.analysis.judge import Judge, name_score
from ae_cli.analysis.maps import map_names, write_maps
from ae_cli.analysis.masks import PixelScores
from ae_cli.analysis.separation import Scores, find_known, measure_separation
from ae_cli.config import takes
from ae_cli.config.checks import parse_count
from ae_cli.config.commands import AnomaliesOptions
from ae_cli.data.images import Images
from ae_cli.files import atomic_folder, check_folder
from ae_cli.latents.infer import Floats, reconstruct_all
from ae_cli.latents.inputs import ModelLike, load_inputs
from ae_cli.latents.tables import Columns, check_table, name_rows, write_table
from ae_cli.models import choose_device
from ae_cli.results import Rows, TableResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LISTED = 5  # images in a summary


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
    return {
        **name_rows(images, splits, order),
        "error": errors[order],
        "score": scores[order],
        "threshold": np.full(len(order), threshold),
        "is_anomaly": scores[order] > threshold,
    }


def worst_first(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Places of scores, (n,), from the highest to the lowest; equal ones keep their order."""
    return np.argsort(-scores, kind="stable")


@dataclass(frozen=True)
class AnomalyReport(TableResult):
    """Which images are anomalies.

    Attributes:
        out: The table's file; None if none was written.
        picture: The picture; None if none was drawn.
        page: The page; None if none was written.
        images: Number of images examined.
        anomalies: Number of those whose score is above the threshold.
        score: How it was measured how unusual an image is: ``mse``, ``auto`` and so on.
        shares: What each score contributes to the sum in ``auto``; None for other scores.
        threshold: The score above which an image is an anomaly. Where the model is not for
            anomalies, a score is a reconstruction error.
        quantile: Share of normal images whose score is expected to be below it; where there is no
            `confidence`, the share of the held-out images.
        confidence: How likely it is that such a share of all normal images is below it; None for a
            given threshold, and where the model is not for anomalies.
        normal_classes: The classes that are normal; None if that is not known.
        scores: How well the scores separate anomalous images from normal ones; None if it is not
            known which images are anomalous.
        detected: Number of the anomalous images whose score is above the threshold; None if it is
            not known which images are anomalous.
        false_alarms: Number of the normal images whose score is above it; None likewise.
        pca_scores: `scores` of PCA's errors, on the model's own images.
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
    page: Path | None
    images: int
    anomalies: int
    score: str
    shares: dict[str, float] | None
    threshold: float
    quantile: float
    confidence: float | None
    normal_classes: tuple[str, ...] | None
    scores: Scores | None
    detected: int | None
    false_alarms: int | None
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
            name=name_score(self.score, for_anomalies=self.maps is not None),
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
    out = _check_outputs(options)
    device = choose_device(options.device)
    inputs = load_inputs(model, options, as_trained=False)
    judge = Judge(
        inputs.trained,
        inputs.name,
        options.score,
        options.quantile,
        options.threshold,
        device,
    )
    examined, membership = inputs.images.join_splits(options.split)
    known = find_known(options.normal_classes, inputs, examined, membership)
    options.progress(f"{len(examined):,} images", 0, None, "")
    errors, values = judge(examined)
    order, rows = worst_first(values), parse_count("--top", options.top)
    worst = examined.select(order[: options.n])
    made = reconstruct_all(inputs.trained.model, worst, device=device)
    report = AnomalyReport(
        out=out,
        picture=None if out is None else out.with_suffix(".png"),
        page=None if out is None else out.with_suffix(".html"),
        images=len(examined),
        anomalies=int((values > judge.threshold).sum()),
        score=judge.score,
        shares=judge.shares,
        threshold=judge.threshold,
        quantile=judge.quantile,
        confidence=judge.confidence,
        normal_classes=known.classes,
        **measure_separation(judge, inputs, examined, values, known, options.progress)._asdict(),
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
        maps=judge.maps(made) if judge.for_anomalies else None,
        masks=None if worst.mask_places is None else worst.masks(),
        values=values if known.anomalous is None else values[known.places],
        anomalous=known.anomalous,
    )
    if report.out is not None and report.picture is not None and report.page is not None:
        from ae_cli import figures
        from ae_cli.analysis.judged import collect_page
        from ae_cli.page.anomalies import most_shown, write_anomalies

        write_table(report.out, [report.table])
        figures.write(report.picture, report.draw)
        options.progress("page", 0, None, "")
        shown = order[: most_shown(*examined.shape[1:])]
        columns = tabulate(examined, membership, errors, values, judge.threshold, len(shown))
        page = collect_page(inputs.images.name, judge, examined, shown, columns, known)
        write_anomalies(report.page, page)
    if options.maps is not None:
        options.progress("maps", 0, None, "")
        _write_maps(Path(options.maps), judge, examined.select(order[:rows]))
    return report


def _check_outputs(options: AnomaliesOptions) -> Path | None:
    """Make sure that all outputs can be written; return the table's file, if there is to be one."""
    if options.maps is not None:
        check_folder(Path(options.maps))
    return check_table(options.out, ".png", ".html")


def _write_maps(folder: Path, judge: Judge, images: Images) -> None:
    """Write the maps of images; see `write_maps`."""
    names, done = map_names(images), 0
    with atomic_folder(folder) as temporary:
        for batch in judge.reconstruct(images):
            stop = done + len(batch.errors)
            write_maps(temporary, names[done:stop], batch.originals, judge.maps(batch))
            done = stop
