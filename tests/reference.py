"""The reference of all options, made from the commands themselves.

Usage: python -m tests.reference

writes `.github/docs/reference.md`; a test compares the page with the code.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from ae_cli import cli

PAGE = Path(__file__).parents[1] / ".github" / "docs" / "reference.md"
SHARED = 3  # commands that have the same option, from which on it is listed once
HEAD = """\
# Reference

All commands and options, as `ae COMMAND --help` shows them (made by `python -m tests.reference`).
"""


def make() -> str:
    """The page as text."""
    commands = {name: cli.load_command(name) for name in cli.COMMANDS}
    owners: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, command in commands.items():
        for parameter in command.params:
            owners[_row(parameter)].append(name)
    parts = [HEAD]
    for name, command in commands.items():
        own = [row for p in command.params if len(owners[row := _row(p)]) < SHARED]
        example = command.epilog.removeprefix("Example: ")
        parts.append(f"## `ae {name}`\n\n{_describe(command)}\n\n    {example}\n")
        if own:
            parts.append(_table(["option", "default", "what it does"], own))
    shared = [
        (row[0], _list(names, list(commands)), *row[1:])
        for row, names in owners.items()
        if len(names) >= SHARED and row[0] != "`--help`"
    ]
    parts.append("## Options that several commands have\n")
    parts.append(_table(["option", "commands", "default", "what it does"], shared))
    return "\n".join(parts)


def _list(names: list[str], every: list[str]) -> str:
    """The names of commands, or which ones are missing if these are fewer."""
    missing = [name for name in every if name not in names]
    text = ", ".join(f"`{name}`" for name in (names if len(names) <= len(missing) else missing))
    return text if len(names) <= len(missing) else f"all but {text}" if missing else "all"


def _describe(command: Any) -> str:
    """What the command's help says, in one line per paragraph."""
    paragraphs = inspect.cleandoc(command.help).split("\n\n")
    return "\n\n".join(" ".join(text.split()) for text in paragraphs)


def _row(parameter: Any) -> tuple[str, ...]:
    """The cells of an option or an argument: its names, its default and its help."""
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.metavar or parameter.name]
    kind = parameter.type_descriptor.annotation
    shown = parameter.show_default
    if shown is True:
        shown = "" if parameter.default is None or kind is bool else str(parameter.default)
    help = re.sub(r"\\(\[)", r"\1", parameter.help or "")
    if get_origin(kind) is Literal:
        help += f" One of {', '.join(f'`{choice}`' for choice in get_args(kind))}."
    return ", ".join(f"`{name}`" for name in names), shown or "", help.replace("|", "\\|")


def _table(titles: list[str], rows: list[tuple[str, ...]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(make())
