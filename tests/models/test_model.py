from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import get_args

import pytest
import safetensors.torch
import torch
from conftest import rewrite
from torch import nn

from ae_cli.config import DataConfig, Metrics, ModelConfig, TrainConfig
from ae_cli.config.recipe import Activation
from ae_cli.errors import CheckpointError, UsageError
from ae_cli.models import AutoEncoder, build, choose_device, count_parameters, mlp
from ae_cli.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ae_cli.training import kernels


class TutorialAutoEncoder(nn.Module):
    """The class from the classic tutorial, independent of ours."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(28 * 28, 128),
            nn.Tanh(),
            nn.Linear(128, 64),
            nn.Tanh(),
            nn.Linear(64, 12),
            nn.Tanh(),
            nn.Linear(12, 3),
        )
        self.decoder = nn.Sequential(
            nn.Linear(3, 12),
            nn.Tanh(),
            nn.Linear(12, 64),
            nn.Tanh(),
            nn.Linear(64, 128),
            nn.Tanh(),
            nn.Linear(128, 28 * 28),
            nn.Sigmoid(),
        )

    def forward(self, x):
        encoded = self.encoder(x)
        return encoded, self.decoder(encoded)


def checkpoint_of(model: AutoEncoder) -> Checkpoint:
    return Checkpoint(
        model,
        TrainConfig(epochs=3, seed=7),
        DataConfig("digits", None, 1500, 297, tuple("0123456789")),
        Metrics(epoch=3, step=72, train_loss=0.05, test_loss=0.06, test_error=0.06, seconds=1.5),
    )


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint_of(build(ModelConfig(), seed=7)), path)
    return path


def test_a_checkpoint_loads_into_the_tutorials_own_class(saved, digits):
    tutorial = TutorialAutoEncoder()
    tutorial.load_state_dict(safetensors.torch.load_file(saved), strict=True)
    x = next(digits.test.batches())
    latent, reconstruction = load_checkpoint(saved).model(x)
    expected_latent, expected_reconstruction = tutorial(x.flatten(1))
    torch.testing.assert_close(latent, expected_latent, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        reconstruction.flatten(1), expected_reconstruction, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(shape=(3, 8, 6), hidden=(5,), latent_dim=1, activation="gelu"),
        ModelConfig(hidden=(), latent_dim=16, activation="relu"),
        ModelConfig(shape=(3, 8, 6), hidden=(5,), pca=True),
        ModelConfig(hidden=(8, 32), model="conv"),
    ],
)
def test_loading_a_checkpoint_restores_what_was_saved(tmp_path, config):
    before = checkpoint_of(build(config, seed=1))
    path = tmp_path / "model.safetensors"
    save_checkpoint(before, path)
    after = load_checkpoint(path)
    assert after.model.config == config
    assert (after.training, after.data, after.metrics) == (
        before.training,
        before.data,
        before.metrics,
    )
    assert after.model.state_dict().keys() == before.model.state_dict().keys()
    for key, value in before.model.state_dict().items():
        assert torch.equal(after.model.state_dict()[key], value)
    x = torch.rand(4, *config.shape)
    latent, reconstruction = after.model(x)
    assert latent.shape == (4, config.latent_dim)
    assert reconstruction.shape == x.shape
    assert 0 <= reconstruction.min() <= reconstruction.max() <= 1


def test_activations_are_between_layers_only():
    model = build(ModelConfig(hidden=(8, 4), activation="silu"), seed=0)
    encoder = ["Linear", "SiLU", "Linear", "SiLU", "Linear"]
    assert [type(layer).__name__ for layer in model.encoder] == encoder
    assert [type(layer).__name__ for layer in model.decoder] == [*encoder, "Sigmoid"]
    assert count_parameters(model) == sum(
        i * o + o for i, o in ((784, 8), (8, 4), (4, 3), (3, 4), (4, 8), (8, 784))
    )


def test_the_seed_affects_only_the_weights():
    torch.manual_seed(5)
    expected_next = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (build(ModelConfig(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected_next)
    assert torch.equal(first.encoder[0].weight, again.encoder[0].weight)
    assert not torch.equal(first.encoder[0].weight, other.encoder[0].weight)


def test_a_model_too_large_for_memory_is_refused():
    with pytest.raises(UsageError, match="the model does not fit in memory; choose smaller"):
        build(ModelConfig(hidden=(10**7, 10**7)), seed=0)


def test_an_unavailable_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(
        UsageError, match="--device cuda is not available on this machine; use --dev"
    ):
        choose_device("cuda")


def change_json(key: str, name: str, value: object) -> Callable[[dict], None]:
    def change(metadata: dict) -> None:
        metadata[key] = json.dumps({**json.loads(metadata[key]), name: value})

    return change


def test_a_missing_checkpoint_is_an_error(tmp_path):
    with pytest.raises(
        CheckpointError, match="there is no checkpoint at missing.safetensors; make one with"
    ):
        load_checkpoint(Path("missing.safetensors"))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 5000, -1])
def test_a_truncated_checkpoint_is_refused(saved, size):
    saved.write_bytes(saved.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="is not a safetensors file, or is cut short"):
        load_checkpoint(saved)


def test_a_picture_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "picture.safetensors"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (lambda m: m.clear(), "was not written by ae"),
        (lambda m: m.update(format_version="9"), "has format version 9, and this ae reads 1 to 8"),
        (lambda m: m.pop("training"), r"metadata that ae cannot read \('training'\)"),
        (lambda m: m.update(model="{"), "metadata that ae cannot read"),
        (lambda m: m.update(data="[" * 100_000), "metadata that ae cannot read"),
        (change_json("training", "epochs", "ten"), "metadata that ae cannot read"),
        (change_json("metrics", "test_loss", None), "metadata that ae cannot read"),
        (change_json("training", "lr", 10**400), "metadata that ae cannot read"),
        (change_json("model", "latent_dim", 4), "holds other layers than its metadata says"),
        (change_json("model", "hidden", [128, 64]), "holds other layers than its metadata says"),
        (change_json("model", "hidden", [2**31 - 1]), "holds other layers than its metadata says"),
        (change_json("model", "hidden", [10**12]), "metadata that ae cannot read"),
        (change_json("model", "pca", True), "holds other layers than its metadata says"),
        (change_json("model", "pca", 1), "metadata that ae cannot read"),
        (change_json("model", "shape", [1, 28, 29]), "holds other layers than its metadata says"),
    ],
)
def test_invalid_metadata_is_refused(saved, metadata, message):
    rewrite(saved, metadata=metadata)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


def test_a_checkpoint_of_the_first_format_is_read(saved):
    """As written before schedules, presets, folders and thresholds were added."""

    def downgrade(metadata):
        training = json.loads(metadata["training"])
        for name in (
            *("schedule", "warmup", "engine", "preset"),
            *("keep", "patience", "checkpoint_every"),
        ):
            del training[name]
        data, metrics = json.loads(metadata["data"]), json.loads(metadata["metrics"])
        for name in ("selected_classes", "val_fraction", "fit", "key"):
            del data[name]
        del metrics["error_quantiles"]
        metadata.update(
            format_version="1",
            training=json.dumps(training),
            data=json.dumps(data),
            metrics=json.dumps(metrics),
        )

    expected = load_checkpoint(saved)
    rewrite(saved, metadata=downgrade)
    loaded = load_checkpoint(saved)
    assert (expected.format_version, loaded.format_version) == (8, 1)
    assert loaded.training == replace(expected.training, engine="auto")
    assert loaded.data == expected.data
    assert loaded.metrics == expected.metrics


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (lambda t: t.pop("encoder.0.bias"), "holds other layers than its metadata says"),
        (lambda t: t.update(more=torch.zeros(1)), "holds other layers than its metadata says"),
        (lambda t: t.update({"encoder.0.bias": torch.zeros(127)}), "holds other layers"),
        (lambda t: t.update({"encoder.0.bias": torch.zeros(128).half()}), "in encoder.0.bias"),
        (lambda t: t["decoder.2.weight"].fill_(torch.nan), "in decoder.2.weight"),
    ],
)
def test_invalid_tensors_are_refused(saved, tensors, message):
    rewrite(saved, tensors=tensors)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


def test_a_failed_save_keeps_the_earlier_checkpoint(saved, monkeypatch):
    before = saved.read_bytes()
    checkpoint = replace(load_checkpoint(saved), training=TrainConfig(epochs=99))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UsageError, match="cannot write .*No space left"):
        save_checkpoint(checkpoint, saved)
    assert saved.read_bytes() == before


def test_every_activation_is_known_everywhere():
    names = set(get_args(Activation))
    assert set(mlp.ACTIVATIONS) == set(kernels.KERNELS) == names
    script = (resources.files("ae_cli.page") / "decoder.js").read_text()
    (table,) = re.findall(r"ACTIVATIONS = \{(.*?)\n\}", script, re.S)
    in_page = set(re.findall(r"^  (\w+)\(", table, re.M))
    assert in_page == names | {"sigmoid", "identity"}
