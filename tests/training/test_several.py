"""Several processes, started by torchrun: they learn, print and write what one process does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from benchmarks.photos import random_crops
from conftest import start
from PIL import Image

from ae_cli.processes import Place, find_place

SMALL = ("train", "--data", "digits", "--limit", "300", "--batch-size", "32", "--epochs", "3")
TUTORIAL = ("--preset", "tutorial", "--hidden", "32")
CONV = ("--model", "conv", "--hidden", "4,8,16", "--latent-dim", "4", "--augment", "shift,flip")


def torchrun(
    processes: int, *arguments: str, before: Sequence[str] = (), **options
) -> subprocess.Popen:
    """Start an ae command in several processes, by a command that stands before it."""
    own = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
    return subprocess.Popen(
        [*before, sys.executable, *own, "-m", "--", "ae_cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def finish(process: subprocess.Popen, code: int = 0) -> tuple[str, list[str]]:
    """Wait for a process, and return its output, and the lines that ae printed on stderr."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    # torchrun itself logs, too
    lines = [line for line in errors.splitlines() if not line.startswith(("W", "E", "[", "*"))]
    return output, lines


def log_of(path: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def losses(path: str) -> np.ndarray:
    return np.array([[row["train_loss"], row["test_loss"]] for row in log_of(path)])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize(
    "recipe",
    [
        TUTORIAL,
        (*TUTORIAL, "--engine", "autograd", "--sparse", "0.1", "--denoise", "0.2"),
        (*TUTORIAL, "--variational", "--denoise", "0.3", "--noise", "mask"),
        ("--model", "mlp", "--hidden", "16", "--augment", "shift,brightness"),
        CONV,
    ],
    ids=["fused", "autograd", "variational", "pca", "convolutions"],
)
def test_several_processes_learn_what_one_does(recipe, processes):
    finish(start(*SMALL, *recipe, "--log", "one.jsonl", "--out", "one.safetensors"))
    _, lines = finish(torchrun(processes, *SMALL, *recipe, "--log", "several.jsonl"))
    tolerance = 1e-5 if recipe is not CONV else 1e-3  # half precision, where there is any
    np.testing.assert_allclose(losses("several.jsonl"), losses("one.jsonl"), rtol=tolerance)
    names = [line.split()[0] for line in lines]
    assert names.count("data") == names.count("done") == names.count("checkpoint") == 1
    assert sorted(path.name for path in Path().iterdir()) == [
        "ae.resume.safetensors",
        "ae.safetensors",
        "one.jsonl",
        "one.resume.safetensors",
        "one.safetensors",
        "several.jsonl",
    ]


@pytest.mark.slow
def test_a_batch_may_have_fewer_images_than_there_are_processes():
    recipe = (*SMALL, *TUTORIAL, "--batch-size", "299")  # and one of a single image
    finish(start(*recipe, "--log", "one.jsonl", "--out", "one.safetensors"))
    film = ("--film", "film.gif", "--film-of", "latents")
    finish(torchrun(2, *recipe, "--log", "several.jsonl", *film))
    np.testing.assert_allclose(losses("several.jsonl"), losses("one.jsonl"), rtol=1e-5)
    assert Path("film.gif").exists()


@pytest.mark.slow
def test_a_run_is_resumed_with_another_number_of_processes():
    finish(start(*SMALL, *TUTORIAL, "--log", "one.jsonl", "--out", "one.safetensors"))
    first = (*SMALL, *TUTORIAL, "--epochs", "1", "--log", "several.jsonl")
    finish(torchrun(2, *first))
    finish(torchrun(3, "train", "--resume", "--epochs", "2", "--log", "several.jsonl"))
    finish(start("train", "--resume", "--epochs", "3", "--log", "several.jsonl"))
    np.testing.assert_allclose(losses("several.jsonl"), losses("one.jsonl"), rtol=1e-5)


MOUNT = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
IN_CONTAINER = ("unshare", "--mount", "sh", "-c", MOUNT, "sh")


def can_unshare() -> bool:
    """Whether a process may get a file system of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*IN_CONTAINER, "true"], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not can_unshare(), reason="only root may mount a file system")
def test_a_container_s_small_shared_memory_is_enough(tmp_path):
    """Docker gives 64 MB. Decoded, and even more as floats, these photos take more."""
    for i, crop in enumerate(random_crops(1500)):
        Image.fromarray(crop).save(tmp_path / f"{i:04}.png")
    recipe = ("--image-size", "128", "--model", "mlp", "--hidden", "8", "--epochs", "1")
    finish(torchrun(2, "train", "--data", str(tmp_path), *recipe, before=IN_CONTAINER))
    finish(torchrun(2, "embed", "--out", "latents.parquet", before=IN_CONTAINER))
    rows = [pq.read_table(path).num_rows for path in sorted(Path().glob("latents-*.parquet"))]
    assert rows == [750, 750]


def wait_for_epochs(path: str, count: int) -> None:
    for _ in range(600):
        if Path(path).exists() and len(log_of(path)) >= count:
            return
        time.sleep(0.1)
    raise AssertionError("it does not train")


LONG = (*SMALL, *TUTORIAL, "--epochs", "100000", "--log", "log.jsonl")


@pytest.mark.slow
def test_a_signal_stops_all_processes_after_the_same_step():
    process = torchrun(2, *LONG)
    wait_for_epochs("log.jsonl", 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    (line,) = [line for line in errors.splitlines() if line.startswith("stopped: ")]
    assert "ae.safetensors holds epoch" in line
    assert "`ae train --resume --log log.jsonl` continues where it stopped" in line
    done = len(log_of("log.jsonl"))
    finish(start("train", "--resume", "--epochs", str(done + 1), "--log", "log.jsonl"))
    assert [row["epoch"] for row in log_of("log.jsonl")] == list(range(1, done + 2))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_all_of_them(victim):
    process = torchrun(2, *LONG)
    wait_for_epochs("log.jsonl", 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = {}
    for child in children:
        pairs = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
        ranks |= {pair: child for pair in pairs if pair.startswith("RANK=")}
    os.kill(int(ranks[f"RANK={victim}"]), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode
    lines = [line for line in errors.splitlines() if line.startswith(("error: ", "stopped: "))]
    assert len(lines) <= 1
    if victim:
        assert lines, errors
        assert "ae.safetensors holds epoch" in lines[0]
    done = log_of("log.jsonl")[-1]["epoch"]
    finish(start("train", "--resume", "--epochs", str(done + 2), "--log", "log.jsonl"))


@pytest.mark.slow
def test_an_error_is_printed_once():
    _, lines = finish(torchrun(2, "train", "--data", "nowhere.npy"), 1)
    assert [line for line in lines if "nowhere.npy" in line] == [
        "error: --data nowhere.npy: there is no such file or folder; check the path, or see "
        "`ae data`"
    ]


@pytest.mark.slow
def test_parts_of_a_table_are_the_table(checkpoint):
    finish(start("embed", "--out", "whole.parquet"))
    _, lines = finish(torchrun(3, "embed", "--out", "latents.parquet"))
    parts = [f"latents-{i:05}-of-00003.parquet" for i in range(3)]
    assert sorted(path.name for path in Path().glob("latents*")) == parts
    whole = pq.read_table("whole.parquet").to_pydict()
    joined = [pq.read_table(part).to_pydict() for part in parts]
    for name, values in whole.items():
        found = [value for part in joined for value in part[name]]
        if isinstance(values[0], float):
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5)
        else:
            assert found == values
    assert [line.split()[0] for line in lines] == ["error", "table", "next"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 64])
def test_shares_make_the_whole(size, count):
    shares = [Place(rank, size).share(count) for rank in range(size)]
    assert [i for share in shares for i in range(count)[share]] == list(range(count))
    counts = [share.stop - share.start for share in shares]
    assert max(counts) - min(counts) <= 1


def test_the_place_is_the_one_of_the_environment(monkeypatch):
    assert find_place() == Place(0, 1, 0)
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert find_place() == Place(0, 1, 0), "torchrun also says where to meet"
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    assert find_place() == Place(3, 4, 1)
