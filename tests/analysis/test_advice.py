"""What `ae evaluate` advises, and the figures that it rests on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run, rewrite
from sklearn.decomposition import PCA

from ae_cli.analysis.advice import Evidence, advise
from ae_cli.analysis.evaluate import evaluate
from ae_cli.config import ModelConfig
from ae_cli.latents.infer import reconstruction_errors
from ae_cli.models import build
from ae_cli.models.checkpoint import Checkpoint, load_checkpoint

NOTHING_TO_SAY = Evidence(
    error=0.02, train_error=0.019, pca_error=0.021, kept={1: 0.3, 3: 0.6, 6: 0.62}
)


@pytest.fixture(scope="module")
def trained(_trained) -> Checkpoint:
    """A perceptron whose loss no longer falls."""
    checkpoint = load_checkpoint(_trained / "ae.safetensors")
    return with_losses(checkpoint, *[0.02] * 10)


def with_losses(checkpoint: Checkpoint, *losses: float) -> Checkpoint:
    return replace(checkpoint, metrics=replace(checkpoint.metrics, recent_losses=losses))


def with_recipe(checkpoint: Checkpoint, family: str, **changes: object) -> Checkpoint:
    hidden = (8, 16, 32) if family == "conv" else (8,)
    model = build(ModelConfig(model=family, hidden=hidden), seed=0)
    return replace(checkpoint, model=model, training=replace(checkpoint.training, **changes))


def test_where_nothing_was_found_there_is_no_advice(trained):
    assert advise(trained, NOTHING_TO_SAY) == []


def test_twice_as_many_latents_are_advised_if_pca_keeps_more_with_them(trained):
    kept = {1: 0.2, 3: 0.434, 6: 0.5}
    assert advise(trained, NOTHING_TO_SAY._replace(kept=kept)) == [
        "PCA with 3 components keeps 43.4% of the variance, with 6 50.0%: try --latent-dim 6"
    ]
    few_images = {1: 0.2, 3: 0.434}
    assert advise(trained, NOTHING_TO_SAY._replace(kept=few_images)) == []
    assert advise(trained, NOTHING_TO_SAY._replace(kept={})) == []


def test_half_as_many_latents_are_advised_if_pca_keeps_as_much_with_them(trained):
    kept = {1: 0.955, 3: 0.96, 6: 0.961}
    assert advise(trained, NOTHING_TO_SAY._replace(kept=kept)) == [
        "PCA with 3 components keeps 96.0% of the variance, with 1 95.5%: try --latent-dim 1"
    ]


def test_a_model_that_is_worse_than_pca_should_start_from_it(trained):
    worse = NOTHING_TO_SAY._replace(pca_error=0.015)
    figures = "PCA's mean error on held-out images is 0.0150, and the model's 0.0200: try "
    mlp, last, best = (
        with_recipe(trained, family, keep=keep)
        for family, keep in (("mlp", "last"), ("conv", "last"), ("conv", "best"))
    )
    assert advise(mlp, worse) == [f"{figures}--model conv, which starts from PCA"]
    assert advise(last, worse) == [
        f"{figures}--keep best, which keeps the start, PCA itself, if no epoch is better"
    ]
    assert advise(best, worse) == []


def test_more_epochs_are_advised_while_the_loss_falls(trained):
    falling = with_losses(trained, *np.linspace(0.05, 0.041, 10))
    assert advise(falling, NOTHING_TO_SAY) == [
        "the loss on held-out images still fell by 7% in the last 3 epochs: "
        "try more --epochs than 10"
    ]
    once = replace(falling, training=replace(falling.training, epochs=1))
    once = replace(once, metrics=replace(once.metrics, epoch=1, recent_losses=(0.05, 0.04)))
    assert advise(once, NOTHING_TO_SAY) == [
        "the loss on held-out images still fell by 20% in the last epoch: try more --epochs than 1"
    ]
    # The best epoch was not the last one, or the checkpoint is from an older ae.
    earlier = replace(falling, metrics=replace(falling.metrics, epoch=8))
    assert advise(earlier, NOTHING_TO_SAY) == advise(with_losses(trained), NOTHING_TO_SAY) == []


def test_the_best_epoch_is_advised_if_the_loss_has_risen(trained):
    risen = with_losses(trained, 0.05, 0.04, 0.041, 0.042)
    assert advise(risen, NOTHING_TO_SAY) == [
        "the loss on held-out images was 0.0400 after an earlier epoch, and 0.0420 after the last "
        "one: try --keep best"
    ]


def test_more_images_are_advised_if_those_learned_from_are_reconstructed_better(trained):
    overfitted = NOTHING_TO_SAY._replace(train_error=0.005)
    figures = (
        "the mean error is 0.0200 on held-out images, and 0.0050 on as many training images at "
        "most: try "
    )
    assert advise(trained, overfitted) == [f"{figures}--augment shift, or more images"]
    varied = with_recipe(trained, "mlp", augment=("shift",))
    assert advise(varied, overfitted) == [f"{figures}more images"]


def test_a_problem_comes_before_any_advice(trained):
    collapsed = replace(
        trained, metrics=replace(trained.metrics, test_error=trained.data.mean_error)
    )
    evidence = Evidence(error=0.02, train_error=0.001, pca_error=0.001, kept={3: 0.1, 6: 0.9})
    assert len(collapsed.problems) == 1
    assert advise(collapsed, evidence) == []


def test_the_figures_are_those_of_the_images(digits, checkpoint):
    loaded = load_checkpoint(checkpoint)
    flat = loaded.metrics.recent_losses[-1:] * 10
    advice = evaluate(with_losses(loaded, *flat)).advice
    x, y = (split.floats().reshape(len(split), -1) for split in (digits.train, digits.test))
    errors, kept = [], []
    for count in (3, 6):
        pca = PCA(count, svd_solver="full").fit(x)
        errors.append(np.square(pca.inverse_transform(pca.transform(y)) - y).mean())
        kept.append(1 - errors[-1] / np.square(y - y.mean(0)).mean())
    assert advice == [
        f"PCA's mean error on held-out images is {errors[0]:.4f}, and the model's "
        f"{loaded.metrics.test_error:.4f}: try --model conv, which starts from PCA",
        f"PCA with 3 components keeps {kept[0]:.1%} of the variance, with 6 {kept[1]:.1%}: "
        "try --latent-dim 6",
    ]


def test_a_small_set_learned_by_heart_is_recognised(run: Run, digits):
    """The error is measured on those training images that the model saw."""
    options = ("--model", "conv", "--hidden", "8,16,32", "--augment", "none", "--keep", "last")
    few = ("--limit", "40", "--epochs", "60", "--latent-dim", "8")
    assert run("train", "--data", "digits", *options, *few).exit_code == 0
    model = load_checkpoint(Path("ae.safetensors")).model
    train, test = (
        reconstruction_errors(model, some, device=torch.device("cpu")).mean()
        for some in (digits.train.head(40), digits.test)
    )
    assert (
        f"the mean error is {test:.4f} on held-out images, and {train:.4f} on as many training "
        "images at most: "
        "try --augment shift, or more images"
    ) in evaluate("ae.safetensors").advice


def test_fewer_latents_are_not_advised_because_there_are_few_images(run: Run):
    """The covariance of a few images' latents has a low rank in any case."""
    few = ("--limit", "300", "--latent-dim", "40", "--epochs", "3")
    result = run("train", "--data", "digits", "--model", "conv", *few)
    assert result.exit_code == 0
    assert "in use" not in result.stderr + run("info").stdout
    assert load_checkpoint(Path("ae.safetensors")).metrics.latents_in_use is None


def test_what_evaluate_prints(run: Run, checkpoint):
    answer = json.loads(run("evaluate", "--limit", "200", "--json").stdout)
    lines = run("evaluate", "--limit", "200").stdout.splitlines()
    used = load_checkpoint(checkpoint).metrics.latents_in_use
    assert f"latents    3, of which about {used:.1f} are in use" in lines
    assert f"latents    3, of which about {used:.1f} are in use" in run("info").stdout
    assert answer["latents_in_use"] == used
    advice = [line.removeprefix("advice     ") for line in lines if line.startswith("advice")]
    assert advice == answer["advice"] != []


def test_there_is_no_advice_on_other_images(run: Run, checkpoint, digits):
    train, test = (split.pixels[:, 0].numpy() for split in (digits.train, digits.test))
    np.savez("others.npz", x_train=train, x_test=test)
    for options in (("--split", "train"), ("--classes", "0,1"), ("--data", "others.npz")):
        result = run("evaluate", "--limit", "100", *options, "--json")
        assert json.loads(result.stdout)["advice"] == []


def test_an_older_checkpoint_is_evaluated_without_what_it_lacks(run: Run, checkpoint):
    def downgrade(metadata: dict[str, str]) -> None:
        metrics = json.loads(metadata["metrics"])
        del metrics["latents_in_use"], metrics["recent_losses"]
        metadata.update(metrics=json.dumps(metrics), format_version="4")

    rewrite(checkpoint, metadata=downgrade)
    result = run("evaluate", "--limit", "100")
    assert result.exit_code == 0, result.output
    assert "latents    3\n" in result.stdout
    assert "--epochs" not in result.stdout
