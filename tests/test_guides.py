"""Every command in the README and the guides runs, on small images of the names that they use."""

from __future__ import annotations

import json
import re
import shlex
import signal
import tarfile
import webbrowser
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, start, write_images, write_inspection_set
from PIL import Image

from ae_cli.data.images import DataSet

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / ".github" / "docs").glob("*.md")))
}
# Known sets that would be downloaded, and more images than there are
STANDS_FOR = {"mnist": "digits", "fashion-mnist": "digits", "1500": "30"}
FOUND = (0, 6)  # 6: an anomaly


def commands(text: str) -> list[list[str]]:
    """The arguments of each ae command that a page shows after a prompt."""
    lines = re.findall(r"^\$ ae ([^|\n]*)", text, re.M)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture
def _files(digits: DataSet) -> None:
    """The files that the pages name."""
    for name in ("photos", "new_photos", "incoming"):
        write_images(digits.train, Path(name), count=40, size=(40, 30))
    random = np.random.default_rng(0)
    for kind in ("daisy", "roses"):
        (Path("flowers") / kind).mkdir(parents=True)
        for i in range(45):
            pixels = random.integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(pixels).save(f"flowers/{kind}/{i:04}.jpg")
    write_inspection_set(digits, Path("magnetic-tiles"))
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for path in sorted(Path("photos").rglob("*.png")):
            archive.write(path)
    few = digits.train.pixels[:40, 0].numpy()
    np.savez("scans.npz", images=few)
    rows = [",".join(map(str, image.ravel())) for image in few]
    Path("train.csv").write_text("\n".join([",".join(f"p{i}" for i in range(784)), *rows]) + "\n")
    cells = [" ".join(map(str, image.ravel())) for image in few]
    Path("fer2013.csv").write_text(
        "emotion,pixels,Usage\n"
        + "".join(f"{i % 3},{cell},Training\n" for i, cell in enumerate(cells))
    )
    Path("shards").mkdir()
    with tarfile.open("shards/0.tar", "w") as archive:
        for path in sorted(Path("photos").rglob("*.png")):
            archive.add(path, path.name)


def watch(arguments: list[str]) -> None:
    """Judge what is there, and then press Ctrl-C."""
    process = start(*arguments)
    assert "score" in json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


@pytest.mark.slow
@pytest.mark.usefixtures("_files", "checkpoint", "table")
@pytest.mark.filterwarnings("ignore::ae_cli.AeWarning")
@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if commands(text)])
def test_every_command_runs(page, run: Run, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda _: True)
    for arguments in commands(PAGES[page]):
        arguments = [STANDS_FOR.get(argument, argument) for argument in arguments]
        if arguments[0] in ("train", "sweep") and "--resume" not in arguments:
            arguments += ["--limit", "30"]
            arguments += [] if "--epochs" in arguments else ["--epochs", "1"]
        if "--watch" in arguments:
            watch(arguments)
            continue
        result = run(*arguments)
        assert result.exit_code in (FOUND if "--fail-on-anomaly" in arguments else (0,)), (
            f"ae {shlex.join(arguments)}: {result.output}"
        )


def test_the_commands_are_found():
    """Check the tests themselves."""
    assert ["train", "--epochs", "10", "--lr", "0.005"] in commands(PAGES["README.md"])
    assert sum(len(commands(text)) for text in PAGES.values()) > 40
