from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
import torch
from conftest import error_line, full_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_cli.config import ModelConfig, TrainConfig
from ae_cli.errors import UsageError
from ae_cli.models import build
from ae_cli.training.events import Epoch, Step
from ae_cli.training.fit import fit
from ae_cli.training.log import COLUMNS, ENDINGS, MetricsLog

CSV_HEADER = "epoch,step,train_loss,test_loss,learning_rate,images_per_second,seconds\n"


def step_row(step) -> dict:
    """The log line of a step within an epoch, which has no test loss."""
    return {**step.as_json(), "test_loss": None}


def row(epoch: int, step: int | None = None, test_loss: float | None = 0.1) -> dict:
    step = 24 * epoch if step is None else step
    values = (epoch, step, 1 / (2 + step), test_loss, 1e-05, 12345.678901234567, 0.25)
    return dict(zip(COLUMNS, values, strict=True))


def write(path: Path, rows: list[dict], after_step: int | None = None) -> MetricsLog:
    log = MetricsLog(path, after_step=after_step)
    for values in rows:
        log.write(values)
    return log


@pytest.fixture(params=ENDINGS)
def path(request, tmp_path) -> Path:
    return tmp_path / f"metrics{request.param}"


def test_json_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [row(1, 12, None), row(1)])
    assert path.read_text() == (
        '{"epoch": 1, "step": 12, "train_loss": 0.07142857142857142, "test_loss": null, '
        '"learning_rate": 1e-05, "images_per_second": 12345.678901234567, "seconds": 0.25}\n'
        '{"epoch": 1, "step": 24, "train_loss": 0.038461538461538464, "test_loss": 0.1, '
        '"learning_rate": 1e-05, "images_per_second": 12345.678901234567, "seconds": 0.25}\n'
    )
    assert [json.loads(line) for line in path.open()] == [row(1, 12, None), row(1)]


def test_csv(tmp_path):
    path = tmp_path / "metrics.CSV"
    write(path, [row(1, 12, None), row(1)])
    assert path.read_text() == (
        f"{CSV_HEADER}"
        "1,12,0.07142857142857142,,1e-05,12345.678901234567,0.25\n"
        "1,24,0.038461538461538464,0.1,1e-05,12345.678901234567,0.25\n"
    )
    with path.open(newline="") as file:
        assert [float(line["train_loss"]) for line in csv.DictReader(file)] == [1 / 14, 1 / 26]
    table = pyarrow.csv.read_csv(path)
    assert table.to_pylist() == [row(1, 12, None), row(1)]
    assert [str(kind) for kind in table.schema.types] == ["int64"] * 2 + ["double"] * 5


def test_the_events_of_a_run_are_logged(digits, tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, after_step=None)
    events = []
    model = build(ModelConfig(), seed=0)
    for event in fit(
        model, digits.train, digits.test, TrainConfig(epochs=2), device=torch.device("cpu")
    ):
        if isinstance(event, Epoch):
            log.write(vars(event))
            events.append({name: getattr(event, name) for name in COLUMNS})
        elif event.step == 10:
            log.write(step_row(event))
            events.append(step_row(event))
    lines = [json.loads(line) for line in path.open()]
    assert lines == events
    assert [line["step"] for line in lines] == [10, 24, 34, 48]
    assert [line["test_loss"] is None for line in lines] == [True, False] * 2


def test_numbers_that_are_not_finite_are_left_empty(path):
    diverged = row(1, 3, None) | {"train_loss": math.nan, "learning_rate": np.float64(0.005)}
    fast = row(1) | {"images_per_second": math.inf, "test_loss": np.float32(0.5)}
    write(path, [diverged, fast])
    assert "nan" not in path.read_text().lower()
    assert "inf" not in path.read_text().lower()
    first, second = (
        pyarrow.csv.read_csv(path).to_pylist()
        if path.suffix == ".csv"
        else [json.loads(line) for line in path.open()]
    )
    assert (first["train_loss"], first["learning_rate"]) == (None, 0.005)
    assert (second["images_per_second"], second["test_loss"]) == (None, 0.5)
    MetricsLog(path, after_step=24)


def test_a_step_of_a_diverged_model_has_no_train_loss():
    step = Step(
        epoch=2, step=3, steps=24, images=192, seconds=0.5, learning_rate=0.005,
        loss_sum=torch.tensor(math.nan), input_size=784,
    )  # fmt: skip
    values = (2, 27, None, None, 0.005, 384.0, 0.5)
    assert step_row(step) == dict(zip(COLUMNS, values, strict=True))


def test_a_new_log_backs_up_the_old_one_at_its_first_line(path):
    path.write_text("precious")
    log = MetricsLog(path, after_step=None)
    assert os.listdir(path.parent) == [path.name]
    assert log.backup is None
    log.write(row(1))
    log.write(row(2))
    assert log.backup == path.with_name(f"metrics.bak{path.suffix}")
    assert log.backup.read_text() == "precious"
    fresh = path.with_name(f"fresh{path.suffix}")
    assert write(fresh, [row(1), row(2)]).backup is None
    assert fresh.read_bytes() == path.read_bytes()


def test_every_line_is_written_immediately(path):
    log = MetricsLog(path, after_step=None)
    for epoch in range(1, 4):
        log.write(row(epoch))
        lines = path.read_text().splitlines(keepends=True)
        assert len(lines) == epoch + (path.suffix == ".csv")
        assert all(line.endswith("\n") for line in lines)


numbers = st.floats() | st.floats(0, 1)
some_rows = st.lists(
    st.tuples(st.integers(1, 50), numbers, st.none() | numbers, numbers), min_size=1, max_size=6
)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=40, deadline=None)
@given(some_rows, st.data())
def test_a_log_continued_after_any_truncation_is_complete(ending, values, data):
    rows, step = [], 0
    for updates, train_loss, test_loss, other in values:
        step += updates
        rows.append(row(1, step, test_loss) | {"train_loss": train_loss, "seconds": other})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"metrics{ending}"
        write(path, rows)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        ends = whole[:cut].count(b"\n") - (ending == ".csv")
        after = data.draw(st.integers(0, rows[ends - 1]["step"] if ends > 0 else 0))
        write(path, [line for line in rows if line["step"] > after], after)
        assert path.read_bytes() == whole
        assert os.listdir(folder) == [path.name]


def test_a_continued_log_is_unchanged_until_its_first_new_line(path):
    write(path, [row(1), row(2), row(3)])
    whole = path.read_bytes()
    log = MetricsLog(path, after_step=24)
    assert path.read_bytes() == whole
    log.write(row(2))
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:-1])


def test_a_resumed_run_creates_a_missing_log(path):
    write(path, [row(3), row(4)], after_step=48)
    assert path.read_text().startswith(CSV_HEADER + "3" if path.suffix == ".csv" else '{"epoch": 3')
    assert path.read_text().count("\n") == 2 + (path.suffix == ".csv")


def test_a_longer_log_is_from_another_run_and_is_backed_up(path):
    write(path, [row(1), row(2, 30, None), row(2)])  # killed before the resume file was written
    assert write(path, [row(2)], after_step=24).backup is None
    write(path, [row(3)], after_step=48)
    whole = path.read_bytes()
    log = MetricsLog(path, after_step=24)
    assert os.listdir(path.parent) == [path.name]
    log.write(row(2))
    assert log.backup == path.with_name(f"metrics.bak{path.suffix}")
    assert log.backup.read_bytes() == whole
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:-1])


def test_a_log_that_was_moved_away_is_started_again(path):
    log = write(path, [row(1)])
    path.rename(path.with_name("moved"))
    log.write(row(2))
    other = path.with_name(f"other{path.suffix}")
    write(other, [row(2)])
    assert path.read_bytes() == other.read_bytes()


GOOD = {".jsonl": json.dumps(row(1)).encode() + b"\n", ".csv": CSV_HEADER.encode() + b"1,24,,,,,\n"}
FOREIGN = [
    b"precious",
    b"precious\n",
    b"\n",
    b"\0" * 100,
    b"\xff\xfe{\n",
    b'{"event": "epoch", "epoch": 1}\n',
    b"[" * 100_000 + b"]" * 100_000 + b"\n",
    b'{"epoch": ' + b"9" * 100_000 + b"}\n",
    b"1,2,3,4,5,6\n",
    b"epoch;step\n1;2\n",
    b"epoch,step,loss\n1,2,3\n",
]


@pytest.mark.parametrize("content", FOREIGN, ids=range(len(FOREIGN)))
def test_a_file_that_is_not_a_log_is_left_alone(path, content):
    # The second one begins with valid log lines, but that does not make it a log.
    for foreign in (content, GOOD[path.suffix] + content.strip(b"\n") + b"\n"):
        path.write_bytes(foreign)
        with pytest.raises(UsageError) as error:
            MetricsLog(path, after_step=24)
        assert str(error.value) == (
            f"{path} is not a log of a run to continue; name another file for --log"
        )
        assert path.read_bytes() == foreign


@pytest.mark.parametrize("step", ["-1", "1.5", "1e3", "null", "true", '"24"', "٢", "9" * 19])
def test_a_log_with_invalid_steps_is_refused(path, step):
    path.write_text(GOOD[path.suffix].decode().replace("24", step))
    with pytest.raises(UsageError, match="is not a log"):
        MetricsLog(path, after_step=24)


@given(st.binary(), st.integers(0, 10**6))
def test_any_file_is_either_a_log_or_refused(content, step):
    with tempfile.TemporaryDirectory() as folder:
        for ending in ENDINGS:
            path = Path(folder) / f"metrics{ending}"
            for start in (b"", GOOD[ending]):
                path.write_bytes(start + content)
                with suppress(UsageError):
                    MetricsLog(path, after_step=step)
                assert path.read_bytes() == start + content


def test_an_unreadable_log_is_refused(path):
    path.mkdir()
    with pytest.raises(UsageError) as error:
        MetricsLog(path, after_step=24)
    assert str(error.value) == (
        f"cannot read {path} to continue it (Is a directory); name another file for --log"
    )


def test_a_full_disk_leaves_complete_lines(path):
    log = MetricsLog(path, after_step=None)
    message = rf"cannot write .*{path.name} \(File too large\); make room or write elsewhere"
    with full_disk(), pytest.raises(UsageError, match=message):
        for epoch in range(1, 100):
            log.write(row(epoch))
    content = path.read_bytes()
    assert content.endswith(b"\n")
    last = pyarrow.csv.read_csv(path).num_rows if path.suffix == ".csv" else content.count(b"\n")
    assert 4 < last < 30
    log.write(row(last + 1))  # there is room again
    assert path.read_bytes().startswith(content)
    MetricsLog(path, after_step=24)


def test_a_missing_folder_is_an_error(tmp_path, path):
    log = MetricsLog(tmp_path / "runs" / path.name, after_step=None)
    message = r"cannot write .* \(No such file or directory\); make room or write elsewhere"
    with pytest.raises(UsageError, match=message):
        log.write(row(1))
    (tmp_path / "runs").mkdir()
    log.write(row(1))
    (tmp_path / "runs").rename(tmp_path / "gone")
    with pytest.raises(UsageError, match=message):
        log.write(row(2))


def test_log_names_are_checked(run, tmp_path):
    assert error_line(run("train", "--log", "metrics.json"), 2) == (
        "error: metrics.json does not end in a format that can be written; choose an ending from "
        ".csv, .jsonl"
    )
    (tmp_path / "metrics.bak.CSV").mkdir()
    assert error_line(run("train", "--log", "metrics.CSV"), 2) == (
        "error: metrics.bak.CSV is not a file; give the name of a file"
    )
    assert os.listdir(tmp_path) == ["metrics.bak.CSV"]
