from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ae_cli.config import (
    DataConfig,
    Facts,
    Metrics,
    ModelConfig,
    ReadOptions,
    TrainConfig,
    from_json,
    make_recipe,
    to_json,
)
from ae_cli.errors import UsageError

whole = st.integers(min_value=1, max_value=10**6)
model_configs = st.builds(
    ModelConfig,
    shape=st.tuples(whole, whole, whole),
    hidden=st.lists(whole, max_size=5).map(tuple),
    latent_dim=whole,
    activation=st.sampled_from(["tanh", "relu", "silu", "gelu"]),
    pca=st.booleans(),
)
train_configs = st.builds(
    TrainConfig,
    epochs=whole,
    batch_size=whole,
    lr=st.floats(min_value=1e-12, max_value=1e12),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    warmup=st.floats(min_value=0, max_value=1),
    settle=st.floats(min_value=0, max_value=1),
    loss=st.sampled_from(["mse", "bce"]),
    engine=st.sampled_from(["auto", "fused", "autograd"]),
    seed=st.integers(min_value=0, max_value=2**32 - 1),
    limit=st.none() | whole,
    preset=st.sampled_from(["tutorial", "fast", "best"]),
)
data_configs = st.builds(
    DataConfig,
    source=st.text(),
    data_dir=st.none() | st.text(),
    train_images=whole,
    test_images=whole,
    classes=st.none() | st.lists(st.text()).map(tuple),
    val_fraction=st.none() | st.floats(min_value=0.001, max_value=0.999),
    fit=st.sampled_from([None, "crop", "pad", "stretch"]),
    key=st.none() | st.text(),
).flatmap(
    lambda data: (
        st.sets(st.sampled_from(data.classes), min_size=1).map(
            lambda chosen: dataclasses.replace(data, selected_classes=tuple(sorted(chosen)))
        )
        if data.classes
        else st.just(data)
    )
)
losses = st.floats(min_value=0, max_value=1e6)
metrics = st.builds(
    Metrics,
    epoch=whole,
    step=whole,
    train_loss=losses,
    test_loss=losses,
    test_error=losses,
    seconds=losses,
    error_quantiles=st.lists(losses, min_size=2, max_size=9).map(lambda some: tuple(sorted(some))),
)


@given(model_configs | train_configs | data_configs | metrics)
def test_json_round_trips(config):
    assert from_json(type(config), to_json(config)) == config


def test_the_defaults_match_the_tutorial():
    assert ModelConfig().encoder_sizes == (784, 128, 64, 12, 3)
    assert ModelConfig().decoder_sizes == (3, 12, 64, 128, 784)
    assert ModelConfig().activation == "tanh"
    training = TrainConfig()
    assert (training.epochs, training.batch_size, training.lr) == (10, 64, 0.005)
    assert (training.schedule, training.warmup, training.loss) == ("constant", 0.0, "mse")
    assert (training.seed, training.limit, training.preset) == (0, None, "tutorial")
    assert make_recipe("tutorial") == (ModelConfig(), TrainConfig())


def test_a_preset_sets_only_options_that_are_not_given():
    fast = make_recipe("fast")
    assert fast.training.preset == "fast"
    assert fast.model.activation == "silu"
    chosen = make_recipe("fast", lr=0.02, activation="relu", epochs=None)
    assert chosen.training == dataclasses.replace(fast.training, lr=0.02)
    assert chosen.model == dataclasses.replace(fast.model, activation="relu")
    with pytest.raises(UsageError, match="--preset is 'slow'; choose one of auto, tutorial, "):
        make_recipe("slow")


@pytest.mark.parametrize(
    ("sides", "patch"),
    [((8, 8), 1), ((16, 12), 2), ((28, 28), 4), ((32, 32), 4), ((64, 64), 4), ((100, 100), 7)],
)
def test_small_images_have_fewer_patches_and_are_seen_more_often(sides, patch):
    facts = Facts((3, *sides), images=1000, judged=100, is_like_mnist=False)
    recipe = make_recipe("auto", facts)
    assert recipe.model.patch == patch
    large = make_recipe("auto", facts._replace(shape=(3, 64, 64)))
    if max(sides) < 64:
        assert recipe.training.epochs > 1.5 * large.training.epochs


@pytest.mark.parametrize(("preset", "most"), [("fast", 38), ("auto", 150), ("best", 600)])
@given(images=st.integers(1, 10**7), judged=st.integers(1, 10**4))
def test_fewer_images_are_seen_more_often_but_not_without_limit(preset, most, images, judged):
    def count(images: int) -> int:
        facts = Facts((3, 64, 64), images, judged, is_like_mnist=False)
        return make_recipe(preset, facts).training.epochs

    assert 1 <= count(2 * images) <= count(images) <= most
    assert count(10) == most or judged > 800


def test_checkpoints_without_a_preset_use_the_tutorial():
    old = '{"epochs": 3, "batch_size": 64, "lr": 0.01, "loss": "mse", "seed": 0, "limit": null}'
    assert from_json(TrainConfig, old) == TrainConfig(epochs=3, lr=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainConfig(epochs=0), "--epochs is 0; give a whole number, 1 or more"),
        (lambda: TrainConfig(batch_size=-1), "--batch-size is -1; give a whole number, 1 or more"),
        (lambda: TrainConfig(lr=math.nan), "--lr is nan; give a learning rate above 0"),
        (lambda: TrainConfig(lr=math.inf), "--lr is inf; give a learning rate above 0"),
        (lambda: TrainConfig(lr=0), "--lr is 0; give a learning rate above 0"),
        (lambda: TrainConfig(limit=0), "--limit is 0; give a whole number, 1 or more"),
        (lambda: TrainConfig(seed=2**32), "--seed is 4294967296; give a whole number, at most 429"),
        (
            lambda: TrainConfig(batch_size=10**30),
            "--batch-size is 1000000000000000000000000000000; ",
        ),
        (lambda: TrainConfig(lr=10**400), "--lr is 1000"),
        (
            lambda: TrainConfig(warmup=1.1),
            "--warmup is 1.1; give a share of the steps, from 0 to 1",
        ),
        (lambda: TrainConfig(warmup=math.nan), "--warmup is nan; give a share of the steps"),
        (lambda: TrainConfig(settle=-0.1), "--settle is -0.1; give a share of the epochs, from 0"),
        (lambda: TrainConfig(schedule="step"), "--schedule is 'step'; choose one of constant, "),
        (lambda: TrainConfig(engine="jax"), "--engine is 'jax'; choose one of auto, fused, "),
        (lambda: TrainConfig(loss="l2"), "--loss is 'l2'; choose one of mse, bce"),
        (lambda: ModelConfig(latent_dim=0), "--latent-dim is 0; give a whole number, 1 or more"),
        (lambda: ModelConfig(latent_dim=True), "--latent-dim is True; give a whole number"),
        (lambda: ModelConfig(hidden=(128, 0)), "--hidden is 0; give a whole number, 1 or more"),
        (lambda: ModelConfig(activation="step"), "--activation is 'step'; choose one of tanh"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "{",
        '{"latent_dim": "3"}',
        '{"latent_dim": null}',
        '{"hidden": 128}',
        '{"shape": [1, 28]}',
        '{"unknown": 1}',
    ],
)
def test_json_that_is_not_a_configuration_is_refused(text):
    with pytest.raises((ValueError, TypeError, UsageError)):
        from_json(ModelConfig, text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": (0, 28)}, "--image-size is 0; give a whole number, 1 or more"),
        ({"image_size": (28, 5000)}, "--image-size is 5000; give a whole number, at most 4096"),
        ({"fit": "squeeze"}, "--fit is 'squeeze'; choose one of crop, pad, stretch"),
        ({"val_fraction": 0.0}, "--val-fraction is 0.0; give a share between 0 and 1"),
        ({"val_fraction": math.nan}, "--val-fraction is nan; give a share between 0 and 1"),
    ],
)
def test_data_options_out_of_range_are_refused(options, message):
    with pytest.raises(UsageError) as caught:
        ReadOptions(**options)
    assert str(caught.value) == message


def test_recorded_data_must_be_valid():
    good = DataConfig("mnist", None, train_images=9, test_images=1, classes=("a", "b"))
    for name, value in (
        ("selected_classes", ["c"]),
        ("selected_classes", "a"),
        ("val_fraction", 1.5),
        ("fit", "squeeze"),
        ("key", 3),
    ):
        text = json.dumps({**json.loads(to_json(good)), name: value})
        with pytest.raises(UsageError):
            from_json(DataConfig, text)


@pytest.mark.parametrize("quantiles", [[0.1], [0.2, 0.1], [0.1, "0.2"], [-0.1, 0.1], 0.1, [None]])
def test_quantiles_must_ascend(quantiles):
    good = Metrics(epoch=1, step=1, train_loss=0.5, test_loss=0.5, test_error=0.5, seconds=1.0)
    text = json.dumps({**json.loads(to_json(good)), "error_quantiles": quantiles})
    with pytest.raises(UsageError):
        from_json(Metrics, text)


def test_metrics_must_be_finite():
    good = Metrics(epoch=1, step=1, train_loss=0.5, test_loss=0.5, test_error=0.5, seconds=1.0)
    for name in ("train_loss", "test_loss", "test_error", "seconds"):
        for value in (math.nan, math.inf, -1.0, "0.5"):
            text = json.dumps({**json.loads(to_json(good)), name: value})
            with pytest.raises(UsageError):
                from_json(Metrics, text)
