"""The options of ``sweep``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import cast, get_args

from ae_cli.config.checks import check_choice, check_whole, parse_whole_numbers
from ae_cli.config.images import Device, LoadOptions, Source
from ae_cli.config.option import option
from ae_cli.config.recipe import Family, Preset, TrainConfig
from ae_cli.errors import UsageError

SWEPT = (2, 4, 8, 16, 32, 64)
FOLDER = Path("sweep")
MOST_TRIALS = 1000


@dataclass(frozen=True)
class SweepOptions(LoadOptions):
    """Which models to train and compare.

    Attributes:
        data: The images; None for ``auto``.
        latent_dim: The numbers of latents, such as ``2,3,8,16``.
        model: The families, such as ``mlp,conv``; None for the preset's.
        preset: The recipe to start from.
        epochs: How many times each model sees every image; None for the preset's number.
        limit: How many training images to use; None for all.
        trials: For each number of latents and family, how many recipes to try; None for the
            preset's alone.
        device: Where to compute; ``auto`` is a GPU if there is one.
        out: The folder for the table, the picture and the models.
    """

    data: Source = option(
        None,
        "Images to train on, as for `ae train`.",
        kind=str,
        metavar="SOURCE",
        usual="auto",
        several=True,
    )
    _: KW_ONLY
    latent_dim: Collection[int] | str = option(
        ",".join(map(str, SWEPT)), "The numbers of latents to compare.", kind=str, metavar="NUMBERS"
    )
    model: Collection[str] | str | None = option(
        None,
        "The families to compare: mlp, conv, or mlp,conv.",
        kind=str,
        metavar="NAMES",
        default_text="the preset's",
    )
    preset: Preset = option("auto", "The recipe to start from, as for `ae train`.")
    epochs: int | None = option(
        None, "How many times each model sees every image.", default_text="the preset's"
    )
    limit: int | None = option(
        None, "Train on the first N images only.", metavar="N", default_text="all"
    )
    trials: int | None = option(
        None,
        "Try N recipes for each model (learning rate, batch size and activation), and keep the "
        "best one. Optuna must be installed: pip install 'ae-cli\\[sweep]'.",
        metavar="N",
        default_text="only the preset's",
    )
    device: Device = option("auto", "Where to compute; auto takes a GPU if there is one.")
    out: Path | str = option(
        FOLDER,
        "The folder for the table, the picture and the models. What is in it already is not "
        "trained again, so that an interrupted sweep continues.",
        kind=Path,
        metavar="FOLDER",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for count in self.numbers:
            check_whole("--latent-dim", count, minimum=1)
        if len(set(self.numbers)) < len(self.numbers):
            raise UsageError("--latent-dim has a number twice", "give each of them once")
        for family in self.families:
            if family is not None:
                check_choice("--model", family, get_args(Family))
        check_choice("--preset", self.preset, get_args(Preset))
        for name, value in (("--epochs", self.epochs), ("--limit", self.limit)):
            if value is not None:
                check_whole(name, value, minimum=1)
        if self.trials is not None:
            check_whole("--trials", self.trials, minimum=1, maximum=MOST_TRIALS)
        TrainConfig(seed=self.seed)  # checks it

    @property
    def numbers(self) -> tuple[int, ...]:
        """`latent_dim` as numbers, ascending."""
        return tuple(
            sorted(parse_whole_numbers("--latent-dim", self.latent_dim, example="2,3,8,16"))
        )

    @property
    def families(self) -> tuple[Family | None, ...]:
        """`model` as names; only None for the preset's family."""
        if self.model is None:
            return (None,)
        names = self.model.split(",") if isinstance(self.model, str) else self.model
        return tuple(dict.fromkeys(cast(Family, name.strip()) for name in names))
