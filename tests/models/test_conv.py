"""The convolutional family, its recipe, and the principal components that it starts from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run, write_images
from sklearn.decomposition import PCA

from ae_cli.analysis.components import find_components, pca_error
from ae_cli.config import ModelConfig, TrainConfig
from ae_cli.models import build
from ae_cli.models.checkpoint import load_checkpoint
from ae_cli.training.autograd import AutogradStep

CONV = ("--model", "conv", "--hidden", "8,16,32")


def conv(shape: tuple[int, int, int], latent_dim: int = 5):
    config = ModelConfig(shape, "conv", (8, 16, 32), latent_dim, "silu")
    return build(config, seed=3)


def test_a_step_is_that_of_torchs_adam(digits):
    """The gradients of convolutions are strided in another way than their weights."""
    ours, theirs = conv((1, 28, 28)), conv((1, 28, 28))
    for model in (ours, theirs):
        model.may_use_half = False
        model.start_from(find_components(digits.train, 5))
    step = AutogradStep(ours, TrainConfig())
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01)
    pixels = digits.train.head(64).pixels
    x = pixels.float() / 255
    for _ in range(4):
        step(pixels, 0.01, ())
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(theirs.decode_unlimited(theirs.encoder(x)), x).backward()
        optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("latent_dim", [3, 64])
def test_a_small_set_in_colour_is_learned_at_least_as_well_as_by_pca(run: Run, latent_dim):
    """The tutorial's recipe collapses to the mean image here, or diverges."""
    random = np.random.default_rng(0)
    grid = np.linspace(0, 1, 24)
    waves = [
        [0.5 + 0.4 * np.sin(6 * (grid[:, None] * a + grid * b) + c) for c in (0, phase, 2 * phase)]
        for a, b, phase in random.uniform(-0.5, 0.5, (200, 3))
    ]
    np.save("waves.npy", (np.array(waves).transpose(0, 2, 3, 1) * 255).astype(np.uint8))
    options = ("--epochs", "2", "--latent-dim", str(latent_dim), "--json", "--quiet")
    result = run("train", "--data", "waves.npy", *options)
    assert result.exit_code == 0, result.output
    assert "no better than their mean" not in result.stderr
    end = json.loads(result.stdout.splitlines()[-1])
    assert end["test_error"] <= end["pca_error"]


def test_a_rate_that_is_too_high_keeps_the_start(run: Run):
    result = run("train", "--data", "digits", *CONV, "--lr", "5", "--epochs", "1")
    kept = load_checkpoint(Path("ae.safetensors"))
    assert kept.metrics.epoch == 0
    if result.exit_code == 0:  # otherwise the loss was not finite, which is an error of its own
        assert "kept       the start, PCA itself, with the lowest" in result.stderr
        assert f"PCA's, with pixels limited to 0 and 1 (without: {kept.data.pca_error:.4f})" in (
            result.stderr
        )
        assert kept.metrics.test_error <= 1.001 * kept.data.pca_error
    else:
        assert "smaller --lr than 5" in result.stderr


def test_a_collapsed_model_is_named_wherever_it_is_used(digits, run: Run):
    """With the tutorial's recipe; a rate too high is told from other reasons."""
    write_images(digits.train, Path("photos"), count=60)
    options = ("--data", "photos", "--preset", "tutorial", "--epochs", "2")
    assert "--preset tutorial, whose recipe is for MNIST" in run("train", *options).stderr
    assert "no better than their mean image" in run("embed").stderr
    assert "no better than their mean image" in run("info").stderr
    result = run("train", *options, "--lr", "0.5", "--out", "fast.safetensors")
    assert "its learning rate of 0.5 is too high: leave out --lr" in result.stderr


def test_what_a_model_of_a_few_images_lacks_is_images(run: Run):
    """Its best epoch may be the start, but more epochs would not help."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 16), np.uint8)
    np.save("noise.npy", noise)
    result = run("train", "--data", "noise.npy", "--epochs", "20")
    assert "it learned from 18 images only: give it more of them" in result.stderr


def test_pca_of_many_images_matches_scikit_learn(digits):
    line = find_components(digits.train, 16)
    x = digits.train.floats().reshape(1500, -1)
    pca = PCA(16, svd_solver="full").fit(x)
    np.testing.assert_allclose(line.mean.flatten(), x.mean(0), atol=1e-5)
    np.testing.assert_allclose(line.deviations, (x @ pca.components_.T).std(0), rtol=1e-4)
    cosines = np.abs((line.components.numpy() * pca.components_).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-4)
    y = digits.test.floats().reshape(297, -1)
    expected = np.square(pca.inverse_transform(pca.transform(y)) - y).mean()
    assert pca_error(line, digits.test) == pytest.approx(expected, rel=1e-4)


def test_mirrored_components_are_those_of_the_images_and_their_mirror_images(digits):
    line = find_components(digits.train.head(300), 8, mirrored=True)
    x = digits.train.head(300).floats()
    both = np.concatenate([x, x[..., ::-1]]).reshape(600, -1)
    pca = PCA(8, svd_solver="full").fit(both)
    cosines = np.abs((line.components.numpy() * pca.components_).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-3)


def test_there_may_be_fewer_components_than_latents(digits):
    line = find_components(digits.train.head(3), 10)
    assert line.components.shape == (10, 784)
    assert (line.deviations > 0).all()
    assert pca_error(line, digits.train.head(3)) == pytest.approx(0, abs=1e-6)
