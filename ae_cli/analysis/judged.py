"""What the page of judged images shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ae_cli.analysis.judge import Judge, name_score
from ae_cli.analysis.separation import Known
from ae_cli.data.images import Images
from ae_cli.figures.overlays import overlay
from ae_cli.latents.tables import Columns
from ae_cli.page.anomalies import JudgedImages


def collect_page(
    title: str,
    judge: Judge,
    examined: Images,
    shown: NDArray[np.int64],
    columns: Columns,
    known: Known,
) -> JudgedImages:
    """Collect what the page shows.

    Args:
        title: The name of the images' source.
        judge: What gave the scores.
        examined: The images that were judged.
        shown: The places of the images in the page, int64 (n,), the highest score first.
        columns: Their rows of the table of anomalies.
        known: What is known about the images that were judged.
    """
    images, for_anomalies = examined.select(shown), judge.for_anomalies
    shape = images.shape
    overlays = np.empty((len(images), 3, *shape[1:]), np.uint8)
    reconstructions = np.empty((len(images), *shape), np.uint8)
    done = 0
    for batch in judge.reconstruct(images):
        rows = slice(done, done + len(batch.errors))
        part = images.select(np.arange(rows.start, rows.stop))
        masks = None if part.mask_places is None else part.masks()
        overlays[rows] = overlay(batch.originals, judge.maps(batch), masks)
        reconstructions[rows] = (255 * batch.pixels).round()
        done = rows.stop
    is_anomalous: dict[int, bool] = {}
    if known.anomalous is not None:
        is_anomalous = dict(zip(known.places.tolist(), known.anomalous.tolist(), strict=True))
    count = len(examined)
    which = "" if len(shown) == count else f"the {len(shown):,} with the highest scores of "
    return JudgedImages(
        title=title,
        summary=f"{which}{count:,} images, {name_score(judge.score, for_anomalies=for_anomalies)}",
        count=count,
        threshold=judge.threshold,
        held_out=judge.usual,
        held_out_images=judge.held_out,
        known=None
        if known.anomalous is None
        else (int(known.anomalous.sum()), int((~known.anomalous).sum())),
        columns={
            name: values
            for name, values in columns.items()
            if name not in ("threshold", "is_anomaly")
        },
        titles=_name(columns),
        anomalous=[is_anomalous.get(place) for place in shown.tolist()],
        originals=images.gather(np.arange(len(images))).numpy(),
        reconstructions=reconstructions,
        overlays=overlays,
        overlay_caption=("Where it is unusual" if for_anomalies else "Squared error")
        + ("" if images.mask_places is None else "; its mask outlined"),
    )


def _name(columns: Columns) -> list[str]:
    """A name of each image: its own, or its index, with its split if there are several."""
    if "name" in columns:
        return [str(name) for name in columns["name"]]
    splits = columns["split"]
    several = len(set(splits)) > 1
    return [
        f"{split if several else 'image'} {index}"
        for split, index in zip(splits, columns["index"], strict=True)
    ]
