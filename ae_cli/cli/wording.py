"""What is wrong with a command line, in words that say what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import typer

from ae_cli.files import find_unquoted, shell_word

# What to give for each kind of value that Typer converts
VALUES: dict[Any, str] = {int: "a whole number", float: "a number", Path: "a path"}
BEFORE_COMMAND = ("--traceback", "--version")  # options of `ae` itself


def describe_mistake(
    error: typer.TyperException,
    words: Sequence[str],
    commands: Sequence[str],
    load: Callable[[str], Any],
) -> str:
    """Say what is wrong with a command line, and what to do.

    Args:
        error: What Typer raised.
        words: The command line, without the program's name.
        commands: The names of the commands.
        load: Loads a command by its name.
    """
    kind = type(error).__name__  # its classes are private
    name = next((word for word in words if word in commands), None)
    command = load(name) if name else None
    help_line = f"see `ae {name} --help`" if name else "see `ae --help`"
    if kind == "NoSuchOption":
        option = str(getattr(error, "option_name", ""))
        return _describe_unknown(option, words, command, commands, load, help_line)
    if kind == "BadOptionUsage":  # it lacks its value
        option = str(getattr(error, "option_name", ""))
        wanted = _wanted(_find_option(command, option))
        return f"{option} needs a value; " + (f"give {wanted}" if wanted else help_line)
    parameter = getattr(error, "param", None)
    if kind == "BadParameter" and parameter is not None:
        return _describe_value(parameter, words)
    message = error.format_message().rstrip(".")
    if message.startswith("No such command"):
        wrong = message.split("'")[1]
        near = get_close_matches(wrong, commands, n=1)
        return f"there is no command {wrong}; " + (
            f"did you mean `ae {near[0]}`?" if near else help_line
        )
    if message.startswith("Got unexpected extra argument"):
        extra = message.partition("(")[2].partition("(")[2].rstrip(")")
        if (path := find_unquoted(words)) is not None:
            return f"'{extra}' is one word too many; did you mean {shell_word(path)}, in quotes?"
        # pathlib raises an error for a name that is too long.
        is_there = os.path.exists(extra)  # noqa: PTH110
        if is_there and _find_option(command, "--data") is not None:
            return f"'{extra}' is one word too many; did you mean --data {shell_word(Path(extra))}?"
        return f"'{extra}' is one word too many; {help_line}"
    return f"{message[:1].lower()}{message[1:]}; {help_line}"


def _describe_unknown(
    option: str,
    words: Sequence[str],
    command: Any,
    commands: Sequence[str],
    load: Callable[[str], Any],
    help_line: str,
) -> str:
    """Say that there is no such option, and which one may be meant."""
    if command is None or option in words[: words.index(command.name)]:
        owners = [name for name in commands if _find_option(load(name), option) is not None]
        if command is not None and command.name in owners:
            owners = [command.name]
        if owners:
            return f"{option} goes behind the command; type `ae {owners[0]} {option}`"
        return f"there is no option {option}; {help_line}"
    if option in BEFORE_COMMAND:
        return f"{option} goes before the command; type `ae {option} {command.name}`"
    known = [name for parameter in command.params for name in parameter.opts]
    starting = [name for name in known if name.startswith(option)]
    others = (name for name in commands if _find_option(load(name), option) is not None)
    if not starting and (owner := next(others, None)):
        return f"{option} is an option of `ae {owner}`; {help_line}"
    meant = starting or get_close_matches(option, [name for name in known if name[:2] == "--"], n=1)
    return f"there is no option {option}; " + (f"did you mean {meant[0]}?" if meant else help_line)


def _describe_value(parameter: Any, words: Sequence[str]) -> str:
    """Say which value an option has, and which it should have."""
    given = _find_value(parameter.opts, words) or ""
    names = [name for name in parameter.opts if name.startswith("--")] or [parameter.name]
    near = get_close_matches(given, _choices(parameter), n=1)
    wanted = f"did you mean {near[0]}?" if near else f"give {_wanted(parameter) or 'another'}"
    return f"{names[0]} is '{given}'; {wanted}"


def _find_value(options: Sequence[str], words: Sequence[str]) -> str | None:
    """The value that an option has on the command line, as typed; the last one counts."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        name, equals, value = word.partition("=")
        if name in options:
            found = value if equals else following
    return found


def _find_option(command: Any, name: str) -> Any:
    """The parameter of a command that has this name; None if there is none."""
    if command is None:
        return None
    return next((p for p in command.params if name in (*p.opts, *p.secondary_opts)), None)


def _wanted(parameter: Any) -> str | None:
    """What to give for a parameter; None if only its help can say."""
    if parameter is None:
        return None
    choices = _choices(parameter)
    if choices:
        return " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))
    return VALUES.get(parameter.type_descriptor.annotation)


def _choices(parameter: Any) -> list[str]:
    """The words from which one is chosen; none for other parameters."""
    return [
        word for word in get_args(parameter.type_descriptor.annotation) if isinstance(word, str)
    ]
