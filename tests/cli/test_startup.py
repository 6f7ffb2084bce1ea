"""What commands import, checked in a separate process."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from conftest import Run
from startup import HEAVY

from ae_cli.cli import COMMANDS, load_command

PROGRAM = """
import json, sys
from ae_cli.cli import app
try:
    app(json.loads(sys.argv[1]))
except SystemExit as end:
    assert end.code == 0, end.code
print(json.dumps(sorted(sys.modules)))
"""


def modules(*arguments: str) -> set[str]:
    """The modules that have been imported when a command ends."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(arguments):
    assert not modules(*arguments) & HEAVY


def test_the_list_of_commands_imports_no_command():
    loaded = modules("--help")
    assert not loaded & {"ae_cli.config", *(f"ae_cli.cli.{name}" for name in COMMANDS)}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_shows_the_first_line_of_each_docstring(name):
    summary, _ = COMMANDS[name]
    assert summary == load_command(name).help.partition("\n")[0]


@pytest.mark.parametrize(
    "out", ["latents.png", pytest.param("latents.html", marks=pytest.mark.slow)]
)
def test_plot3d_imports_no_torch(table, out):
    loaded = modules("plot3d", "-q", "--out", out)
    assert "matplotlib" in loaded
    assert ("plotly" in loaded) is (out == "latents.html")
    assert not loaded & {"torch", "torchvision", "sklearn", "matplotlib.pyplot"}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["embed", "reconstruct"])
def test_reading_mnist_again_imports_no_torchvision(run, mnist_dir, monkeypatch, command):
    monkeypatch.setenv("AE_DATA_DIR", str(mnist_dir))
    assert run("train", "--epochs", "1", "--limit", "64").exit_code == 0
    loaded = modules(command, "-q")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "torch._dynamo", "sklearn", "matplotlib.pyplot"}


def test_the_help_of_train_lists_everyday_options_and_help_all_every_one(run: Run):
    command = load_command("train")
    everyday = [p for p in command.params if not p.rich_help_panel]
    for argument, listed in (("--help", everyday), ("--help-all", command.params)):
        text = run("train", argument).stdout
        for parameter in command.params:
            shown = re.search(rf"│ {parameter.opts[0]} ", text) is not None
            assert shown == (parameter in listed), parameter.opts
    assert {"--epochs", "--lr", "--data", "--out"} <= {p.opts[0] for p in everyday}
    assert len(run("train", "--help").stdout.splitlines()) < 90  # at 80 columns
