from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
from conftest import TUTORIAL, Run, error_line
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

import ae_cli as ae
from ae_cli.training.curve import RunLosses

TRAIN = (*TUTORIAL, "--data", "digits", "--limit", "100", "--quiet")


def read_csv(path: str) -> list[tuple[float, float]]:
    with Path(path).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["test_loss"]]
    return [(float(row["train_loss"]), float(row["test_loss"])) for row in rows]


def losses(run: RunLosses) -> list[tuple[float, float]]:
    return list(zip(run.train_losses, run.test_losses, strict=True))


def test_the_checkpoint_and_both_logs_tell_the_same_losses(run: Run):
    """Those of another implementation of reading CSV, also where a run was resumed."""
    run(*TRAIN, "--epochs", "2", "--log", "m.csv", "--log-every", "1")
    run(*TRAIN, "--epochs", "5", "--log", "m.csv", "--log-every", "1", "--resume")
    run(*TRAIN, "--epochs", "5", "--log", "m.jsonl", "--out", "whole.safetensors")
    expected = read_csv("m.csv")
    assert len(expected) == 5
    for source in ("m.csv", "m.jsonl", "ae.safetensors", "whole.safetensors"):
        (found,) = ae.curve(source).runs
        assert losses(found) == expected
        assert found.epochs == 5
        lowest = int(np.argmin([test for _, test in expected]))
        assert (found.lowest_epoch, found.lowest_test_loss) == (lowest + 1, expected[lowest][1])


def test_curve_draws_the_default_checkpoint(run: Run):
    run(*TRAIN, "--epochs", "2")
    result = run("curve", "--json")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines[0].startswith("run        ae.safetensors: 2 epochs, lowest test loss 0.")
    assert lines[0].endswith(" in epoch 2")
    assert lines[1] == "picture    curve.png"
    assert json.loads(result.stdout)["runs"][0]["epochs"] == 2
    with Image.open("curve.png") as image:
        assert image.size == (1125, 630)


def test_train_draws_the_losses(run: Run):
    result = run(*TUTORIAL, "--data", "digits", "--limit", "100", "--epochs", "2", "--curve=a.svg")
    assert "\ncurve      a.svg: 2 epochs\n" in result.stderr
    run("curve", "--out", "b.svg")
    first, second = (Path(name).read_text() for name in ("a.svg", "b.svg"))
    assert "training loss" in first
    assert first.count("<path") == second.count("<path")


def test_a_resumed_run_draws_all_of_its_epochs(run: Run):
    run(*TRAIN, "--epochs", "2")
    result = run("train", "--resume", "--epochs", "3", "--curve", "a.png")
    assert "\ncurve      a.png: 3 epochs\n" in result.stderr
    # Also if nothing is left to train
    result = run("train", "--resume", "--curve", "b.png")
    assert "\ncurve      b.png: 3 epochs\n" in result.stderr


def test_an_older_resume_file_has_no_history(run: Run):
    run(*TRAIN, "--epochs", "2")
    path = Path("ae.resume.safetensors")
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = {key: text for key, text in file.metadata().items() if key != "history"}
    path.write_bytes(safetensors.torch.save(safetensors.torch.load_file(path), metadata))
    line = error_line(run("curve"), 3)
    assert line == "error: ae.safetensors has no whole epoch yet; let `ae train` finish one"
    run("train", "--resume", "--epochs", "3")
    (found,) = ae.curve("ae.safetensors").runs
    assert (found.epochs, len(found.test_losses)) == (3, 1)


def test_several_runs_get_a_colour_each(run: Run):
    for seed in (0, 1):
        run(*TRAIN, "--epochs", "2", "--seed", str(seed), "--log", f"{seed}.jsonl")
    made = ae.curve(["0.jsonl", "1.jsonl", "0.jsonl"])
    assert [str(run.source) for run in made.runs] == ["0.jsonl", "1.jsonl"]
    figure = Figure()
    made.draw(figure)
    lines = figure.axes[0].get_lines()
    assert len({to_hex(line.get_color()) for line in lines}) == 2
    assert [list(line.get_ydata()) for line in lines[1::3]] == [
        run.test_losses for run in made.runs
    ]


def test_runs_with_the_same_name_are_told_apart(run: Run):
    for folder in ("a", "b"):
        Path(folder).mkdir()
        run(*TRAIN, "--epochs", "1", "--out", f"{folder}/ae.safetensors")
    made = ae.curve(["a/ae.safetensors", "b/ae.safetensors"], out="c.svg")
    assert "a/ae.safetensors, test loss" in made.out.read_text()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("m.csv", None, "there is no m.csv; write a log with `ae train --log`"),
        ("m.csv", "epoch,step\n1,2\n", "m.csv is not a log that `ae train --log` wrote"),
        ("m.jsonl", '{"epoch": 1}\n', "m.jsonl is not a log that `ae train --log` wrote"),
        ("m.csv", "{header}\n1,2,1.2.3,1,1,1,1\n", "m.csv is not a log that"),
        ("m.csv", "{header}\n1,2,1e999,1,1,1,1\n", "m.csv is not a log that"),
        ("m.csv", "{header}\n1,2,0.5,,1,1,1\n", "m.csv has no whole epoch yet"),
        ("ae.safetensors", None, "there is no ae.resume.safetensors, which holds the losses"),
    ],
)
def test_what_is_no_run(run: Run, name, content, problem):
    if content is not None:
        header = "epoch,step,train_loss,test_loss,learning_rate,images_per_second,seconds"
        Path(name).write_text(content.replace("{header}", header))
    code = 4 if name.endswith(".safetensors") else 3
    assert problem in error_line(run("curve", name), code)
    assert not Path("curve.png").exists()


@pytest.mark.parametrize("text", ["[[1, 0.5]]", "[[1, 0.5, null]]", "{", "[1]", '[["a", 1, 1]]'])
def test_a_damaged_history_is_refused(run: Run, text):
    run(*TRAIN, "--epochs", "1")
    path = Path("ae.resume.safetensors")
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), "history": text}
    path.write_bytes(safetensors.torch.save(safetensors.torch.load_file(path), metadata))
    for command in (["curve"], ["train", "--resume"]):
        assert "has metadata that ae cannot read" in error_line(run(*command), 4)
