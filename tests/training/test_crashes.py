"""However and whenever a run ends, it can be resumed with the result it would have had anyway.

Real processes are killed, interrupted, and deprived of disk space or write permission. The tests
check which files they leave, and that a resumed run ends bit for bit like an uninterrupted one.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import TUTORIAL, error_line, invoke
from PIL import Image

from ae_cli.config import Metrics
from ae_cli.data.images import DataSet
from ae_cli.files import atomic_write, backup_path
from ae_cli.models.checkpoint import load_checkpoint
from ae_cli.training.resume import load_run

OUT, RESUME = "ae.safetensors", "ae.resume.safetensors"
BACKUP, RESUME_BACKUP = "ae.bak.safetensors", "ae.bak.resume.safetensors"
LEFTOVER = re.compile(r"\.ae-[0-9a-f]{8}(-\d+\.tmp|\.lock)")
RECIPE = ("--limit", "240", "--batch-size", "16", "--lr", "0.01")
SHORT = ("--limit", "48", "--batch-size", "16", "--lr", "0.01", "--epochs", "3")
# The columns of a log that do not depend on time
NAMES = ("epoch", "step", "train_loss", "test_loss", "learning_rate")


@pytest.fixture(scope="module")
def source(digits: DataSet, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An array of 300 digits: reading it is faster than importing scikit-learn."""
    path = tmp_path_factory.mktemp("images") / "digits.npy"
    np.save(path, digits.train.pixels[:300].numpy())
    return str(path)


class Outcome(NamedTuple):
    """What a run results in, apart from timings."""

    weights: dict[str, bytes]
    kept: Metrics
    reached: Metrics
    best: Metrics
    state: dict[str, bytes]
    position: tuple[int, int]


def outcome(folder: Path) -> Outcome:
    checkpoint, run = load_checkpoint(folder / OUT), load_run(folder / OUT)
    tensors = {f"model.{key}": value for key, value in run.model.state_dict().items()}
    for group, values in zip(("first", "second"), run.state.moments, strict=True):
        tensors |= {f"{group}.{i}": value for i, value in enumerate(values)}
    tensors["loss_sum"] = run.state.loss_sum
    metrics = [replace(each, seconds=0.0) for each in (checkpoint.metrics, run.reached, run.best)]
    return Outcome(
        to_bytes(checkpoint.model.state_dict()),
        *metrics,
        to_bytes(tensors),
        (run.state.epoch, run.state.step),
    )


def to_bytes(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {key: value.numpy().tobytes() for key, value in tensors.items()}


def read_log(path: Path) -> list[tuple]:
    """The complete rows of a log."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    if path.suffix == ".csv":
        rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    else:
        rows = [json.loads(line) for line in lines]
    return [tuple(row[name] for name in NAMES) for row in rows]


def begin(
    folder: Path, *arguments: str, prefix: Sequence[str] = (), threads: int | None = None
) -> subprocess.Popen:
    """Start a command in a folder.

    Args:
        prefix: A program, with its arguments, that starts the command.
        threads: How many threads it may use; None for as many as this process.
    """
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "ae_cli", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen, code: int = 0) -> str:
    """Wait until a command ends, and return its stderr; fail the test on any other exit code."""
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == code, stderr
    return stderr


def end_with_error(process: subprocess.Popen, code: int) -> str:
    """Wait until a command ends, and return its only error line, which must be its last one.

    The line of one that was asked to stop is another one.
    """
    stderr = end(process, code)
    errors = [line for line in stderr.splitlines() if line.startswith(("error: ", "stopped: "))]
    assert len(errors) == 1, stderr
    assert stderr.endswith(f"{errors[0]}\n"), stderr
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    return errors[0]


def wait_for_line(process: subprocess.Popen, *beginnings: str) -> None:
    while line := process.stderr.readline():
        if line.startswith(beginnings):
            return


def wait_for_save(process: subprocess.Popen, path: Path) -> None:
    """Wait until a process has written a file, or has ended."""
    before = identity(path)
    while process.poll() is None and identity(path) == before:
        time.sleep(0.001)


def identity(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns


def leftovers(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if LEFTOVER.fullmatch(name))


def files(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not LEFTOVER.fullmatch(name))


def is_writing(folder: Path) -> bool:
    """Whether a process is writing a file in a folder, or was killed while writing one."""
    return any(name.endswith(".tmp") for name in leftovers(folder))


class Chain(NamedTuple):
    """A run that is killed and resumed repeatedly.

    Attributes:
        options: Options of every process.
        recipe: Options of the first process only.
        epochs: Number of epochs, large enough to outlast the kills.
        kills: Number of kills.
        log: Name of the log.
        earlier: Whether an earlier run's files are in the folder at the start.
    """

    options: tuple[str, ...]
    recipe: tuple[str, ...]
    epochs: int
    kills: int
    log: str
    earlier: bool = False


CHAINS = (
    Chain(
        ("--checkpoint-every", "1"),
        ("--engine", "fused"),
        epochs=8,
        kills=15,
        log="log.csv",
        earlier=True,
    ),
    Chain(
        ("--checkpoint-every", "1"),
        ("--engine", "autograd", "--keep", "best", "--schedule", "cosine", "--warmup", "0.1"),
        epochs=8,
        kills=15,
        log="log.jsonl",
    ),
    Chain(
        ("--checkpoint-every", "4", "--log-every", "3", "--film", "film.png"),
        ("--engine", "fused", "--keep", "best"),
        epochs=16,
        kills=7,
        log="log.csv",
    ),
    Chain((), ("--schedule", "linear"), epochs=60, kills=13, log="log.jsonl"),
)


class Killer:
    """Carries out a chain in a folder, and counts the kills.

    Attributes:
        kills: Number of processes that were killed.
        in_writes: Number of those that left a partially written file.
    """

    def __init__(self, chain: Chain, source: str, folder: Path, seed: int) -> None:
        self._chain, self._folder, self._random = chain, folder, random.Random(seed)
        self._arguments = ("train", *chain.options, "--log", chain.log)
        recipe = (
            "--preset",
            "tutorial",
            "--data",
            source,
            *RECIPE,
            *chain.recipe,
            "--epochs",
            str(chain.epochs),
        )
        self._first = (*self._arguments, *recipe)
        self._log_backup = chain.log.replace(".", ".bak.")
        self.kills = self.in_writes = 0

    def carry_out(self) -> None:
        whole = self._folder / "undisturbed"
        whole.mkdir(parents=True)
        end(begin(whole, *self._first, threads=1))
        expected, rows = outcome(whole), read_log(whole / self._chain.log)
        count = 0
        while self.kills < self._chain.kills:  # a run may finish earlier
            count += 1
            folder = self._folder / f"disturbed{count}"
            folder.mkdir()
            before = self._earlier_run(folder) if self._chain.earlier else None
            self._disturb(folder, rows, before)
            assert outcome(folder) == expected
            assert read_log(folder / self._chain.log) == rows
            assert leftovers(folder) == []
            backups = [] if before is None else [BACKUP, RESUME_BACKUP]
            names = set(files(folder))
            # A run that was killed before its first save may have written to the log.
            assert names - {self._log_backup} == {*files(whole), *backups}

    def _earlier_run(self, folder: Path) -> bytes:
        """Put another run's files into the folder, and return its checkpoint's contents."""
        end(begin(folder, *self._first, "--seed", "7", "--epochs", "1", threads=1))
        (folder / self._chain.log).unlink()
        return (folder / OUT).read_bytes()

    def _disturb(self, folder: Path, rows: list[tuple], earlier: bytes | None) -> None:
        """Run, kill and resume until the run is finished."""
        has_begun = False
        while True:
            again = (*self._arguments, "--resume") if has_begun else self._first
            process = begin(folder, *again, threads=1)
            if self.kills < self._chain.kills:
                self._wait(process, folder)
                process.kill()
            stderr = process.communicate(timeout=120)[1]
            if process.returncode == 0:
                return
            assert process.returncode == -signal.SIGKILL, stderr
            self.kills += 1
            self.in_writes += is_writing(folder)
            has_begun = self._check(folder, rows, earlier)

    def _wait(self, process: subprocess.Popen, folder: Path) -> None:
        """Wait until it is time to kill, usually after the first file is written."""
        kind = self._random.random()
        if kind < 0.1:
            time.sleep(self._random.uniform(0, 3))
        elif kind < 0.2:
            wait_for_line(process, "model", "resumed")
            time.sleep(self._random.uniform(0, 0.03))
        else:
            wait_for_save(process, folder / RESUME)
            time.sleep(self._random.uniform(0, 0.15))
            if kind < 0.6:
                return
            while process.poll() is None and not is_writing(folder):
                time.sleep(0.0005)
            time.sleep(self._random.uniform(0, 0.01))

    def _check(self, folder: Path, rows: list[tuple], earlier: bytes | None) -> bool:
        """Check what a killed process left, and return whether there is a run to resume."""
        possible = {OUT, RESUME, self._chain.log, self._log_backup, "film.png"}
        if earlier is not None:
            possible |= {BACKUP, RESUME_BACKUP}
            copies = [folder / name for name in (OUT, BACKUP) if (folder / name).exists()]
            assert earlier in [copy.read_bytes() for copy in copies]
        assert set(files(folder)) <= possible
        logged = read_log(folder / self._chain.log)
        assert logged == rows[: len(logged)]
        if not (folder / RESUME).exists():
            assert not (folder / OUT).exists()
            return False
        run = load_run(folder / OUT)
        if run.training.seed == 7:  # still the earlier run's
            return False
        assert len(logged) >= sum(int(row[1]) <= run.updates for row in rows)
        if (folder / OUT).exists():
            checkpoint = load_checkpoint(folder / OUT)
            if checkpoint.training.seed != 7:
                is_next = run.state.step == 0 and run.kept.epoch == run.state.epoch - 1
                assert checkpoint.metrics.epoch == run.kept.epoch or (
                    is_next and checkpoint.metrics.epoch < run.kept.epoch
                )
        return True


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1])
def test_runs_killed_50_times_end_like_uninterrupted_ones(tmp_path, source, seed):
    killers = [
        Killer(chain, source, tmp_path / str(i), seed + 1000 * i) for i, chain in enumerate(CHAINS)
    ]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(killer.carry_out) for killer in killers]:
            done.result()
    in_writes = sum(killer.in_writes for killer in killers)
    print(f"{sum(killer.kills for killer in killers)} kills, {in_writes} of them during a write")
    assert sum(killer.kills for killer in killers) == 50
    assert in_writes >= 10


def test_leftovers_of_killed_runs_are_removed(run, source, tmp_path):
    written = {OUT, RESUME, BACKUP, RESUME_BACKUP, "log.csv", "log.bak.csv", "film.png"}
    for name in written:
        child = os.fork()
        if not child:
            with atomic_write(tmp_path / name) as file:
                file.write(b"half of it")
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
    assert len(leftovers(tmp_path)) == len(written)
    result = run(*TUTORIAL, "--data", source, *SHORT, "--log", "log.csv", "--film", "film.png")
    assert result.exit_code == 0
    assert sorted(os.listdir()) == sorted({OUT, RESUME, "log.csv", "film.png"})


@pytest.fixture(scope="module")
def undisturbed(source: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """The outcome of an uninterrupted run of `SHORT`, with further options if given."""
    known: dict[tuple[str, ...], Outcome] = {}

    def find(*options: str) -> Outcome:
        if options not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            arguments = (*TUTORIAL, "--data", source, *SHORT, *options)
            assert invoke(*arguments, "--out", folder / OUT).exit_code == 0
            known[options] = outcome(folder)
        return known[options]

    return find


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """While the block runs, no file can be larger than this many bytes."""
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old_limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[str], None]]:
    """While the block runs, mount a disk of this many bytes; yield a function that remounts it."""

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")

    mount(f"size={size}")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# A resume file takes 2.7 MB, and a checkpoint 0.9 MB.
SMALL, MIDDLE = 500_000, 1_500_000


@pytest.mark.parametrize("limit", [pytest.param(SMALL, marks=pytest.mark.slow), MIDDLE])
def test_without_room_for_the_first_file_nothing_is_written(
    run, source, undisturbed, tmp_path, limit
):
    train = (*TUTORIAL, "--data", source, *SHORT)
    with file_size_limit(limit):
        result = run(*train, "--log", "log.csv", "--checkpoint-every", "2")
    assert error_line(result, 2) == (
        "error: cannot write ae.resume.safetensors (File too large), and nothing was written; make "
        "room or write elsewhere"
    )
    assert os.listdir() == []
    assert error_line(run("train", "--resume"), 4) == (
        "error: there is no run to resume at ae.resume.safetensors; train without --resume"
    )
    assert run(*train).exit_code == 0
    assert outcome(tmp_path) == undisturbed()


@pytest.mark.slow
def test_without_room_for_any_file_an_earlier_run_is_kept(run, source, undisturbed, tmp_path):
    train = (*TUTORIAL, "--data", source, *SHORT)
    assert run(*train, "--epochs", "2").exit_code == 0
    before = contents(tmp_path)
    # A resumed run writes its checkpoint first.
    for limit, first in ((SMALL, OUT), (MIDDLE, RESUME)):
        with file_size_limit(limit):
            result = run(*train, "--seed", "7")
        assert error_line(result, 2) == (
            "error: cannot write ae.bak.resume.safetensors (File too large), and ae.safetensors is "
            "unchanged; make room or write elsewhere"
        )
        assert contents(tmp_path) == before
        with file_size_limit(limit):
            result = run("train", "--resume", "--epochs", "3")
        assert error_line(result, 2) == (
            f"error: cannot write {first} (File too large), ae.safetensors holds epoch 2, and "
            "`ae train --resume` continues after epoch 2 of 3; make room or write elsewhere"
        )
        assert (tmp_path / RESUME).read_bytes() == before[RESUME]
        assert load_checkpoint(tmp_path / OUT).metrics.epoch == 2
        before = contents(tmp_path)
    assert run("train", "--resume", "--epochs", "3").exit_code == 0
    assert outcome(tmp_path) == undisturbed()


def test_without_room_for_the_resume_file_an_earlier_model_is_kept(run, source, tmp_path):
    train = (*TUTORIAL, "--data", source, *SHORT)
    assert run(*train, "--seed", "7").exit_code == 0
    (tmp_path / RESUME).unlink()
    before = (tmp_path / OUT).read_bytes()
    with file_size_limit(MIDDLE):
        result = run(*train)
    assert error_line(result, 2) == (
        "error: cannot write ae.resume.safetensors (File too large), and ae.safetensors is "
        "unchanged; make room or write elsewhere"
    )
    assert contents(tmp_path) == {OUT: before, BACKUP: before}


@pytest.mark.parametrize("lines", [0, 1])
def test_without_room_for_a_log_line_training_stops(run, source, undisturbed, tmp_path, lines):
    limit, rest = 3_000_000, 20 + 110 * lines  # bytes; a line takes 80 to 110
    log = tmp_path / "log.csv"
    assert run(*TUTORIAL, "--data", source, *SHORT, "--epochs", "1", "--log", log).exit_code == 0
    header, line = log.read_bytes().splitlines(keepends=True)
    many = header + line * ((limit - rest - len(header)) // len(line) - 1)
    log.write_bytes(many + line[: -len("\n")] + b"0" * (limit - rest - len(many + line)) + b"\n")
    held = log.read_bytes()
    assert len(held) == limit - rest
    with file_size_limit(limit):
        result = run("train", "--resume", "--epochs", "3", "--log", "log.csv")
    reached = 1 + lines
    assert error_line(result, 2) == (
        f"error: cannot write log.csv (File too large), ae.safetensors holds epoch {reached}, and "
        f"`ae train --resume --log log.csv` continues after epoch {reached} of 3; "
        "make room or write elsewhere"
    )
    assert log.read_bytes().startswith(held)
    assert log.read_bytes().count(b"\n") == held.count(b"\n") + lines
    assert run("train", "--resume", "--epochs", "3").exit_code == 0
    assert outcome(tmp_path) == undisturbed()
    assert sorted(os.listdir()) == [RESUME, OUT, "log.csv"]


def test_a_checkpoint_that_did_not_fit_is_made_from_the_resume_file(
    run, source, undisturbed, tmp_path
):
    with small_disk(tmp_path, 3_200_000) as remount:
        result = run(*TUTORIAL, "--data", source, *SHORT, "--out", tmp_path / OUT)
        assert error_line(result, 2) == (
            f"error: cannot write {tmp_path / OUT} (No space left on device), there is no model "
            f"yet, and `ae train --resume --out {tmp_path / OUT}` continues after epoch 1 of 3; "
            "make room or write elsewhere"
        )
        assert os.listdir(tmp_path) == [RESUME]
        remount("size=10m")
        assert run("train", "--resume", "--out", tmp_path / OUT).exit_code == 0
        assert outcome(tmp_path) == undisturbed()


SMALL_STEPS = ("--limit", "240", "--batch-size", "1", "--lr", "0.001")  # 240 steps per epoch


def check_that_it_continues(run, source, undisturbed, folder: Path, *options: str) -> None:
    """Resume a run of `SHORT` with these options; check that it ends like an undisturbed one."""
    state = load_run(folder / OUT).state
    epochs = str(state.epoch + (state.step == 0))
    resumed = run("train", "--resume", "--out", folder / OUT, "--epochs", epochs)
    assert resumed.exit_code == 0, resumed.output
    assert outcome(folder) == undisturbed(*options, "--epochs", epochs)
    assert leftovers(folder) == []


FAILED = (
    r"error: cannot write {name} \({cause}\), ae\.safetensors holds epoch (\d+), and "
    r"`ae train --resume{arguments}` continues after epoch (\d+) of 100000; "
    r"make room or write elsewhere"
)


@pytest.mark.slow
def test_a_run_continues_after_the_disk_was_full(run, source, undisturbed, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, 12_000_000):
        process = begin(
            folder, *TUTORIAL, "--data", source, *SHORT, "--epochs", "100000", "--log", "log.csv"
        )
        wait_for_save(process, folder / OUT)
        with (folder / "other").open("wb", buffering=0) as other:
            while process.poll() is None:
                with suppress(OSError):
                    other.write(bytes(50_000))
        error = end_with_error(process, 2)
        cause = "No space left on device"
        name = r"(ae\.resume\.safetensors|ae\.safetensors|log\.csv)"
        failed = FAILED.format(name=name, cause=cause, arguments=" --log log.csv")
        found = re.fullmatch(failed, error)
        assert found, error
        assert load_checkpoint(folder / OUT).metrics.epoch == int(found[2])
        assert load_run(folder / OUT).state.epoch == int(found[3]) + 1
        (folder / "other").unlink()
        check_that_it_continues(run, source, undisturbed, folder)


@pytest.mark.slow
def test_a_run_continues_after_its_folder_was_read_only(run, source, undisturbed, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    # The superuser may override permissions, so the process runs without these capabilities.
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if not shutil.which(drop[0]):
        pytest.skip("setpriv not found")
    arguments = (*TUTORIAL, "--data", source, *SHORT, "--epochs", "100000")
    process = begin(folder, *arguments, prefix=drop if os.geteuid() == 0 else [])
    wait_for_save(process, folder / OUT)
    folder.chmod(0o555)
    try:
        error = end_with_error(process, 2)
    finally:
        folder.chmod(0o755)
    name = r"(ae\.resume\.safetensors|ae\.safetensors)"
    failed = FAILED.format(name=name, cause="Permission denied", arguments="")
    found = re.fullmatch(failed, error)
    assert found, error
    assert load_checkpoint(folder / OUT).metrics.epoch == int(found[2])
    assert load_run(folder / OUT).state.epoch == int(found[3]) + 1
    assert files(folder) == [RESUME, OUT]
    check_that_it_continues(run, source, undisturbed, folder)
    assert sorted(os.listdir(folder)) == [RESUME, OUT]


SIGNALS = pytest.mark.parametrize(
    ("number", "code", "what"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)


@pytest.mark.slow
@SIGNALS
def test_a_signal_saves_the_run_at_the_next_step(
    run, source, undisturbed, tmp_path, number, code, what
):
    process = begin(tmp_path, *TUTORIAL, "--data", source, *SMALL_STEPS, "--epochs", "100000")
    wait_for_line(process, "epoch")
    time.sleep(random.Random(code).uniform(0, 0.3))
    process.send_signal(number)
    error = end_with_error(process, code)
    state = load_run(tmp_path / OUT).state
    step = f"in epoch {state.epoch} of 100000, step {state.step} of 240"
    where = step if state.step else f"after epoch {state.epoch - 1} of 100000"
    assert error == (
        f"stopped: {what} {where}; ae.safetensors holds epoch {state.epoch - 1}, and "
        "`ae train --resume` continues where it stopped"
    )
    assert sorted(os.listdir(tmp_path)) == [RESUME, OUT]
    check_that_it_continues(run, source, undisturbed, tmp_path, *SMALL_STEPS)


@pytest.mark.slow
@SIGNALS
def test_a_signal_in_an_epochs_last_step_acts_after_the_epoch(
    run, source, undisturbed, tmp_path, number, code, what
):
    """Each epoch here has one step, and is evaluated, logged and saved before the run ends."""
    one_step = ("--limit", "48", "--batch-size", "48")
    log = ("--log", "log.csv", "--log-every", "1")
    recipe = (*SHORT, *one_step, "--epochs", "100000")
    process = begin(tmp_path, *TUTORIAL, "--data", source, *recipe, *log)
    wait_for_line(process, "epoch")
    process.send_signal(number)
    error = end_with_error(process, code)
    epoch = load_checkpoint(tmp_path / OUT).metrics.epoch
    assert error == (
        f"stopped: {what} after epoch {epoch} of 100000; ae.safetensors holds epoch {epoch}, and "
        "`ae train --resume --log log.csv --log-every 1` continues where it stopped"
    )
    assert [int(row[0]) for row in read_log(tmp_path / "log.csv")] == list(range(1, epoch + 1))
    check_that_it_continues(run, source, undisturbed, tmp_path, *one_step)


@pytest.mark.slow
@SIGNALS
def test_several_signals_end_a_run_cleanly(run, source, undisturbed, tmp_path, number, code, what):
    moments = random.Random(code)
    for count in range(3):
        folder = tmp_path / str(count)
        folder.mkdir()
        recipe = (*SHORT, "--epochs", "100000", "--checkpoint-every", "1")
        process = begin(folder, *TUTORIAL, "--data", source, *recipe)
        wait_for_line(process, "epoch" if count else "model")
        time.sleep(moments.uniform(0.05, 0.2))
        for _ in range(5):
            process.send_signal(number)
            time.sleep(moments.choice([0, 0.001, 0.01]))
        error = end_with_error(process, code)
        # The message also says what was saved, unless the third signal came too early for that.
        assert error.startswith(
            (f"stopped: {what} in epoch ", f"stopped: {what} after epoch ")
        ) or (error == f"stopped: {what}; nothing is half-written")
        if (folder / RESUME).exists():
            check_that_it_continues(run, source, undisturbed, folder)
        else:  # the second signal came before the first file was written
            assert files(folder) == []


@pytest.mark.slow
@SIGNALS
def test_a_signal_while_decoding_images_leaves_nothing(digits, tmp_path, number, code, what):
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500), np.uint8)
    Image.fromarray(noise).save(images / "0.png")
    for i in range(1, 200):
        (images / f"{i}.png").hardlink_to(images / "0.png")
    process = begin(tmp_path, *TUTORIAL, "--data", "images")
    while process.poll() is None and not has_open(process, images):
        time.sleep(0.001)
    process.send_signal(number)
    assert end_with_error(process, code) == f"stopped: {what}; nothing is half-written"
    assert os.listdir(tmp_path) == ["images"]
    assert [path for path in Path(os.environ["AE_DATA_DIR"]).rglob("*") if path.is_file()] == []


def has_open(process: subprocess.Popen, folder: Path) -> bool:
    """Whether a process has a file from a folder open."""
    with suppress(FileNotFoundError):  # the process may close a file, or end
        opened = Path(f"/proc/{process.pid}/fd")
        return any(folder in file.readlink().parents for file in opened.iterdir())
    return False


@pytest.mark.slow
@SIGNALS
def test_a_signal_while_writing_a_table_keeps_the_earlier_one(
    run, source, tmp_path, number, code, what
):
    assert run(*TUTORIAL, "--data", source, *SHORT).exit_code == 0
    np.save("many.npy", np.tile(np.load(source), (200, 1, 1, 1)))
    Path("latents.csv").write_text("an earlier one")
    before = contents(tmp_path)
    process = begin(tmp_path, "embed", "--data", "many.npy")
    while process.poll() is None and not any(map(size, leftovers(tmp_path))):
        time.sleep(0.001)
    process.send_signal(number)
    assert end_with_error(process, code) == f"stopped: {what}; nothing is half-written"
    assert contents(tmp_path) == before


def size(name: str) -> int:
    """A file's size in bytes; 0 if another process has just removed it."""
    with suppress(FileNotFoundError):
        return Path(name).stat().st_size
    return 0


def refusal(out: str | Path, process: subprocess.Popen) -> str:
    return (
        f"error: {out} is being written by process {process.pid}; wait for it to end, or write "
        "elsewhere"
    )


@pytest.mark.slow
def test_a_second_run_to_the_same_file_is_refused(run, source, undisturbed, tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    train = (*TUTORIAL, "--data", source, *SHORT)
    endless = ("--epochs", "100000", "--checkpoint-every", "1", "--log", "log.csv")
    process = begin(folder, *train, *endless)
    try:
        wait_for_save(process, folder / OUT)
        link = elsewhere / "link.safetensors"
        link.symlink_to(folder / OUT)
        for out in (folder / OUT, Path("elsewhere", "..", "folder", OUT), link):
            for arguments in (train, ("train", "--resume")):
                error = error_line(run(*arguments, "--out", out), 2)
                assert error == refusal(out, process)
        beside, log = folder / "other.safetensors", folder / "log.csv"
        error = error_line(run(*train, "--out", beside, "--log", log), 2)
        assert error == refusal(log, process)
        assert run(*train, "--out", beside).exit_code == 0
        assert load_checkpoint(beside).metrics.epoch == 3
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    assert os.listdir(elsewhere) == ["link.safetensors"]
    assert len(leftovers(folder)) in (2, 3)  # two locks, and maybe a partial file
    # The stale locks block neither a new run with the same log nor resuming the killed one.
    assert run(*train, "--out", beside, "--log", log).exit_code == 0
    check_that_it_continues(run, source, undisturbed, folder)
    others = {path.name for path in (beside, backup_path(beside), log, backup_path(log))}
    assert others < set(files(folder))


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_only_one_of_four_simultaneous_runs_trains(run, source, tmp_path, options):
    recipe = ("--data", source, *SHORT)
    assert run("train", *recipe, "--out", tmp_path / OUT).exit_code == 0
    before = load_run(tmp_path / OUT)
    for _ in range(3):
        runs = [
            begin(tmp_path, "train", *(options or recipe), "--epochs", "100000") for _ in range(4)
        ]
        while len(running := [process for process in runs if process.poll() is None]) > 1:
            time.sleep(0.01)
        (winner,) = running
        wait_for_line(winner, "epoch")
        winner.send_signal(signal.SIGTERM)
        assert "`ae train --resume` continues" in end_with_error(winner, 143)
        for process in runs:
            if process is not winner:
                assert end(process, 2) == refusal(OUT, winner) + "\n"
        assert leftovers(tmp_path) == []
        assert load_run(tmp_path / OUT).updates != before.updates
