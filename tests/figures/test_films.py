from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from conftest import error_line, full_disk
from films import needs_ffmpeg, read
from matplotlib.figure import Figure
from PIL import Image

from ae_cli import figures
from ae_cli.errors import UsageError

TAB10 = (np.array(matplotlib.colormaps["tab10"].colors) * 255).astype(np.uint8)
FORMATS = [".gif", ".mp4", ".webp"]


def moving(count: int, height: int = 60, width: int = 80) -> list[np.ndarray]:
    """Frames with all label colours, a ramp of greys, and a square that moves over white."""
    frames = []
    for i in range(count):
        frame = np.full((height, width, 3), 255, np.uint8)
        frame[:20] = TAB10[np.arange(width) * 10 // width]
        frame[20:40] = np.linspace(0, 255, width).astype(np.uint8)[:, None]
        frame[44:54, 4 * i : 4 * i + 10] = (200, 30, 60)
        frames.append(frame)
    return frames


@pytest.mark.parametrize("ending", FORMATS)
def test_a_film_has_the_right_frames_and_length(tmp_path, ending):
    needs_ffmpeg(ending)
    path = tmp_path / f"film{ending}"
    frames = moving(12)
    figures.write_film(path, iter(frames), frame_seconds=1 / 30, hold_seconds=0.6)
    seen, seconds = read(path)
    assert seconds == pytest.approx(12 / 30 + 0.6, abs=0.011)
    if ending == ".mp4":  # the last frame is held by repeating it
        assert len(seen) == 30
        assert np.abs(seen[-1].astype(int) - seen[11]).mean() < 2
    else:
        assert len(seen) == 12
    for frame, expected in zip(seen, frames, strict=False):
        difference = np.abs(frame.astype(int) - expected)
        assert difference.mean() < 2
        assert difference[4:-4, 4:-4].max() < (90 if ending == ".mp4" else 16)
        paper, labels = frame[42, 4::8].astype(int), frame[10, 4::8].astype(int)
        assert paper.min() >= (248 if ending == ".mp4" else 252)
        assert np.abs(labels - TAB10).max() <= 12, "the label colours are kept"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", FORMATS)
def test_equal_frames_keep_their_total_length(tmp_path, ending):
    needs_ffmpeg(ending)
    path = tmp_path / f"film{ending}"
    first, second = moving(2)
    figures.write_film(path, [first] * 5 + [second] * 5, frame_seconds=0.1)
    seen, seconds = read(path)
    assert seconds == pytest.approx(1.0)
    assert np.abs(seen[0].astype(int) - first).mean() < 2
    assert np.abs(seen[-1].astype(int) - second).mean() < 2


def test_still_parts_do_not_flicker(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    frames = [noise.copy() for _ in range(4)]
    for i, frame in enumerate(frames):
        frame[:10, :10] = 60 * i
    for name in ("film.gif", "film.webp"):
        figures.write_film(tmp_path / name, frames, frame_seconds=0.1)
        seen, _ = read(tmp_path / name)
        assert len(seen) == 4
        assert all((frame[10:] == seen[0][10:]).all() for frame in seen)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("size", [(61, 81), (41, 80)])
def test_odd_sizes(tmp_path, ending, size):
    needs_ffmpeg(ending)
    path = tmp_path / f"FILM{ending.upper()}"
    height, width = size
    frame = np.full((height, width, 3), 255, np.uint8)
    figures.write_film(path, [frame], frame_seconds=0.5)
    if ending == ".mp4":
        (seen,), _ = read(path.rename(path.with_suffix(".mp4")))
        assert seen.shape == (height + height % 2, width + width % 2, 3)
        assert seen.min() >= 253, "the padding is white"
    else:
        with Image.open(path) as film:
            assert film.size == (width, height)


def test_a_png_film_is_its_last_frame(tmp_path):
    path = tmp_path / "film.png"
    frames = moving(5)
    figures.write_film(path, iter(frames), frame_seconds=0.1, hold_seconds=1)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), frames[-1])


def test_an_error_while_drawing_leaves_the_old_film(tmp_path):
    needs_ffmpeg(".mp4")
    path = tmp_path / "film.mp4"
    path.write_text("old")

    def broken() -> Iterator[np.ndarray]:
        yield from moving(3)
        raise ValueError

    for ending in figures.FILM_ENDINGS:
        with pytest.raises(ValueError):  # noqa: PT011
            figures.write_film(path.with_suffix(ending), broken(), frame_seconds=0.1)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["film.mp4"]


def test_a_figure_is_rendered_to_pixels():
    figure = Figure(figsize=(4, 3))
    box = figure.add_axes((0, 0, 1, 1))
    box.axis("off")
    patch = box.add_patch(matplotlib.patches.Rectangle((0, 0), 1, 1, color="tab:red", linewidth=0))
    first = figures.render(figure)
    assert (first.shape, first.dtype) == ((300, 400, 3), np.uint8)
    np.testing.assert_allclose(first, np.full_like(first, TAB10[3]), atol=1)
    canvas = figure.canvas
    patch.set_color("tab:blue")
    second = figures.render(figure)
    np.testing.assert_allclose(second, np.full_like(second, TAB10[0]), atol=1)
    assert figure.canvas is canvas, "the canvas is reused for each frame"
    assert (first != second).all(), "earlier frames do not change"
    assert figures.render(figure, dpi=50).shape == (150, 200, 3)


def test_films_that_cannot_be_written_are_refused_at_once(tmp_path, monkeypatch):
    for ending in (".gif", ".png", ".webp", ".GIF"):
        figures.check_film(tmp_path / f"film{ending}", "--out")
    with pytest.raises(UsageError, match=r"choose an ending from \.gif, \.mp4, \.png, \.webp"):
        figures.check_film(tmp_path / "film.avi", "--out")
    monkeypatch.setenv("PATH", str(tmp_path))
    figures.check_film(tmp_path / "film.gif", "--out")
    with pytest.raises(
        UsageError, match=r"--film .*\.MP4 needs ffmpeg, .* PATH; install it, or choose \.gif"
    ):
        figures.check_film(tmp_path / "film.MP4", "--film")


@pytest.mark.parametrize("ending", figures.FILM_ENDINGS)
def test_a_full_disk_leaves_the_old_film(tmp_path, ending):
    needs_ffmpeg(ending)
    path = tmp_path / f"film{ending}"
    path.write_text("old")
    noise = list(np.random.default_rng(0).integers(0, 256, (8, 60, 80, 3), np.uint8))
    message = rf"cannot write .*film\{ending} \(.*\); make room"
    with full_disk(), pytest.raises(UsageError, match=message):
        figures.write_film(path, noise, frame_seconds=0.1)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_the_error_contains_the_message_of_ffmpeg(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nyes 'Unknown encoder' | head -n 100000 >&2\nexit 8\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    frames = iter(moving(10, 600, 800))
    with pytest.raises(UsageError, match=r"film\.mp4 \(ffmpeg: Unknown encoder\); make room, or"):
        figures.write_film(tmp_path / "film.mp4", frames, frame_seconds=0.1)
    assert len(list(frames)) == 9, "no more frames are drawn"
    assert os.listdir(tmp_path) == ["ffmpeg"]


@pytest.mark.slow
def test_plot3d_turns_the_plot_once(run, table):
    """And seamlessly: the last frame differs from the first no more than other neighbours do."""
    result = run("plot3d", "--out", "latents.gif", "--azim", "20", "--n", "40", "--json")
    assert json.loads(result.stdout)["out"] == "latents.gif"
    assert result.stderr.splitlines()[-1] == "film       latents.gif"
    frames, seconds = read(Path("latents.gif"))
    assert (len(frames), seconds) == (80, pytest.approx(4.0))
    assert frames[0].shape == (650, 800, 3)
    levels = [frame.astype(int) for frame in frames]
    steps = [np.abs(a - b).mean() for a, b in zip(levels, levels[1:] + levels[:1], strict=True)]
    assert min(steps) > 0
    assert steps[-1] < max(steps[:-1])
    title_and_legend = (np.s_[:55], np.s_[200:420, 740:])
    for part in title_and_legend:
        assert all((frame[part] == frames[0][part]).all() for frame in frames)
    run("plot3d", "--out", "latents.png", "--azim", str(20 + 90), "--n", "40")
    with Image.open("latents.png") as still:
        expected = np.asarray(still.convert("RGB").resize((800, 650), Image.Resampling.BOX))
    difference = [np.abs(level - expected).mean() for level in levels]
    assert np.argmin(difference) == 20, (
        "after a quarter of the film, the view has turned by 90 degrees"
    )


@pytest.mark.parametrize("columns", ["z1", "z1,z2"])
def test_a_flat_plot_cannot_be_turned(run, columns):
    values = ",".join("1" * len(columns.split(",")))
    Path("latents.csv").write_text(f"{columns}\n{values}\n")
    line = error_line(run("plot3d", "--out", "latents.gif"), 2)
    assert line.endswith("is flat; choose .png, .svg or .html")
    assert os.listdir() == ["latents.csv"]


def test_plot3d_without_ffmpeg(run, table, monkeypatch):
    monkeypatch.setenv("PATH", "")
    line = error_line(run("plot3d", "--out", "latents.mp4"), 2)
    assert "--out latents.mp4 needs ffmpeg, which is not on the PATH; install it" in line
