"""The commands from end to end, as a user types them."""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import functools
import json
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import TUTORIAL, Run, error_line, rewrite, start
from matplotlib import image

import ae_cli
from ae_cli.__main__ import main
from ae_cli.cli import COMMANDS, load_command
from ae_cli.config import PRESETS, Facts, make_recipe
from ae_cli.data.catalog import KNOWN_SETS
from ae_cli.errors import Termination

TRAIN = (*TUTORIAL, "--data", "digits", "--epochs", "2", "--hidden", "64")


def test_the_four_commands_in_an_empty_folder(run: Run):
    """Without a network, the digits replace MNIST, with a single warning."""
    result = run("train", "--epochs", "2", "--lr", "0.005")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert [line.split()[0] for line in lines] == [
        "download", "warning:", "data", "model", "recipe", *["epoch"] * 3, "done", "kept",
        "quality", "checkpoint", "next",
    ]  # fmt: skip
    assert lines[1].endswith(
        "cannot be downloaded (127.0.0.1: Connection refused); using scikit-learn's 1,797 digits "
        "instead"
    )
    assert lines[2] == (
        "data       digits: 1,500 training (150 of them only choose an epoch) + 297 test images, "
        "1 × 28 × 28, 10 classes"
    )
    assert lines[3].startswith(
        "model      PCA + convolutions on patches of 4 × 4, 32-64-128-256-3, silu, "
    )
    assert lines[4] == (
        "recipe     auto: 2 epochs of 22 steps, 64 images in each, lr 0.005, images varied by "
        "shift, keeps the best epoch"
    )
    assert lines[-2] == "checkpoint ae.safetensors"
    assert lines[-1] == "next       ae reconstruct --n 5"

    result = run("reconstruct", "--n", "5")
    assert result.exit_code == 0
    assert "over all 297 test images" in result.stderr
    assert result.stderr.endswith(
        "picture    reconstruction.png\nnext       ae embed --out latents.csv\n"
    )
    assert image.imread("reconstruction.png").std() > 0.1

    result = run("embed", "--out", "latents.csv")
    assert result.exit_code == 0
    assert "latents.csv: 1,797 rows, latents z1 to z3" in result.stderr
    assert result.stderr.endswith("next       ae plot3d latents.csv\n")
    with Path("latents.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "split", "label", "z1", "z2", "z3", "error", "run"]
    assert len(rows) == 1797
    assert [row["split"] for row in rows] == ["train"] * 1500 + ["test"] * 297
    assert [int(row["index"]) for row in rows] == [*range(1500), *range(297)]

    result = run("plot3d", "latents.csv")
    assert result.exit_code == 0
    assert result.stderr == (
        "points     200 of 1,797 rows, z1, z2, z3, colour: label\npicture    latents.png\n"
        "next       ae explore --show\n"
    )
    assert image.imread("latents.png").shape == (975, 1200, 4)
    assert set(os.listdir()) == {
        "ae.safetensors", "ae.resume.safetensors",
        "reconstruction.png", "latents.csv", "latents.png",
    }  # fmt: skip


def test_the_four_commands_on_mnist(run: Run, mnist_dir, monkeypatch):
    monkeypatch.setenv("AE_DATA_DIR", str(mnist_dir))
    assert run("train", "--epochs", "1").exit_code == 0
    result = run("reconstruct")
    assert "over all 10,000 test images" in result.stderr
    result = run("embed")
    assert "latents.csv: 70,000 rows" in result.stderr
    assert run("plot3d", "--n", "all").exit_code == 0


def test_the_table_agrees_with_the_checkpoint(run: Run, checkpoint, digits):
    """Recomputes each row's latents and error from the checkpoint's tensors alone."""
    run("embed", "--split", "test", "--out", "test.npz")
    weights = safetensors.torch.load_file(checkpoint)

    def apply(part: str, values: torch.Tensor) -> torch.Tensor:
        for i in (0, 2, 4, 6):
            values = values.tanh() if i else values
            values = values @ weights[f"{part}.{i}.weight"].double().T
            values = values + weights[f"{part}.{i}.bias"].double()
        return values

    x = digits.test.pixels.flatten(1).double() / 255
    latents = apply("encoder", x)
    errors = (apply("decoder", latents).sigmoid() - x).square().mean(1)
    table = np.load("test.npz")
    np.testing.assert_allclose(
        np.stack([table[f"z{i}"] for i in (1, 2, 3)], axis=1), latents, atol=1e-5
    )
    np.testing.assert_allclose(table["error"], errors, rtol=1e-4)
    assert table["label"].tolist() == digits.test.labels.tolist()
    assert set(table["split"]) == {"test"}


def test_two_runs_with_the_same_seed_give_the_same_tensors(run: Run):
    for name in ("a", "b"):
        assert run(*TRAIN, "--seed", "5", "--out", f"{name}.safetensors").exit_code == 0
    a, b = (safetensors.torch.load_file(f"{name}.safetensors") for name in ("a", "b"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_options_reach_the_model(run: Run):
    result = run(
        *TRAIN, "--hidden", "32,16", "--latent-dim", "5", "--activation", "silu", "--loss", "bce",
        "--batch-size", "100", "--limit", "250", "--seed", "9", "--lr", "0.001",
        "--schedule", "cosine", "--warmup", "0.25", "--engine", "autograd",
        "--device", "cpu", "--out", "other.safetensors",
    )  # fmt: skip
    assert "digits: the first 250 of 1,500 training + 297 test images" in result.stderr
    assert result.stderr.endswith("next       ae explore --show --checkpoint other.safetensors\n")
    result = run("info", "other.safetensors", "--json")
    answer = json.loads(result.stdout)
    assert answer["model"] == {
        "shape": [1, 28, 28], "model": "mlp", "hidden": [32, 16], "latent_dim": 5,
        "activation": "silu", "variational": False, "patch": None, "pca": False,
        "parameters": 784 * 32 + 32 + 32 * 16 + 16 + 16 * 5 + 5
        + 5 * 16 + 16 + 16 * 32 + 32 + 32 * 784 + 784,
    }  # fmt: skip
    assert answer["training"] == {
        "preset": "tutorial", "epochs": 2, "batch_size": 100, "lr": 0.001, "schedule": "cosine",
        "warmup": 0.25, "loss": "bce", "engine": "autograd", "seed": 9, "limit": 250,
        "keep": "last", "patience": None, "checkpoint_every": None, "augment": [],
        "settle": 0.3,
        "denoise": 0.0, "noise": "gaussian", "beta": 1.0, "sparse": 0.0,
    }  # fmt: skip
    assert answer["data"]["train_images"] == 250
    assert answer["metrics"]["step"] == 6
    run("embed", "--checkpoint", "other.safetensors")
    assert (
        Path("latents.csv").read_text().startswith("index,split,label,z1,z2,z3,z4,z5,error,run\n")
    )


def test_a_preset_is_recorded_and_options_override_it(run: Run):
    options = ("--preset", "fast", "--lr", "0.001", "--hidden", "4,8,16")
    result = run("train", "--data", "digits", *options, "--json", "-q")
    start, *epochs, _ = map(json.loads, result.stdout.splitlines())
    fast = make_recipe("fast", Facts((1, 28, 28), 1500, 297, is_like_mnist=False))
    assert start["training"] == {
        **dataclasses.asdict(fast.training), "lr": 0.001, "engine": "autograd",
        "augment": ["shift"],
    }  # fmt: skip
    assert start["model"]["hidden"] == [4, 8, 16]
    assert (start["data"]["train_images"], start["data"]["val_images"]) == (1350, 150)
    assert len(epochs) == fast.training.epochs + 1, "the start counts as epoch 0"
    recipe = (
        "recipe     fast: Adam, lr 0.001 linear after a warm-up of 0.1, mse, varied by shift, "
        "seed 0, keep best, engine autograd"
    )
    assert recipe in run("info").stdout


def test_options_that_presets_set_have_no_default():
    """Otherwise the default would override the preset's value."""
    options = {p.name: p.default for p in load_command("train").params}
    for values in PRESETS.values():
        assert [options[name] for name in values] == [None] * len(values)


def test_a_second_run_keeps_the_first_ones_checkpoint(run: Run, checkpoint):
    before = checkpoint.read_bytes()
    result = run(*TRAIN, "--seed", "1")
    assert "checkpoint ae.safetensors (previous one: ae.bak.safetensors)" in result.stderr
    assert Path("ae.bak.safetensors").read_bytes() == before
    assert checkpoint.read_bytes() != before


def test_the_data_folder_is_remembered(run: Run, mnist_dir, monkeypatch):
    monkeypatch.delenv("AE_DATA_DIR")
    options = ("--epochs", "1", "--limit", "100", "--data-dir", mnist_dir)
    assert run("train", "--data", "mnist", *options).exit_code == 0
    assert run("reconstruct").exit_code == 0
    assert run("embed", "--split", "test").exit_code == 0


def test_reconstruct_chooses_images(run: Run, checkpoint, digits):
    labels = digits.test.labels.tolist()

    def chosen(*options: str) -> list[int]:
        result = run("reconstruct", "--json", *options)
        assert result.exit_code == 0
        answer = json.loads(result.stdout)
        assert answer["event"] == "result"
        for item in answer["images"]:
            if answer["split"] == "test":
                assert item["label"] == labels[item["index"]]
            assert 0 < item["error"] < 1
        return [item["index"] for item in answer["images"]]

    assert chosen() == [0, 1, 2, 3, 4]
    assert chosen("--n", "2") == [0, 1]
    assert chosen("--index", "3,7,19") == [3, 7, 19]
    drawn = chosen("--n", "8", "--seed", "1")
    assert drawn == chosen("--n", "8", "--seed", "1")
    assert len(set(drawn)) == 8
    assert drawn != chosen("--n", "8", "--seed", "2")
    assert chosen("--split", "train", "--index", "1499") == [1499]


@pytest.mark.parametrize(
    "ending", ["svg", *(pytest.param(ending, marks=pytest.mark.slow) for ending in ("pdf", "jpg"))]
)
def test_pictures_in_other_formats(run: Run, checkpoint, table, ending):
    for command in ("reconstruct", "plot3d"):
        assert run(command, "--out", f"{command}.{ending}").exit_code == 0
        assert Path(f"{command}.{ending}").stat().st_size > 1000


def test_show_without_a_display_warns_and_still_writes(run: Run, checkpoint, table):
    for command, picture in (("reconstruct", "reconstruction.png"), ("plot3d", "latents.png")):
        result = run(command, "--show")
        assert result.exit_code == 0
        assert (
            f"warning: no display to open a window on; the picture is in {picture}\n"
            in result.stderr
        )
        assert Path(picture).exists()


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz"])
def test_plot3d_reads_every_format(run: Run, checkpoint, ending):
    run("embed", "--split", "test", "--out", f"t.{ending}")
    result = run("plot3d", f"t.{ending}", "--n", "all", "--json")
    assert json.loads(result.stdout) == {
        "event": "result", "out": "t.png", "points": 297, "rows": 297,
        "axes": ["z1", "z2", "z3"], "color": "label",
    }  # fmt: skip


@pytest.mark.slow
def test_plot3d_draws_other_tables(run: Run):
    def drawn(text: str, *options: str) -> dict:
        Path("own.csv").write_text(text)
        result = run("plot3d", "own.csv", "--json", *options)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    assert drawn("z1,z2\n1,2\n3,4\n")["axes"] == ["z1", "z2"]
    assert drawn("z1,z2\n1,2\n3,4\n")["color"] == "none"
    assert drawn("z1,error\n1,2\n3,4\n")["axes"] == ["z1", "row"]
    assert drawn("z1,z2,error\n1,2,0.5\n")["color"] == "error"
    assert drawn("z1,z2,z3,z4\n1,2,3,4\n")["axes"] == ["z1", "z2", "z3"]
    assert drawn("z1,z2,z3,z4\n1,2,3,4\n", "--axes", "z4,z2")["axes"] == ["z4", "z2"]
    assert drawn("z1,z2,label\n1,2,$a\n", "--title", "$\\frac")["color"] == "label"
    assert drawn("z1,z2,split\n1,2,test\n", "--color", "split", "--azim", "10")["color"] == "split"


def test_train_prints_json(run: Run):
    result = run(*TRAIN, "--json", "--quiet")
    assert result.stderr == ""
    start, first, second, end = map(json.loads, result.stdout.splitlines())
    assert [e["event"] for e in (start, first, second, end)] == ["start", "epoch", "epoch", "end"]
    assert start["data"]["source"] == "digits"
    assert start["model"]["sizes"] == [784, 64, 3, 64, 784]
    assert start["training"]["lr"] == 0.005
    assert list(second) == [
        "event", "epoch", "step", "train_loss", "test_loss", "val_loss", "latents_in_use", "kl",
        "learning_rate", "images_per_second", "seconds",
    ]  # fmt: skip
    assert (second["epoch"], second["step"]) == (2, 48)
    assert end["test_loss"] == second["test_loss"] == pytest.approx(end["test_error"])
    assert end["seconds"] == pytest.approx(first["seconds"] + second["seconds"])
    assert (end["checkpoint"], end["backup"]) == ("ae.safetensors", None)


def test_embed_prints_json(run: Run, checkpoint):
    result = run("embed", "--json", "--split", "test")
    answer = json.loads(result.stdout)
    errors = np.genfromtxt("latents.csv", delimiter=",", names=True)["error"]
    assert answer == {
        "event": "result", "out": "latents.csv", "rows": 297, "latent_dim": 3,
        "mean_error": {"test": pytest.approx(errors.mean())},
    }  # fmt: skip


def test_latents_that_no_plot_shows_are_explored_first(run: Run):
    small = ("--data", "digits", "--limit", "99", "--epochs", "1", "--latent-dim", "4")
    last = "next       ae explore --show"
    assert run("train", *small, "--preset", "tutorial").stderr.splitlines()[-1] == last
    assert run("info").stderr.splitlines()[-1] == last
    assert run("train", *small, "--preset", "anomalies").stderr.splitlines()[-1] == (
        "next       ae anomalies"
    )
    assert run("info").stderr.splitlines()[-1] == "next       ae anomalies"


def test_info_prints_to_stdout(run: Run, checkpoint):
    result = run("info")
    assert result.stderr == "next       ae reconstruct --n 5\n"
    assert "model      784-128-64-12-3-12-64-128-784, tanh, 219,891 parameters\n" in result.stdout
    assert "training   10 of 10 epochs, 240 steps of 64 images" in result.stdout


@pytest.mark.parametrize(
    "command",
    [TRAIN, ("reconstruct",), ("embed",), ("plot3d",), ("info",)],
    ids=lambda command: command[0],
)
def test_quiet_commands_print_nothing(run: Run, checkpoint, table, command):
    result = run(*command, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_without_a_command_ae_prints_help(run: Run):
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Usage: ae [OPTIONS] COMMAND" in result.stdout


def test_suggested_commands_work_as_printed(run: Run, checkpoint):
    result = run("embed", "--split", "test", "--out=-my table.csv")
    assert result.stderr.endswith("next       ae plot3d './-my table.csv'\n")
    assert run("plot3d", "./-my table.csv").exit_code == 0
    assert Path("-my table.png").exists()


def test_a_librarys_warning_is_one_line(run: Run, table):
    result = run("plot3d", "--title", "日")
    assert result.exit_code == 0
    warnings = [line for line in result.stderr.splitlines() if "Glyph" in line]
    assert all(line.startswith("warning: Glyph 26085 ") for line in warnings)
    assert len(result.stderr.splitlines()) == len(warnings) + 2


def test_a_checkpoint_whose_images_are_not_found_is_named(run: Run, checkpoint):
    def change(metadata: dict[str, str]) -> None:
        metadata["data"] = metadata["data"].replace('"digits"', '"photos"')

    rewrite(checkpoint, metadata=change)
    assert error_line(run("embed"), 4) == (
        "error: ae.safetensors was trained on photos, which is not found; "
        "name images with --data; `ae data` lists the sets that ae knows"
    )
    assert run("embed", "--data", "digits").exit_code == 0


def test_version(run: Run):
    assert run("--version").stdout == f"ae {ae_cli.__version__}\n"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_commands_help_ends_with_an_example(run: Run, command):
    for option in ("--help", "-h"):
        result = run(command, option)
        assert result.exit_code == 0
        assert result.stdout.rstrip().splitlines()[-1].strip().startswith(f"Example: ae {command}")
        assert "<bool>" not in result.stdout, "a flag takes no value"


def test_the_paragraphs_of_the_help_are_wrapped_only_where_the_screen_ends(run: Run):
    lines = [line.strip() for line in run("duplicates", "--help").stdout.splitlines()]
    start = lines.index(next(line for line in lines if line.startswith("Two images are")))
    first, second, third = lines[start : start + 3]
    assert all(60 < len(line) <= 78 for line in (first, second))
    assert third.endswith("at a distance of 1.")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("train", "--data", "minst"),
            3,
            "--data minst is neither a data set that ae knows, nor a file or folder; did you me",
        ),
        (("train", "--epochs", "0"), 2, "--epochs is 0; give a whole number, 1 or more"),
        (("train", "--epochs", "ten"), 2, "--epochs is 'ten'; give a whole number"),
        (("train", "--epochs=ten"), 2, "--epochs is 'ten'; give a whole number"),
        (("train", "--epochs"), 2, "--epochs needs a value; give a whole number"),
        (("train", "--hidden"), 2, "--hidden needs a value; see `ae train --help`"),
        (("train", "--for"), 2, "--for needs a value; give latents or anomalies"),
        (("train", "--for", "anomaly"), 2, "--for is 'anomaly'; did you mean anomalies?"),
        (("anomalies", "--quantile", "x"), 2, "--quantile is 'x'; give a number"),
        (("--json", "train"), 2, "--json goes behind the command; type `ae train --json`"),
        (("train", "--traceback"), 2, "--traceback goes before the command; type `ae --trace"),
        (("info", "--version"), 2, "--version goes before the command; type `ae --version"),
        (("--epochs", "3"), 2, "--epochs goes behind the command; type `ae train --epochs`"),
        (("train", "--zzz"), 2, "there is no option --zzz; see `ae train --help`"),
        (("sweep", "--resume"), 2, "--resume is an option of `ae train`; see `ae sweep --help`"),
        (("train", "--epoch", "1"), 2, "there is no option --epoch; did you mean --epochs?"),
        (("train", "--epocs", "1"), 2, "there is no option --epocs; did you mean --epochs?"),
        (
            ("train", "--hidden", "9" * 25),
            2,
            "give whole numbers with commas between, such as 128,",
        ),
        (("train", "--latent-dim", "9" * 25), 2, "give a whole number, at most 2147483647"),
        (("train", "--out", "n" * 240 + ".safetensors"), 2, "(File name too long)"),
        (("train", "--data", ""), 3, "--data  is neither a data set that ae knows"),
        (("embed", "--data", ""), 3, "--data  is neither a data set that ae knows"),
        (("plot3d", ""), 3, ". is not a table of latents; give a file that ends in"),
        (("plot3d", "/"), 3, "/ is not a table of latents; give a file that ends in"),
        (("plot3d", "--n", "9" * 5000), 2, "give a whole number, 1 or more, or all"),
        (
            ("plot3d", "--axes", "z1,z1"),
            2,
            "--axes is 'z1,z1'; name two or three different latents",
        ),
        (("train", "--lr", "nan"), 2, "--lr is nan; give a learning rate above 0, such as 0.005"),
        (("train", "--hidden", ""), 2, "--hidden is ''; give whole numbers with commas between"),
        (("train", "--warmup", "2"), 2, "--warmup is 2.0; give a share of the steps, from 0 to 1"),
        (
            ("train", "--preset", "slow"),
            2,
            "--preset is 'slow'; give auto, tutorial, fast, best or anomalies",
        ),
        (("train", "--lr", "-1"), 2, "--lr is -1.0; give a learning rate above 0, such as 0.005"),
        (
            ("train", "--hidden", "128,,x"),
            2,
            "--hidden is '128,,x'; give whole numbers with commas",
        ),
        (("train", "--hidden", "128,0"), 2, "--hidden is 0; give a whole number, 1 or more"),
        (("train", "--latent-dim", "0"), 2, "--latent-dim is 0; give a whole number, 1 or more"),
        (("train", "--limit", "0"), 2, "--limit is 0; give a whole number, 1 or more"),
        (("train", "--seed", "-1"), 2, "--seed is -1; give a whole number, 0 or more"),
        (("train", "--activation", "step"), 2, "--activation is 'step'; give tanh"),
        (("train", "--device", "tpu"), 2, "--device is 'tpu'; did you mean cpu?"),
        (("train", "--out", "missing/ae.safetensors"), 2, "missing does not exist; create it"),
        (("train", "--out", "/proc/ae.safetensors"), 2, "cannot write /proc/ae.safetensors"),
        (("train", "--out", "ae.pt"), 2, "ae.pt does not end in a format that can be written; ch"),
        (("train", "--out", "."), 2, "does not end in a format"),
        (("reconstruct", "--n", "0"), 2, "--n is 0; give a whole number, 1 or more"),
        (("reconstruct", "--n", "-3"), 2, "--n is -3; give a whole number, 1 or more"),
        (
            ("reconstruct", "--n", "298"),
            2,
            "--n is 298, and the test split has 297 images; give at",
        ),
        (("reconstruct", "--index", "1,x"), 2, "--index is '1,x'; give whole numbers with commas"),
        (
            ("reconstruct", "--index", "297"),
            2,
            "--index 297 is not in the test split of 297 images",
        ),
        (("reconstruct", "--index", "-1"), 2, "--index -1 is not in the test split of 297 images"),
        (
            ("reconstruct", "--index", "1", "--n", "2"),
            2,
            "--index already says which images; leave",
        ),
        (("reconstruct", "--seed", "-1"), 2, "--seed is -1; give a whole number, 0 or more"),
        (
            ("reconstruct", "--out", "r.mp3"),
            2,
            "r.mp3 does not end in a format that can be written",
        ),
        (
            ("reconstruct", "--checkpoint", "no.safetensors"),
            4,
            "there is no checkpoint at no.safet",
        ),
        (
            ("reconstruct", "--checkpoint", "latents.csv"),
            4,
            "latents.csv is not a safetensors file",
        ),
        (("reconstruct", "--split", "val"), 2, "--split is 'val'; give train or test"),
        (
            ("embed", "--out", "latents.txt"),
            2,
            "latents.txt does not end in a format that can be w",
        ),
        (("embed", "--out", "ae.safetensors"), 2, "ae.safetensors does not end in a format"),
        (("embed", "--out", "missing/l.csv"), 2, "missing does not exist; create it"),
        (
            ("embed", "--data", "nothing"),
            3,
            "--data nothing is neither a data set that ae knows, nor a file or folder; see",
        ),
        (
            ("embed", "--checkpoint", "no.safetensors"),
            4,
            "there is no checkpoint at no.safetensors",
        ),
        (
            ("plot3d", "no.csv"),
            3,
            "there is no table at no.csv; make one with `ae embed --out no.csv",
        ),
        (
            ("plot3d", "ae.safetensors"),
            3,
            "ae.safetensors is not a table of latents; give a file t",
        ),
        (("plot3d", "--n", "0"), 2, "--n is '0'; give a whole number, 1 or more, or all"),
        (("plot3d", "--n", "-1"), 2, "--n is '-1'; give a whole number, 1 or more, or all"),
        (("plot3d", "--n", "many"), 2, "--n is 'many'; give a whole number, 1 or more, or all"),
        (("plot3d", "--n", "1798"), 2, "--n is 1798, and latents.csv has 1,797 rows; give at most"),
        (
            ("plot3d", "--axes", "z1"),
            2,
            "--axes is 'z1'; name two or three different latents, such",
        ),
        (("plot3d", "--axes", "z1,z9"), 2, "--axes names 'z9', and latents.csv has z1 to z3; name"),
        (("plot3d", "--azim", "nan"), 2, "--azim is nan; give an angle in degrees"),
        (("plot3d", "--color", "name"), 2, "--color is 'name'; give label, error, split or none"),
        (("plot3d", "--out", "latents.csv"), 2, "latents.csv does not end in a format that can be"),
        (("info", "no.safetensors"), 4, "there is no checkpoint at no.safetensors; make one with"),
        (("info", "a", "b"), 2, "'b' is one word too many; see `ae info --help`"),
        (("tain",), 2, "there is no command tain; did you mean `ae train`?"),
        (("--nonsense",), 2, "there is no option --nonsense; see `ae --help`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_user_errors_are_one_line(run: Run, checkpoint, table, arguments, code, message):
    before = {path: path.read_bytes() for path in (checkpoint, table)}
    result = run(*arguments)
    assert message in error_line(result, code)
    assert {path: path.read_bytes() for path in (checkpoint, table)} == before
    assert set(os.listdir()) == {"ae.safetensors", "latents.csv"}, "no partial files are left"


def test_an_unavailable_device_is_refused(run: Run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = error_line(run(*TRAIN, "--device", "cuda"), 2)
    assert line == "error: --device cuda is not available on this machine; use --device cpu"
    assert os.listdir() == []


def test_a_checkpoint_for_other_images_is_refused(run: Run, checkpoint, monkeypatch, digits):
    """The digits are replaced with smaller images than the model was trained on."""
    from dataclasses import replace

    import ae_cli.data.digits
    from ae_cli.data.store import PixelStore

    small = {
        split: replace(images, store=PixelStore(images.pixels[:, :, ::2, ::2]), places=None)
        for split, images in (("train", digits.train), ("test", digits.test))
    }
    monkeypatch.setattr(ae_cli.data.digits, "load_digits", lambda: replace(digits, **small))
    line = error_line(run("embed"), 3)
    assert line.startswith(
        "error: ae.safetensors is for images of 1 × 28 × 28, and those of digits have 1 × 14 × 14;"
    )


def test_a_loss_that_is_not_finite_stops_the_run(run: Run, checkpoint):
    before = checkpoint.read_bytes()
    line = error_line(run(*TRAIN, "--activation", "relu", "--lr", "1e30", "--quiet"), 5)
    assert line == (
        "error: the loss is no longer a finite number in epoch 1, and ae.safetensors is unchanged; "
        "choose a smaller --lr than 1e+30"
    )
    assert checkpoint.read_bytes() == before
    assert os.listdir() == ["ae.safetensors"]


def test_a_collapsed_model_causes_a_warning(run: Run):
    """After one epoch, the tutorial's recipe is no better than the mean image of the digits."""
    assert (
        "warning: the model reconstructs images no better than their mean image would; leave out "
        "--preset tutorial, whose recipe is for MNIST"
        in run(*TUTORIAL, "--data", "digits", "--epochs", "1", "--quiet").stderr
    )
    assert run(*TRAIN, "--quiet").stderr == ""


def test_traceback_shows_where_an_error_came_from(run: Run):
    result = run("--traceback", "info", "no.safetensors")
    assert result.exit_code == 4
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: there is no checkpoint")
    assert "Traceback" not in run("info", "no.safetensors").stderr


def test_a_bug_is_reported_as_a_bug(run: Run, checkpoint, monkeypatch):
    monkeypatch.setattr("ae_cli.models.checkpoint.count_parameters", lambda model: 1 // 0)
    result = run("info")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: ZeroDivisionError: integer division or modulo by zero; this is a bug in ae: "
        "run `ae --traceback …` and report what it prints\n"
    )


def in_a_terminal(*arguments: str, code: int = 0, **environment: str) -> str:
    """Run a command in a terminal of 80 × 40 characters; return everything it wrote."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "ae_cli", *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "", **environment},
    )
    os.close(its)
    written = b""
    with suppress(OSError):  # raised on Linux when the other end is closed
        while chunk := os.read(ours, 65536):
            written += chunk
    os.close(ours)
    assert process.wait() == code, written
    return written.decode()


LONG_NAME = "a checkpoint whose name is so long that a line has no room for it.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("data",), ("info", "--checkpoint", LONG_NAME)])
def test_a_terminal_wraps_lines_between_words(run: Run, checkpoint, arguments):
    """No word is cut, and the same words are there as in a file."""
    shutil.copy(checkpoint, LONG_NAME)
    written = re.sub(r"\x1b\[[\d;]*m", "", in_a_terminal(*arguments))
    lines = [line.rstrip() for line in written.splitlines()]
    assert max(map(len, lines)) <= 80
    if arguments == ("data",):  # whose cells are wrapped
        assert {line.split()[0] for line in lines if line[:1].strip()} >= set(KNOWN_SETS)
        assert sorted(written.split()) == sorted(run(*arguments).output.split())
    else:
        assert written.split() == run(*arguments).output.split()
        assert any(line.startswith(" " * 11) for line in lines)


@pytest.mark.slow
def test_a_terminal_does_not_break_commands(checkpoint):
    name = "-" * 30 + ".csv"
    written = re.sub(r"\x1b\[[\d;]*m", "", in_a_terminal("plot3d", "--", name, code=3))
    assert f"`ae embed --out ./{name}`" in written.replace("\r\n", "\n") or (
        f"`ae embed --out {name}`" in written
    )


def test_the_checkpoint_of_info_is_named_once(run: Run, checkpoint):
    assert run("info", "--checkpoint", checkpoint).stdout == run("info", checkpoint).stdout
    line = error_line(run("info", "a.safetensors", "--checkpoint", "b.safetensors"), 2)
    assert line.startswith("error: the checkpoint is named twice: a.safetensors and b.safetensors;")


@pytest.mark.slow
def test_a_terminal_shows_progress_bars_and_a_preview(checkpoint):
    written = in_a_terminal(*TUTORIAL, "--data", "digits", "--epochs", "20")
    assert re.search(r"epoch .*━.* \d+/20  test loss 0\.\d{4}  0:\d\d left", written)
    assert re.search(r"step .*━.* \d+/24  loss 0\.\d{4}  [\d,]+ images/s", written)
    kept = re.findall(r"epoch[^\n]* (\d+)/20  train loss", re.sub(r"\x1b\[[\d;]*m", "", written))
    assert kept == [str(epoch) for epoch in range(2, 21, 2)], "every second epoch stays"
    assert written.rindex("▀") < written.rindex("ae reconstruct --n 5")
    assert "5 of 297 test images, above their reconstructions" in written
    written = in_a_terminal("reconstruct")
    assert "5 images, above their reconstructions" in written
    assert "▀" in written
    assert "38;5;" in written
    written = in_a_terminal("decode", "--grid", "12")
    first_line, *_ = written.splitlines()
    assert first_line.count("▀") == 9 * 8, "nine of twelve images, at eight pixels each"
    assert "4 × 9 of 12 × 12 images" in written


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colors_shows_none(checkpoint, environment):
    written = in_a_terminal("reconstruct", **environment)
    assert "▀" not in written
    assert not re.search(r"\x1b\[[\d;]*(3|4)\d[;m]", written)
    assert "picture    reconstruction.png" in re.sub(r"\x1b\[[\d;]*m", "", written)


@pytest.mark.slow
def test_ctrl_c_keeps_the_last_complete_epoch():
    process = start(*TUTORIAL, "--data", "digits", "--epochs", "100000")
    lines = []
    while not lines or not lines[-1].startswith("epoch"):
        lines.append(process.stderr.readline())
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    error = rest.splitlines()[-1]
    assert process.returncode == 130
    kept = int(re.search(r"holds epoch (\d+)", error)[1])
    assert re.fullmatch(
        rf"stopped: interrupted (in epoch {kept + 1} of 100000, step \d+ of 24|after epoch {kept} "
        rf"of 100000); ae.safetensors holds epoch {kept}, and `ae train --resume` continues where "
        r"it stopped",
        error,
    )
    result = subprocess.run(
        [sys.executable, "-m", "ae_cli", "info", "--json"], capture_output=True, check=True
    )
    assert json.loads(result.stdout)["metrics"]["epoch"] == kept
    assert sorted(os.listdir()) == ["ae.resume.safetensors", "ae.safetensors"]


@pytest.mark.slow
def test_ctrl_c_in_the_first_epoch_keeps_the_resume_file():
    process = start(*TUTORIAL, "--data", "digits", "--epochs", "1", "--batch-size", "1")
    while not process.stderr.readline().startswith("recipe"):
        pass
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(
        r"stopped: interrupted in epoch 1 of 1, step [\d,]+ of 1,500; there is no model yet, and "
        r"`ae train --resume` continues where it stopped\n",
        rest,
    )
    assert os.listdir() == ["ae.resume.safetensors"]


def test_ctrl_c_during_imports(monkeypatch, capsys):
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "ae_cli.cli", Interrupted("ae_cli.cli"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped: interrupted; nothing is half-written\n"


def test_further_signals_while_a_command_ends_change_nothing(run: Run, monkeypatch):
    """The second signal arrives at the first function that is called then, or the next, and so on.

    A signal's handler runs, and may raise, whenever Python begins or leaves a function.
    """
    outside = signal.getsignal(signal.SIGTERM)

    def interrupted(checkpoint: Path, *, wait: int) -> None:
        def count(*_: object) -> None:
            nonlocal wait
            wait -= 1
            if wait < 0:
                sys.setprofile(None)
                if signal.getsignal(signal.SIGTERM) is not outside:
                    os.kill(os.getpid(), signal.SIGTERM)

        sys.setprofile(count)
        raise Termination

    for wait in range(100):
        interruption = functools.partial(interrupted, wait=wait)
        monkeypatch.setattr("ae_cli.models.checkpoint.info", interruption)
        try:
            result = run("info")
        finally:
            sys.setprofile(None)
        assert error_line(result, 143) == "stopped: terminated; nothing is half-written", wait


@pytest.mark.slow
def test_a_full_disk_leaves_existing_files_unchanged(checkpoint):
    before = checkpoint.read_bytes()

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    for arguments in (TRAIN, ("embed",), ("embed", "--out", "latents.npz")):
        process = start(*arguments, preexec_fn=limit_file_size)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 2, stderr
        error = stderr.splitlines()[-1]
        assert error.startswith("error: cannot write ")
        assert "(File too large)" in error
        assert error.endswith("; make room or write elsewhere")
        assert os.listdir() == ["ae.safetensors"]
        assert checkpoint.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "train --data digits --epochs 3 --json --quiet",
        "train --data digits --epochs 3 2>&1",
        "info",
    ],
)
def test_a_closed_pipe_ends_the_command_quietly(checkpoint, command):
    result = subprocess.run(
        [
            "bash",
            "-c",
            f"{sys.executable} -m ae_cli {command} | head -n 1; echo ${{PIPESTATUS[0]}}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    _, status = result.stdout.splitlines()
    # 0: the command finished before head closed the pipe, and says what one does next.
    assert status in ("0", "1")
    printed = result.stderr.splitlines()
    assert not printed or (status == "0" and len(printed) == 1 and printed[0].startswith("next "))


@pytest.mark.slow
@pytest.mark.parametrize("command", [("info",), ("info", "--json"), ("embed", "--json", "--quiet")])
def test_a_full_standard_output_is_a_one_line_error(checkpoint, command):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "ae_cli", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 2
    assert result.stderr == (
        "error: cannot write to standard output (No space left on device); make room or write "
        "elsewhere\n"
    )


@pytest.mark.slow
def test_output_without_unicode(checkpoint):
    result = subprocess.run(
        [sys.executable, "-m", "ae_cli", "info"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert b"images     1 ? 28 ? 28 (channels ? height ? width)\n" in result.stdout


@pytest.mark.usefixtures("checkpoint", "table")
@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (("reconstruct",), ["reconstruction.png"]),
        (("embed",), ["latents.csv"]),
        (("plot3d",), ["latents.png"]),
        (("plot3d", "--out", "latents.html"), ["latents.html"]),
        (("explore",), ["explore.html"]),
        (("decode", "--grid", "2"), ["decoded.png"]),
        (("decode", "--grid", "2", "--out", "d.npy"), ["d.npy"]),
        (("evaluate", "--limit", "100", "--out", "e.png"), ["e.png"]),
        (("neighbours", "--index", "3"), ["neighbours.csv", "neighbours.png"]),
        (("anomalies",), ["anomalies.csv", "anomalies.png", "anomalies.html"]),
        (("export", "--out", "e.pt2"), ["e.pt2"]),
        (("data", "digits", "--out", "d.png"), ["d.png"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_command_says_which_files_it_replaced(run: Run, arguments, files):
    words = " (replaced the previous one)"
    for already_there in (arguments[0] == "embed", True):
        lines = run(*arguments).stderr.splitlines()
        for name in files:
            (line,) = [line for line in lines if re.match(rf"\w+ +{re.escape(name)}\b", line)]
            assert line.endswith(words) == already_there, line
        assert lines[-1].startswith("next       "), "each command says what to do next"


def test_train_says_which_pictures_it_replaced(run: Run):
    small = (*TUTORIAL, "--data", "digits", "--limit", "99", "--epochs", "1")
    for already_there in (False, True):
        lines = run(*small, "--film", "f.png", "--curve", "c.png").stderr.splitlines()
        for line in lines:
            if line.startswith(("film ", "curve ")):
                assert line.endswith(" (replaced the previous one)") == already_there
        assert sum(line.startswith(("film ", "curve ")) for line in lines) == 2


def test_a_folder_without_its_option_is_recognised(run: Run):
    Path("my photos").mkdir()
    line = error_line(run("train", "my photos"), 2)
    assert line == "error: 'my photos' is one word too many; did you mean --data 'my photos'?"
    for words in (("train", "--data", "my", "photos"), ("data", "my", "photos")):
        assert error_line(run(*words), 2).endswith("; did you mean 'my photos', in quotes?")
    for other in ("no photos", "x" * 5000):
        assert "see `ae train --help`" in error_line(run("train", other), 2)
