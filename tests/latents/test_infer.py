from __future__ import annotations

import numpy as np
import torch

from ae_cli.config import ModelConfig
from ae_cli.data.images import scale
from ae_cli.latents.infer import (
    decode,
    encode,
    reconstruct,
    reconstruct_all,
    reconstruction_errors,
)
from ae_cli.models import build

CPU = torch.device("cpu")


def test_reconstruct_agrees_with_the_model(digits):
    model = build(ModelConfig(), seed=0)
    batches = list(reconstruct(model, digits.train, device=CPU))
    assert [len(batch.latents) for batch in batches] == [1000, 500]
    everything = reconstruct_all(model, digits.train, device=CPU)
    x = scale(digits.train.pixels)
    with torch.no_grad():
        latents, pixels = model(x)
    np.testing.assert_allclose(everything.latents, latents, atol=1e-6)
    np.testing.assert_allclose(everything.pixels, pixels, atol=1e-6)
    np.testing.assert_array_equal(everything.originals, x)
    errors = ((everything.pixels - x.numpy()) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(everything.errors, errors, rtol=1e-5)
    np.testing.assert_array_equal(
        reconstruction_errors(model, digits.train, device=CPU), everything.errors
    )
    assert everything.latents.dtype == everything.errors.dtype == np.float32


def test_the_caller_is_not_left_in_inference_mode(digits):
    model = build(ModelConfig(), seed=0)
    for _ in reconstruct(model, digits.test, device=CPU):
        assert not torch.is_inference_mode_enabled()


def test_encode_and_decode_are_the_two_halves_of_reconstruct(digits):
    model = build(ModelConfig(), seed=0)
    everything = reconstruct_all(model, digits.train, device=CPU)
    latents = encode(model, digits.train, device=CPU)
    np.testing.assert_array_equal(latents, everything.latents)
    pixels = decode(model, latents, device=CPU)
    assert pixels.shape == (1500, 1, 28, 28)
    np.testing.assert_allclose(pixels, everything.pixels, atol=1e-6)


def test_large_images_are_decoded_in_small_batches():
    sizes = []
    model = build(ModelConfig(shape=(1, 200, 200), hidden=(4,)), seed=0)
    model.decoder.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    z = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    pixels = decode(model, z, device=CPU)
    assert sizes == [32, 32, 6]
    with torch.no_grad():
        np.testing.assert_allclose(pixels, model.decoder(torch.from_numpy(z)), atol=1e-6)
