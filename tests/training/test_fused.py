"""The fused step against autograd, which knows nothing of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ae_cli.config import ModelConfig, TrainConfig
from ae_cli.models import AutoEncoder, build
from ae_cli.models.checkpoint import load_checkpoint, save_checkpoint
from ae_cli.training.fit import fit
from ae_cli.training.fused import FusedStep

CPU = torch.device("cpu")
LAYERS = [(128, 64, 12), (30,), ()]

RECIPES = [(a, b) for a in ("tanh", "relu", "silu", "gelu") for b in ("mse", "bce")]
every_recipe = pytest.mark.parametrize(("activation", "loss"), RECIPES)


def mean_loss(model: AutoEncoder, loss: str, x: torch.Tensor) -> torch.Tensor:
    """As a textbook has it: with probabilities, not logits."""
    _, reconstruction = model(x)
    return (nn.MSELoss() if loss == "mse" else nn.BCELoss())(reconstruction, x)


@pytest.mark.parametrize("batch", [64, 1])
@pytest.mark.parametrize("hidden", LAYERS)
@every_recipe
def test_loss_and_gradients_are_autograds(digits, activation, loss, hidden, batch):
    config = ModelConfig(hidden=hidden, activation=activation)
    model = build(config, seed=1).double()
    pixels = digits.train.pixels[:batch]
    expected_loss = mean_loss(model, loss, pixels.double() / 255)
    expected = torch.autograd.grad(expected_loss, list(model.parameters()))

    step = FusedStep(model, loss)
    for ours, theirs in zip(step.gradients(pixels), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)
    loss_sum = step(pixels, lr=0.0)
    assert loss_sum.item() / pixels.numel() == pytest.approx(expected_loss.item(), rel=1e-9)


@pytest.mark.parametrize(
    ("activation", "loss"),
    [RECIPES[0], *(pytest.param(*recipe, marks=pytest.mark.slow) for recipe in RECIPES[1:])],
)
def test_fifty_steps_end_in_autograds_weights(digits, activation, loss):
    """With torch's own Adam, over batches of two sizes."""
    config = ModelConfig(activation=activation)
    model, expected = (build(config, seed=2).double() for _ in range(2))
    step = FusedStep(model, loss)
    optimizer = torch.optim.Adam(expected.parameters(), lr=0.005)
    batches = [
        batch
        for _ in range(5)
        for batch in digits.train.pixels[:600].split(64)  # the tenth has 24
    ]
    for batch in batches[:50]:
        step(batch, lr=0.005)
        optimizer.zero_grad()
        mean_loss(expected, loss, batch.double() / 255).backward()
        optimizer.step()
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_both_engines_report_the_same_losses(digits, loss):
    def losses(engine):
        config = TrainConfig(epochs=3, engine=engine, loss=loss, limit=500, lr=0.002)
        model = build(ModelConfig(), seed=0)
        events = list(fit(model, digits.train, digits.test, config, device=CPU))
        return [event.train_loss for event in events if hasattr(event, "test_loss")]

    assert losses("fused") == pytest.approx(losses("autograd"), rel=1e-4)


def test_extreme_logits_keep_their_gradient(digits):
    """Where a sigmoid is flat, the cross-entropy is still finite and its slope is 1 or -1."""
    model = build(ModelConfig(), seed=0)
    with torch.no_grad():
        model.decoder[-2].bias.fill_(500)
    pixels = torch.zeros(4, 784, dtype=torch.uint8)
    step = FusedStep(model, "bce")
    gradient_of_last_bias = step.gradients(pixels)[-1]
    torch.testing.assert_close(gradient_of_last_bias, torch.full((784,), 1 / 784))
    assert step(pixels, lr=0.0).item() == pytest.approx(4 * 784 * 500, rel=1e-3)


def test_the_model_and_its_checkpoint_see_the_weights(digits, checkpoint):
    loaded = load_checkpoint(checkpoint)
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    step = FusedStep(loaded.model, "mse")
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[key]), "making a step changes nothing"
    storages = {p.untyped_storage().data_ptr() for p in loaded.model.parameters()}
    assert len(storages) == 1
    step(digits.train.pixels[:64], lr=0.01)
    save_checkpoint(loaded, checkpoint)
    for key, value in load_checkpoint(checkpoint).model.state_dict().items():
        assert torch.equal(value, loaded.model.state_dict()[key])
        assert not torch.equal(value, before[key])


def test_steps_allocate_nothing(digits):
    """Once a batch size has been seen, no tensor is made that is larger than a few numbers."""
    step = FusedStep(build(ModelConfig(), seed=0), "mse")
    batch = digits.train.pixels[:64]
    step(batch, lr=0.01)
    with torch.profiler.profile(profile_memory=True) as profile:
        for _ in range(10):
            step(batch, lr=0.01)
    sizes = [
        event.self_cpu_memory_usage
        for event in profile.key_averages()
        if event.self_cpu_memory_usage > 0
    ]
    assert sum(sizes) < 1000, profile.key_averages().table()


def test_threads_are_as_many_as_the_work_is_worth(digits):
    threads = torch.get_num_threads()
    config = TrainConfig(epochs=1, batch_size=8, limit=64)
    model = build(ModelConfig(), seed=0)
    seen = [
        torch.get_num_threads() for _ in fit(model, digits.train, digits.test, config, device=CPU)
    ]
    assert seen[:-1] == [1] * 8
    assert seen[-1] == threads, "evaluation has them all"
    assert torch.get_num_threads() == threads


def test_denormal_numbers_are_flushed_while_training(digits):
    """Moments of pixels that are seldom lit decay into them, and they make a CPU slow."""

    def flushed():
        return (torch.full((4,), 1e-39) * 1 == 0).all().item()

    model = build(ModelConfig(), seed=0)
    events = fit(model, digits.train, digits.test, TrainConfig(limit=64), device=CPU)
    next(events)
    assert flushed()
    events.close()
    assert not flushed()
