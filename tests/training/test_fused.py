"""The fused step agrees with autograd, an independent implementation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from ae_cli.analysis.components import find_components
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
    """The textbook definition, with probabilities rather than logits."""
    _, reconstruction = model(x)
    return (nn.MSELoss() if loss == "mse" else nn.BCELoss())(reconstruction, x)


def assert_step_matches(
    model: AutoEncoder, loss: str, pixels: torch.Tensor, mean_loss: Callable[..., torch.Tensor]
) -> None:
    """Compare the fused step's loss and gradients with those of autograd, in float64."""
    expected_loss = mean_loss(model, loss, pixels.double() / 255)
    expected = torch.autograd.grad(expected_loss, list(model.parameters()))
    step = FusedStep(model, loss)
    for ours, theirs in zip(step.gradients(pixels), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)
    loss_sum = step(pixels, lr=0.0)
    assert loss_sum.item() / pixels.numel() == pytest.approx(expected_loss.item(), rel=1e-9)


@pytest.mark.parametrize("batch", [64, 1])
@pytest.mark.parametrize("hidden", LAYERS)
@every_recipe
def test_loss_and_gradients_match_autograd(digits, activation, loss, hidden, batch):
    config = ModelConfig(hidden=hidden, activation=activation)
    model = build(config, seed=1).double()
    assert_step_matches(model, loss, digits.train.pixels[:batch], mean_loss)


def started(digits, *, seed: int, **layers: object) -> AutoEncoder:
    """A perceptron with PCA, in which everything matters: untrained, its last layers are zero."""
    model = build(ModelConfig(pca=True, **layers), seed=seed)
    model.start_from(find_components(digits.train, model.config.latent_dim))
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(seed))
    return model


def mean_loss_with_pca(model: AutoEncoder, loss: str, x: torch.Tensor) -> torch.Tensor:
    """Of pixels that are not limited, or of the logits that stand for them."""
    latent = model.encoder(x)
    if loss == "mse":
        return functional.mse_loss(model.decode_unlimited(latent), x)
    return functional.binary_cross_entropy_with_logits(model.decode_logits(latent), x)


@pytest.mark.parametrize("batch", [64, 1])
@pytest.mark.parametrize("hidden", LAYERS)
@every_recipe
def test_with_pca_loss_and_gradients_match_autograd(digits, activation, loss, hidden, batch):
    model = started(digits, seed=1, hidden=hidden, activation=activation, latent_dim=5).double()
    assert_step_matches(model, loss, digits.train.pixels[:batch], mean_loss_with_pca)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_with_pca_weights_match_autograd_after_twenty_steps(digits, loss):
    """Compared with torch's own Adam, with batches of two sizes. PCA itself stays as it is."""
    model, expected = (started(digits, seed=2, activation="silu").double() for _ in range(2))
    step = FusedStep(model, loss)
    optimizer = torch.optim.Adam(expected.parameters(), lr=0.002)
    for batch in [batch for _ in range(2) for batch in digits.train.pixels[:600].split(64)]:
        step(batch, lr=0.002)
        optimizer.zero_grad()
        mean_loss_with_pca(expected, loss, batch.double() / 255).backward()
        optimizer.step()
    fixed = dict(expected.named_buffers())
    for key, value in expected.state_dict().items():
        tolerance = 0 if key in fixed else 1e-9
        torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("activation", "loss"),
    [RECIPES[0], *(pytest.param(*recipe, marks=pytest.mark.slow) for recipe in RECIPES[1:])],
)
def test_weights_match_autograd_after_fifty_steps(digits, activation, loss):
    """Compared with torch's own Adam, with batches of two sizes."""
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


@pytest.mark.parametrize("pca", [False, True])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_both_engines_report_the_same_losses(digits, loss, pca):
    def losses(engine):
        config = TrainConfig(epochs=3, engine=engine, loss=loss, limit=500, lr=0.002)
        model = started(digits, seed=0) if pca else build(ModelConfig(), seed=0)
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


def test_steps_update_the_model_and_its_checkpoint(digits, checkpoint):
    loaded = load_checkpoint(checkpoint)
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    step = FusedStep(loaded.model, "mse")
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[key]), "creating the step changes nothing"
    storages = {p.untyped_storage().data_ptr() for p in loaded.model.parameters()}
    assert len(storages) == 1
    step(digits.train.pixels[:64], lr=0.01)
    save_checkpoint(loaded, checkpoint)
    for key, value in load_checkpoint(checkpoint).model.state_dict().items():
        assert torch.equal(value, loaded.model.state_dict()[key])
        assert not torch.equal(value, before[key])


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("pca", [False, True])
def test_steps_allocate_nothing(digits, loss, pca):
    """After the first batch of a size, no tensor of more than a few numbers is allocated."""
    step = FusedStep(build(ModelConfig(pca=pca), seed=0), loss)
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


def test_small_batches_are_trained_on_one_thread(digits):
    threads = torch.get_num_threads()
    config = TrainConfig(epochs=1, batch_size=8, limit=64)
    model = build(ModelConfig(), seed=0)
    seen = [
        torch.get_num_threads() for _ in fit(model, digits.train, digits.test, config, device=CPU)
    ]
    assert seen[:-1] == [1] * 8
    assert seen[-1] == threads, "evaluation uses all threads"
    assert torch.get_num_threads() == threads


def test_denormal_numbers_are_flushed_while_training(digits):
    """Moments of rarely lit pixels decay to denormal numbers, which slow down a CPU."""

    def flushed():
        return (torch.full((4,), 1e-39) * 1 == 0).all().item()

    model = build(ModelConfig(), seed=0)
    events = fit(model, digits.train, digits.test, TrainConfig(limit=64), device=CPU)
    next(events)
    assert flushed()
    events.close()
    assert not flushed()
