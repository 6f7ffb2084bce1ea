"""All options, and those that a checkpoint records: their names, defaults and checks.

Every value is checked here, once, whether it comes from the command line, from Python or from a
checkpoint's metadata. Recorded values are frozen dataclasses, stored in the checkpoint as JSON.
"""

from __future__ import annotations

from ae_cli.config.checks import LARGEST, option_name
from ae_cli.config.commands import CHECKPOINT, MOST_IMAGES, QUANTILE, TABLE, Score
from ae_cli.config.images import (
    CHOSEN_SIDE,
    FIT,
    LARGEST_SIDE,
    VAL_FRACTION,
    Chosen,
    Device,
    Fit,
    Frames,
    LoadOptions,
    ReadForTrainedOptions,
    ReadOptions,
    Source,
    Split,
    Splits,
    UseOptions,
)
from ae_cli.config.option import METADATA, Option, call_with, option, takes
from ae_cli.config.progress import Progress, Unit, ignore_progress
from ae_cli.config.recipe import (
    MOST_POSITIONS,
    PRESETS,
    Activation,
    Augmentation,
    Engine,
    Facts,
    Family,
    Keep,
    Loss,
    ModelConfig,
    Preset,
    Recipe,
    Schedule,
    TrainConfig,
    make_recipe,
)
from ae_cli.config.records import (
    Config,
    DataConfig,
    Metrics,
    Position,
    from_json,
    to_json,
)

__all__ = [
    "CHECKPOINT",
    "CHOSEN_SIDE",
    "FIT",
    "LARGEST",
    "LARGEST_SIDE",
    "METADATA",
    "MOST_IMAGES",
    "MOST_POSITIONS",
    "PRESETS",
    "QUANTILE",
    "TABLE",
    "VAL_FRACTION",
    "VERSION",
    "Activation",
    "Augmentation",
    "Chosen",
    "Config",
    "DataConfig",
    "Device",
    "Engine",
    "Facts",
    "Family",
    "Fit",
    "Frames",
    "Keep",
    "LoadOptions",
    "Loss",
    "Metrics",
    "ModelConfig",
    "Option",
    "Position",
    "Preset",
    "Progress",
    "ReadForTrainedOptions",
    "ReadOptions",
    "Recipe",
    "Schedule",
    "Score",
    "Source",
    "Split",
    "Splits",
    "TrainConfig",
    "Unit",
    "UseOptions",
    "call_with",
    "from_json",
    "ignore_progress",
    "make_recipe",
    "option",
    "option_name",
    "takes",
    "to_json",
]

VERSION = "0.1.0"
