from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from ae_cli.analysis.evaluate import PIXEL_COMPONENTS, Report, judge, measure
from ae_cli.analysis.pca import fit_pca, fitting_images, reconstruct_by_pca, to_matrix
from ae_cli.analysis.quality import CLASSIFIER_NEIGHBORS, NEIGHBORS, measure_quality
from ae_cli.config import ignore_progress
from ae_cli.data.images import DataSet, Images
from ae_cli.data.store import PixelStore
from ae_cli.latents.infer import join, reconstruct_all
from ae_cli.models.checkpoint import load_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(_trained):
    return load_checkpoint(_trained / "ae.safetensors").model


@pytest.fixture(scope="module")
def pca(digits):
    return fit_pca(digits.train, 3)


@pytest.fixture(scope="module")
def report(digits, model, pca) -> Report:
    return evaluate(model, pca, digits.train, digits.test)


def evaluate(model, pca, train: Images, test: Images) -> Report:
    data = DataSet("tests", train, test)
    wide = fit_pca(train, PIXEL_COMPONENTS)
    return measure(
        model, pca, wide, train, data, "test", device=CPU, progress=ignore_progress, out=None
    )


def structural_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. (2004) with a uniform 7 × 7 window, wherever it fits in the image."""
    c1, c2, n = 0.01**2, 0.03**2, 49
    mean_a, mean_b = uniform_filter(a, 7), uniform_filter(b, 7)
    unbiased = n / (n - 1)
    var_a = unbiased * (uniform_filter(a * a, 7) - mean_a**2)
    var_b = unbiased * (uniform_filter(b * b, 7) - mean_b**2)
    covariance = unbiased * (uniform_filter(a * b, 7) - mean_a * mean_b)
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )
    return float(similarity[3:-3, 3:-3].mean())


def ranks(x: np.ndarray) -> np.ndarray:
    """The rank of each point by its distance from each, (n, n): 0 for itself, 1 for the nearest."""
    distances = cdist(x, x)
    np.fill_diagonal(distances, -1)
    return distances.argsort(1, kind="stable").argsort(1, kind="stable")


def trustworthiness(x: np.ndarray, z: np.ndarray, k: int) -> float:
    """Venna and Kaski (2001): how far away the wrong neighbours are."""
    n = len(x)
    in_x, in_z = ranks(x), ranks(z)
    wrong = (in_z >= 1) & (in_z <= k) & (in_x > k)
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * float((in_x[wrong] - k).sum())


def nearest(x: np.ndarray, labels: np.ndarray, test: np.ndarray, k: int) -> np.ndarray:
    """The most frequent label of the k nearest; the smallest one in a tie."""
    distances = cdist(test.astype(float), x.astype(float))
    votes = labels[distances.argsort(1, kind="stable")[:, :k]]
    return np.array([np.bincount(row).argmax() for row in votes])


def check_quality(quality, made) -> None:
    x = made.originals.reshape(len(made.errors), -1).astype(float)
    y = made.pixels.reshape(x.shape).astype(float)
    errors = ((x - y) ** 2).mean(1)
    assert quality.mean_error == pytest.approx(errors.mean(), rel=1e-5)
    assert quality.median_error == pytest.approx(np.median(errors), rel=1e-5)
    assert quality.error_95 == pytest.approx(np.quantile(errors, 0.95), rel=1e-5)
    assert quality.psnr == pytest.approx((10 * np.log10(1 / errors)).mean(), rel=1e-5)
    variance = ((x - x.mean(0)) ** 2).mean()
    assert quality.variance_kept == pytest.approx(1 - errors.mean() / variance, rel=1e-4)
    similarities = [
        structural_similarity(a[0].astype(float), b[0].astype(float))
        for a, b in zip(made.originals, made.pixels, strict=True)
    ]
    assert quality.ssim == pytest.approx(np.mean(similarities), abs=1e-4)
    latents = made.latents.astype(float)
    assert quality.trustworthiness == pytest.approx(
        trustworthiness(x, latents, NEIGHBORS), abs=1e-4
    )
    assert quality.continuity == pytest.approx(trustworthiness(latents, x, NEIGHBORS), abs=1e-4)


def test_the_models_figures_match_their_definitions(digits, model, report):
    check_quality(report.autoencoder, reconstruct_all(model, digits.test, device=CPU))


def test_pca_matches_a_singular_value_decomposition(digits, pca, report):
    """Compared with a singular value decomposition of the training images."""
    x = digits.train.pixels.flatten(1).numpy() / 255
    _, _, directions = np.linalg.svd(x - x.mean(0), full_matrices=False)
    test = digits.test.pixels.flatten(1).numpy() / 255 - x.mean(0)
    expected = test @ directions[:3].T @ directions[:3] + x.mean(0)
    made = join(reconstruct_by_pca(pca, digits.test))
    np.testing.assert_allclose(made.pixels.reshape(expected.shape), expected, atol=1e-4)
    check_quality(report.pca, made)
    assert (report.components, report.fitted) == (3, 1500)


def test_accuracies_match_the_classifiers(digits, model, pca, report):
    labels, truth = digits.train.labels.numpy(), digits.test.labels.numpy()
    wide = PCA(128, random_state=0).fit(to_matrix(digits.train))
    assert report.pixel_components == 128
    features = {
        "latents": [
            reconstruct_all(model, part, device=CPU).latents for part in (digits.train, digits.test)
        ],
        "PCA": [pca.transform(to_matrix(part)) for part in (digits.train, digits.test)],
        "pixels": [wide.transform(to_matrix(part)) for part in (digits.train, digits.test)],
    }
    assert report.accuracy.keys() == features.keys()
    for name, (train, test) in features.items():
        right = (nearest(train, labels, test, CLASSIFIER_NEIGHBORS) == truth).mean()
        assert report.accuracy[name].knn == pytest.approx(right, abs=1.5 / len(truth))
        logistic = LogisticRegression(max_iter=100).fit(train, labels).predict(test)
        assert report.accuracy[name].logistic == (logistic == truth).mean()
    assert report.chance == (truth == np.bincount(labels).argmax()).mean()


@pytest.mark.slow
def test_many_images_are_sampled(digits, model, pca, monkeypatch, report):
    monkeypatch.setattr("ae_cli.analysis.evaluate.SAMPLE", 100)
    sampled = evaluate(model, pca, digits.train, digits.test)
    assert sampled.sample == 100
    assert sampled.autoencoder.mean_error == report.autoencoder.mean_error
    chosen = np.sort(np.random.default_rng(0).permutation(297)[:100])
    made = reconstruct_all(model, digits.test.select(chosen), device=CPU)
    x = made.originals.reshape(100, -1).astype(float)
    assert sampled.autoencoder.trustworthiness == pytest.approx(
        trustworthiness(x, made.latents.astype(float), NEIGHBORS), abs=1e-4
    )


def test_a_batch_may_have_no_image_of_the_sample(digits, model):
    """As is usual for a million images."""
    parts = [digits.test.select(np.arange(start, start + 50)) for start in (0, 50, 100)]
    batches = [reconstruct_all(model, part, device=CPU) for part in parts]
    sample = np.r_[0:25, 140:150]
    whole = measure_quality([join(batches)], 150, sample, 0.1)
    assert measure_quality(batches, 150, sample, 0.1) == pytest.approx(whole)


def test_few_images_leave_some_figures_out(digits, model):
    few = digits.test.head(2)
    report = evaluate(model, fit_pca(few, 3), few, few)
    assert report.components == 2
    assert report.autoencoder.trustworthiness is report.autoencoder.continuity is None
    assert report.accuracy is None  # both images are of the same class
    assert few.labels.unique().numel() == 1
    assert (
        judge(report.autoencoder, report.pca, 3) == "too few images to say: more than 20 are needed"
    )


def test_images_without_labels_have_no_accuracy(digits, model, pca):
    train, test = (replace(part, labels=None, classes=None) for part in (digits.train, digits.test))
    report = evaluate(model, pca, train, test)
    assert report.accuracy is report.chance is None
    assert report.autoencoder.trustworthiness > 0.5


def test_identical_images_have_no_variance(model):
    grey = Images(PixelStore(torch.full((30, 1, 28, 28), 51, dtype=torch.uint8)))
    report = evaluate(model, fit_pca(grey, 3), grey, grey)
    assert report.pca.mean_error == pytest.approx(0, abs=1e-12)
    assert np.isfinite(report.pca.psnr)
    assert report.autoencoder.variance_kept is report.pca.variance_kept is None
    assert (
        judge(report.autoencoder, report.pca, 3)
        == "the images are all alike: there is nothing to see"
    )


def test_tiny_images_have_no_structural_similarity():
    from ae_cli.config import ModelConfig
    from ae_cli.models import build

    rng = np.random.default_rng(0)
    tiny = Images(PixelStore(torch.from_numpy(rng.integers(0, 256, (40, 3, 2, 9), dtype=np.uint8))))
    model = build(ModelConfig(shape=(3, 2, 9)), seed=0)
    report = evaluate(model, fit_pca(tiny, 3), tiny, tiny)
    assert report.autoencoder.ssim is None
    assert report.autoencoder.psnr > 0


def test_pca_is_fitted_to_as_many_images_as_fit_in_memory(digits, monkeypatch):
    assert len(fitting_images(digits.train, None)) == 1500
    assert len(fitting_images(digits.train, 10)) == 10
    monkeypatch.setattr("ae_cli.analysis.pca.MOST_PIXELS", 784 * 25)
    assert len(fitting_images(digits.train, None)) == 25


@pytest.mark.parametrize(
    ("trustworthiness", "continuity", "beginning"),
    [
        (0.99, 0.96, "yes: images with similar latents are nearly always alike"),
        (0.99, 0.91, "mostly: images with similar latents are nearly always alike"),
        (0.85, 0.96, "with care: images with similar latents are often alike"),
        (0.7, 0.96, "no: images with similar latents are too rarely alike"),
    ],
)
def test_the_answer_follows_from_the_figures(report, trustworthiness, continuity, beginning):
    own = report.autoencoder._replace(
        trustworthiness=trustworthiness, continuity=continuity, variance_kept=0.5
    )
    pca = report.pca._replace(trustworthiness=0.6, variance_kept=0.4)
    answer = judge(own, pca, 3)
    assert answer.startswith(beginning)
    assert answer.endswith("3 latents keep 50% of the variance, more than PCA's 40%")
    worse = judge(own._replace(variance_kept=0.3), pca, 16)
    assert worse.endswith(
        "16 latents keep 30% of the variance, no more than PCA's 40%; but a plot shows three of "
        "the 16 latents"
    )
