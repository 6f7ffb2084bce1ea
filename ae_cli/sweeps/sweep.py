"""Training models with several numbers of latents, to see how many are enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ae_cli.analysis.pca import (
    first_components,
    fit_pca,
    fitting_images,
    reconstruct_by_pca,
    transform,
)
from ae_cli.analysis.quality import measure_knn
from ae_cli.config import Facts, LoadOptions
from ae_cli.config.option import takes_only
from ae_cli.config.recipe import Family
from ae_cli.config.sweep import SweepOptions
from ae_cli.config.training import TrainOptions
from ae_cli.data.images import DataSet, Images
from ae_cli.data.load import load
from ae_cli.errors import Interrupted
from ae_cli.files import backup_path, only_writer, resume_path
from ae_cli.latents.infer import Floats, Reconstruction, encode
from ae_cli.latents.tables import Columns, write_table
from ae_cli.models import choose_device, count_parameters
from ae_cli.models.checkpoint import load_checkpoint
from ae_cli.results import Result, Rows, to_frame
from ae_cli.sweeps.record import Measured, Record, open_folder, sort
from ae_cli.sweeps.search import GivenUpError, GivesUp, check_optuna, search
from ae_cli.training.beginning import LIKE_MNIST
from ae_cli.training.events import Begun, Epoch, Finished
from ae_cli.training.session import Session

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from sklearn.decomposition import PCA

TABLE, PICTURE = "sweep.csv", "sweep.png"
MOST_TRAIN, MOST_TEST = 10_000, 5_000  # images whose labels are known, and are predicted
PAYS = 0.1  # share by which twice as many latents must lower the error


@dataclass(frozen=True)
class Sweep(Result):
    """Models with several numbers of latents.

    Attributes:
        out: The folder.
        table: The table's file, in the folder.
        picture: The picture, in the folder.
        held_out: Number of held-out images that the figures come from.
        chose: What else was chosen by these images: ``epoch``, if the source has no test split of
            its own, and with several trials ``recipe``.
        models: Each model, by family and then by its number of latents.
        enough: For each family, the number of latents beyond which twice as many lower the error by
            less than a tenth; None if each of the models tried is still that much better than the
            one before.
        chance: The share of the labels that always guessing the most frequent one predicts; None
            without labels.
    """

    out: Path
    table: Path
    picture: Path
    held_out: int
    chose: list[str]
    models: list[Measured]
    enough: dict[str, int | None]
    chance: float | None

    def columns(self) -> Columns:
        """The table's columns: those of `Measured`, but for the recipe."""
        names = [name for name in Measured.__dataclass_fields__ if name != "recipe"]
        if self.chance is None:
            names = [name for name in names if name not in ("knn", "pca_knn")]
        return {name: np.array([getattr(row, name) for row in self.models]) for name in names}

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas data frame.

        Raises:
            UsageError: pandas is not installed.
        """
        return to_frame(self.columns())

    def summary(self) -> Rows:
        """A row for each model."""
        titles = ["model", "latents", "error", "of PCA's"]
        titles += [] if self.chance is None else ["k-NN", "PCA's k-NN"]
        return [*titles, "parameters", "MB", "seconds"], [self._row(row) for row in self.models]

    def _row(self, row: Measured) -> list[str]:
        share = f"{row.error / row.pca_error:.0%}" if row.pca_error else "–"
        cells = [row.model, str(row.latents), f"{row.error:.4f}", share]
        if row.knn is not None and row.pca_knn is not None:
            cells += [f"{row.knn:.1%}", f"{row.pca_knn:.1%}"]
        return [*cells, f"{row.parameters:,}", f"{row.megabytes:.1f}", f"{row.seconds:.0f}"]

    def draw(self, figure: Figure) -> None:
        """Draw error, accuracy and size over the number of latents, and PCA's beside them."""
        from ae_cli.figures import draw_sweep

        families = dict.fromkeys(row.model for row in self.models)
        curves = {
            name: {
                key: [getattr(row, key) for row in self.models if row.model == name]
                for key in ("latents", "error", "knn", "megabytes")
            }
            for name in families
        }
        of_pca = {row.latents: row for row in self.models}
        latents = sorted(of_pca)
        curves["PCA"] = {
            "latents": latents,
            "error": [of_pca[k].pca_error for k in latents],
            "knn": [of_pca[k].pca_knn for k in latents],
        }
        draw_sweep(figure, curves, enough=self.enough, chance=self.chance)

    def _repr_png_(self) -> bytes:
        from ae_cli.figures import to_png

        return to_png(self.draw)


@takes_only(SweepOptions)
def sweep(options: SweepOptions) -> Sweep:
    """Train models with several numbers of latents, and compare them.

    A model that the folder has already is not trained again, and one whose training was interrupted
    is continued.

    Args:
        options: See `SweepOptions`.

    Raises:
        AeError: An option is invalid, the images cannot be read, Optuna is missing, or the folder
            cannot be written.
    """
    return carry_out(options)


def carry_out(options: SweepOptions) -> Sweep:
    """Do what `sweep` does."""
    if options.trials is not None:
        check_optuna()
    folder = Path(options.out)
    open_folder(folder)
    names = {f.name for f in fields(LoadOptions) if f.name != "progress"}
    images = load(
        "auto" if options.data is None else options.data,
        progress=options.progress,
        **{name: getattr(options, name) for name in names},
    )
    with only_writer([folder / TABLE]):
        work = _Work(options, images, Record(folder, _describe_conditions(options, images)))
        models = sort(
            work.measure(family, count) for family in options.families for count in options.numbers
        )
    result = Sweep(
        out=folder,
        table=folder / TABLE,
        picture=folder / PICTURE,
        held_out=len(images.test),
        chose=["epoch"] * (images.val_fraction is not None) + ["recipe"] * bool(options.trials),
        models=models,
        enough={
            name: find_enough([(row.latents, row.error) for row in models if row.model == name])
            for name in dict.fromkeys(row.model for row in models)
        },
        chance=work.chance,
    )
    from ae_cli import figures

    write_table(result.table, [result.columns()])
    figures.write(result.picture, result.draw)
    return result


def find_enough(points: Sequence[tuple[int, float]]) -> int | None:
    """The number of latents beyond which more hardly lower the error.

    Args:
        points: Numbers of latents, ascending, and errors.

    Returns:
        The first number from which the next step lowers the error by less than `PAYS` for twice as
        many latents; None if there is none.
    """
    for (count, error), (more, lower) in pairwise(points):
        doublings = math.log2(more / count)
        if error <= 0 or lower > error * (1 - PAYS) ** doublings:
            return count
    return None


def _describe_conditions(options: SweepOptions, images: DataSet) -> dict[str, Any]:
    """What has to be the same when a sweep is continued."""
    return {
        "images": f"{images.source} ({images.checksum(options.limit):08x})",
        "--preset": options.preset,
        "--epochs": options.epochs,
        "--limit": options.limit,
        "--seed": options.seed,
    }


class _Work:
    """Trains and measures the models of a sweep.

    Args:
        options: The sweep's options.
        images: The images.
        record: What has been measured.

    Attributes:
        chance: See `Sweep`.
    """

    def __init__(self, options: SweepOptions, images: DataSet, record: Record) -> None:
        self._options, self._images, self._record = options, images, record
        self._folder = Path(options.out)
        self._device = choose_device(options.device)
        learned = images.train if options.limit is None else images.train.head(options.limit)
        self._train, self._test = learned.spread(MOST_TRAIN), images.test.spread(MOST_TEST)
        self._fitting = fitting_images(learned, None)
        self.chance: float | None = None
        if self._train.labels is not None and self._test.labels is not None:
            usual = self._train.labels.mode().values
            self.chance = float((self._test.labels == usual).float().mean())

    @cached_property
    def _pca(self) -> PCA:
        """PCA with as many components as the largest model has latents."""
        return fit_pca(self._fitting, max(self._options.numbers))

    def measure(self, family: Family | None, latents: int) -> Measured:
        """Train and measure a model, unless that was done before."""
        name = f"{family or self._options.preset}-{latents}"
        done, wanted = self._record.find(name), self._options.trials or 1
        if done is not None and done.trials >= wanted:
            return done
        out = self._folder / f"{name}.safetensors"
        chosen = TrainOptions(
            data=self._images,
            latent_dim=latents,
            model=family,
            preset=self._options.preset,
            epochs=self._options.epochs,
            limit=self._options.limit,
            seed=self._options.seed,
            device=self._options.device,
            for_="latents",
            out=out,
        )
        recipe: dict[str, Any] = {}
        finished = None
        try:
            if self._options.trials is None:
                finished = self._train_model(chosen, name)
            else:
                recipe = self._search(chosen, name)
        except Interrupted as error:
            raise type(error)(
                f"{error.what} while training {name}", "the same command continues where it stopped"
            ) from None
        trained = load_checkpoint(out)
        pca = first_components(self._pca, latents)
        knn, pca_knn = (
            self._predict(features)
            for features in (
                partial(encode, trained.model, device=self._device),
                partial(transform, pca),
            )
        )
        measured = Measured(
            model=trained.model.config.model,
            latents=latents,
            error=trained.metrics.test_error,
            pca_error=_mean_error(reconstruct_by_pca(pca, self._images.test)),
            knn=knn,
            pca_knn=pca_knn,
            parameters=count_parameters(trained.model),
            megabytes=out.stat().st_size / 1e6,
            seconds=finished.seconds if finished else trained.metrics.seconds,
            trials=wanted,
            recipe=recipe,
            checkpoint=out.name,
        )
        self._record.add(name, measured)
        return measured

    def _predict(self, compute: Callable[[Images], Floats]) -> float | None:
        """The share of the labels that features of the images predict; None without labels."""
        train, test = self._train, self._test
        if train.labels is None or test.labels is None:
            return None
        return measure_knn(compute(train), train.labels.numpy(), compute(test), test.labels.numpy())

    def _train_model(
        self, options: TrainOptions, name: str, gives_up: GivesUp | None = None
    ) -> Finished:
        """Train a model, or continue its training.

        Raises:
            GivenUpError: `gives_up` said so.
        """
        out = Path(str(options.out))
        if out.exists() and resume_path(out).exists():
            options = replace(options, resume=True)
        epochs = None
        with Session(options) as session:
            for event in session:
                if isinstance(event, Begun):
                    epochs = event.training.epochs
                elif isinstance(event, Epoch):
                    self._options.progress(name, event.epoch, epochs, "epochs")
                    if gives_up is not None and gives_up(event.epoch, event.test_error):
                        raise GivenUpError
                elif isinstance(event, Finished):
                    return event
        raise AssertionError("a session ends with Finished")

    def _search(self, options: TrainOptions, name: str) -> dict[str, Any]:
        """Try several recipes, keep the best model, and return its recipe."""
        images, out = self._images, Path(str(options.out))
        there = len(images.train)
        facts = Facts(
            shape=images.shape,
            images=min(options.limit or there, there),
            judged=len(images.test),
            is_like_mnist=images.source in LIKE_MNIST,
        )
        tried = out.with_name(f"{out.stem}-trial.safetensors")

        def attempt(number: int, recipe: dict[str, Any], gives_up: GivesUp) -> float:
            _remove(tried)
            chosen = replace(options, out=tried, **recipe)
            ended = self._train_model(chosen, f"{name}, trial {number + 1}", gives_up)
            least = load_checkpoint(out).metrics.test_error if out.exists() else math.inf
            # Before the trial counts, so that the best one's model is always there.
            if ended.test_error <= least:
                tried.replace(out)
            return ended.test_error

        best = search(
            self._folder,
            name,
            self._options.trials or 1,
            self._options.seed,
            options.make_recipe(facts),
            attempt,
        )
        _remove(tried)
        return best


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint and what resuming it needs, if they are there."""
    for path in (checkpoint, resume_path(checkpoint), backup_path(checkpoint)):
        path.unlink(missing_ok=True)


def _mean_error(batches: Iterable[Reconstruction]) -> float:
    """The mean reconstruction error of all images."""
    errors = np.concatenate([batch.errors for batch in batches])
    return float(errors.mean(dtype=np.float64))
