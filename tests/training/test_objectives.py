"""What training minimises: each objective against an independent computation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as skimage_ssim
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

import ae_cli
from ae_cli.analysis.components import find_components
from ae_cli.config import ModelConfig, TrainConfig
from ae_cli.config.training import TrainOptions
from ae_cli.data.images import scale
from ae_cli.errors import UsageError
from ae_cli.models import build
from ae_cli.models.objectives import Objective, Random, divergence, structural_similarity
from ae_cli.training.fit import evaluate, fit
from ae_cli.training.session import Session

# The models here are trained for seconds only, and few have learned much
pytestmark = pytest.mark.filterwarnings("ignore::ae_cli.AeWarning")
CPU = torch.device("cpu")


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def noise(seed=1):
    return Random(generator(seed))


def small_conv(**fields):
    layers = {"hidden": (4, 8, 16), "activation": "silu", "latent_dim": 3}
    return ModelConfig(shape=(1, 28, 28), model="conv", **{**layers, **fields})


def photos():
    """Two photos in colour, float32 (2, 3, 60, 80) in [0, 1]."""
    both = load_sample_images().images
    return np.stack([image[100:160, 200:280] for image in both]).transpose(0, 3, 1, 2) / 255


def test_ssim_is_that_of_scikit_image(digits):
    random = np.random.default_rng(0)
    for originals in (digits.test.floats()[:5], photos()):
        changed = np.clip(originals + random.normal(0, 0.1, originals.shape), 0, 1)
        ours = structural_similarity(
            torch.from_numpy(originals).float(), torch.from_numpy(changed).float()
        )
        theirs = [
            skimage_ssim(
                a,
                b,
                channel_axis=0,
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for a, b in zip(originals.astype(np.float64), changed, strict=True)
        ]
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (5, 40)])
def test_ssim_of_small_images(shape):
    """The window is as large as fits, and the similarity of an image with itself is 1."""
    x = torch.rand(3, 1, *shape, generator=generator())
    assert structural_similarity(x, x).tolist() == pytest.approx([1.0] * 3)
    assert (structural_similarity(x, 1 - x) < 0.95).all()


def test_ssim_can_be_differentiated_after_it_was_measured():
    x = torch.rand(2, 1, 13, 17, generator=generator())
    with torch.inference_mode():
        structural_similarity(x, x)
    y = (x / 2).requires_grad_()
    structural_similarity(y, x).sum().backward()
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("l1", lambda y, x: (y - x).abs().mean()),
        ("ssim", lambda y, x: 0.84 * (1 - ssim_of(y, x)) + 0.16 * (y - x).abs().mean()),
    ],
)
def test_losses_of_reconstructions(digits, loss, expected):
    model, x = build(ModelConfig(), seed=0), scale(digits.test.pixels[:20])
    measured = Objective(TrainConfig(loss=loss)).measure(model, x)
    with torch.no_grad():
        _, reconstruction = model(x)
    assert measured.loss.item() == pytest.approx(float(expected(reconstruction, x)), rel=1e-4)
    assert measured.errors.mean().item() == pytest.approx(
        functional.mse_loss(reconstruction, x).item(), rel=1e-5
    )


def ssim_of(y, x):
    pairs = zip(y[:, 0].double().numpy(), x[:, 0].double().numpy(), strict=True)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return np.mean([skimage_ssim(a, b, data_range=1.0, **options) for a, b in pairs])


def test_denoising_reconstructs_clean_images_from_noisy_ones(digits):
    model, x = build(ModelConfig(), seed=0), scale(digits.test.pixels[:50])
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for kind in ("gaussian", "mask"):
        objective = Objective(TrainConfig(denoise=0.2, noise=kind))
        loss = objective.loss(model, x, noise())
        noisy = seen[-1]
        _, reconstruction = model(noisy)
        assert loss.item() == pytest.approx(functional.mse_loss(reconstruction, x).item())
        assert not torch.equal(objective.loss(model, x, noise(2)), loss)
        assert torch.equal(objective.loss(model, x, noise()), loss)
        if kind == "gaussian":
            amounts = (noisy - x).flatten(1).std(1)
            assert (noisy - x).mean().item() == pytest.approx(0, abs=0.01)
        else:
            assert torch.equal(noisy[noisy != 0], x[noisy != 0])
            amounts = torch.stack(
                [(a[b > 0] == 0).float().mean() for a, b in zip(noisy, x, strict=True)]
            )
        # Evenly distributed from 0 to 0.2
        assert amounts.mean().item() == pytest.approx(0.1, abs=0.02)
        assert amounts.max().item() == pytest.approx(0.2, abs=0.03)
        assert amounts.min().item() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("noise_kind", ["gaussian", "mask"])
def test_the_loss_is_measured_with_noise_and_the_error_without(digits, loss, noise_kind):
    model, x = build(ModelConfig(), seed=0), scale(digits.test.pixels[:50])
    objective = Objective(TrainConfig(denoise=0.2, noise=noise_kind, loss=loss))
    measured = objective.measure(model, x)
    assert measured.loss.item() == pytest.approx(objective.loss(model, x, noise(0)).item())
    assert torch.equal(objective.measure(model, x).loss, measured.loss), "always the same noise"
    latent, reconstruction = model(x)
    assert torch.equal(measured.latents, latent)
    error = functional.mse_loss(reconstruction, x).item()
    assert measured.errors.mean().item() == pytest.approx(error)


@pytest.mark.slow
def test_a_denoising_model_reconstructs_images_with_and_without_noise(digits):
    """Images of which half is black, and clean ones; a plain model takes them for dark ones."""
    x = digits.test.floats()
    masked = torch.from_numpy(x * (np.random.default_rng(0).random(x.shape) >= 0.5))
    errors = {}
    for amount in (0.0, 0.5):
        options = {"latent_dim": 8, "denoise": amount, "noise": "mask" if amount else None}
        model = ae_cli.train(digits, epochs=30, progress=False, **options).model
        errors[amount] = [
            functional.mse_loss(model(seen)[1], torch.from_numpy(x)).item()
            for seen in (torch.from_numpy(x), masked)
        ]
    (clean, dark), (also_clean, restored) = errors[0.0], errors[0.5]
    assert also_clean < 2 * clean
    assert restored < 0.5 * dark


def test_masks_cover_all_channels_of_a_pixel():
    x = torch.rand(8, 3, 16, 16, generator=generator()) / 2 + 0.5
    seen = Objective(TrainConfig(denoise=0.5, noise="mask"))._add_noise(x, noise())
    assert torch.equal((seen == 0).any(1), (seen == 0).all(1))


def test_sparsity_adds_the_mean_absolute_latent(digits):
    model, x = build(ModelConfig(), seed=0), scale(digits.test.pixels[:20])
    plain = Objective(TrainConfig()).loss(model, x, noise())
    sparse = Objective(TrainConfig(sparse=0.3)).loss(model, x, noise())
    assert (sparse - plain).item() == pytest.approx(0.3 * model.encoder(x).abs().mean().item())


def test_the_divergence_is_that_of_torchs_distributions():
    mean, log_variance = torch.randn(2, 10, 4, generator=generator()).unbind()
    posterior = Normal(mean, (log_variance / 2).exp())
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = kl_divergence(posterior, prior).sum(1)
    torch.testing.assert_close(divergence(mean, log_variance), expected)


@pytest.mark.parametrize(
    "layers",
    [
        ModelConfig(variational=True),
        ModelConfig(variational=True, pca=True),
        small_conv(variational=True),
    ],
)
@pytest.mark.parametrize("loss", ["mse", "l1", "bce"])
def test_the_variational_gradient_is_that_of_the_lower_bound(digits, layers, loss):
    """The bound, from distributions with the best scale, has the same direction."""
    model = build(layers, seed=0).double()
    x, beta = scale(digits.test.pixels[:30]).double(), 0.7
    if layers.pca:
        for parameter in model.parameters():  # its last layers begin at zero
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator())
    mean, log_variance = model.encode_distribution(x)
    posterior = Normal(mean, (log_variance.double() / 2).exp())
    drawn = torch.empty_like(mean).normal_(generator=generator())
    z = posterior.mean + drawn * posterior.stddev
    y = model.decode_logits(z) if loss == "bce" else model.decode_unlimited(z)
    if loss == "bce":
        log_likelihood = torch.distributions.Bernoulli(logits=y, validate_args=False).log_prob(x)
    elif loss == "l1":
        best = (y - x).abs().mean()
        log_likelihood = torch.distributions.Laplace(y, best).log_prob(x)
    else:
        best = (y - x).square().mean().sqrt()
        log_likelihood = Normal(y, best).log_prob(x)
    kl = kl_divergence(posterior, Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(1)
    negative_bound = beta * kl.mean() - log_likelihood.flatten(1).sum(1).mean()
    expected = torch.autograd.grad(negative_bound, list(model.parameters()))

    ours = Objective(TrainConfig(loss=loss, beta=beta)).loss(model, x, noise())
    gradients = torch.autograd.grad(ours, list(model.parameters()))
    flat, theirs = (torch.cat([g.flatten() for g in some]) for some in (gradients, expected))
    assert functional.cosine_similarity(flat, theirs, 0).item() == pytest.approx(1, abs=1e-6)


def test_a_variational_model_starts_from_probabilistic_pca(digits):
    """Compared with the variance of each latent in scikit-learn's own probabilistic model."""
    line = find_components(digits.train, 3)
    model = build(small_conv(variational=True), seed=0)
    model.start_from(line)
    x = scale(digits.test.pixels[:10])
    mean, log_variance = model.encode_distribution(x)
    matrix = digits.train.floats().reshape(len(digits.train), -1)
    pca = PCA(3).fit(matrix)
    # What PCA leaves of all pixels; scikit-learn divides it by the number of lost directions.
    left = pca.noise_variance_ * (matrix.shape[1] - 3) / matrix.shape[1]
    torch.testing.assert_close(
        log_variance[0].detach(),
        torch.tensor(np.log(left / pca.explained_variance_)).float(),
        rtol=0,
        atol=0.01,
    )
    assert mean.std(0).mean().item() == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(
    ("layers", "changed"),
    [
        (ModelConfig(variational=True), {}),
        (small_conv(variational=True), {"loss": "bce", "beta": 2.0}),
        (small_conv(), {"denoise": 0.05, "noise": "mask"}),
        (ModelConfig(), {"denoise": 0.3, "sparse": 0.01}),
        (ModelConfig(pca=True, activation="silu"), {"loss": "l1"}),
        (small_conv(), {"loss": "ssim"}),
        (ModelConfig(), {"loss": "l1"}),
    ],
)
def test_every_objective_learns(digits, layers, changed):
    config = TrainConfig(epochs=10, lr=0.003, limit=600, **changed)
    model = build(layers, seed=0)
    if model.has_start:
        model.start_from(find_components(digits.train, 3))
    before = evaluate(model, digits.test, config, device=CPU)
    *_, last = fit(model, digits.train, digits.test, config, device=CPU)
    assert last.test_loss < 0.98 * before.loss
    assert (last.kl is not None) == layers.variational
    if layers.variational:
        assert 0.5 < last.kl < 50


def test_a_larger_beta_brings_the_latents_closer_to_the_prior(digits):
    def divergence_with(beta):
        model = build(small_conv(variational=True), seed=0)
        model.start_from(find_components(digits.train, 3))
        config = TrainConfig(epochs=3, lr=0.003, limit=600, beta=beta)
        *_, last = fit(model, digits.train, digits.test, config, device=CPU)
        return last.kl

    assert divergence_with(50.0) < 0.7 * divergence_with(1.0)


def test_stronger_sparsity_brings_more_latents_close_to_zero(digits):
    def share_near_zero(sparse):
        model = build(ModelConfig(latent_dim=8, activation="silu"), seed=0)
        config = TrainConfig(epochs=15, lr=0.003, sparse=sparse)
        for _ in fit(model, digits.train, digits.test, config, device=CPU):
            pass
        with torch.no_grad():
            z = model.encoder(scale(digits.test.pixels)).abs()
        return (z < 0.1 * z.max()).float().mean().item()

    assert share_near_zero(0.02) > 1.2 * share_near_zero(0.0)


@pytest.mark.parametrize(
    "changed",
    [
        {"variational": True},
        {"denoise": 0.2},
        {"loss": "ssim", "sparse": 0.01},
        {"variational": True, "model": "conv", "hidden": "4,8,16"},
    ],
)
def test_resuming_is_exact(digits, tmp_path, changed):
    """Noise depends on the step only: stopped in the middle of an epoch, nothing changes."""
    options = {"data": digits, "epochs": 2, "limit": 200, "preset": "tutorial", **changed}
    ae_cli.train(**options, out=tmp_path / "whole.safetensors")
    first = TrainOptions(**options, out=tmp_path / "parts.safetensors", checkpoint_every=3)
    with Session(first) as session:
        for event in session:
            if getattr(event, "updates", 0) == 6:  # two steps into the second epoch
                break
    ae_cli.train(digits, resume=True, out=tmp_path / "parts.safetensors")
    whole, parts = (
        ae_cli.load_model(tmp_path / f"{name}.safetensors") for name in ("whole", "parts")
    )
    for key, value in whole.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[key], value)
    assert replace(whole.metrics, seconds=0) == replace(parts.metrics, seconds=0)


def test_samples_are_drawn_from_the_prior(digits):
    model = ae_cli.train(digits, preset="tutorial", variational=True, epochs=2, limit=200)
    drawn = ae_cli.decode(model, sample=500, seed=3)
    assert drawn.pixels.shape == (500, 1, 28, 28)
    z = drawn.points.z
    assert np.abs(z.mean(0)).max() < 4 / math.sqrt(500)
    assert np.abs(z.std(0) - 1).max() < 0.15
    expected = model.model.decoder(torch.from_numpy(z)).detach().numpy()
    np.testing.assert_array_equal(drawn.pixels, expected)
    assert np.array_equal(ae_cli.decode(model, sample=500, seed=3).pixels, drawn.pixels)
    assert not np.array_equal(ae_cli.decode(model, sample=500).pixels, drawn.pixels)


def test_what_cannot_be_is_refused_with_a_remedy(digits):
    plain = ae_cli.train(digits, preset="tutorial", epochs=1, limit=64)
    with pytest.raises(UsageError, match="--sample needs a model with a prior, and .* has none"):
        ae_cli.decode(plain, sample=4)
    for options, text in [
        (
            {"beta": 2.0},
            "--beta is given without --variational; add --variational, or leave it out",
        ),
        ({"noise": "mask"}, "--noise is given without --denoise; add --denoise"),
        ({"denoise": 1.0}, "--denoise is 1.0; give an amount from 0 to below 1, such as 0.2"),
        ({"denoise": math.nan}, "--denoise is nan"),
        ({"sparse": -1.0}, "--sparse is -1.0; give a finite number, 0 or more"),
        ({"variational": True, "loss": "ssim"}, "--loss ssim is not a likelihood, which --vari"),
        ({"loss": "huber"}, "--loss is 'huber'; choose one of mse, bce, l1, ssim"),
    ]:
        with pytest.raises(UsageError, match=text):
            TrainOptions(**options)
    for options, text in [
        ({"seed": 1}, "--seed is for --sample"),
        ({"sample": 0}, "--sample is 0"),
        ({"sample": 2, "grid": 3}, "exclude one another"),
    ]:
        with pytest.raises(UsageError, match=text):
            ae_cli.decode(plain, **options)
