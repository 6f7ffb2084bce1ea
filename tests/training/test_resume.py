"""Resuming a run: the resume file, and ``ae train --resume``."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from conftest import TUTORIAL, Run, error_line, invoke, rewrite, write_images
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ae_cli.analysis.judge import error_quantiles
from ae_cli.config import DataConfig, Metrics, ModelConfig, TrainConfig, option_name
from ae_cli.config.training import TrainOptions
from ae_cli.errors import CheckpointError, TrainingError
from ae_cli.models import build
from ae_cli.models.checkpoint import load_checkpoint
from ae_cli.training.beginning import CHANGEABLE
from ae_cli.training.events import Epoch, Step, TrainState
from ae_cli.training.fit import fit
from ae_cli.training.keeper import Keeper
from ae_cli.training.resume import Run as TrainingRun
from ae_cli.training.resume import load_run

CPU = torch.device("cpu")
OUT = Path("ae.safetensors")
RESUME = Path("ae.resume.safetensors")
STEPS = 12  # per epoch of 750 digits
TRAIN = (*TUTORIAL, "--data", "digits", "--limit", "750", "--epochs", "3")


def begin(digits, config: TrainConfig, **layers) -> TrainingRun:
    data = DataConfig("digits", None, min(config.limit or 1500, 1500), 297, digits.train.classes)
    model = build(ModelConfig(**layers), seed=config.seed)
    return TrainingRun("id", model, config, data, digits.checksum(config.limit), TrainState())


def train(digits, run: TrainingRun, *, stop: int | None = None) -> list[Epoch]:
    """Train a run to its end, or until this many updates have been made."""
    epochs = []
    events = fit(run.model, digits.train, digits.test, run.training, device=CPU, state=run.state)
    with closing(events):
        for event in events:
            if isinstance(event, Epoch):
                epochs.append(event)
                run.finish_epoch(
                    Metrics(
                        event.epoch,
                        event.step,
                        event.train_loss,
                        event.test_loss,
                        event.test_error,
                        event.seconds,
                        error_quantiles(event.test_errors),
                    )
                )
            # After the last step of an epoch, this stops before the epoch's own event.
            if isinstance(event, Step) and event.updates == stop:
                break
    return epochs


def tensors(run: TrainingRun) -> list[torch.Tensor]:
    """All tensors that a resumed run continues with."""
    return [*run.model.state_dict().values(), *run.state.moments.first, *run.state.moments.second]


def losses(epochs: list[Epoch]) -> list[tuple]:
    return [(e.epoch, e.step, e.train_loss, e.test_loss, e.learning_rate) for e in epochs]


def save_and_load(run: TrainingRun, path: Path) -> TrainingRun:
    """Save a run and load it again, as another process would."""
    Keeper(run, path, path).save_state()
    return load_run(path)


@pytest.fixture(scope="session")
def _one_epoch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one-epoch")
    assert invoke(*TRAIN[:-1], "1", "--out", folder / OUT).exit_code == 0
    return folder


@pytest.fixture
def one_epoch(_one_epoch: Path, tmp_path: Path) -> None:
    """The two files of a run after one epoch, in the working folder."""
    for name in (OUT, RESUME):
        shutil.copy(_one_epoch / name, tmp_path)


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("engine", ["fused", "autograd"])
@pytest.mark.parametrize(
    "schedule",
    ["cosine", *(pytest.param(name, marks=pytest.mark.slow) for name in ("constant", "linear"))],
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(digits, schedule, engine, loss):
    """Interrupted after the first step, within epochs, and just before and at their ends."""
    config = TrainConfig(
        epochs=3, schedule=schedule, warmup=0.2, engine=engine, loss=loss, limit=750, seed=3
    )
    whole = begin(digits, config, hidden=(32,))
    expected = train(digits, whole)

    run = begin(digits, config, hidden=(32,))
    seen = []
    for stop in (1, STEPS - 1, STEPS, 2 * STEPS - 5, 2 * STEPS + 1, 3 * STEPS, None):
        seen += train(digits, run, stop=stop)
        assert stop is None or run.updates == stop
        run = save_and_load(run, OUT)
    assert losses(seen) == losses(expected)
    assert all(map(torch.equal, tensors(run), tensors(whole)))
    assert run.state.epoch == 4
    assert replace(run.reached, seconds=0) == replace(whole.reached, seconds=0)


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_run_interrupted_anywhere_ends_like_an_uninterrupted_one(digits, data):
    config = TrainConfig(
        epochs=data.draw(st.integers(1, 3)),
        batch_size=data.draw(st.sampled_from([1, 7, 64, 100, 1000])),
        schedule=data.draw(st.sampled_from(["constant", "linear", "cosine"])),
        warmup=data.draw(st.sampled_from([0.0, 0.5])),
        engine=data.draw(st.sampled_from(["fused", "autograd"])),
        limit=data.draw(st.sampled_from([1, 2, 100, 129])),
        seed=data.draw(st.integers(0, 9)),
    )
    layers = {
        "hidden": data.draw(st.sampled_from([(), (16,), (20, 8)])),
        "activation": data.draw(st.sampled_from(["tanh", "relu", "silu", "gelu"])),
    }
    whole = begin(digits, config, **layers)
    train(digits, whole)
    total = config.epochs * whole.steps
    stops = sorted(data.draw(st.sets(st.integers(1, total), max_size=4)))
    run = begin(digits, config, **layers)
    for stop in (*stops, None):
        train(digits, run, stop=stop)
        run = save_and_load(run, OUT)
    assert all(map(torch.equal, tensors(run), tensors(whole)))


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_either_engine_continues_where_the_other_stopped(digits, engine):
    """As when a run moves to another device."""
    config = TrainConfig(epochs=2, limit=750, engine=engine)
    whole = begin(digits, config)
    expected = train(digits, whole)
    run = begin(digits, config)
    train(digits, run, stop=STEPS + 4)
    run = save_and_load(run, OUT)
    run.training = replace(config, engine="fused" if engine == "autograd" else "autograd")
    (last,) = train(digits, run)
    assert last.test_loss == pytest.approx(expected[-1].test_loss, rel=1e-4)


def weights(path: Path = OUT) -> list[torch.Tensor]:
    return list(load_checkpoint(path).model.state_dict().values())


def same_weights(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.fixture
def whole(run: Run) -> list[torch.Tensor]:
    """The weights of an uninterrupted run of `TRAIN`."""
    assert run(*TRAIN, "--out", "whole.safetensors").exit_code == 0
    return weights(Path("whole.safetensors"))


@contextmanager
def ended_by(number: int, monkeypatch, *, updates: int) -> Iterator[None]:
    """Send a signal to this process during an update."""

    def fit_and_send(*args, **options):
        for event in fit(*args, **options):
            if isinstance(event, Step) and event.updates == updates:
                os.kill(os.getpid(), number)
            yield event

    with monkeypatch.context() as patch:
        patch.setattr("ae_cli.training.session.fit", fit_and_send)
        yield


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_run_ended_by_a_signal_continues_from_there(
    run: Run, monkeypatch, whole, number, code, word
):
    before = signal.getsignal(number)
    with ended_by(number, monkeypatch, updates=5):
        result = run(*TRAIN)
    assert error_line(result, code) == (
        f"stopped: {word} in epoch 1 of 3, step 5 of 12; there is no model yet, and "
        "`ae train --resume` continues where it stopped"
    )
    assert not OUT.exists()
    with ended_by(number, monkeypatch, updates=STEPS + 4):
        result = run("train", "--resume")
    assert "resumed    in epoch 1 of 3, step 5 of 12\n" in result.stderr
    assert error_line(result, code) == (
        f"stopped: {word} in epoch 2 of 3, step 4 of 12; ae.safetensors holds epoch 1, and "
        "`ae train --resume` continues where it stopped"
    )
    result = run("train", "--resume")
    assert result.exit_code == 0
    assert "resumed    in epoch 2 of 3, step 4 of 12\n" in result.stderr
    assert [line[:14] for line in result.stderr.splitlines() if line.startswith("epoch")] == [
        "epoch      2/3",
        "epoch      3/3",
    ]
    assert same_weights(weights(), whole)
    assert load_checkpoint(OUT).metrics.epoch == 3
    assert signal.getsignal(number) == before


def test_a_signal_in_an_epochs_last_step_acts_after_the_epoch(run: Run, monkeypatch, whole):
    with ended_by(signal.SIGTERM, monkeypatch, updates=2 * STEPS):
        result = run(*TRAIN)
    assert error_line(result, 143) == (
        "stopped: terminated after epoch 2 of 3; ae.safetensors holds epoch 2, and "
        "`ae train --resume` continues where it stopped"
    )
    with ended_by(signal.SIGTERM, monkeypatch, updates=3 * STEPS):
        result = run("train", "--resume")
    assert result.exit_code == 0, "nothing is left to interrupt"
    assert same_weights(weights(), whole)


def test_epochs_can_be_added_to_a_finished_run(run: Run, whole):
    assert run(*TRAIN[:-1], "2").exit_code == 0
    result = run("train", "--resume", "--epochs", "3", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["start", "epoch", "end"]
    assert events[0]["resumed"] == {"epoch": 2, "step": 2 * STEPS}
    assert (events[1]["epoch"], events[1]["step"]) == (3, 3 * STEPS)
    assert (events[2]["epochs"], events[2]["backup"]) == (3, None)
    assert same_weights(weights(), whole)
    assert load_checkpoint(OUT).training.epochs == 3


def test_resuming_a_finished_run_changes_nothing(run: Run, whole):
    assert run(*TRAIN).exit_code == 0
    result = run("train", "--resume")
    assert result.exit_code == 0
    assert "resumed    after epoch 3 of 3; nothing is left to do: --epochs 6 would continue\n" in (
        result.stderr
    )
    assert same_weights(weights(), whole)
    line = error_line(run("train", "--resume", "--epochs", "2"), 2)
    assert line == (
        "error: --epochs is 2, and ae.safetensors has already been trained for 3; "
        "give the total number of epochs"
    )


def test_a_schedule_spans_all_epochs(digits, run: Run):
    """A run of 2 epochs that is extended to 4 continues with the rates of a run of 4."""
    options = ("--schedule", "linear", "--log", "log.jsonl")
    run(*TRAIN[:-1], "2", *options)
    run("train", "--resume", "--epochs", "4", "--log", "log.jsonl")
    rates = [
        json.loads(line)["learning_rate"] for line in Path("log.jsonl").read_text().splitlines()
    ]
    run(*TRAIN[:-1], "4", *options, "--out", "other.safetensors")
    straight = [
        json.loads(line)["learning_rate"] for line in Path("log.jsonl").read_text().splitlines()
    ]
    assert rates[2:] == straight[2:]
    assert rates[:2] != straight[:2]


def test_a_missing_checkpoint_is_made_from_the_resume_file(run: Run, whole):
    """As after a crash between writing the two."""
    run(*TRAIN)
    OUT.unlink()
    assert run("train", "--resume").exit_code == 0
    assert same_weights(weights(), whole)


def test_another_out_leaves_the_first_unchanged(run: Run, checkpoint, whole):
    other = run(*TUTORIAL, "--data", "digits", "--epochs", "1", "--out", "other.safetensors")
    assert other.exit_code == 0
    run(*TRAIN[:-1], "2")
    before = OUT.read_bytes(), RESUME.read_bytes()
    options = ("--checkpoint", OUT, "--out", "other.safetensors", "--epochs", "3")
    result = run("train", "--resume", *options)
    assert result.exit_code == 0
    assert (OUT.read_bytes(), RESUME.read_bytes()) == before
    assert same_weights(weights(Path("other.safetensors")), whole)
    assert load_checkpoint(Path("other.bak.safetensors")).metrics.epoch == 1
    assert load_run(Path("other.bak.safetensors")).state.epoch == 2


def test_a_backup_can_be_resumed(run: Run, whole):
    run(*TRAIN[:-1], "2")
    run(*TUTORIAL, "--data", "digits", "--epochs", "1")
    result = run("train", "--resume", "--out", "ae.bak.safetensors", "--epochs", "3")
    assert result.exit_code == 0
    assert same_weights(weights(Path("ae.bak.safetensors")), whole)


@pytest.mark.parametrize("of_old", [False, True])
def test_a_new_backup_does_not_get_an_older_resume_file(run: Run, of_old):
    """When a backup is replaced, its resume file goes with it."""
    for _ in range(2):
        run(*TRAIN[:-1], "1")
    assert Path("ae.bak.resume.safetensors").exists()
    RESUME.unlink()
    if of_old:
        rewrite(OUT, metadata=lambda metadata: metadata.pop("run_id"))
    run(*TRAIN[:-1], "1")
    assert not Path("ae.bak.resume.safetensors").exists()


CONFLICTS = [
    (("--lr", "0.01"), "--lr is 0.01, and the run of ae.safetensors began with 0.005"),
    (("--seed", "1"), "--seed is 1, and the run of ae.safetensors began with 0"),
    (("--batch-size", "32"), "--batch-size is 32, and"),
    (("--hidden", "64"), "--hidden is 64, and the run of ae.safetensors began with 128,6"),
    (("--latent-dim", "2"), "--latent-dim is 2, and the run of ae.safetensors began wit"),
    (("--activation", "relu"), "--activation is relu, and"),
    (("--schedule", "cosine"), "--schedule is cosine, and the run of ae.safetensors bega"),
    (("--warmup", "0.5"), "--warmup is 0.5, and the run of ae.safetensors began with 0.0"),
    (("--settle", "0.5"), "--settle is 0.5, and the run of ae.safetensors began with 0.3"),
    (
        ("--model", "conv", "--hidden", "128,64,12"),
        "--model is conv, and the run of ae.safetensors",
    ),
    (("--for", "anomalies"), "--for is anomalies, and the run of ae.safetensors began with lat"),
    (("--augment", "shift"), "--augment is shift, and the run of ae.safetensors began with none"),
    (("--loss", "bce"), "--loss is bce, and the run of ae.safetensors began with mse"),
    (("--denoise", "0.2"), "--denoise is 0.2, and the run of ae.safetensors began with 0.0"),
    (("--noise", "mask"), "--noise is mask, and the run of ae.safetensors began with gaussian"),
    (("--variational",), "--variational is on, and the run of ae.safetensors began with off"),
    (("--beta", "2"), "--beta is 2.0, and the run of ae.safetensors began with 1.0"),
    (("--sparse", "0.1"), "--sparse is 0.1, and the run of ae.safetensors began with 0.0"),
    (("--preset", "best"), "--preset is best, and the run of ae.safetensors began with"),
    (("--engine", "autograd"), "--engine is autograd, and"),
    (("--limit", "10"), "--limit is 10, and the run of ae.safetensors began with 750"),
    (("--keep", "best"), "--keep is best, and the run of ae.safetensors began with last"),
    (("--data", "mnist"), "--data is mnist, and the run of ae.safetensors began with dig"),
    (
        ("--image-size", "8"),
        "--image-size is 8x8, and the run of ae.safetensors began with 28x28",
    ),
    (("--color",), "--color is on, and the run of ae.safetensors began with off"),
    (("--fit", "pad"), "--fit is pad, and the run of ae.safetensors began with none"),
    (("--key", "x"), "--key is x, and the run of ae.safetensors began with none"),
    (("--labels", "/x"), "--labels is /x, and the run of ae.safetensors began with none"),
    (("--frames", "all"), "--frames is all, and the run of ae.safetensors began with none"),
    (("--val-fraction", "0.5"), "--val-fraction is 0.5, and"),
    (("--classes", "1,2"), "--classes is 1,2, and the run of ae.safetensors began with"),
    (("--exclude-classes", "1"), "--exclude-classes is 1, and the run of ae.safetensors"),
]


@pytest.mark.parametrize(("options", "message"), CONFLICTS)
def test_the_error_for_a_conflicting_option_names_both_values(
    run: Run, one_epoch, options, message
):
    before = OUT.read_bytes(), RESUME.read_bytes()
    line = error_line(run("train", "--resume", "--epochs", "2", *options), 2)
    assert message in line
    assert line.endswith("; leave it out to continue, or leave out --resume to start a new run")
    assert (OUT.read_bytes(), RESUME.read_bytes()) == before


def test_options_that_match_the_run_are_accepted(run: Run):
    options = ("--hidden", "32,8", "--classes", "1,3", "--lr", "0.001", "--engine", "fused")
    run(*TRAIN[:-1], "1", *options)
    result = run("train", "--resume", *TRAIN[1:], *options, "--preset", "tutorial", "--seed", "0")
    assert result.exit_code == 0, result.output
    assert load_checkpoint(OUT).metrics.epoch == 3
    assert run("train", "--resume", "--engine", "auto", "--data", "auto").exit_code == 0


def test_a_resumed_run_reads_a_folder_as_before(digits, run: Run):
    write_images(digits.train, Path("photos"), count=60)
    recipe = ("--image-size", "12x10", "--fit", "pad", "--val-fraction", "0.3", "--hidden", "8")
    run(*TUTORIAL, "--data", "photos", *recipe, "--epochs", "2", "--out", "whole.safetensors")
    run(*TUTORIAL, "--data", "photos", *recipe, "--epochs", "1")
    result = run("train", "--resume", "--epochs", "2", "--data", "./photos", *recipe)
    assert result.exit_code == 0, result.output
    assert same_weights(weights(), weights(Path("whole.safetensors")))


def test_changed_images_are_refused(digits, run: Run):
    write_images(digits.train, Path("photos"), count=60)
    run(*TUTORIAL, "--data", "photos", "--hidden", "8", "--epochs", "1")
    picture = next(Path("photos").rglob("*.png"))
    other = next(path for path in Path("photos").rglob("*.png") if path != picture)
    picture.write_bytes(other.read_bytes())
    assert error_line(run("train", "--resume", "--epochs", "2"), 4) == (
        "error: photos has changed since the run of ae.safetensors began; "
        "restore the images, or start a new run without --resume"
    )


def test_moved_images_are_recognised(digits, run: Run):
    write_images(digits.train, Path("photos"), count=60)
    run(*TUTORIAL, "--data", "photos", "--hidden", "8", "--epochs", "1")
    Path("photos").rename("moved")
    assert error_line(run("train", "--resume", "--epochs", "2"), 4).endswith(
        "photos, which is not found; "
        "name images with --data; `ae data` lists the sets that ae knows"
    )
    result = run("train", "--resume", "--epochs", "2", "--data", "moved")
    assert result.exit_code == 0, result.output
    assert run("embed").exit_code == 0, "the new path is remembered"


def test_a_new_data_folder_is_remembered(run: Run, tmp_path):
    run(*TRAIN[:-1], "1")
    run("train", "--resume", "--epochs", "2", "--data-dir", tmp_path / "new")
    assert load_checkpoint(OUT).data.data_dir == str(tmp_path / "new")


def test_a_resumed_run_backs_up_the_checkpoint_of_another(run: Run):
    """As when another checkpoint was moved next to the resume file."""
    run(*TRAIN[:-1], "1")
    run(*TRAIN[:-1], "2", "--seed", "1", "--out", "good.safetensors")
    good = Path("good.safetensors").read_bytes()
    Path("good.safetensors").replace(OUT)
    result = run("train", "--resume", "--epochs", "2", "--json")
    assert result.exit_code == 0
    assert Path("ae.bak.safetensors").read_bytes() == good
    assert json.loads(result.stdout.splitlines()[-1])["backup"] == "ae.bak.safetensors"
    assert not Path("ae.bak.resume.safetensors").exists()


def test_a_failed_command_replaces_nothing(run: Run):
    run(*TRAIN[:-1], "1", "--out", "a.safetensors")
    run(*TRAIN[:-1], "2", "--seed", "1", "--out", "b.safetensors")
    Path("m.jsonl").write_text("hello\n")
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    options = ("--checkpoint", "a.safetensors", "--out", "b.safetensors", "--epochs", "2")
    line = error_line(run("train", "--resume", *options, "--log", "m.jsonl"), 2)
    assert line.startswith("error: m.jsonl is not a log of a run to continue")
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before


def test_runs_that_end_in_their_first_epoch_do_not_replace_the_backup(run: Run, monkeypatch, whole):
    run(*TRAIN[:-1], "2")
    for updates in (5, 7):
        with ended_by(signal.SIGINT, monkeypatch, updates=updates):
            run(*TRAIN, "--seed", "1")
    run(*TRAIN[:-1], "1", "--seed", "2")
    options = ("--checkpoint", "ae.bak.safetensors", "--out", "new.safetensors", "--epochs", "3")
    assert run("train", "--resume", *options).exit_code == 0
    assert same_weights(weights(Path("new.safetensors")), whole)


def test_a_missing_resume_file_is_an_error(run: Run):
    assert error_line(run("train", "--resume"), 4) == (
        "error: there is no run to resume at ae.resume.safetensors; train without --resume"
    )
    assert os.listdir() == []


def test_train_takes_a_checkpoint_only_with_resume(run: Run):
    assert error_line(run("train", "--checkpoint", "a.safetensors"), 2) == (
        "error: --checkpoint is given without --resume; add --resume, or leave it out"
    )


def test_a_resume_file_is_not_a_checkpoint(run: Run):
    run(*TRAIN[:-1], "1")
    assert error_line(run("info", RESUME), 4) == (
        "error: ae.resume.safetensors is a resume file, which `ae train --resume` needs beside a "
        "checkpoint; "
        "name the checkpoint itself"
    )


def change(name: str, **fields) -> Callable[[dict], None]:
    def update(metadata: dict) -> None:
        metadata[name] = json.dumps({**json.loads(metadata[name]), **fields})

    return update


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (lambda m: m.clear(), "was not written by ae"),
        (lambda m: m.update(format_version="99"), "has format version 99"),
        (lambda m: m.pop("position"), r"metadata that ae cannot read \('position'\)"),
        (lambda m: m.update(position="[]"), "metadata that ae cannot read"),
        (lambda m: m.update(reached="{" * 10_000), "metadata that ae cannot read"),
        (change("position", epoch=0), "metadata that ae cannot read"),
        (change("position", step=-1), "metadata that ae cannot read"),
        (change("position", seconds=-1.0), "metadata that ae cannot read"),
        (change("position", images_crc32=2**32), "metadata that ae cannot read"),
        (change("position", step=STEPS + 1), "contradicts itself"),
        (change("position", epoch=3), "contradicts itself"),
        (lambda m: m.pop("reached"), "contradicts itself"),
        (change("best", epoch=2), "contradicts itself"),
        (change("model", latent_dim=4), "holds other layers"),
    ],
)
def test_invalid_metadata_is_refused(one_epoch, metadata, message):
    rewrite(RESUME, metadata=metadata)
    with pytest.raises(CheckpointError, match=message):
        load_run(OUT)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (lambda t: t.pop("loss_sum"), "holds other layers"),
        (lambda t: t.pop("first_moment.encoder.0.bias"), "holds other layers"),
        (lambda t: t.update(loss_sum=torch.zeros(1)), "holds other layers"),
        (lambda t: t.update(loss_sum=torch.tensor(torch.nan)), "in loss_sum"),
        (lambda t: t.update(loss_sum=torch.zeros((), dtype=torch.float64)), "in loss_sum"),
        (lambda t: t["model.encoder.0.bias"].fill_(torch.inf), "in model.encoder.0.bias"),
        (lambda t: t["second_moment.encoder.0.bias"].fill_(torch.nan), "in second_moment.encoder"),
    ],
)
def test_invalid_tensors_are_refused(one_epoch, tensors, message):
    rewrite(RESUME, tensors=tensors)
    with pytest.raises(CheckpointError, match=message):
        load_run(OUT)


@pytest.mark.parametrize("size", [0, 7, 100, 5000, -1])
def test_a_truncated_resume_file_is_refused(run: Run, one_epoch, size):
    RESUME.write_bytes(RESUME.read_bytes()[:size])
    assert "is not a safetensors file, or is cut short" in error_line(run("train", "--resume"), 4)


def test_a_diverged_model_is_not_saved(digits):
    run = begin(digits, TrainConfig(limit=750))
    train(digits, run, stop=3)
    save_and_load(run, OUT)
    before = RESUME.read_bytes()
    with torch.no_grad():
        run.model.encoder[0].weight[0, 0] = torch.nan
    with pytest.raises(TrainingError, match="no longer finite numbers in epoch 1; choose a"):
        Keeper(run, OUT, OUT).save_state()
    assert RESUME.read_bytes() == before


def with_test_losses(monkeypatch, *values: float) -> None:
    """Have training report these test losses, one per epoch, and choose epochs by them."""

    def fit_and_change(*args, **options):
        for event in fit(*args, **options):
            if isinstance(event, Epoch):
                loss = values[event.epoch - 1]
                chosen_by = None if event.val_loss is None else loss
                event = replace(event, test_loss=loss, val_loss=chosen_by)
            yield event

    monkeypatch.setattr("ae_cli.training.session.fit", fit_and_change)


def weights_after(run: Run, epochs: int) -> list[torch.Tensor]:
    """The weights after so many epochs, where as many images are held out to compare epochs."""
    run(*TRAIN[:-1], str(epochs), "--patience", "99", "--out", "after.safetensors")
    return weights(Path("after.safetensors"))


def test_the_best_epoch_is_kept(run: Run, monkeypatch):
    with_test_losses(monkeypatch, 0.3, 0.1, 0.2)
    result = run(*TRAIN, "--keep", "best", "--json")
    assert (
        "kept       epoch 2 of 3, with the lowest loss on held-out training images, 0.1000\n"
        in result.stderr
    )
    kept = load_checkpoint(OUT)
    assert (kept.metrics.epoch, kept.metrics.test_loss, kept.training.keep) == (2, 0.1, "best")
    assert same_weights(weights(), weights_after(run, 2))
    end = json.loads(result.stdout.splitlines()[-1])
    assert (end["epochs"], end["kept_epoch"], end["test_loss"]) == (3, 2, 0.1)
    assert load_run(OUT).reached.epoch == 3
    assert "seed 0, limit 750, keep best, engine fused\n" in run("info").stdout
    # It is still the best one when the run continues, here or elsewhere.
    with_test_losses(monkeypatch, 0.3, 0.1, 0.2, 0.1)
    result = run(
        "train", "--resume", "--epochs", "4", "--checkpoint", OUT, "--out", "b.safetensors"
    )
    assert result.exit_code == 0
    assert load_checkpoint(Path("b.safetensors")).metrics.epoch == 2
    with_test_losses(monkeypatch, 0.3, 0.1, 0.2, 0.05)
    run("train", "--resume", "--epochs", "4")
    assert load_checkpoint(OUT).metrics.epoch == 4
    assert same_weights(weights(), weights_after(run, 4))


def test_a_lost_best_epoch_is_reported(run: Run, monkeypatch):
    with_test_losses(monkeypatch, 0.1, 0.3, 0.2)
    run(*TRAIN[:-1], "2", "--keep", "best")
    OUT.unlink()
    result = run("train", "--resume", "--epochs", "3")
    assert result.exit_code == 0
    assert (
        "warning: ae.safetensors no longer holds epoch 1, the best one so far; "
        "the best of those that follow will be kept\n"
    ) in result.stderr
    assert load_checkpoint(OUT).metrics.epoch == 3


def test_a_best_epoch_lost_during_the_next_one_is_reported(run: Run, monkeypatch):
    """Neither file holds its weights any more."""
    with ended_by(signal.SIGINT, monkeypatch, updates=STEPS + 3):
        run(*TRAIN[:-1], "2", "--keep", "best")
    OUT.unlink()
    result = run("train", "--resume")
    assert "no longer holds epoch 1, the best one so far" in result.stderr
    assert load_checkpoint(OUT).metrics.epoch == 2


def test_the_lost_best_epoch_of_a_finished_run_is_an_error(run: Run, monkeypatch):
    with_test_losses(monkeypatch, 0.1, 0.3)
    run(*TRAIN[:-1], "2", "--keep", "best")
    OUT.unlink()
    assert error_line(run("train", "--resume"), 4) == (
        "error: ae.safetensors no longer holds epoch 1, the best one; "
        "add --epochs, and the best of those that follow will be kept"
    )


def test_patience_ends_a_run_early(run: Run, monkeypatch):
    losses = (0.5, 0.3, 0.3, 0.4, 0.2, 0.1)
    with_test_losses(monkeypatch, *losses)
    command = (*TRAIN[:-1], "6", "--patience", "2", "--log", "log.jsonl")
    result = run(*command, "--json")
    assert result.exit_code == 0
    assert (
        "stopped    no loss on held-out images was below that of epoch 2, "
        "which --keep best would have kept\n"
    ) in result.stderr
    end = json.loads(result.stdout.splitlines()[-1])
    assert (end["epochs"], end["kept_epoch"], end["stopped_early"]) == (4, 4, True)
    assert load_checkpoint(OUT).metrics.epoch == 4
    result = run("train", "--resume")
    assert "resumed    after epoch 4 of 6; stopped early: a larger --patience would continue\n" in (
        result.stderr
    )
    assert load_checkpoint(OUT).metrics.epoch == 4
    result = run("train", "--resume", "--patience", "3", "--log", "log.jsonl")
    assert "stopped" not in result.stderr
    assert load_checkpoint(OUT).metrics.epoch == 6
    steps = [json.loads(line)["epoch"] for line in Path("log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_patience_outlasts_an_interruption(run: Run, monkeypatch):
    with_test_losses(monkeypatch, 0.5, 0.6, 0.7, 0.1)
    run(*TRAIN[:-1], "2", "--patience", "2")
    result = run("train", "--resume", "--epochs", "9")
    assert (
        "stopped    no loss on held-out images was below that of epoch 1, which --keep best "
        in result.stderr
    )
    assert load_checkpoint(OUT).metrics.epoch == 3


@pytest.mark.parametrize(
    "every", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 12, 17, 1000))]
)
def test_the_resume_file_is_saved_every_so_many_steps(run: Run, monkeypatch, every):
    """Look at what the resume file holds at each step of two epochs."""
    held = {}

    def fit_and_look(*args, **options):
        for event in fit(*args, **options):
            yield event
            if isinstance(event, Step):
                held[event.updates] = load_run(OUT).updates if RESUME.exists() else None

    monkeypatch.setattr("ae_cli.training.session.fit", fit_and_look)
    run(*TRAIN[:-1], "2", "--checkpoint-every", every)
    for updates in range(1, 2 * STEPS + 1):
        # After the last step of an epoch, the end of the epoch is saved instead.
        due = {u for u in range(1, updates + 1) if u % every == 0 and u % STEPS}
        due |= {u for u in range(1, updates) if u % STEPS == 0}
        assert held[updates] == max(due, default=None)


def test_the_log_of_an_interrupted_run_is_that_of_an_uninterrupted_one(run: Run, monkeypatch):
    def rows(path: str) -> list[dict]:
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        return [{k: v for k, v in line.items() if "second" not in k} for line in lines]

    run(*TRAIN, "--log", "whole.jsonl", "--log-every", "5", "--out", "whole.safetensors")
    assert [row["step"] for row in rows("whole.jsonl")] == [5, 10, 12, 15, 20, 24, 25, 30, 35, 36]
    options = ("--log", "log.jsonl", "--log-every", "5")
    for command, updates in ((TRAIN, 7), (("train", "--resume"), 26)):
        with ended_by(signal.SIGTERM, monkeypatch, updates=updates):
            assert run(*command, *options).exit_code == 143
    assert run("train", "--resume", *options).exit_code == 0
    assert rows("log.jsonl") == rows("whole.jsonl")


def test_steps_are_printed_on_request(run: Run):
    result = run(*TRAIN[:-1], "1", "--log-every", "5", "--json")
    lines = [line for line in result.stderr.splitlines() if line.startswith("step")]
    assert [line[:21] for line in lines] == ["step       1/1   5/12", "step       1/1  10/12"]
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["start", "step", "step", "epoch", "end"]
    assert list(events[1]) == [
        *("event", "epoch", "step", "train_loss", "learning_rate", "images_per_second", "seconds")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--patience", "0"), "--patience is 0; give a whole number, 1 or more"),
        (("--checkpoint-every", "0"), "--checkpoint-every is 0; give a whole number, 1 or more"),
        (("--log-every", "0"), "--log-every is 0; give a number of steps, 1 or more"),
        (("--log", "log.txt"), "log.txt does not end in a format that can be written; choose an"),
        (("--out", "ae.resume.safetensors"), "ae.resume.safetensors is the name of a resume file"),
        (("--log", "x.csv", "--tensorboard", "x.csv"), "two outputs would be written to x.csv"),
        (("--data", "file", "--tensorboard", "./file"), "file"),
        (("--film", "a.png", "--tensorboard", "a.png"), "two outputs would be written to a.png"),
        (("--keep", "first"), "--keep is 'first'; give "),
        (("--tensorboard", "file"), "file is not a folder; name a folder for --tensorboard"),
        (("--out", os.fsdecode(b"caf\xe9.safetensors")), "is not UTF-8; choose another"),
    ],
)
def test_mistakes_are_reported_at_once(run: Run, options, message):
    Path("file").touch()
    assert message in error_line(run("train", *options), 2)
    assert os.listdir() == ["file"]


def test_tensorboard_continues_too(run: Run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(*TRAIN[:-1], "2", "--tensorboard", "board")
    assert "already holds another run" in error_line(run(*TRAIN, "--tensorboard", "board"), 2)
    assert run("train", "--resume", "--epochs", "3", "--tensorboard", "board").exit_code == 0
    accumulator = EventAccumulator("board")
    accumulator.Reload()
    assert [event.step for event in accumulator.Scalars("loss/test")] == [12, 24, 36]
    assert "latents after step 36" in Path("board/projector_config.pbtxt").read_text()
    run(*TRAIN, "--out", "other.safetensors")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    options = ("--out", "other.safetensors", "--epochs", "4", "--tensorboard", "board")
    line = error_line(run("train", "--resume", *options), 2)
    assert line.startswith("error: board already holds another run")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_resumed_run_films_the_remaining_steps(run: Run):
    run(*TRAIN[:-1], "1", "--film", "first.png")
    result = run("train", "--resume", "--epochs", "3", "--film", "rest.gif")
    assert "film       rest.gif: 25 frames" in result.stderr


def test_every_option_is_compared_or_can_change():
    """Otherwise, --resume would silently ignore a new option."""
    outputs = {
        "checkpoint", "curve", "data_dir", "device", "film", "film_of", "live", "log", "log_every",
        "out", "progress", "resume", "strict", "tensorboard", "workers",
    }  # fmt: skip
    named = {option_name(f.name): f.name for f in fields(TrainOptions)}
    compared = {named[option] for (option, *_), _ in CONFLICTS}
    assert {f.name for f in fields(TrainOptions)} - outputs - set(CHANGEABLE) == compared
