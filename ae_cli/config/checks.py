"""Functions that check or parse a single value; each raises a `UsageError` if it is invalid."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ae_cli.errors import UsageError

LARGEST = 2**31 - 1  # the largest count allowed: above any realistic one, and safe for torch


def option_name(field: str) -> str:
    """A field on the command line: ``--batch-size`` for ``batch_size``, ``--for`` for ``for_``."""
    return f"--{field.strip('_').replace('_', '-')}"


def is_finite(value: object) -> bool:
    """Whether a value is a finite number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= LARGEST  # a larger int may not fit into a float
    return isinstance(value, float) and math.isfinite(value)


def check_number(name: str, value: object) -> None:
    """Require a finite number, 0 or more."""
    if not is_finite(value) or float(value) < 0:  # type: ignore[arg-type]
        raise UsageError(f"{name} is {value}", "give a finite number, 0 or more")


def check_share(name: str, value: object) -> None:
    """Require a share between 0 and 1, both excluded."""
    if not isinstance(value, float) or not 0 < value < 1:
        raise UsageError(f"{name} is {value}", "give a share between 0 and 1")


def check_text(name: str, value: object) -> None:
    """Require text."""
    if not isinstance(value, str):
        raise UsageError(f"{name} is {value!r}", "give text")


def check_whole(name: str, value: object, *, minimum: int, maximum: int = LARGEST) -> None:
    """Require a whole number in a range."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise UsageError(f"{name} is {value}", f"give a whole number, {minimum} or more")
    if value > maximum:
        raise UsageError(f"{name} is {value}", f"give a whole number, at most {maximum}")


def check_range(name: str, value: object, minimum: int, maximum: int) -> None:
    """Require a whole number from `minimum` to `maximum`, and name both in the error."""
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise UsageError(f"{name} is {value}", f"give a whole number from {minimum} to {maximum}")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Require one of several words."""
    if value not in choices:
        raise UsageError(f"{name} is {value!r}", f"choose one of {', '.join(choices)}")


def parse_whole_numbers(
    option: str, given: str | Collection[int], *, example: str
) -> tuple[int, ...]:
    """Read whole numbers: a collection of them, or text with commas between.

    Raises:
        UsageError: `given` is something else.
    """
    if not isinstance(given, str):
        try:  # numpy's whole numbers are fine, too
            return tuple(operator.index(number) for number in given)
        except TypeError as error:
            raise UsageError(
                f"{option} is {given!r}", f"give whole numbers, such as {example}"
            ) from error
    parts = [part.strip() for part in given.split(",")]
    if not all(re.fullmatch(r"[+-]?[0-9]{1,18}", part) for part in parts):
        raise UsageError(
            f"{option} is {given!r}", f"give whole numbers with commas between, such as {example}"
        )
    return tuple(map(int, parts))


def parse_image_size(given: str | int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Read a height and a width: a pair, text such as ``48x64``, or one number for both.

    Raises:
        UsageError: `given` is something else.
    """
    if given is None or isinstance(given, tuple):
        return given
    if isinstance(given, int):
        return given, given
    match = re.fullmatch(r"([0-9]{1,9})(?:[x×]([0-9]{1,9}))?", given.strip().lower())
    if match is None:
        raise UsageError(
            f"--image-size is {given!r}", "give a number of pixels such as 64, or 48x64"
        )
    height, width = match.group(1), match.group(2) or match.group(1)
    return int(height), int(width)


def parse_count(option: str, given: str | int | None) -> int | None:
    """Read a count; None for ``all``, or if nothing is given.

    Raises:
        UsageError: `given` is anything else than a whole number, 1 or more.
    """
    if given is None or given == "all":
        return None
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if not isinstance(given, str) or not re.fullmatch(r"0*[1-9][0-9]{0,17}", given):
        raise UsageError(f"{option} is {given!r}", "give a whole number, 1 or more, or all")
    return int(given)


def choose_count(
    option: str, given: str | int | None, there: int, default: int | None, owner: str
) -> int:
    """Find how many items to take.

    Args:
        option: The option's name.
        given: What `parse_count` reads: a number, ``all``, or None for the default (or for all
            items if there are fewer).
        there: How many items exist.
        default: How many to take if nothing is given; None for all.
        owner: A clause for the error that says how many exist.

    Raises:
        UsageError: There are fewer.
    """
    wanted = parse_count(option, given)
    if wanted is not None and wanted > there:
        raise UsageError(f"{option} is {wanted}, and {owner}", f"give at most {there}, or all")
    if given is None and default is not None:
        return min(default, there)
    return wanted or there


def parse_axes(
    given: str | Sequence[str], latent_dim: int, *, counts: tuple[int, ...], owner: Path | str
) -> list[int]:
    """Read names of latents, such as ``z1,z4``.

    Args:
        given: The names, or text with commas between them.
        latent_dim: Number of latents.
        counts: How many names are allowed.
        owner: The table or checkpoint that has the latents.

    Returns:
        Their positions, from 0.

    Raises:
        UsageError: A latent does not exist or is named twice, or their number is not allowed.
    """
    there = [f"z{i + 1}" for i in range(latent_dim)]
    names = [name.strip() for name in (given.split(",") if isinstance(given, str) else given)]
    how_many = " or ".join({2: "two", 3: "three"}[count] for count in counts)
    if latent_dim < min(counts):
        raise UsageError(f"--axes names latents, and {owner} has only one", "leave it out")
    if len(names) not in counts or len(set(names)) < len(names):
        raise UsageError(
            f"--axes is {given!r}", f"name {how_many} different latents, such as z1,z2"
        )
    for name in names:
        if name not in there:
            raise UsageError(
                f"--axes names {name!r}, and {owner} has {there[0]} to {there[-1]}",
                f"name {how_many} of those",
            )
    return [there.index(name) for name in names]
