"""Scores of unusual images, against independent computations and on sets with known defects."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, error_line, rewrite, start, write_inspection_set
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter, label
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import ae_cli
from ae_cli.analysis.defects import add_defects
from ae_cli.analysis.masks import score_pixels
from ae_cli.analysis.scores import RESERVE, WEIGHTS, Scorer, combine, learn_normal, share_of_scores
from ae_cli.analysis.smoothing import smooth, ssim
from ae_cli.data.images import DataSet, Images
from ae_cli.errors import AeWarning
from ae_cli.latents.infer import reconstruct_all
from ae_cli.latents.model import load_model
from ae_cli.models.normal import rank_scores

CPU = torch.device("cpu")
SMALL = ("--model", "mlp", "--hidden", "16", "--latent-dim", "4", "--epochs", "3", "--quiet")


@pytest.fixture(scope="module")
def ones(digits) -> tuple[Images, Images, Images]:
    """Images of the digit one to learn from, others that are held out, and other digits."""
    labels = digits.train.labels.numpy()
    mine, others = (digits.train.select(np.flatnonzero(rows)) for rows in (labels == 1, labels > 1))
    return mine.select(np.arange(100)), mine.select(np.arange(100, len(mine))), others.head(200)


@pytest.fixture(scope="module")
def model(ones) -> ae_cli.Model:
    learned, held_out, _ = ones
    options = {"model": "mlp", "hidden": "16", "latent_dim": 4, "epochs": 5, "for_": "anomalies"}
    return ae_cli.train(DataSet("ones", learned, held_out), progress=False, **options)


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.3, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_smoothing_is_that_of_scipy(height, width, deviation, seed):
    images = np.random.default_rng(seed).random((2, 3, height, width), np.float32)
    expected = gaussian_filter(
        images,
        (0, 0, deviation, deviation),
        mode="nearest",
        radius=(0, 0, *_reach(deviation, images)),
    )
    np.testing.assert_allclose(smooth(torch.from_numpy(images), deviation), expected, atol=1e-5)


def _reach(deviation: float, images: np.ndarray) -> list[int]:
    return [min(round(4 * deviation), 4 * side) for side in images.shape[2:]]


def test_structural_similarity_is_that_of_scikit_image():
    random = np.random.default_rng(0)
    x = random.random((2, 3, 40, 50), np.float32)
    y = np.clip(x + random.normal(0, 0.1, x.shape), 0, 1).astype(np.float32)
    ours = ssim(torch.from_numpy(x), torch.from_numpy(y), 1.5)
    for a, b, value in zip(x, y, ours, strict=True):
        similarity, values = structural_similarity(
            a, b, data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True,
        )  # fmt: skip
        assert value == pytest.approx(values.mean(), abs=2e-3)  # they differ at the edges
        assert value == pytest.approx(similarity, abs=5e-3)


def test_the_distance_of_latents_is_that_of_the_nearest_neighbours(ones, model):
    learned, held_out, others = ones
    normal = learn_normal(model.model, learned, held_out, device=CPU)
    z, new = (reconstruct_all(model.model, some, device=CPU).latents for some in (learned, others))
    inverse = np.linalg.inv(np.cov(z.T, bias=True))
    search = NearestNeighbors(n_neighbors=5, metric="mahalanobis", metric_params={"VI": inverse})
    expected = search.fit(z.astype(float)).kneighbors(new.astype(float))[0].mean(1)
    batch = reconstruct_all(model.model, others, device=CPU)
    scores = Scorer(model.model, normal, "latent").score(batch)
    mean, deviation = normal.scales["latent"]
    np.testing.assert_allclose(np.exp(scores * deviation + mean), expected, rtol=1e-3)


def test_held_out_images_have_scores_around_zero(ones, model):
    """An image's own error is not part of what it is compared with: the others' spread."""
    learned, held_out, others = ones
    normal = learn_normal(model.model, learned, held_out, device=CPU)
    for score in ("mse", "local", "ssim", "latent", "both", "auto"):
        there = np.array(normal.scores[score])
        # A soft maximum is above both of its arguments, by a quarter of ln 2 at most.
        assert there.mean() == pytest.approx(0, abs=0.4 if score == "auto" else 1e-4)
        assert list(there) == sorted(there)
        unusual = Scorer(model.model, normal, score).score(
            reconstruct_all(model.model, others, device=CPU)
        )
        truth = np.repeat([0, 1], [len(there), len(unusual)])
        assert roc_auc_score(truth, np.concatenate([there, unusual])) > 0.8


def test_a_threshold_keeps_its_promise(ones, model):
    """Of many sets of held-out images, a known share has a threshold above the true quantile."""
    normal = learn_normal(model.model, *ones[:2], device=CPU)
    random = np.random.default_rng(0)
    for count, quantile in ((5, 0.5), (50, 0.99), (80, 0.9), (200, 0.99), (500, 0.95)):
        samples = np.sort(random.random((2000, count)))
        found = [
            replace(normal, images=count, scores={"mse": tuple(row)}).threshold("mse", quantile)
            for row in samples
        ]
        values, confidences = np.array(found).T
        expected = min(0.75, 1 - quantile**count)  # the highest of a few images is below
        assert confidences == pytest.approx(expected)
        assert np.mean(values > quantile) == pytest.approx(expected, abs=0.05)


def test_a_threshold_of_quantiles_is_that_of_all_scores(ones, model):
    """Of many held-out images, evenly spaced quantiles of the scores are kept."""
    normal = learn_normal(model.model, *ones[:2], device=CPU)
    scores = np.random.default_rng(0).normal(size=5000)
    for quantile in (0.5, 0.99, 0.999, 1):
        whole, kept = (
            replace(normal, images=5000, scores={"mse": tuple(some)}).threshold("mse", quantile)
            for some in (np.sort(scores), rank_scores(scores))
        )
        assert kept.value == pytest.approx(whole.value, abs=0.1)
    assert whole.value == pytest.approx(scores.max())


def test_auto_adds_the_scores_that_tell_defects():
    shares = share_of_scores({"mse": 0.8, "local": 0.95, "ssim": 0.5, "latent": 0.9, "both": 0.9})
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["local"] > 4 * shares["mse"] > 0
    assert shares["ssim"] == 0
    # Where nothing tells defects, the error is left.
    blind = dict.fromkeys(("mse", "local", "ssim", "latent", "both"), 0.5)
    assert share_of_scores(blind) == {"mse": 1, "local": 0, "ssim": 0}
    # An image whose latents are clearly unusual is unusual, however well it is drawn.
    parts = {name: np.array([1.0, 1.0]) for name in ("error", "latent")}
    parts |= {name: np.zeros(2) for weights in WEIGHTS.values() for name in weights} | parts
    parts["latent"] = np.array([0.0, 5.0])
    usual, unusual = combine("auto", parts, blind)
    assert usual == pytest.approx(1, abs=0.01)
    assert unusual == pytest.approx(5 - RESERVE, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 45), (1, 1, 9), (3, 2, 2)])
def test_every_image_gets_a_defect(shape):
    images = np.random.default_rng(0).random((20, *shape), np.float32)
    found = add_defects(images)
    assert list(found) == ["paste", "scratch", "spot", "warp", "rotate"]
    for kind, defective in found.items():
        assert (defective.shape, defective.dtype) == (images.shape, np.float32)
        assert ((defective >= 0) & (defective <= 1)).all(), kind
        if min(shape[1:]) > 9:
            assert all((a != b).any() for a, b in zip(images, defective, strict=True)), kind
    again = add_defects(images)
    assert all((again[kind] == found[kind]).all() for kind in found)


def test_pixel_scores_are_those_of_their_definitions():
    random = np.random.default_rng(0)
    masks = np.zeros((6, 30, 30), bool)
    masks[0, 2:6, 3:9] = masks[0, 20:28, 20:22] = masks[2, 10:11, 10:11] = masks[3, :9, :9] = True
    masks[2, 11, 11] = True  # touches the one above by a corner
    maps = (random.random(masks.shape) + 0.6 * masks).astype(np.float32)
    found = score_pixels(maps, masks)
    assert found.auroc == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))
    assert (found.images, found.regions) == (6, 4)
    # Threshold by threshold and region by region, as the paper describes it.
    regions = []
    for mask, values in zip(masks, maps, strict=True):
        labels, count = label(mask, np.ones((3, 3)))
        regions += [values[labels == k] for k in range(1, count + 1)]
    curve = [(0.0, 0.0)]
    for threshold in np.sort(maps, None)[::-1]:
        false = (maps[~masks] >= threshold).mean()
        curve.append((false, np.mean([(r >= threshold).mean() for r in regions])))
    area = sum(
        (min(b[0], 0.3) - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(curve) if a[0] < 0.3
    )
    assert found.au_pro == pytest.approx(area / 0.3, abs=1e-3)
    assert score_pixels(maps, np.zeros_like(masks)) is None


def test_defects_in_the_test_split_do_not_move_the_threshold(run: Run, digits):
    """It comes from normal images that are not judged: also if all others are different."""
    thresholds = []
    for kind in (7, 8):
        write_inspection_set(digits, Path(f"parts{kind}"), defects=kind)
        out = f"{kind}.safetensors"
        assert run("train", "--data", f"parts{kind}", "--out", out, *SMALL).exit_code == 0
        loaded = load_model(out)
        assert loaded.data.for_anomalies
        assert loaded.data.val_images == loaded.normal.images == loaded.data.judged_images
        thresholds.append(loaded.normal.threshold("auto", 0.99).value)
    assert thresholds[0] == thresholds[1]


def test_masks_are_compared_and_maps_written(run: Run, digits):
    write_inspection_set(digits, Path("parts"))
    assert run("train", "--data", "parts", *SMALL).exit_code == 0
    shown = run("anomalies", "--maps", "maps", "--split", "test")
    assert shown.exit_code == 0
    lines = {line.split()[0]: line for line in shown.stderr.splitlines()}
    held_out = load_model("ae.safetensors").normal.images
    assert f"the highest of the {held_out} held-out train images; 99 %" in lines["threshold"]
    assert f"with {100 * (1 - 0.99**held_out):.0f} % confidence" in lines["threshold"]
    assert "42 defects in 60 images" in lines["masks"]  # two of the digits fall apart
    for kind, mode in (("overlays", "RGB"), ("maps", "I;16")):
        pictures = sorted(Path("maps", kind).rglob("*.png"))
        assert len(pictures) == 60
        with Image.open(pictures[0]) as opened:
            assert opened.mode == mode
    error_line(run("anomalies", "--maps", "maps"), 2)


def test_a_threshold_from_judged_images_is_said_to_be_one(run: Run, digits):
    write_inspection_set(digits, Path("parts"))
    assert run("train", "--data", "parts", "--for", "latents", *SMALL).exit_code == 0
    with pytest.warns(AeWarning, match="comes from the test images, which are judged here"):
        report = ae_cli.anomalies("ae.safetensors")
    assert (report.score, report.held_out_from) == ("mse", "test")
    line = error_line(run("anomalies", "--score", "ssim"), 2)
    assert "knows no score but mse" in line


def test_an_anomaly_is_an_exit_code(run: Run, digits):
    write_inspection_set(digits, Path("parts"))
    assert run("train", "--data", "parts", *SMALL).exit_code == 0
    codes = set()
    for data, quantile in (("parts/test/cracked", "0.5"), ("parts/train/good", "1")):
        judge = ("anomalies", "--data", data, "--quantile", quantile, "--json", "-q")
        found = json.loads(run(*judge).stdout.splitlines()[-1])["anomalies"]
        code = run(*judge, "--fail-on-anomaly").exit_code
        assert code == (6 if found else 0)
        codes.add(code)
    assert 6 in codes
    assert Path("anomalies.csv").exists()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_folder_is_watched(run: Run, digits, signal_number):
    write_inspection_set(digits, Path("parts"))
    assert run("train", "--data", "parts", *SMALL).exit_code == 0
    folder = Path("incoming")
    folder.mkdir()
    shutil.copy("parts/test/cracked/0000.png", folder / "first.png")
    process = start("anomalies", "--watch", "incoming")
    try:
        first = json.loads(process.stdout.readline())
        (folder / "broken.png").write_bytes(b"no image")
        broken = json.loads(process.stdout.readline())
        (folder / "notes.txt").write_text("not judged")
        shutil.copy("parts/test/good/0000.png", folder / "second.png")
        second = json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal_number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    assert errors.splitlines()[-1].split() == ["stopped", "incoming"]
    names = [line["name"] for line in (first, broken, second)]
    assert names == ["first.png", "broken.png", "second.png"]
    assert (broken["score"], broken["is_anomaly"]) == (None, None)
    assert "not an image" in broken["problem"]
    # The scores are those of the command without --watch.
    run("anomalies", "--data", "parts", "--out", "all.npz", "--split", "test")
    table = np.load("all.npz")
    scores = dict(zip(table["name"], table["score"], strict=True))
    for line, name in ((first, "test/cracked/0000.png"), (second, "test/good/0000.png")):
        assert line["score"] == pytest.approx(scores[name], abs=1e-4)
        assert line["is_anomaly"] == (line["score"] > line["threshold"])
    conflict = run("anomalies", "--watch", "incoming", "--top", "3")
    assert "--top and --watch exclude one another" in error_line(conflict, 2)
    assert "there is no folder nowhere" in error_line(run("anomalies", "--watch", "nowhere"), 3)


def _change(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda normal: normal.update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        _change("images", 0),
        _change("detection", 5),
        _change("detection", {"mse": "much"}),
        _change("scales", []),
        _change("scores", {"auto": []}),
        _change("scores", {"auto": [1, 0]}),
        _change("scores", {"auto": [0, 10**400]}),
        _change("mean", None),
        _change("mean", {"shape": [4], "data": "AAAA"}),
        _change("spread", {"shape": [2**40, 2**40], "data": ""}),
        _change("spread", {"shape": [1, 1], "data": "AACAvw=="}),  # -1
        _change("neighbors", {"shape": [0, 4], "data": ""}),
        lambda normal: normal["scales"].pop("error"),
        lambda normal: normal["scores"].pop("auto"),
        lambda normal: normal["detection"].pop("latent"),
        lambda normal: normal.pop("whitening"),
    ],
)
def test_damaged_records_of_what_is_normal_are_refused(run: Run, model, change):
    model.save("ones.safetensors")

    def damage(metadata: dict[str, str]) -> None:
        normal = json.loads(metadata["normal"])
        change(normal)
        metadata["normal"] = json.dumps(normal)

    rewrite(Path("ones.safetensors"), metadata=damage)
    line = error_line(run("anomalies", "--checkpoint", "ones.safetensors", "--data", "digits"), 4)
    assert line.startswith("error: ")
