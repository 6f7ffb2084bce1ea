"""Typer options made from the fields of options classes, and options that commands share."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ae_cli.cli import HELP_ALL
from ae_cli.config import CHECKPOINT, METADATA, Option, option_name
from ae_cli.files import shell_word

MOST_AXES = 3  # of a plot

CheckpointOption = Annotated[
    Path, typer.Option("--checkpoint", metavar="FILE", help="The model that `ae train` made.")
]
ShowOption = Annotated[
    bool, typer.Option("--show", help="Open the output as well.", show_default=False)
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.", show_default=False)
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print results as JSON on standard output.", show_default=False),
]


def _print_whole_help(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.meta[HELP_ALL] = True
        print(context.get_help())
        raise typer.Exit


HelpAllOption = Annotated[
    bool,
    typer.Option(
        "--help-all",
        help="Show the other options as well: those of the recipe, of resuming, of watching, and "
        "of the images.",
        show_default=False,
        is_eager=True,
        callback=_print_whole_help,
    ),
]


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of its first parameter, an options class.

    An option that is not given has the command line's default, or else the field's.
    """
    # Not by get_type_hints, which hides what is annotated if the default is None on Python 3.10.
    kinds = inspect.get_annotations(command, eval_str=True)
    (first, *others) = inspect.signature(command).parameters.values()
    options = kinds[first.name]
    fields = dict(_declared(options))

    @functools.wraps(command)
    def call(*, context: typer.Context, **values: Any) -> None:
        chosen = {}
        for name, (field, look) in fields.items():
            value = values.pop(name)
            source = context.get_parameter_source(name)
            if source is None or source.name in ("DEFAULT", "DEFAULT_MAP"):
                value = field.default if look.command_default is None else look.command_default
            elif look.several and len(value) == 1:
                (value,) = value
            chosen[name] = value
        command(options(**chosen), **values)

    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    ]
    # Python 3.10 takes the mark of keyword-only fields for a type, and refuses it.
    types = get_type_hints(options, localns={"KW_ONLY": Any})
    for field, look in fields.values():
        parameters.append(_to_parameter(field, look, types[field.name]))
    for other in others:
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(other.replace(kind=kind, annotation=kinds[other.name]))
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _declared(options: type) -> Iterator[tuple[str, tuple[dataclasses.Field[Any], Option]]]:
    """The fields that are options, a class's own fields before those that it inherits."""
    fields = {f.name: f for f in dataclasses.fields(options) if METADATA in f.metadata}
    seen = set()
    for owner in options.__mro__:
        for name in inspect.get_annotations(owner):
            if name in fields and name not in seen:
                seen.add(name)
                yield name, (fields[name], fields[name].metadata[METADATA])


def _to_parameter(field: dataclasses.Field[Any], look: Option, kind: Any) -> inspect.Parameter:
    """Declare a Typer option or argument."""
    if look.kind is not None:
        kind = list[look.kind] if look.several else look.kind  # type: ignore[name-defined]
        kind = kind | None if field.default is None else kind
    looks: dict[str, Any] = {
        "help": look.help,
        "metavar": look.metavar,
        "envvar": look.envvar,
        "show_default": look.default_text is None or look.default_text or False,
        "rich_help_panel": look.heading,
    }
    defaults = (look.usual, look.command_default, field.default)
    default = next((value for value in defaults if value is not None), None)
    if look.several and default is not None:
        looks["show_default"], default = str(default), None
    if look.argument:
        declaration: Any = typer.Argument(**looks)
    else:
        names = option_name(field.name) + (f"/{look.off}" if look.off else "")
        declaration = typer.Option(names, **looks)
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, declaration],
    )


def checkpoint_argument(path: Path) -> str:
    """The argument for a suggested command to use a checkpoint; empty for the default one."""
    return "" if path == CHECKPOINT else f" --checkpoint {shell_word(path)}"


def suggest_use(checkpoint: Path, *, latent_dim: int, for_anomalies: bool) -> str:
    """The command to use a model with first.

    Latents that can be plotted have the way of the README: `reconstruct`, `embed`, `plot3d`.
    """
    if for_anomalies:
        first = "anomalies"
    elif latent_dim <= MOST_AXES:
        first = "reconstruct --n 5"
    else:
        first = "explore --show"
    return f"ae {first}{checkpoint_argument(checkpoint)}"
