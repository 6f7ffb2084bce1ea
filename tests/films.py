"""Read films with programs other than ae."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence


def needs_ffmpeg(ending: str) -> None:
    """Skip the test if it needs ffmpeg and there is none, but not in CI, which must have it."""
    if ending == ".mp4" and not shutil.which("ffmpeg") and not os.environ.get("CI"):
        pytest.skip("ffmpeg is not on the PATH")


def read(path: Path) -> tuple[list[np.ndarray], float]:
    """A film's frames and its length in seconds. Equal frames may have been merged."""
    if path.suffix != ".mp4":
        with Image.open(path) as film:
            assert film.info["loop"] == 0
            frames, milliseconds = [], 0
            for frame in ImageSequence.Iterator(film):
                frames.append(np.asarray(frame.convert("RGB")))
                milliseconds += frame.info["duration"]
        return frames, milliseconds / 1000
    fields = "stream=width,height,pix_fmt:format=duration"
    command = ["ffprobe", "-v", "error", "-show_entries", fields, "-of", "json", path]
    facts = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    (stream,) = facts["streams"]
    assert stream["pix_fmt"] == "yuv420p"
    decode = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    pixels = subprocess.run(decode, capture_output=True, check=True).stdout
    shape = (-1, stream["height"], stream["width"], 3)
    return list(np.frombuffer(pixels, np.uint8).reshape(shape)), float(facts["format"]["duration"])
