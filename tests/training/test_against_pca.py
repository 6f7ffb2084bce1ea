"""A trained model beside PCA of the images that it learned from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from ae_cli.models.checkpoint import load_checkpoint

CONV = ("--model", "conv", "--hidden", "16,32,64")


# Many steps for so few images: they are learned by heart.
LONG = ("--epochs", "60", "--lr", "0.01", "--schedule", "constant", "--augment", "none")


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A hundred digits to learn from and 200 to test on, in scikit-learn's own size, 8 × 8."""
    images = (load_digits().images * (255 / 16)).round().astype(np.uint8)
    path = tmp_path / "few.npz"
    np.savez(path, x_train=images[:100], x_test=images[100:300])
    return path


def train(run: Run, images: Path, *options: str) -> list[dict[str, Any]]:
    """Train, and return what every epoch and the end say."""
    result = run("train", "--data", images, *CONV, "--seed", "1", *options, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()[1:]]


def test_a_small_set_learned_by_heart_ends_worse_than_pca(run: Run, few):
    """This is what the next test is about: otherwise it would show nothing."""
    *epochs, end = train(run, few, "--latent-dim", "16", *LONG, "--keep", "last")
    assert end["train_loss"] < 0.05 * end["test_error"]
    assert end["test_error"] > end["pca_error"]
    assert end["test_loss"] > 1.1 * min(epoch["test_loss"] for epoch in epochs)


@pytest.mark.parametrize("recipe", [("--epochs", "100"), (*LONG, "--keep", "best")])
def test_what_is_kept_of_a_small_set_is_no_worse_than_pca(run: Run, few, recipe):
    *_, end = train(run, few, "--latent-dim", "16", *recipe)
    assert end["test_error"] <= end["pca_error"]


@pytest.mark.parametrize("augment", ["none", "flip"])
def test_the_pca_that_a_model_starts_from_is_not_fitted_again(run: Run, monkeypatch, augment):
    """The error is that of PCA of the images, even if the model starts from mirrored ones too."""
    pixels = load_digits().images[:300] / 16
    pixels[::2] = pixels[::2, :, ::-1]
    train_pixels, test_pixels = pixels[:150], pixels[150:]
    np.savez("digits.npz", x_train=train_pixels, x_test=test_pixels)
    monkeypatch.delattr("ae_cli.training.session.find_components")
    options = ("--augment", augment, "--epochs", "1", "--latent-dim", "4")
    *_, end = train(run, Path("digits.npz"), *options)
    # A tenth of the training images only chooses an epoch.
    learned = np.random.RandomState(1).permutation(150)[15:]
    x, y = (np.round(255 * part.reshape(150, -1)) / 255 for part in (train_pixels, test_pixels))
    pca = PCA(4, svd_solver="full").fit(x[learned])
    expected = np.square(pca.inverse_transform(pca.transform(y)) - y).mean()
    assert end["pca_error"] == pytest.approx(expected, rel=1e-4)
    assert load_checkpoint(Path("ae.safetensors")).data.pca_error == end["pca_error"]
