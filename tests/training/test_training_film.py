"""Watching a model train: the film and the window."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import TUTORIAL, Run, error_line, start, write_images
from films import needs_ffmpeg, read
from matplotlib.figure import Figure
from PIL import Image

from ae_cli import figures
from ae_cli.errors import TrainingError
from ae_cli.figures.training import REDRAW_SECONDS, SHARE
from ae_cli.latents.infer import encode
from ae_cli.models.checkpoint import load_checkpoint
from ae_cli.training.events import Epoch
from ae_cli.training.fit import fit

TRAIN = (*TUTORIAL, "--data", "digits", "--hidden", "64")
SHORT = (*TRAIN, "--epochs", "3", "--limit", "256")  # 12 steps


def notes(figure: Figure) -> list[str]:
    return [text.get_text() for text in (*figure.texts, *figure.axes[0].texts)]


@pytest.mark.parametrize(
    "ending", [".gif", *(pytest.param(e, marks=pytest.mark.slow) for e in (".webp", ".mp4"))]
)
def test_a_film_of_a_short_run_has_a_frame_per_step(run: Run, ending):
    needs_ffmpeg(ending)
    result = run(*SHORT, "--film", f"film{ending}", "--json")
    assert result.exit_code == 0, result.output
    assert f"\nfilm       film{ending}: 13 frames, 3 s\nnext " in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["film"] == f"film{ending}"
    frames, seconds = read(Path(f"film{ending}"))
    assert seconds == pytest.approx(13 * 0.05 + 2, abs=0.011)
    assert len(frames) == (53 if ending == ".mp4" else 13)
    assert frames[0].shape[1] in range(850, 920)
    middle = frames[0].shape[0] // 2
    upper, lower = (np.array([f[part].astype(int) for f in frames[:13]])
                    for part in (slice(40, middle), slice(middle + 10, None)))  # fmt: skip
    assert np.abs(np.diff(upper, axis=0)).mean() < 1, "the originals do not change"
    assert (np.abs(np.diff(lower, axis=0)).mean((1, 2, 3)) > 1).all()


@pytest.mark.slow
def test_a_film_of_a_long_run_has_200_frames(run: Run):
    result = run(*TRAIN, "--epochs", "9", "--film", "film.gif")
    assert "film       film.gif: 200 frames, 12 s\n" in result.stderr
    with Image.open("film.gif") as film:
        assert film.n_frames == 200


@pytest.mark.slow
def test_a_picture_is_the_films_last_frame(run: Run):
    for name in ("film.gif", "film.PNG"):
        result = run(*SHORT, "--film", name)
    assert "film       film.PNG: 1 frame\n" in result.stderr
    frames, _ = read(Path("film.gif"))
    with Image.open("film.PNG") as picture:
        difference = np.abs(np.asarray(picture.convert("RGB")).astype(int) - frames[-1])
    assert difference.max() < 16


def test_a_film_does_not_change_the_model(run: Run):
    run(*TRAIN, "--epochs", "3", "--out", "a.safetensors", "--json")
    result = run(
        *TRAIN, "--epochs", "3", "--out", "b.safetensors", "--film", "f.png",
        "--film-of", "latents",
    )  # fmt: skip
    assert result.exit_code == 0
    a, b = (safetensors.torch.load_file(f"{name}.safetensors") for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_without_a_film_the_end_event_names_none(run: Run):
    result = run(*SHORT, "--json", "-q")
    assert json.loads(result.stdout.splitlines()[-1])["film"] is None


def test_only_the_reconstructions_change(digits):
    figure = Figure()
    (originals,) = digits.test.head(10).batches()
    view = figures.ReconstructionView(figure, originals.numpy())
    levels = np.round(255 * originals.numpy()).astype(np.uint8)
    view.update(levels, "step 0 · before training")
    first = figures.render(figure)
    assert first.shape[:2] == (220, 908)
    assert notes(figure) == ["original", "reconstruction", "step 0 · before training"]
    upper, lower = (first[top : top + 84, 31:898] for top in (35, 126))
    np.testing.assert_array_equal(upper, lower)
    # Each pixel of an image is drawn as three by three.
    expected = levels[3, 0].astype(int).repeat(3, 0).repeat(3, 1)
    difference = np.abs(upper[:, 3 * 87 : 3 * 87 + 84, 0] - expected)
    if matplotlib.__version_info__ >= (3, 11):
        assert difference.max() <= 1
    else:  # it smooths some pixels
        assert difference.mean() < 3
    view.update(255 - levels, "step 0 · before training")
    second = figures.render(figure)
    np.testing.assert_array_equal(second[:120], first[:120])
    np.testing.assert_allclose(second[126:210, 31:115, 0], 255 - upper[:, :84, 0], atol=1)


def drawn_pixels(path: Path, film_of: str) -> int:
    """Count the pixels of reconstructions or dots, leaving out an empty plot and its legend."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    if film_of == "latents":
        return int((np.ptp(pixels[30:, :640], axis=2) > 40).sum())
    grey = pixels[pixels.shape[0] // 2 + 20 : -10, 40:100]
    return int(((grey > 30) & (grey < 225)).all(2).sum())


def test_large_images_are_drawn_as_large_as_others(run: Run, digits):
    pixels = digits.train.pixels[:100, 0].numpy().repeat(7, 1).repeat(7, 2)  # 196 × 196
    np.savez("large.npz", images=pixels)
    result = run(
        *TUTORIAL, "--data", "large.npz", "--hidden", "8", "--epochs", "1", "--film", "f.png"
    )
    assert result.exit_code == 0, result.output
    with Image.open("f.png") as picture:
        assert picture.size[0] in range(850, 920)
        row = np.asarray(picture.convert("L"))[35:119, 31:115]
    assert row.std() > 50, "a digit"
    assert drawn_pixels(Path("f.png"), "reconstructions") > 100


def clouds(dimensions: int, count: int = 400) -> list[np.ndarray]:
    """A cloud of points at three sizes, the smallest first."""
    cloud = np.random.default_rng(0).normal(size=(count, dimensions)).astype(np.float32)
    return [0.1 * cloud, cloud, 3 * cloud]


def limits(figure: Figure) -> list[tuple[float, float]]:
    axes = figure.axes[0]
    names = "xyz" if hasattr(axes, "get_zlim") else "xy"
    return [getattr(axes, f"get_{name}lim")() for name in names]


@pytest.mark.parametrize(
    "dimensions", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))]
)
def test_axes_stay_fixed_if_all_frames_are_known(dimensions):
    figure, seen = Figure(), clouds(dimensions)
    view = figures.LatentView(figure, seen, np.arange(400) % 7)
    steady = limits(figure)
    frames = []
    for i, cloud in enumerate(seen):
        view.update(cloud, f"step {i}")
        frames.append(figures.render(figure))
        assert limits(figure) == steady
        assert len(figure.axes[0].collections[0].get_offsets()) == 400
    for (low, high), column in zip(steady, seen[-1].T, strict=False):
        assert low < column.min() < column.max() < high
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list("0123456")
    # Only the points and the note move.
    changed = (frames[0] != frames[-1]).any(2)
    assert changed[30:].any()
    assert not changed[:, 720:].any(), "the legend"
    assert not changed[:, :60][30:].any()


def test_axes_grow_for_unforeseen_points():
    figure, seen = Figure(), clouds(3)
    view = figures.LatentView(figure, seen[:1])
    for cloud in seen:
        view.update(cloud, "")
        assert all(
            low < column.min() < column.max() < high
            for (low, high), column in zip(limits(figure), cloud.T, strict=True)
        )
    widest = limits(figure)
    view.update(seen[0], "")
    assert limits(figure) == widest


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 50])
def test_constant_latents_can_be_drawn(dimensions, count):
    figure = Figure()
    constant = np.full((count, dimensions), 7.5, np.float32)
    view = figures.LatentView(figure, [constant])
    view.update(constant, "")
    assert figures.render(figure).shape == (650, 800, 3)
    low, high = limits(figure)[0]
    assert low < 7.5 < high


@pytest.mark.parametrize("film_of", ["reconstructions", "latents"])
@pytest.mark.parametrize("latent_dim", [1, 2, pytest.param(5, marks=pytest.mark.slow)])
def test_any_number_of_latents_can_be_filmed(run: Run, latent_dim, film_of):
    result = run(
        *SHORT, "--latent-dim", str(latent_dim), "--film", "f.png", "--film-of", film_of
    )  # fmt: skip
    assert (result.exit_code, result.stderr.count("error:")) == (0, 0)
    assert drawn_pixels(Path("f.png"), film_of) > 100


@pytest.mark.parametrize("film_of", ["reconstructions", "latents"])
def test_images_without_labels_and_a_single_test_image_can_be_filmed(run: Run, digits, film_of):
    write_images(digits.test, Path("photos"), count=2, labelled=False)
    options = ("--hidden", "64", "--epochs", "2", "--film", "f.gif", "--film-of", film_of)
    result = run(*TUTORIAL, "--data", "photos", *options)
    assert result.exit_code == 0, result.output
    frames, _ = read(Path("f.gif"))
    assert len(frames) == 3


@pytest.mark.parametrize("film_of", ["reconstructions", "latents"])
def test_200_classes_can_be_filmed(run: Run, digits, film_of):
    pixels = digits.train.pixels[:600].numpy()
    labels = np.array([f"class {i % 200}" for i in range(600)])
    np.savez("many.npz", images=pixels, labels=labels)
    options = ("--hidden", "64", "--epochs", "1", "--film", "f.png", "--film-of", film_of)
    result = run(*TUTORIAL, "--data", "many.npz", *options)
    assert result.exit_code == 0, result.output
    assert drawn_pixels(Path("f.png"), film_of) > 100


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [5, pytest.param(3, marks=pytest.mark.slow)])
def test_a_film_of_latents_shows_the_first_images(run: Run, digits, monkeypatch, latent_dim):
    drawn, labels = [], []

    class Spy(figures.LatentView):
        def __init__(self, figure, clouds, groups) -> None:
            super().__init__(figure, clouds, groups)
            labels.extend(groups)

        def update(self, seen, note) -> None:
            super().update(seen, note)
            drawn.append(seen)

    monkeypatch.setattr(figures, "LatentView", Spy)
    monkeypatch.setattr("ae_cli.training.watching.MOST_POINTS", 200)
    options = ("--latent-dim", str(latent_dim), "--film", "f.gif", "--film-of", "latents")
    assert run(*SHORT, *options).exit_code == 0
    assert len(drawn) == 13
    model = load_checkpoint(Path("ae.safetensors")).model
    expected = encode(model, digits.test, device=torch.device("cpu"))
    np.testing.assert_allclose(drawn[-1], expected[:200, :3], atol=1e-5)
    assert not np.allclose(drawn[0], drawn[-1], atol=0.1)
    assert labels == digits.test.label_values()[:200].tolist()
    frames, _ = read(Path("f.gif"))
    assert frames[0].shape == (650, 800, 3)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_recorded():
    process = start(*TRAIN, "--epochs", "2000", "--film", "film.gif")
    assert process.stderr is not None
    next(line for line in process.stderr if " 2/2000 " in line)  # epoch 1 is saved by now
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    *_, film, error = said.splitlines()
    frames, _ = read(Path("film.gif"))
    assert process.returncode == 130
    assert film.startswith(f"film       film.gif: {len(frames)} frame")
    assert re.fullmatch(
        r"stopped: interrupted .*; ae.safetensors holds epoch \d+, film.gif holds what was "
        r"recorded, and `ae train --resume` continues where it stopped",
        error,
    )


def test_a_failed_run_keeps_what_was_recorded(run: Run):
    for film_of in ("reconstructions", "latents"):
        result = run(
            *SHORT, "--activation", "relu", "--lr", "1e30", "--film", "f.gif", "--film-of", film_of
        )
        assert error_line(result, 5) == (
            "error: the loss is no longer a finite number in epoch 1, there is no model yet, "
            "and f.gif holds what was recorded; choose a smaller --lr than 1e+30"
        )
        assert len(read(Path("f.gif"))[0]) >= 1
        Path("f.gif").unlink()


def after_epoch(number: int, monkeypatch, do: Callable[[], None]) -> None:
    """Call a function during training, after an epoch has been saved."""

    def fit_and_do(*args, **options):
        for event in fit(*args, **options):
            yield event
            if isinstance(event, Epoch) and event.epoch == number:
                do()

    monkeypatch.setattr("ae_cli.training.session.fit", fit_and_do)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            KeyboardInterrupt(),
            130,
            "interrupted after epoch 2 of 3; ae.safetensors holds epoch 2, and `ae train --resume` "
            "continues where it stopped",
        ),
        (TrainingError("it fails", "wait"), 5, "it fails, and ae.safetensors holds epoch 2; wait"),
    ],
)
def test_a_failed_film_does_not_hide_why_the_run_ended(run: Run, monkeypatch, error, code, line):
    Path("films").mkdir()
    monkeypatch.setattr("ae_cli.training.keeper.MOST_WRITING", math.inf)  # write every epoch

    def fail() -> None:
        Path("films").rmdir()
        raise error

    after_epoch(2, monkeypatch, fail)
    result = run(*SHORT, "--film", "films/f.gif")
    tag = "stopped" if code == 130 else "error"
    assert error_line(result, code) == f"{tag}: {line}"
    assert result.stderr.splitlines()[-2] == (
        "warning: cannot write films/f.gif (No such file or directory); "
        "make room or write elsewhere"
    )
    assert sorted(os.listdir()) == ["ae.resume.safetensors", "ae.safetensors"]


def test_a_finished_run_without_its_film_still_reports_the_checkpoint(run: Run, monkeypatch):
    Path("films").mkdir()
    after_epoch(3, monkeypatch, Path("films").rmdir)
    result = run(*SHORT, "--film", "films/f.gif", "--json")
    assert result.exit_code == 2
    *_, checkpoint, error = result.stderr.splitlines()
    assert checkpoint == "checkpoint ae.safetensors"
    assert error.startswith("error: cannot write films/f.gif (No such file or directory); make ")
    end = json.loads(result.stdout.splitlines()[-1])
    assert (end["event"], end["epochs"], end["film"]) == ("end", 3, None)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("ending", figures.FILM_ENDINGS)
def test_ctrl_c_while_drawing_the_film_keeps_the_checkpoint(run: Run, monkeypatch, ending):
    needs_ffmpeg(ending)
    monkeypatch.setattr(figures, "render", interrupt)
    result = run(*SHORT, "--film", f"f{ending}", "--json")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == (
        f"stopped: interrupted while writing f{ending}; ae.safetensors holds epoch 3"
    )
    assert json.loads(result.stdout.splitlines()[-1])["film"] is None
    assert sorted(os.listdir()) == ["ae.resume.safetensors", "ae.safetensors"]


def test_a_second_ctrl_c_skips_the_film(run: Run, monkeypatch):
    after_epoch(1, monkeypatch, interrupt)
    monkeypatch.setattr(figures, "render", interrupt)
    assert error_line(run(*SHORT, "--film", "f.gif"), 130) == (
        "stopped: interrupted after epoch 1 of 3; ae.safetensors holds epoch 1, and "
        "`ae train --resume` continues where it stopped"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--film", "film.avi"), "film.avi does not end in a format that can be written; choose"),
        (("--film", "film"), "choose an ending from .gif, .mp4, .png, .webp"),
        (("--film", "no/film.gif"), "no does not exist; create it, or write elsewhere"),
        (("--film-of", "latents"), "--film-of is given without --film; add --film film.gif or"),
        (("--film", "film.gif", "--film-of", "errors"), "--film-of is 'errors'; give "),
    ],
)
def test_mistakes_are_reported_at_once(run: Run, options, message):
    assert message in error_line(run(*TRAIN, *options), 2)
    assert os.listdir() == []


def test_a_missing_ffmpeg_is_an_error(run: Run, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "--film film.mp4 needs ffmpeg" in error_line(run(*TRAIN, "--film", "film.mp4"), 2)


def test_without_a_display_a_film_is_suggested(run: Run):
    result = run(*TRAIN, "--epochs", "2", "--live", "-q")
    assert (result.exit_code, result.stderr) == (
        0, "warning: no display to open a window on; use --film film.gif instead\n"
    )  # fmt: skip
    result = run(*TRAIN, "--epochs", "2", "--live", "--film", "f.png", "-q")
    assert result.stderr == (
        "warning: no display to open a window on; watch f.png afterwards instead\n"
    )


@pytest.mark.parametrize("cost", [0.0, 0.001, 0.02, 0.5])
def test_drawing_takes_a_small_share_of_the_time(cost):
    now = 0.0
    draws = []

    def change() -> None:
        nonlocal now
        draws.append(now)
        now += cost

    window = figures.Window(Figure(), clock=lambda: now)
    while now < 60:
        now += 0.001  # a step of training
        window.refresh(change)
    share = cost * len(draws) / now
    assert share <= SHARE
    assert share > 0.7 * SHARE or np.diff(draws).max() < 1.05 * (REDRAW_SECONDS + cost)
    assert np.diff(draws).min() >= REDRAW_SECONDS
    count = len(draws)
    window.refresh(change, now=True)
    assert len(draws) == count + 1


PROGRAM = """
import sys, tkinter
from matplotlib.backends._backend_tk import FigureManagerTk
from ae_cli.cli import app

show = FigureManagerTk.show

def show_and_listen(manager):
    \"\"\"Treat a line on standard input as a click on the window's close button.\"\"\"
    show(manager)
    window = manager.window
    def close(*_):
        window.deletefilehandler(sys.stdin)
        window.tk.call(window.protocol("WM_DELETE_WINDOW"))
    window.createfilehandler(sys.stdin, tkinter.READABLE, close)

FigureManagerTk.show = show_and_listen
app(sys.argv[1:])
"""


class Screen:
    """A display in memory."""

    def __init__(self, folder: Path) -> None:
        self._server = subprocess.Popen(
            ["Xvfb", "-displayfd", "1", "-screen", "0", "1000x800x24", "-dpi", "96",
             "-fbdir", folder, "-nolisten", "tcp"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._server.stdout is not None
        self.name = ":" + self._server.stdout.readline().strip()
        self._file = folder / "Xvfb_screen0"

    def pixels(self) -> np.ndarray:
        """The visible pixels, uint8 (800, 1000, 3), from an X window dump."""
        dump = self._file.read_bytes()
        header = struct.unpack(">25I", dump[:100])
        start = header[0] + 12 * header[19]  # the colour map comes between
        return np.frombuffer(dump, np.uint8, offset=start).reshape(800, 1000, 4)[:, :, 2::-1]

    def is_empty(self) -> bool:
        return bool(self.pixels().mean() < 1)  # the pointer may be visible

    def close(self) -> None:
        self._server.terminate()
        self._server.wait()


@pytest.fixture
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    if not importlib.util.find_spec("tkinter"):
        pytest.skip("this Python has no tkinter")
    if not shutil.which("Xvfb") and not os.environ.get("CI"):
        pytest.skip("Xvfb not found")
    screen = Screen(tmp_path_factory.mktemp("screen"))
    yield screen
    screen.close()


class Live:
    """A run with ``--live`` on a screen."""

    def __init__(self, screen: Screen, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *TRAIN, "--live", "--json", "-q", *options],
            env={
                **os.environ,
                "DISPLAY": screen.name,
                "MPLBACKEND": "TkAgg",
                "OMP_NUM_THREADS": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def events(self) -> Iterator[dict]:
        """Read its events until it ends."""
        assert self.process.stdout is not None
        return map(json.loads, self.process.stdout)

    def click_close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def ended_cleanly(self) -> bool:
        _, said = self.process.communicate(timeout=30)
        return (self.process.returncode, said) == (0, b"")


@pytest.mark.slow
def test_a_window_shows_training_and_stays_until_it_is_closed(screen):
    live = Live(screen, "--epochs", "20", "--film", "last.png")
    events = live.events()
    assert next(events)["event"] == "start"
    assert next(events)["event"] == "epoch"
    before = screen.pixels()
    end = next(event for event in events if event["event"] == "end")
    assert end["epochs"] == 20
    after = screen.pixels()
    with Image.open("last.png") as picture:
        last = np.asarray(picture).astype(int)

    def difference(pixels: np.ndarray) -> float:
        """The difference from the last frame. The window is slightly smaller and thus smoother."""
        return float(np.abs(pixels[:210, :890] - last[:210, :890]).mean())

    assert difference(after) < 15 < difference(before)
    assert (before != after).any()
    assert live.process.poll() is None, "it waits to be closed"
    live.click_close()
    assert live.ended_cleanly()


@pytest.mark.slow
@pytest.mark.parametrize("film_of", ["reconstructions", "latents"])
def test_training_continues_when_the_window_is_closed(screen, film_of):
    live = Live(screen, "--epochs", "80", "--film-of", film_of)
    events = live.events()
    assert next(events)["event"] == "start"
    assert next(events)["event"] == "epoch"
    assert not screen.is_empty()
    live.click_close()
    closed = next(event for event in events if screen.is_empty())
    assert closed["event"] == "epoch", "before the end"
    *_, end = events
    assert (end["event"], end["epochs"]) == ("end", 80)
    assert live.ended_cleanly()
