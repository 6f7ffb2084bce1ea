"""Train an autoencoder on images, and see what it learned.

Every name is imported when it is first used, so that ``import ae_cli`` is fast.
"""

from __future__ import annotations

from importlib import import_module

# Instead of typing's, which takes longer to import than all that is here
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from ae_cli.analysis.anomalies import AnomalyReport as AnomalyReport
    from ae_cli.analysis.anomalies import anomalies as anomalies
    from ae_cli.analysis.duplicates import Duplicates as Duplicates
    from ae_cli.analysis.duplicates import duplicates as duplicates
    from ae_cli.analysis.evaluate import Report as Report
    from ae_cli.analysis.evaluate import evaluate as evaluate
    from ae_cli.analysis.neighbours import Neighbours as Neighbours
    from ae_cli.analysis.neighbours import neighbours as neighbours
    from ae_cli.config import VERSION
    from ae_cli.config.training import TrainOptions as TrainOptions
    from ae_cli.data.images import DataSet as DataSet
    from ae_cli.data.images import Images as Images
    from ae_cli.data.load import load as load
    from ae_cli.data.summary import DataReport as DataReport
    from ae_cli.data.summary import describe_data as describe_data
    from ae_cli.errors import AeError as AeError
    from ae_cli.errors import AeWarning as AeWarning
    from ae_cli.estimator import AutoEncoderTransformer as AutoEncoderTransformer
    from ae_cli.export.export import Exported as Exported
    from ae_cli.export.export import export_model as export_model
    from ae_cli.latents.decode import Decoded as Decoded
    from ae_cli.latents.decode import decode as decode
    from ae_cli.latents.embed import Embedding as Embedding
    from ae_cli.latents.embed import embed as embed
    from ae_cli.latents.explore import Exploration as Exploration
    from ae_cli.latents.explore import explore as explore
    from ae_cli.latents.model import Model as Model
    from ae_cli.latents.model import load_model as load_model
    from ae_cli.latents.plot3d import Plot as Plot
    from ae_cli.latents.plot3d import plot3d as plot3d
    from ae_cli.latents.reconstruct import Reconstructions as Reconstructions
    from ae_cli.latents.reconstruct import reconstruct as reconstruct
    from ae_cli.latents.table import Latents as Latents
    from ae_cli.models.checkpoint import CheckpointInfo as CheckpointInfo
    from ae_cli.models.checkpoint import info as info
    from ae_cli.python import read_table as read_table
    from ae_cli.python import train as train
    from ae_cli.sweeps.sweep import Sweep as Sweep
    from ae_cli.sweeps.sweep import sweep as sweep
    from ae_cli.training.curve import Curve as Curve
    from ae_cli.training.curve import curve as curve
    from ae_cli.training.events import Epoch as Epoch
    from ae_cli.training.events import Step as Step
    from ae_cli.training.session import Session as Session

    __version__ = VERSION

# The module that defines each name
_PLACES = {
    "AeError": "errors",
    "AeWarning": "errors",
    "AutoEncoderTransformer": "estimator",
    "AnomalyReport": "analysis.anomalies",
    "CheckpointInfo": "models.checkpoint",
    "Curve": "training.curve",
    "DataReport": "data.summary",
    "DataSet": "data.images",
    "Decoded": "latents.decode",
    "Duplicates": "analysis.duplicates",
    "Embedding": "latents.embed",
    "Epoch": "training.events",
    "Exploration": "latents.explore",
    "Exported": "export.export",
    "Images": "data.images",
    "Latents": "latents.table",
    "Model": "latents.model",
    "Neighbours": "analysis.neighbours",
    "Plot": "latents.plot3d",
    "Reconstructions": "latents.reconstruct",
    "Report": "analysis.evaluate",
    "Session": "training.session",
    "Step": "training.events",
    "Sweep": "sweeps.sweep",
    "TrainOptions": "config.training",
    "anomalies": "analysis.anomalies",
    "curve": "training.curve",
    "decode": "latents.decode",
    "describe_data": "data.summary",
    "duplicates": "analysis.duplicates",
    "embed": "latents.embed",
    "evaluate": "analysis.evaluate",
    "explore": "latents.explore",
    "export_model": "export.export",
    "info": "models.checkpoint",
    "load": "data.load",
    "load_model": "latents.model",
    "neighbours": "analysis.neighbours",
    "plot3d": "latents.plot3d",
    "read_table": "python",
    "reconstruct": "latents.reconstruct",
    "sweep": "sweeps.sweep",
    "train": "python",
}

__all__ = sorted(_PLACES)


if not TYPE_CHECKING:  # or any name would pass for one

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return import_module("ae_cli.config").VERSION
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"ae_cli.{_PLACES[name]}"), name)
        globals()[name] = value  # so that the next access does not come here
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, "__version__"})
