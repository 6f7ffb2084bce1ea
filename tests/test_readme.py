"""The README agrees with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import TUTORIAL, Run

from ae_cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = {name: cli.load_command(name) for name in cli.COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described(name):
    assert f"**`ae {name}`**" in README


def test_the_readme_names_every_option_and_no_others():
    documented = set(re.findall(r"`(--[a-z][a-z0-9-]*)`", README))
    actual = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
        if option.startswith("--") and option != "--help"
    }
    assert actual - documented == set()
    assert documented - actual == {"--help"}


# Defaults that the table gives in words.
WORDS = {
    "",
    "all",
    "first three",
    "the table's name",
    "-60, 30",
    "by the classes",
    "by the model",
    "by --quantile",
    "the preset's",
    "only the preset's",
}


def defaults() -> list[tuple[str, str, str]]:
    """Command, option and default of each table row whose default is a value."""
    rows, command = [], ""
    for line in README.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4:
            command = cells[0].strip("`") or command
            default = cells[2].strip("`")
            if command in COMMANDS and default not in WORDS:
                rows.append((command, cells[1].split(",")[0].strip("`"), default))
    return rows


@pytest.mark.parametrize(("command", "option", "default"), defaults())
def test_the_documented_defaults_match_the_program(command, option, default):
    (parameter,) = (p for p in COMMANDS[command].params if option in p.opts)
    actual = parameter.show_default if parameter.default is None else parameter.default
    assert re.split(" if |, or ", str(actual))[0] == default


def test_pictures_and_links_exist():
    headings = re.findall(r"^#+ (.*)$", README, re.M)
    places = {
        "#" + re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings
    }
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README) + re.findall(
        r'src="([^"]+)"', README
    ):
        assert target in places or (ROOT / target).is_file(), target


def test_the_documented_output_matches_the_program(run: Run, checkpoint):
    """Compares the label at the start of each line of output, in order."""

    def labels(text: str) -> list[str]:
        return [line.split()[0] for line in text.splitlines() if line]

    found = re.findall(r"^\$ ae (\w+)[^\n]*\n((?:(?!\$|```)[^\n]*\n)+)", README, re.M)
    blocks = dict(reversed(found))  # the first of each command
    for command in ("reconstruct", "embed", "plot3d", "explore"):
        assert labels(blocks[command]) == labels(run(command).stderr)
    trained = labels(run(*TUTORIAL, "--data", "digits", "--hidden", "64", "--epochs", "3").stderr)
    assert [label for label in labels(blocks["train"]) if label != "…"] == trained
    assert labels(blocks["decode"]) == labels(run("decode", "--grid", "2").stderr)

    def names(text: str) -> list[str]:
        """The first column of the tables."""
        rows = text.partition("\n")[2].partition("\ntrust ")[0].splitlines()
        return [row.split("  ")[0] for row in rows if row]

    assert names(blocks["evaluate"]) == names(run("evaluate", "--limit", "100").stdout)
    run("train", "--data", "digits", "--classes", "0", "--epochs", "1")
    listed = blocks["anomalies"].partition("\n\n")[2]
    printed = labels(run("anomalies").stderr)
    assert labels(listed) == [label for label in printed if label != "confidence"]
    described = run("data", "digits").stdout.splitlines()
    assert [line.split()[0] for line in described[:4]] == labels(blocks["data"])[:4]
