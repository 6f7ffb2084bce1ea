"""Models that contain PCA and begin as it: perceptrons and convolutions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run, rewrite, write_images
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from ae_cli.analysis.components import find_components
from ae_cli.config import Facts, Family, ModelConfig, TrainConfig, from_json, make_recipe
from ae_cli.models import AutoEncoder, build
from ae_cli.models.checkpoint import SCALES, load_checkpoint
from ae_cli.training.autograd import AutogradStep

HIDDEN = {"mlp": (32, 16), "conv": (8, 16, 32)}
each_family = pytest.mark.parametrize("family", HIDDEN)


def small(family: Family, shape: tuple[int, int, int] = (1, 28, 28)) -> AutoEncoder:
    config = ModelConfig(shape, family, HIDDEN[family], 5, "silu", pca=True)
    return build(config, seed=3)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 17, 5), (1, 1, 1), (1, 2, 90)])
@each_family
def test_images_of_any_shape_keep_it(family, shape):
    latent, pixels = small(family, shape)(torch.rand(3, *shape))
    assert latent.shape == (3, 5)
    assert pixels.shape == (3, *shape)
    assert 0 <= pixels.min() <= pixels.max() <= 1


@each_family
def test_the_untrained_model_is_pca(digits, family):
    model = small(family)
    assert model.has_start
    model.start_from(find_components(digits.train, 5))
    pca = PCA(5, svd_solver="full").fit(digits.train.floats().reshape(1500, -1))
    x = digits.test.floats()
    expected = pca.inverse_transform(pca.transform(x.reshape(297, -1)))
    with torch.inference_mode():
        latent, pixels = model(torch.from_numpy(x))
        unlimited = model.decode_unlimited(latent)
        logits = model.decode_logits(latent)
    np.testing.assert_allclose(unlimited.flatten(1), expected, atol=1e-4)
    np.testing.assert_allclose(pixels.flatten(1), expected.clip(0, 1), atol=1e-4)
    scores = pca.transform(x.reshape(297, -1))  # in directions that may be turned around
    signs = np.sign((latent.numpy() * scores).sum(0))
    np.testing.assert_allclose(latent, scores * signs, atol=1e-3)
    inside = (unlimited > 0.02) & (unlimited < 0.98)
    torch.testing.assert_close(logits.sigmoid()[inside], unlimited[inside])


@each_family
def test_in_a_variational_model_latents_have_the_scale_of_their_prior(digits, family):
    config = ModelConfig((1, 28, 28), family, HIDDEN[family], 5, pca=True, variational=True)
    model = build(config, seed=0)
    model.start_from(find_components(digits.train, 5))
    with torch.inference_mode():
        latent, _ = model(torch.from_numpy(digits.test.floats()))
    np.testing.assert_allclose(latent.var(0, correction=0), 1, atol=0.5)


def test_latents_are_as_far_apart_as_their_images(run: Run, digits):
    """Of images that were not learned from. 48 latents keep 99.9 % of the variance."""
    run("train", "--data", "digits", "--model", "conv", "--latent-dim", "48", "--epochs", "2")
    model = load_checkpoint(Path("ae.safetensors")).model
    x = digits.test.floats().reshape(297, -1)
    with torch.inference_mode():
        z = model.encoder(torch.from_numpy(x).view(297, 1, 28, 28)).numpy()
    ratios = pdist(z) / pdist(x)
    assert np.quantile(ratios, 0.01) > 0.9
    assert np.quantile(ratios, 0.99) < 1.1
    assert trustworthiness(x, z) > 0.99


def test_small_latents_are_in_use_too(run: Run):
    """The last of 12 has less than half of the first one's deviation, and is not seen as unused."""
    run("train", "--data", "digits", "--model", "conv", "--latent-dim", "12", "--epochs", "2")
    trained = load_checkpoint(Path("ae.safetensors"))
    scale = trained.model.latent_scale
    assert scale[-1] < scale[0] / 2
    assert trained.metrics.latents_in_use is not None
    assert trained.metrics.latents_in_use > 10


def test_a_checkpoint_of_before_latents_had_a_scale_is_read(run: Run, digits):
    """In format version 7, latents had variances of about 1, and tables were made of these."""
    run("train", "--data", "digits", "--model", "conv", "--latent-dim", "5", "--epochs", "1")
    path, x = Path("ae.safetensors"), torch.from_numpy(digits.test.floats())

    def downgrade(tensors: dict[str, torch.Tensor]) -> None:
        for key in SCALES:
            del tensors[key]

    new = load_checkpoint(path).model
    rewrite(path, tensors=downgrade)
    assert "holds other layers" in run("info").stderr
    rewrite(path, metadata=lambda metadata: metadata.update(format_version="7"))
    old = load_checkpoint(path).model
    with torch.inference_mode():
        (z, y), (old_z, old_y) = new(x), old(x)
    torch.testing.assert_close(old_z * new.latent_scale, z)
    torch.testing.assert_close(old_y, y)
    rewrite(path, tensors=lambda tensors: tensors.update({SCALES[0]: torch.ones(5)}))
    assert "holds other layers" in run("info").stderr


@each_family
def test_pca_is_not_trained_and_the_network_is(digits, family):
    model = small(family)
    model.start_from(find_components(digits.train, 5))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    step = AutogradStep(model, TrainConfig())
    for _ in range(3):  # behind layers that are zero, gradients are zero at first
        step(digits.train.head(64).pixels, 0.01, ())
    trained = {key for key, _ in model.named_parameters()}
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == (key not in trained), key


@pytest.mark.parametrize("loss", ["mse", "bce"])
@each_family
def test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(run: Run, family, loss):
    hidden = ",".join(map(str, HIDDEN[family]))
    options = (
        *("--data", "digits", "--limit", "300", "--model", family, "--hidden", hidden),
        *("--loss", loss, "--augment", "shift,flip,brightness"),
        *("--warmup", "0", "--schedule", "constant"),
    )
    run("train", *options, "--epochs", "3", "--out", "a.safetensors")
    run("train", *options, "--epochs", "2", "--out", "b.safetensors")
    assert run("train", "--resume", "--epochs", "3", "--out", "b.safetensors").exit_code == 0
    a, b = (load_checkpoint(Path(n)).model.state_dict() for n in ("a.safetensors", "b.safetensors"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert "decoder.line" in a


def test_a_perceptron_has_pca_where_the_recipe_is_not_the_tutorials():
    photos, mnist = (Facts((1, 28, 28), 1500, 297, is_like_mnist=known) for known in (False, True))
    for preset in ("auto", "fast", "best"):
        assert make_recipe(preset, photos, model="mlp").model.pca
        assert not make_recipe(preset, mnist, model="mlp").model.pca
    assert not make_recipe("tutorial", photos, model="mlp").model.pca


def test_convolutions_always_have_pca():
    """Checkpoints do not all say so."""
    assert make_recipe(model="conv").model.pca
    text = '{"shape": [1, 28, 28], "model": "conv", "hidden": [8, 32], "latent_dim": 3}'
    assert from_json(ModelConfig, text).pca


def test_a_perceptron_learns_more_than_pca_of_any_images(run: Run):
    result = run("train", "--data", "digits", "--model", "mlp", "--preset", "fast", "--json")
    begun, *_, end = (json.loads(line) for line in result.stdout.splitlines())
    assert begun["training"]["engine"] == "fused"
    assert end["test_error"] < 0.8 * end["pca_error"]


def test_every_command_works_with_pca_in_a_perceptron(run: Run, digits):
    write_images(digits.train, Path("photos"), count=60)
    recipe = ("--model", "mlp", "--hidden", "16", "--latent-dim", "4", "--epochs", "2")
    watched = ("--film", "film.gif", "--tensorboard", "board")
    for command in (
        ("train", "--data", "photos", *recipe, *watched),
        ("info",),
        ("reconstruct", "--n", "3"),
        ("embed",),
        ("decode", "latents.csv"),
        ("decode", "--grid", "3"),
        ("evaluate",),
        ("anomalies",),
        ("explore",),
        ("plot3d", "latents.csv"),
    ):
        result = run(*command)
        assert result.exit_code == 0, result.output
    assert "PCA + 784-16-4-16-784, silu" in run("info").output


def test_a_checkpoint_that_lies_about_pca_is_refused(run: Run):
    run("train", "--data", "digits", "--model", "mlp", "--hidden", "16", "--epochs", "1")

    def change(metadata: dict[str, str]) -> None:
        metadata["model"] = json.dumps({**json.loads(metadata["model"]), "pca": False})

    rewrite(Path("ae.safetensors"), metadata=change)
    result = run("info")
    assert result.exit_code == 4
    assert "holds other layers than its metadata says" in result.stderr
