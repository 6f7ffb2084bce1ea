"""The scikit-learn estimator: scikit-learn's own checks, and what the library computes."""

from __future__ import annotations

import pickle
import pickletools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import ae_cli
from ae_cli import AutoEncoderTransformer

SMALL = {"epochs": 1, "latent_dim": 2, "options": {"hidden": "8"}}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([AutoEncoderTransformer(**SMALL)])
def test_it_passes_the_checks_of_scikit_learn(estimator, check):
    """All of them; one skips itself unless an environment variable is set."""
    check(estimator)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Digits of 8 × 8 pixels from 0 to 16."""
    return load_digits().data


@pytest.fixture(scope="module")
def fitted(rows) -> AutoEncoderTransformer:
    return AutoEncoderTransformer(3, image_shape=(8, 8), epochs=3).fit(rows)


def test_it_computes_what_the_library_does(fitted, rows):
    levels = np.rint(rows / 16 * 255).astype(np.uint8).reshape(-1, 8, 8)
    table = fitted.model_.embed(levels)
    latents = fitted.transform(levels.reshape(-1, 64) * (16 / 255))
    assert latents.dtype == np.float32
    np.testing.assert_allclose(latents, table.z, atol=1e-5)
    scores = fitted.score_samples(levels.reshape(-1, 64) * (16 / 255))
    np.testing.assert_allclose(-scores, table.error, rtol=1e-4)
    drawn = fitted.inverse_transform(latents)
    np.testing.assert_allclose(
        drawn.reshape(-1, 8, 8), 16 * fitted.model_.decode(latents)[:, 0], atol=1e-4
    )


def test_outliers_are_those_above_the_threshold_of_held_out_rows(fitted, rows):
    quantiles = fitted.model_.metrics.error_quantiles
    assert fitted.offset_ == pytest.approx(-np.quantile(quantiles, 0.99), rel=1e-6)
    scores = fitted.score_samples(rows)
    assert (fitted.predict(rows) == np.where(scores < fitted.offset_, -1, 1)).all()
    noise = np.random.default_rng(0).uniform(0, 16, (50, 64))
    assert (fitted.predict(noise) == -1).mean() > 0.9
    assert (fitted.predict(rows) == 1).mean() > 0.95


def test_colours_are_in_the_order_of_image_files():
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3)).astype(np.uint8)
    flat = images.reshape(40, -1).astype(float)
    estimator = AutoEncoderTransformer(
        2, image_shape=(6, 5, 3), epochs=1, model="mlp", options={"hidden": "8"}
    ).fit(flat)
    assert estimator.model_.model.config.shape == (3, 6, 5)
    low, high = estimator.data_range_
    assert (low, high) == (flat.min(), flat.max())
    np.testing.assert_allclose(
        estimator.transform(flat), estimator.model_.embed(images).z, atol=2e-2
    )


@pytest.mark.slow
def test_it_works_in_a_pipeline_and_a_grid_search(rows):
    labels = load_digits().target
    pipeline = make_pipeline(
        AutoEncoderTransformer(image_shape=(8, 8), epochs=2), LogisticRegression(max_iter=1000)
    )
    search = GridSearchCV(pipeline, {"autoencodertransformer__latent_dim": [1, 8]}, cv=2)
    search.fit(rows[:600], labels[:600])
    assert search.best_params_ == {"autoencodertransformer__latent_dim": 8}
    assert search.best_estimator_.score(rows[600:], labels[600:]) > 0.6


def test_a_pickle_holds_the_checkpoint_and_no_code_of_torch(fitted, rows):
    content = pickle.dumps(fitted)
    modules = {
        text.split(" ")[0].partition(".")[0]
        for opcode, text, _ in pickletools.genops(content)
        if opcode.name in ("GLOBAL", "SHORT_BINUNICODE")
        and isinstance(text, str)
        and text.split(".")[0] in ("torch", "safetensors")
    }
    assert modules == set()
    again = pickle.loads(content)
    assert (again.transform(rows[:50]) == fitted.transform(rows[:50])).all()
    assert again.offset_ == fitted.offset_
    assert clone(fitted).get_params() == fitted.get_params()


def test_names_and_pandas(fitted, rows):
    pandas = pytest.importorskip("pandas")
    assert list(fitted.get_feature_names_out()) == ["z1", "z2", "z3"]
    frame = clone(fitted).set_output(transform="pandas").fit_transform(rows)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["z1", "z2", "z3"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"image_shape": (7, 8)}, "image_shape is"),
        ({"epochs": 0}, "epochs is 0"),
        ({"model": "forest"}, "forest"),
        ({"options": {"hidden": "x"}}, "hidden"),
    ],
)
def test_wrong_arguments_are_value_errors(rows, changed, words):
    estimator = AutoEncoderTransformer(**{"image_shape": (8, 8), "epochs": 1, **changed})
    with pytest.raises(ValueError, match=words):
        estimator.fit(rows[:50])


def test_its_name_is_public():
    assert "AutoEncoderTransformer" in ae_cli.__all__
    assert ae_cli.AutoEncoderTransformer is AutoEncoderTransformer
