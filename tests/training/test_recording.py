from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ae_cli.config import ModelConfig, TrainConfig
from ae_cli.latents.infer import encode, reconstruct_all
from ae_cli.models import AutoEncoder, build
from ae_cli.training.events import Step
from ae_cli.training.fit import fit
from ae_cli.training.recording import (
    MOST_FRAMES,
    Recorder,
    choose_steps,
    see_latents,
    see_reconstructions,
    thin_out,
)

CPU = torch.device("cpu")
CONFIG = TrainConfig(epochs=10, lr=0.005)  # 240 steps on digits


@given(st.integers(1, 10**12))
def test_up_to_200_steps_are_chosen_from_zero_to_the_last(total):
    steps = choose_steps(total)
    assert len(steps) == min(MOST_FRAMES, total + 1)
    assert (steps[0], steps[-1]) == (0, total)
    assert all(a < b for a, b in itertools.pairwise(steps))
    assert len(choose_steps(total + 1)) >= len(steps)


def test_most_frames_are_from_the_beginning():
    steps = np.array(choose_steps(9380))  # the default recipe on MNIST
    assert (steps < 938).sum() == 63, "the first epoch takes up a third of the film"
    assert np.diff(steps).max() == 95


def train(digits, *, look=None, config: TrainConfig = CONFIG, latent_dim: int = 3, stop: int = -1):
    """Train on digits up to a step; return the model, the recorded moments and the last loss."""
    model = build(ModelConfig(latent_dim=latent_dim), seed=0)
    images = digits.test.head(10)
    recorder = look and Recorder(partial(look, model, images, device=CPU), config.epochs)
    loss = None
    for event in fit(model, digits.train, digits.test, config, device=CPU):
        if isinstance(event, Step):
            if recorder:
                threads = torch.get_num_threads()
                recorder(event)
                assert torch.get_num_threads() == threads
                assert not torch.is_inference_mode_enabled()
            if event.updates == stop:
                loss = event.train_loss
                break
    return model, (recorder.moments if recorder else []), loss


def weights(model: AutoEncoder) -> list[torch.Tensor]:
    return list(model.state_dict().values())


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_recording_does_not_change_training(digits, engine):
    config = TrainConfig(epochs=2, engine=engine)
    alone, _, _ = train(digits, config=config)
    for look in (see_reconstructions, see_latents):
        watched, moments, _ = train(digits, look=look, config=config)
        assert len(moments) == 49
        assert all(map(torch.equal, weights(alone), weights(watched)))


def test_a_recorded_moment_matches_a_run_that_stops_there(digits):
    images = digits.test.head(10)
    _, drawn, _ = train(digits, look=see_reconstructions)
    _, encoded, _ = train(digits, look=see_latents)
    assert [moment.step for moment in drawn] == choose_steps(240)
    assert (drawn[0].epoch, drawn[0].train_loss) == (0, None)
    start = build(ModelConfig(), seed=0)
    untrained = reconstruct_all(start, images, device=CPU).pixels
    np.testing.assert_allclose(drawn[0].seen, 255 * untrained, atol=0.51)
    for i in (1, 120, -1):
        step = drawn[i].step
        model, _, loss = train(digits, stop=step)
        assert drawn[i].train_loss == encoded[i].train_loss == loss
        assert drawn[i].epoch == -(-step // 24)
        stopped = reconstruct_all(model, images, device=CPU)
        assert drawn[i].seen.dtype == np.uint8
        np.testing.assert_allclose(drawn[i].seen, 255 * stopped.pixels, atol=0.51)
        np.testing.assert_allclose(encoded[i].seen, encode(model, images, device=CPU), atol=1e-6)


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_at_most_three_latents_are_recorded(digits, latent_dim):
    _, moments, _ = train(
        digits, look=see_latents, config=TrainConfig(epochs=1), latent_dim=latent_dim
    )
    assert {moment.seen.shape for moment in moments} == {(10, min(3, latent_dim))}


@pytest.mark.parametrize(
    ("height", "width", "step"), [(28, 28, 1), (300, 174, 1), (175, 175, 2), (900, 90, 3)]
)
def test_large_images_are_thinned_out(height, width, step):
    images = np.random.default_rng(0).random((2, 3, height, width), np.float32)
    np.testing.assert_array_equal(thin_out(images), images[:, :, ::step, ::step])


def test_a_diverged_model_is_not_recorded(digits):
    model = build(ModelConfig(activation="relu"), seed=0)
    for look in (see_reconstructions, see_latents):
        recorder = Recorder(partial(look, model, digits.test.head(10), device=CPU), 2)
        recorder(Step(1, 1, 24, 64, 0.1, 0.005, torch.tensor(5.0), 784))
        with torch.no_grad():
            model.encoder[0].weight.fill_(torch.nan)
        recorder(Step(1, 2, 24, 128, 0.1, 0.005, torch.tensor(9.0), 784))
        assert [moment.step for moment in recorder.moments] == [0, 1]
        model = build(ModelConfig(activation="relu"), seed=0)
