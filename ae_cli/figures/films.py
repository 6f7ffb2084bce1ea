"""Films: frames in a GIF, WebP or MP4 file, played in a loop."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ae_cli.errors import UsageError
from ae_cli.files import atomic_write, check_output

FRAME_SECONDS = 0.05
FILM_ENDINGS = (".gif", ".mp4", ".png", ".webp")
MOST_COLORS = 256  # in a GIF
# A lossless WebP of 256 colours is smaller than a GIF; method 3 of 6 is slow enough.
_PILLOW_OPTIONS: dict[str, dict[str, Any]] = {
    "GIF": {"optimize": False},  # otherwise each frame would have its own palette
    "WEBP": {"lossless": True, "quality": 50, "method": 3},
}

Frame = NDArray[np.uint8]


def check_film(path: Path, option: str) -> None:
    """Make sure that a film can be written, before any work is done.

    Args:
        path: The film; its ending determines the format.
        option: The option that it was given for, named in errors.

    Raises:
        UsageError: The film cannot be written, or needs a program that is not installed.
    """
    check_output(path, FILM_ENDINGS)
    if path.suffix.lower() == ".mp4" and not shutil.which("ffmpeg"):
        raise UsageError(
            f"{option} {path} needs ffmpeg, which is not on the PATH",
            "install it, or choose .gif or .webp",
        )


def render(figure: Figure, dpi: float = 100) -> Frame:
    """Draw a figure as pixels, uint8 (height, width, 3)."""
    figure.set_dpi(dpi)
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        canvas = FigureCanvasAgg(figure)  # the figure keeps it for the next frame
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def turn(figure: Figure, count: int) -> Iterator[Frame]:
    """Draw a figure's 3-D plot from all sides, in `count` frames, each uint8 (height, width, 3).

    The plot turns once around its vertical axis; the last frame leads back to the first.
    """
    axes: Any = figure.axes[0]
    elev, azim = axes.elev, axes.azim
    for i in range(count):
        axes.view_init(elev=elev, azim=azim + 360 * i / count)
        yield render(figure)


def write_film(
    path: Path,
    frames: Iterable[Frame],
    *,
    frame_seconds: float = FRAME_SECONDS,
    hold_seconds: float = 0.0,
) -> None:
    """Write a film atomically.

    Args:
        path: The film. Its ending, one of `FILM_ENDINGS`, determines the format; a ``.png`` gets
            the last frame.
        frames: At least one frame, uint8 (height, width, 3), all of the same size. They are
            consumed one by one, and kept compressed.
        frame_seconds: How long each frame is shown; at least 0.02, which every program supports.
        hold_seconds: How much longer the last frame is shown.

    Raises:
        UsageError: The file cannot be written.
    """
    ending = path.suffix.lower()
    if ending == ".mp4":
        _write_mp4(path, frames, frame_seconds, hold_seconds)
    elif ending == ".png":
        last = Image.fromarray(deque(frames, maxlen=1).pop())
        with atomic_write(path) as file:
            last.save(file, "PNG")
    else:
        pictures = _with_one_palette(frames)
        # GIF counts hundredths of a second. Rounding sums keeps the whole film at its length.
        ends = np.arange(len(pictures) + 1) * frame_seconds
        ends[-1] += hold_seconds
        milliseconds = 10 * np.diff(np.round(100 * ends)).astype(int)
        kind = ending[1:].upper()
        with atomic_write(path) as file:
            pictures[0].save(
                file,
                kind,
                save_all=True,
                append_images=pictures[1:],
                duration=milliseconds.tolist(),
                loop=0,
                **_PILLOW_OPTIONS[kind],
            )


def _with_one_palette(frames: Iterable[Frame]) -> list[Image.Image]:
    """Reduce all frames to the same few colours, so that still parts do not flicker."""
    packed, shape = [], (0, 0, 3)
    for frame in frames:  # kept, at a tenth of their size, until all colours are known
        packed.append(zlib.compress(frame.tobytes(), 1))
        shape = frame.shape

    def unpack(i: int) -> Frame:
        return np.frombuffer(zlib.decompress(packed[i]), np.uint8).reshape(shape)

    sample = np.concatenate([unpack(i) for i in (0, len(packed) // 2, -1)])
    # Unlike a median cut, this does not mix white or rare colours with others.
    found = Image.fromarray(sample).quantize(
        MOST_COLORS, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
    )
    colors = np.array(found.getpalette(), np.uint8)
    palette = Image.new("P", (1, 1))
    palette.putpalette((colors & 0b11111100).tobytes())  # the bits of a pixel that Pillow compares
    pictures = []
    for i in range(len(packed)):
        picture = Image.fromarray(unpack(i)).quantize(palette=palette, dither=Image.Dither.NONE)
        picture.putpalette(colors.tobytes())
        pictures.append(picture)
    return pictures


def _write_mp4(
    path: Path, frames: Iterable[Frame], frame_seconds: float, hold_seconds: float
) -> None:
    """Write H.264 that every browser plays, frame by frame, with ffmpeg."""
    remaining = iter(frames)
    first = next(remaining)
    height, width, _ = first.shape
    filters = [
        f"tpad=stop_mode=clone:stop_duration={hold_seconds}",
        "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white",  # colour is stored for squares of four pixels
        "scale=out_color_matrix=bt709",
    ]
    # ffmpeg's messages go to a file: a pipe that nobody reads would fill up and block it.
    with atomic_write(path) as file, tempfile.TemporaryFile("w+", errors="replace") as said:
        command = [
            *("ffmpeg", "-y", "-loglevel", "error"),
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}"),
            *("-framerate", f"{1 / frame_seconds}", "-i", "pipe:0"),
            *("-vf", ",".join(filters), "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p"),
            *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
            *("-movflags", "+faststart", "-f", "mp4", f"file:{file.name}"),
        ]
        with subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stderr=said) as ffmpeg:
            assert ffmpeg.stdin is not None
            for frame in chain([first], remaining):
                rest = memoryview(frame.tobytes())
                try:
                    while rest:  # a pipe may accept only a part
                        rest = rest[ffmpeg.stdin.write(rest) :]
                except BrokenPipeError:  # ffmpeg has ended early; its message says why
                    break
        if ffmpeg.returncode:
            said.seek(0)
            lines = said.read().splitlines() or [f"exit status {ffmpeg.returncode}"]
            raise UsageError(
                f"cannot write {path} (ffmpeg: {lines[-1]})", "make room, or choose .gif or .webp"
            )
