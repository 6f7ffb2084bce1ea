"""What a sweep has measured so far, kept in its folder, so that it can be continued."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ae_cli.errors import DataError, UsageError, brief

RECORD = "record.jsonl"
_ANOTHER = "name another folder with --out"


@dataclass(frozen=True)
class Measured:
    """One model of a sweep. The figures are of held-out images.

    Attributes:
        model: Its family.
        latents: Latent values per image.
        error: Mean reconstruction error.
        pca_error: That of PCA with as many components.
        knn: Share of the labels that are predicted from the latents of the five nearest training
            images; None without labels.
        pca_knn: The same from PCA's components; None without labels.
        parameters: Number of parameters.
        megabytes: Size of its checkpoint, in millions of bytes.
        seconds: How long it was trained; of several trials, the best one up to the kept epoch.
        trials: How many recipes were tried.
        recipe: What the best recipe has in place of the preset's.
        checkpoint: Its file, in the sweep's folder.
    """

    model: str
    latents: int
    error: float
    pca_error: float
    knn: float | None
    pca_knn: float | None
    parameters: int
    megabytes: float
    seconds: float
    trials: int
    recipe: dict[str, Any]
    checkpoint: str


def open_folder(folder: Path) -> None:
    """Make the folder of a sweep, unless it is there.

    Raises:
        UsageError: It cannot be made, or holds other files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_other = not (folder / RECORD).exists() and any(
            not path.name.startswith(".") for path in folder.iterdir()
        )
    except OSError as error:
        raise UsageError(f"{folder} cannot be used ({brief(error)})", _ANOTHER) from error
    if is_other:
        raise UsageError(f"{folder} holds other files than a sweep's", _ANOTHER)


class Record:
    """The measured models of a sweep, by a key that says which ones are wanted.

    Each is a line of a file, which is written when a model is measured. A line that is cut off, as
    the process was killed while writing it, is ignored.

    Args:
        folder: The sweep's folder.
        conditions: What all of its models have in common; JSON values.

    Raises:
        UsageError: The folder holds a sweep under other conditions, or cannot be written.
        DataError: Its record cannot be read.
    """

    def __init__(self, folder: Path, conditions: Mapping[str, Any]) -> None:
        self._path = folder / RECORD
        self._measured: dict[str, Measured] = {}
        try:
            text = self._path.read_text("utf-8") if self._path.exists() else ""
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                self._path.write_text(whole, "utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self._path} cannot be read ({error})", _ANOTHER) from error
        lines = whole.splitlines()
        if not lines:
            self._append(conditions)
            return
        try:
            began, *others = map(json.loads, lines)
            for row in others:
                key = row.pop("key")
                self._measured[key] = Measured(**row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{self._path} is not the record of a sweep", _ANOTHER) from error
        for name, value in conditions.items():
            if began.get(name) != value:
                raise UsageError(
                    f"{folder} holds a sweep with {name} {began.get(name)}, and now it is {value}",
                    _ANOTHER,
                )

    def find(self, key: str) -> Measured | None:
        """The model that was measured for a key; None if there is none."""
        return self._measured.get(key)

    def add(self, key: str, measured: Measured) -> None:
        """Write a measured model."""
        self._measured[key] = measured
        self._append({"key": key, **asdict(measured)})

    def _append(self, row: Mapping[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UsageError(
                f"{self._path} cannot be written ({error})", "make room, or name another --out"
            ) from error


def sort(rows: Iterable[Measured]) -> list[Measured]:
    """By family, and then by the number of latents."""
    return sorted(rows, key=lambda row: (row.model, row.latents))
