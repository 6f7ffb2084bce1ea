"""Sweeps: their figures against scikit-learn's, and their continuation after SIGKILL."""

from __future__ import annotations

import csv
import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, error_line, start
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

import ae_cli
from ae_cli.sweeps.sweep import find_enough

SWEEP = ("sweep", "--data", "digits", "--preset", "tutorial", "--epochs", "2")


def read_csv(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def record() -> list[dict]:
    path = Path("sweep/record.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def times() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path("sweep").glob("*-?.safetensors")}


def test_figures_are_those_of_the_models(run: Run, digits):
    result = run(*SWEEP, "--latent-dim", "4,2", "--model", "mlp,conv", "--limit", "500", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    rows = read_csv("sweep/sweep.csv")
    places = [("conv", 2), ("conv", 4), ("mlp", 2), ("mlp", 4)]
    assert [(row["model"], int(row["latents"])) for row in rows] == places
    train, test = (
        images.pixels.numpy().reshape(len(images), -1) / 255
        for images in (digits.train.head(500), digits.test)
    )
    labels = digits.train.labels.numpy()[:500], digits.test.labels.numpy()
    for row in rows:
        model = ae_cli.load_model(Path("sweep") / row["checkpoint"])
        table = model.embed(digits.test)
        assert float(row["error"]) == pytest.approx(table.columns()["error"].mean(), rel=1e-5)
        latents = model.embed(digits.train.head(500)).z, table.z
        knn = KNeighborsClassifier(5).fit(latents[0], labels[0]).score(latents[1], labels[1])
        assert float(row["knn"]) == pytest.approx(knn, abs=0.011)
        pca = PCA(int(row["latents"])).fit(train)
        made = pca.inverse_transform(pca.transform(test))
        assert float(row["pca_error"]) == pytest.approx(np.square(made - test).mean(), rel=1e-3)
        assert int(row["parameters"]) == sum(p.numel() for p in model.model.parameters())
    assert answer["held_out"] == len(digits.test)
    assert answer["chose"] == []
    with Image.open("sweep/sweep.png") as picture:
        assert picture.width > 2 * picture.height


def test_what_is_there_is_not_trained_again(run: Run):
    assert run(*SWEEP, "--latent-dim", "2,4", "--limit", "200", "-q").exit_code == 0
    before = times()
    result = run(*SWEEP, "--latent-dim", "2,3,4", "--limit", "200")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(
        "models     3, with 2, 3, 4 latents, in sweep; those that are there already are not "
        "trained again\n"
    )
    assert [line for line in result.stderr.splitlines() if line.startswith("train ")] == [
        "train      tutorial-3"
    ]
    after = times()
    assert {name: after[name] for name in before} == before
    assert [row["latents"] for row in read_csv("sweep/sweep.csv")] == ["2", "3", "4"]


def test_a_line_that_was_cut_off_is_measured_again(run: Run):
    assert run(*SWEEP, "--latent-dim", "2,4", "--limit", "200", "-q").exit_code == 0
    whole = record()
    path = Path("sweep/record.jsonl")
    path.write_text(path.read_text()[:-40])
    assert run(*SWEEP, "--latent-dim", "2,4", "--limit", "200", "-q").exit_code == 0
    assert [row.get("error") for row in record()] == [row.get("error") for row in whole]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epochs", "3"), "--epochs 2, and now it is 3"),
        (("--preset", "fast"), "--preset tutorial, and now it is fast"),
        (("--limit", "300"), "sweep holds a sweep with"),
        (("--seed", "1"), "--seed 0, and now it is 1"),
    ],
)
def test_another_sweep_needs_another_folder(run: Run, options, message):
    assert run(*SWEEP, "--latent-dim", "2", "--limit", "200", "-q").exit_code == 0
    line = error_line(run(*SWEEP, "--latent-dim", "2", "--limit", "200", *options), 2)
    assert message in line
    assert "name another folder with --out" in line


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--latent-dim", "two"), 2, "--latent-dim"),
        (("--latent-dim", "2,2"), 2, "a number twice"),
        (("--latent-dim", "0"), 2, "--latent-dim"),
        (("--model", "tree"), 2, "--model"),
        (("--trials", "0"), 2, "--trials"),
        (("--epochs", "0"), 2, "--epochs"),
        (("--out", "used"), 2, "used holds other files"),
        (("--out", "broken"), 3, "record.jsonl is not the record of a sweep"),
    ],
)
def test_what_is_wrong_is_said(run: Run, options, code, message):
    for name, file in (("used", "thesis.txt"), ("broken", "record.jsonl")):
        Path(name).mkdir()
        (Path(name) / file).write_text("my thesis\n")
    assert message in error_line(run(*SWEEP, *options), code)
    assert Path("used/thesis.txt").read_text() == "my thesis\n"
    assert not Path("sweep").exists() or not any(Path("sweep").glob("*.safetensors"))


def test_a_missing_optuna_is_named(run: Run, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = error_line(run(*SWEEP, "--trials", "3"), 2)
    assert 'pip install "ae-cli[sweep]"' in line


def test_a_sweep_in_python(digits):
    made = ae_cli.sweep(digits, latent_dim=[2, 4], epochs=1, limit=200, preset="tutorial")
    assert [row.latents for row in made.models] == [2, 4]
    assert list(made.to_pandas()["latents"]) == [2, 4]
    assert made._repr_png_().startswith(b"\x89PNG")


def kill_when(arguments: tuple[str, ...], is_time) -> None:
    process = start(*arguments)
    for _ in range(1200):
        if is_time():
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_killed_sweep_continues_to_the_same_figures(run: Run):
    sweep = (*SWEEP, "--latent-dim", "2,3,5", "--epochs", "40")
    kill_when(sweep, lambda: len(record()) == 2 and Path("sweep/tutorial-3.safetensors").exists())
    assert 2 <= len(record()) <= 3
    assert run(*sweep, "-q").exit_code == 0
    assert run(*sweep, "--out", "whole", "-q").exit_code == 0
    continued, whole = (read_csv(f"{name}/sweep.csv") for name in ("sweep", "whole"))
    assert [row["error"] for row in continued] == [row["error"] for row in whole]


@pytest.mark.slow
def test_an_interrupted_sweep_says_how_it_continues():
    process = start(*SWEEP, "--latent-dim", "2,3", "--epochs", "1000")
    for _ in range(600):
        if Path("sweep/tutorial-2.safetensors").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == (
        "stopped: interrupted while training tutorial-2; the same command continues where it "
        "stopped"
    )


@pytest.mark.slow
def test_a_killed_search_keeps_its_trials(run: Run):
    optuna = pytest.importorskip("optuna")
    sweep = (*SWEEP, "--latent-dim", "3", "--epochs", "10", "--trials", "5")

    def study():
        file = optuna.storages.journal.JournalFileBackend("sweep/trials.log")
        storage = optuna.storages.JournalStorage(file)
        return optuna.load_study(study_name="tutorial-3", storage=storage)

    def ended() -> int:
        try:
            return sum(trial.state.is_finished() for trial in study().trials)
        except KeyError:
            return 0

    Path("sweep").mkdir()
    Path("sweep/trials.log").touch()
    Path("sweep/record.jsonl").touch()
    kill_when(sweep, lambda: ended() >= 2)
    kept = [(t.number, t.params) for t in study().trials if t.state.name in ("COMPLETE", "PRUNED")]
    assert kept
    assert run(*sweep, "-q").exit_code == 0
    trials = study().trials
    assert [(t.number, t.params) for t in trials][: len(kept)] == kept
    states = [trial.state.name for trial in trials]
    assert states.count("COMPLETE") + states.count("PRUNED") == 5
    assert states.count("RUNNING") == 0
    assert trials[0].params == {"lr": 0.005, "batch_size": 64, "activation": "tanh"}
    (row,) = read_csv("sweep/sweep.csv")
    assert float(row["error"]) == pytest.approx(study().best_value)
    model = ae_cli.load_model("sweep/tutorial-3.safetensors")
    assert model.metrics.test_error == pytest.approx(study().best_value)
    assert model.training.lr == pytest.approx(study().best_params["lr"])
    assert not list(Path("sweep").glob("*trial.*"))


@pytest.mark.parametrize(
    ("points", "enough"),
    [
        ([(2, 1.0), (4, 0.5), (8, 0.48)], 4),
        ([(2, 1.0), (4, 0.95)], 2),
        ([(2, 1.0), (4, 0.5), (8, 0.2)], None),
        ([(2, 1.0), (16, 0.75)], 2),  # three doublings, each of less than a tenth
        ([(2, 1.0), (3, 0.93)], None),  # more than a tenth for twice as many
        ([(2, 0.0), (3, 0.0)], 2),
        ([(7, 1.0)], None),
    ],
)
def test_latents_are_enough_where_a_doubling_gains_less_than_a_tenth(points, enough):
    assert find_enough(points) == enough
