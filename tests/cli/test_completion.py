"""Shell completion, tested in the shells themselves where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run, error_line
from startup import HEAVY

from ae_cli.cli import COMMANDS
from ae_cli.data.catalog import KNOWN_SETS

INSTALLED = {
    "bash": ".bash_completions/ae.sh",
    "zsh": ".zfunc/_ae",
    "fish": ".config/fish/completions/ae.fish",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and a program ``ae`` on the shells' PATH."""
    program = tmp_path / "bin" / "ae"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ae_cli "$@"\n')
    program.chmod(0o755)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return folder


def output(*command: str, **environment: str) -> str:
    """What a program prints to stdout; fail the test if it fails or prints to stderr."""
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def complete(shell: str, *words: str) -> list[str]:
    """The choices for the last word, requested as the installed scripts request them."""
    typed = " ".join(words)
    text = output(
        "ae",
        _AE_COMPLETE=f"complete_{shell}",
        COMP_WORDS=typed,
        COMP_CWORD=str(len(words) - 1),
        _TYPER_COMPLETE_ARGS=typed,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    return text.split("\n")[:-1] if text.strip() else []


@pytest.mark.slow
@pytest.mark.parametrize("shell", INSTALLED)
def test_it_is_installed_for_a_named_shell(home, shell):
    text = output("ae", "--install-completion", shell)
    path = home / INSTALLED[shell]
    assert text.splitlines()[0] == f"{shell} completion installed in {path}"
    script = path.read_text()
    assert f"_AE_COMPLETE=complete_{shell}" in script
    assert output("ae", "--show-completion", shell).strip() == script.strip()
    if shell == "bash":
        assert f"source '{path}'" in (home / ".bashrc").read_text()
    if shell == "zsh":
        assert "fpath+=~/.zfunc" in (home / ".zshrc").read_text()


def test_it_is_installed_for_the_current_shell(home):
    assert "bash completion installed" in output("bash", "-c", "ae --install-completion; exit $?")
    assert (home / INSTALLED["bash"]).exists()
    assert "complete -o default -F _ae_completion ae" in output(
        "bash", "-c", "ae --show-completion; exit $?"
    )


@pytest.mark.parametrize("option", ["--install-completion", "--show-completion"])
def test_an_unknown_shell_is_a_one_line_error(run: Run, home, option):
    assert error_line(run(option, "tcsh"), 2) == (
        f"error: {option} is for bash, zsh, fish, powershell and pwsh, and not for tcsh; "
        f"name one of them: ae {option} bash"
    )
    assert list(home.iterdir()) == []


def test_a_file_that_cannot_be_written_is_a_one_line_error(run: Run, home):
    (home / ".zfunc").write_text("in the way")
    assert error_line(run("--install-completion", "zsh"), 2) == (
        f"error: cannot write {home / '.zfunc'} (File exists); "
        "add what ae --show-completion zsh prints to its start-up file yourself"
    )
    (home / ".bashrc").write_bytes(b"\xff")
    assert "a start-up file of bash cannot be read ('utf-8' codec" in error_line(
        run("--install-completion", "bash"), 2
    )
    assert (home / ".bashrc").read_bytes() == b"\xff"


def test_commands_options_and_choices_are_completed(home):
    assert complete("bash", "ae", "") == list(COMMANDS)
    assert complete("bash", "ae", "train", "--pre") == ["--preset"]
    assert complete("bash", "ae", "train", "--preset", "") == [
        *("auto", "tutorial", "fast", "best", "anomalies")
    ]
    assert complete("bash", "ae", "data", "emnist-b") == ["emnist-byclass", "emnist-bymerge"]
    # No choices: the shell then completes file names.
    assert complete("bash", "ae", "info", "") == []


@pytest.mark.slow
def test_other_shells_describe_the_choices(home):
    lines = complete("fish", "ae", "")
    assert [line.split("\t")[0] for line in lines] == list(COMMANDS)
    assert lines[0].split("\t")[1].startswith("Train an autoencoder")
    (line,) = complete("zsh", "ae", "tr")
    assert line.startswith('_arguments \'*: :(("train":"Train an autoencoder')


def test_invalid_words_do_not_prevent_completion(home):
    assert "--epochs" in complete("bash", "ae", "train", "--lr", "high", "--epo")
    assert complete("bash", "ae", "--traceback", "tra") == ["train"]


@pytest.mark.slow
def test_completion_imports_nothing_heavy():
    program = (
        "import json, sys\n"
        "from ae_cli.cli import app\n"
        "try:\n    app(prog_name='ae')\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    for words in ("ae data ", "ae train --preset "):
        text = output(
            *(sys.executable, "-c", program),
            _AE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")),
        )  # fmt: skip
        *choices, modules = text.splitlines()
        assert choices in (list(KNOWN_SETS), ["auto", "tutorial", "fast", "best", "anomalies"])
        assert not set(json.loads(modules)) & HEAVY


BASH = """
. ~/.bashrc
complete -p ae
COMP_WORDS=({words}) COMP_CWORD={position}
_ae_completion ae
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.slow
def test_a_real_bash_completes(home):
    output("ae", "--install-completion", "bash")

    def chosen(words: str, position: int) -> list[str]:
        text = output("bash", "--norc", "-c", BASH.format(words=words, position=position))
        specification, *choices = text.splitlines()
        assert specification == "complete -o default -F _ae_completion ae"
        return choices

    assert chosen("ae ''", 1) == list(COMMANDS)
    assert chosen("ae plot3d --co", 2) == ["--color"]
    assert chosen("ae plot3d --color ''", 3) == ["label", "error", "split", "none"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_a_real_fish_completes(home):
    output("ae", "--install-completion", "fish")
    lines = output("fish", "-c", "complete -C 'ae '").splitlines()
    assert {line.split("\t")[0] for line in lines} >= set(COMMANDS)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_a_real_zsh_finds_the_function(home):
    output("ae", "--install-completion", "zsh")
    assert "_ae" in output("zsh", "-ic", "print $_comps[ae]")
