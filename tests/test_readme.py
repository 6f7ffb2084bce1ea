"""The README and the guides agree with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import reference
from conftest import TUTORIAL, Run

from ae_cli import cli

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / ".github").rglob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
COMMANDS = {name: cli.load_command(name) for name in cli.COMMANDS}
LONGEST_README = 200  # lines


def test_the_readme_takes_five_minutes():
    text = TEXTS["README.md"]
    assert len(text.splitlines()) <= LONGEST_README
    for name in COMMANDS:
        assert f"**`ae {name}`**" in text


def test_the_reference_is_that_of_the_commands():
    assert reference.PAGE.read_text() == reference.make(), "run `python -m tests.reference`"


def test_pages_name_no_options_that_do_not_exist():
    known = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
    }
    others = {"--help", "--version", "--traceback", "--install-completion", "--from", "--index-url"}
    for page, text in TEXTS.items():
        commands = re.findall(r"\bae (?:[a-z0-9]+ )?[^`\n]*", text)
        named = {
            option for line in commands for option in re.findall(r"(?<!\S)--[a-z][\w-]*", line)
        }
        named |= set(re.findall(r"`(--[a-z][a-z0-9-]*)`", text))
        pip = {"--repeats", "--without-best", "--json", "--data-dir", "--tiles", "--folder"}
        assert named - known - others - pip == set(), page


def places(text: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_pictures_and_links_exist(page):
    text, folder = TEXTS[page], (ROOT / page).parent
    for target in re.findall(r"\]\((?!http)([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        name, _, place = target.partition("#")
        path = (folder / name).resolve() if name else ROOT / page
        assert path.exists(), target
        assert not place or place in places(path.read_text()), target


@pytest.mark.parametrize("page", [page for page in TEXTS if page.startswith(".github/docs/")])
def test_every_guide_is_linked(page):
    name = page.rpartition("/")[2]
    assert f".github/docs/{name})" in TEXTS["README.md"] or any(
        f"({name})" in text or f"({name}#" in text
        for other, text in TEXTS.items()
        if other.startswith(".github/docs/") and other != page
    )


def test_the_documented_output_matches_the_program(run: Run, checkpoint):
    """Compares the label at the start of each line of output, in order."""

    def labels(text: str) -> list[str]:
        return [line.split()[0] for line in text.splitlines() if line]

    blocks: dict[str, str] = {}
    guides = ("training", "explore", "evaluate", "models", "anomalies", "images")
    for text in [TEXTS["README.md"], *(TEXTS[f".github/docs/{name}.md"] for name in guides)]:
        found = re.findall(r"^\$ ae (\w+)[^\n]*\n((?:(?!\$|```)[^\n]*\n)+)", text, re.M)
        blocks = dict(reversed(found)) | blocks  # the first of each command
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
    for command, options in {
        "neighbours": ("--index", "3"),
        "duplicates": ("--threshold", "3"),
        "sweep": ("--data", "digits", "--preset", "tutorial", "--epochs", "1", "--limit", "99"),
    }.items():
        result = run(command, *options)
        before = ("models", "train", "decode")  # what the example leaves out
        said = [label for label in labels(result.stderr) if label not in before]
        _, _, after = blocks[command].partition("\n\n")
        shown = [label for label in labels(after) if label not in ("enough", "labels")]
        assert shown == said, command
    run("train", "--data", "digits", "--classes", "0", "--epochs", "1")
    listed = blocks["anomalies"].partition("\n\n")[2]
    printed = labels(run("anomalies").stderr)
    assert [label for label in labels(listed) if label not in ("masks", "maps")] == [
        label for label in printed if label != "confidence"
    ]
    described = run("data", "digits").stdout.splitlines()
    assert [line.split()[0] for line in described[:4]] == labels(blocks["data"])[:4]
