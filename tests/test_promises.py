"""What SECURITY.md promises for all commands: no network access and no unpickling."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_images

# Runs commands one after another, and reports what Python's audit hooks saw.
WATCHED = """
import json, shlex, sys
from typer.testing import CliRunner
from ae_cli.cli import app

seen = []
WATCHED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
           "urllib.Request", "pickle.find_class", "marshal.loads")

def watch(event, arguments):
    if event in WATCHED and not (event == "marshal.loads" and importing()):
        seen.append(event)

def importing():
    # Python uses marshal itself when it imports compiled modules.
    frame = sys._getframe(2)
    return frame is not None and "importlib" in frame.f_code.co_filename

sys.addaudithook(watch)
for line in sys.stdin.read().splitlines():
    seen.clear()
    result = CliRunner().invoke(app, shlex.split(line), prog_name="ae")
    print(json.dumps([line, result.exit_code, sorted(set(seen)), result.output[-300:]]))
"""

COMMANDS = """
train --data digits --epochs 2 --film film.gif --log log.csv --tensorboard board
train --resume --epochs 3
info
reconstruct
embed
embed --out latents.npz
embed --out latents.parquet
plot3d latents.csv
plot3d latents.npz --out latents.html
explore
evaluate --out evaluation.png
anomalies
decode latents.parquet
data digits --out examples.png
data photos
train --data photos --epochs 1 --out photos.safetensors
data --clear --yes
""".strip()


@pytest.mark.slow
def test_no_command_uses_the_network_or_unpickles(digits):
    write_images(digits.train, Path("photos"), count=40)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], input=COMMANDS, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == COMMANDS.splitlines()
    assert [line for line in lines if line[1] != 0 or line[2]] == []


@pytest.mark.slow
def test_network_access_is_noticed(tmp_path):
    """Check that the test above would notice a request to a host name."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        input=f"data usps --data-dir {tmp_path}",
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line[1] == 3
    assert "socket.getaddrinfo" in line[2]
