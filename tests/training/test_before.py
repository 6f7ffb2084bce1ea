"""After the code was reorganized, results are still the same, bit for bit.

The files in the folder ``before`` were written by the earlier code: an uninterrupted run of three
epochs (``whole``) and the same run interrupted in its second epoch (``interrupted``). Another
processor or torch version rounds sums differently; there, weights are compared with a tolerance.

They are of format version 4. Versions 5 to 8 only added the fields in `NEW`, as far as
these models go.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from conftest import Run
from sklearn.datasets import load_digits

from ae_cli.models.checkpoint import FORMAT_VERSION, load_checkpoint, save_checkpoint

BEFORE = Path(__file__).with_name("before")
MACHINE = json.loads((BEFORE / "machine.json").read_text())
NAMES = ("ae.safetensors", "ae.resume.safetensors")
RECIPES = {
    "fused": "--engine fused --hidden 8 --latent-dim 2 --batch-size 32 --epochs 3",
    "autograd": "--engine autograd --hidden 9,5 --latent-dim 3 --batch-size 50 --epochs 3 "
    "--loss bce --activation silu --schedule cosine --warmup 0.1 --limit 200 --keep best --seed 7",
}
# What later format versions added, with the value where it was always the same before
FIGURES = {"val_loss": None, "latents_in_use": None, "kl": None, "recent_losses": []}
NEW = {
    "model": {"model": "mlp", "variational": False, "patch": None, "pca": False},
    "training": {
        "augment": [],
        "settle": 0.3,
        "sparse": 0.0,
        "denoise": 0.0,
        "noise": "gaussian",
        "beta": 1.0,
    },
    "data": {
        "val_images": 0,
        "mean_error": None,
        "pca_error": None,
        "labels": None,
        "frames": None,
        "for_anomalies": False,
    },
    "metrics": FIGURES,
    "reached": FIGURES,
    "best": FIGURES,
}
# In a new run, with what they are in an old one
MEASURED = {"mean_error": None, "latents_in_use": None, "recent_losses": []}

each_engine = pytest.mark.parametrize("engine", RECIPES)


def vendor() -> str:
    """Who made the processor, as far as Linux says."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    found = re.search(r"^vendor_id\s*: (.*)$", text, re.M)
    return found[1] if found else ""


def is_same_machine() -> bool:
    here = {
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "vendor": vendor(),
        "threads": torch.get_num_threads(),
    }
    return here == MACHINE


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Use as many threads as the earlier runs: their number decides the order of additions."""
    threads = torch.get_num_threads()
    torch.set_num_threads(MACHINE["threads"])
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images(tmp_path, monkeypatch) -> Path:
    """The 300 digits of 8 × 8 pixels that the earlier runs were trained on."""
    monkeypatch.delenv("AE_DATA_DIR")
    path = tmp_path / "digits.npy"
    np.save(path, (load_digits().images * 15).astype(np.uint8)[:300])
    return path


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read the tensors, and the metadata without what differs from run to run."""
    with safetensors.safe_open(path, "pt") as file:
        metadata = {
            name: json.loads(text) if text[:1] == "{" else text
            for name, text in file.metadata().items()
        }
    del metadata["run_id"]
    metadata.pop("history", None)  # which earlier code did not keep
    metadata["data"]["source"] = Path(metadata["data"]["source"]).name
    for part in ("metrics", "reached", "best"):
        metadata.get(part, {}).pop("seconds", None)
    return safetensors.torch.load_file(path), metadata


def upgrade(metadata: dict) -> dict:
    """Metadata of format version 4 as the latest one would have it."""
    assert metadata["format_version"] == "4"
    parts = {part: {**metadata[part], **new} for part, new in NEW.items() if part in metadata}
    return {**metadata, **parts, "format_version": str(FORMAT_VERSION)}


def without_measured(metadata: dict) -> dict:
    """Metadata without what no earlier version measured, whose values must make sense."""
    parts = {part: dict(metadata[part]) for part in NEW if part in metadata}
    for values in parts.values():
        for name, absent in MEASURED.items():
            if name in values:
                assert values[name] in (None, []) or np.min(values[name]) > 0
                values[name] = absent
    return {**metadata, **parts}


def assert_same_as_before(engine: str) -> None:
    for name in NAMES:
        tensors, metadata = read(Path(name))
        before, metadata_before = read(BEFORE / engine / name.replace("ae", "whole", 1))
        metadata, metadata_before = without_measured(metadata), upgrade(metadata_before)
        assert tensors.keys() == before.keys()
        for key, value in before.items():
            if is_same_machine():
                assert torch.equal(tensors[key], value), key
            else:
                torch.testing.assert_close(tensors[key], value, rtol=1e-3, atol=1e-5)
        if is_same_machine():
            assert metadata == metadata_before
        else:
            assert metadata["training"] == metadata_before["training"]


@each_engine
def test_a_run_writes_the_same_files_as_before(run: Run, images, engine):
    recipe = ("--preset", "tutorial", *RECIPES[engine].split())
    result = run("train", "--data", images, *recipe, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert_same_as_before(engine)


@each_engine
def test_a_run_continues_from_an_old_resume_file(run: Run, images, engine):
    for name in NAMES:
        shutil.copy(BEFORE / engine / name.replace("ae", "interrupted", 1), name)
    result = run("train", "--resume", "--data", images, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "in epoch 2 of 3, step 3 of " in result.stderr
    assert_same_as_before(engine)


def split_file(path: Path) -> tuple[dict, dict, bytes]:
    """Split a safetensors file into its metadata, its other header, and everything after them."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    metadata = {
        name: json.loads(text) if text[:1] == "{" else text
        for name, text in header.pop("__metadata__").items()
    }
    return metadata, header, content[end:]


@each_engine
def test_saving_a_loaded_old_checkpoint_reproduces_it(tmp_path, engine):
    old, again = BEFORE / engine / "whole.safetensors", tmp_path / "again.safetensors"
    save_checkpoint(load_checkpoint(old), again)
    metadata, header, weights = split_file(old)
    assert split_file(again) == (upgrade(metadata), header, weights)
