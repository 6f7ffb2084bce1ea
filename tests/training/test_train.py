from __future__ import annotations

import time
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ae_cli.config import ModelConfig, Schedule, TrainConfig, make_recipe
from ae_cli.data.images import scale
from ae_cli.data.load import load
from ae_cli.errors import TrainingError, UsageError
from ae_cli.models import build
from ae_cli.training import loader
from ae_cli.training.events import Epoch, Step
from ae_cli.training.fit import choose_engine, evaluate, fit, learning_rate
from ae_cli.training.loader import StoreLoader, image_order

CPU = torch.device("cpu")


def run(digits, config: TrainConfig, layers: ModelConfig | None = None):
    model = build(layers or ModelConfig(), seed=config.seed)
    return model, list(fit(model, digits.train, digits.test, config, device=CPU))


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_training_matches_the_tutorials_loop(digits, engine):
    """The weights equal those of a plain loop over the same batches, up to rounding."""
    config = TrainConfig(epochs=2, limit=200, engine=engine)
    model, _ = run(digits, config)

    expected = build(ModelConfig(), seed=0)
    optimizer = torch.optim.Adam(expected.parameters(), lr=0.005)
    loss_function = nn.MSELoss()
    x_train = scale(digits.train.pixels[:200])
    for epoch in (1, 2):
        for index in torch.from_numpy(image_order(200, 0, epoch)).split(64):
            x = x_train[index]
            _, decoded = expected(x)
            loss = loss_function(decoded, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize(
    "activation",
    ["tanh", "silu", *(pytest.param(name, marks=pytest.mark.slow) for name in ("relu", "gelu"))],
)
def test_every_recipe_learns(digits, loss, activation):
    config = TrainConfig(epochs=15, loss=loss, lr=0.002)
    layers = ModelConfig(hidden=(64,), activation=activation)
    before = evaluate(build(layers, seed=0), digits.test, config, device=CPU)
    model, events = run(digits, config, layers)
    last = events[-1]
    assert last.test_loss < 0.75 * before.loss
    # Compute both figures independently.
    x = scale(digits.test.pixels)
    with torch.no_grad():
        _, reconstruction = model(x)
    criterion = nn.MSELoss() if loss == "mse" else nn.BCELoss()
    assert last.test_loss == pytest.approx(criterion(reconstruction, x).item(), rel=1e-4)
    assert last.test_error == pytest.approx(nn.MSELoss()(reconstruction, x).item(), rel=1e-4)


def test_events_count_epochs_steps_and_images(digits):
    _, events = run(digits, TrainConfig(epochs=2, batch_size=64, limit=150))
    steps = [event for event in events if isinstance(event, Step)]
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert [(e.epoch, e.step, e.images) for e in steps] == [
        (1, 1, 64),
        (1, 2, 128),
        (1, 3, 150),
        (2, 1, 64),
        (2, 2, 128),
        (2, 3, 150),
    ]
    assert [(e.epoch, e.step) for e in epochs] == [(1, 3), (2, 6)]
    assert epochs[0].learning_rate == 0.005
    assert epochs[0].images_per_second == pytest.approx(150 / epochs[0].seconds)


def test_the_train_loss_is_the_mean_over_images(digits):
    """The last batch is smaller and counts for less."""
    config = TrainConfig(epochs=1, batch_size=100, limit=130, lr=1e-12)
    model, events = run(digits, config)
    loss = evaluate(model, digits.train.select(np.arange(130)), config, device=CPU).loss
    assert events[-1].train_loss == pytest.approx(loss, rel=1e-4)
    assert events[-2].train_loss == pytest.approx(loss, rel=1e-4)


def test_the_callers_time_is_not_counted(digits):
    model = build(ModelConfig(), seed=0)
    started = time.perf_counter()
    for event in fit(model, digits.train, digits.test, TrainConfig(epochs=1, limit=64), device=CPU):
        if isinstance(event, Step):
            time.sleep(0.5)
    assert 0 < event.seconds <= time.perf_counter() - started - 0.5


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_two_runs_with_the_same_seed_are_identical(digits, engine):
    first, events = run(digits, TrainConfig(epochs=2, seed=3, engine=engine))
    second, again = run(digits, TrainConfig(epochs=2, seed=3, engine=engine))
    other, _ = run(digits, TrainConfig(epochs=2, seed=4, engine=engine))
    for key, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[key], value)
    assert not torch.equal(other.encoder[0].weight, first.encoder[0].weight)
    assert events[-1].test_loss == again[-1].test_loss


@given(st.integers(1, 500), st.integers(0, 2**32 - 1), st.integers(1, 1000))
def test_an_epoch_sees_every_image_once(count, seed, epoch):
    order = image_order(count, seed, epoch)
    assert sorted(order) == list(range(count))
    assert np.array_equal(order, image_order(count, seed, epoch))


def test_orders_differ_between_epochs_and_seeds():
    orders = {tuple(image_order(50, seed, epoch)) for seed in (0, 1, 2**31) for epoch in (1, 2, 3)}
    assert len(orders) == 9


@given(st.integers(1, 3000), st.integers(2, 50), st.integers(1, 8))
def test_where_memory_is_short_images_nearby_are_seen_together(count, nearby, blocks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "BLOCKS", blocks)
        order = image_order(count, 7, 2, nearby=nearby)
        assert np.array_equal(order, image_order(count, 7, 2, nearby=nearby))
    assert np.array_equal(np.sort(order), np.arange(count))
    for start in range(0, count, blocks * nearby):
        window = order[start : start + blocks * nearby]
        # The last block may be smaller, and so a window may begin within a block
        assert len(set(window // nearby)) <= blocks + 1


def test_a_set_larger_than_memory_is_learned_in_blocks(digits, monkeypatch):
    monkeypatch.setattr(loader, "find_memory", lambda: 500_000)
    monkeypatch.setattr(loader, "NEARBY_BYTES", 20 * 784)
    monkeypatch.setattr(loader, "BLOCKS", 4)
    images = digits.train.shuffle(3)
    made = StoreLoader(images, batch_size=80, seed=0, device=torch.device("cpu"))
    whole = digits.train.store
    store = whole.view(0, len(whole))
    rows = {bytes(image.numpy().data): place for place, image in enumerate(store)}
    seen = [[rows[bytes(image.numpy().data)] for image in batch] for batch in made.batches(1, 0)]
    assert sorted(place for batch in seen for place in batch) == sorted(images.places)
    ranks = {place: rank for rank, place in enumerate(sorted(images.places))}
    assert all(len({ranks[place] // 20 for place in batch}) <= 5 for batch in seen)
    again = [batch.clone() for batch in made.batches(1, 0)]
    later = list(made.batches(1, 17))
    assert all(torch.equal(a, b) for a, b in zip(again[17:], later, strict=True))


def test_the_fused_engine_is_for_perceptrons_on_the_cpu():
    gpu, mlp, conv = torch.device("cuda"), ModelConfig(), ModelConfig(model="conv")
    variational = ModelConfig(variational=True)
    auto, fused = TrainConfig(), TrainConfig(engine="fused")
    assert choose_engine(mlp, auto, CPU) == "fused"
    assert choose_engine(mlp, auto, gpu) == "autograd"
    assert choose_engine(conv, auto, CPU) == "autograd"
    assert choose_engine(variational, auto, CPU) == "autograd"
    assert choose_engine(mlp, TrainConfig(denoise=0.1), CPU) == "autograd"
    assert choose_engine(mlp, TrainConfig(engine="autograd"), CPU) == "autograd"
    with pytest.raises(UsageError, match="--engine fused is for the CPU; use --device cpu"):
        choose_engine(mlp, fused, gpu)
    with pytest.raises(UsageError, match="--engine fused is for --model mlp; use --engine auto"):
        choose_engine(conv, fused, CPU)
    for layers, config in [
        (variational, fused),
        (mlp, replace(fused, sparse=0.1)),
        (mlp, replace(fused, loss="ssim")),
    ]:
        with pytest.raises(UsageError, match="--engine fused is for --loss mse or bce alone; use"):
            choose_engine(layers, config, CPU)


def rates(steps: int, **recipe) -> list[float]:
    config = TrainConfig(lr=0.01, **recipe)
    return [learning_rate(config, step, steps) for step in range(1, steps + 1)]


def test_schedules_give_the_expected_rates():
    assert rates(4) == [0.01] * 4
    assert rates(4, schedule="linear") == pytest.approx([0.01, 0.0075, 0.005, 0.0025])
    cosine = [0.01, 0.00853553, 0.005, 0.00146447]  # 0.01 × (1 + cos(45° × 0, 1, 2, 3)) / 2
    assert rates(4, schedule="cosine") == pytest.approx(cosine, abs=1e-8)
    assert rates(6, schedule="linear", warmup=0.5) == pytest.approx(
        [0.01 / 3, 0.02 / 3, 0.01, 0.01, 0.02 / 3, 0.01 / 3]
    )
    assert rates(4, warmup=1.0) == pytest.approx([0.0025, 0.005, 0.0075, 0.01])


@given(
    st.integers(1, 300),
    st.sampled_from(get_args(Schedule)),
    st.floats(0, 1),
)
def test_the_learning_rate_rises_to_its_maximum_and_falls_almost_to_zero(steps, schedule, warmup):
    found = rates(steps, schedule=schedule, warmup=warmup)
    assert max(found) == pytest.approx(0.01)
    assert min(found) > 0
    highest = found.index(max(found))
    assert found[: highest + 1] == sorted(found[: highest + 1])
    assert found[highest:] == sorted(found[highest:], reverse=True)


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_steps_follow_the_schedule(digits, engine):
    """Compared with torch's own Adam, with the rate set by hand before each step."""
    config = TrainConfig(
        epochs=2, batch_size=50, limit=100, lr=0.01, schedule="linear", engine=engine
    )
    model, events = run(digits, config)
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert [event.learning_rate for event in epochs] == pytest.approx([0.0075, 0.0025])

    expected = build(ModelConfig(), seed=0)
    optimizer = torch.optim.Adam(expected.parameters())
    x_train = scale(digits.train.pixels[:100])
    orders = [torch.from_numpy(image_order(100, 0, epoch)).split(50) for epoch in (1, 2)]
    for index, lr in zip(orders[0] + orders[1], (0.01, 0.0075, 0.005, 0.0025), strict=True):
        optimizer.param_groups[0]["lr"] = lr
        x = x_train[index]
        optimizer.zero_grad()
        nn.functional.mse_loss(expected(x)[1], x).backward()
        optimizer.step()
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_training(digits):
    with pytest.raises(TrainingError, match=r"no longer a finite number in epoch 1; choose a smal"):
        run(digits, TrainConfig(lr=1e30, epochs=3), ModelConfig(activation="relu"))


def test_the_mean_images_error_matches_its_definition(digits):
    test = digits.test.pixels.numpy() / 255
    expected = ((test - test.mean(0)) ** 2).mean()
    assert digits.test.mean_image_error() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_tutorials_recipe_reaches_its_error_on_mnist(mnist_dir):
    """The tutorial's loop ended at 0.0372 and 0.0388; three principal components give 0.0516."""
    images = load("mnist", data_dir=mnist_dir)
    model = build(ModelConfig(), seed=0)
    *_, last = fit(model, images.train, images.test, TrainConfig(), device=CPU)
    assert 0.034 < last.test_error < 0.043


def test_the_fast_preset_reaches_the_tutorials_error_on_mnist(mnist_dir):
    images = load("mnist", data_dir=mnist_dir)
    layers, training = make_recipe("fast")
    *_, last = fit(build(layers, seed=0), images.train, images.test, training, device=CPU)
    assert last.test_error < 0.0377
