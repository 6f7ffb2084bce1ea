"""Options: fields of frozen dataclasses with metadata for the command line.

An option's name, default, help and check are written once, in the dataclass. The command line
builds its options from the fields (`ae_cli.cli.options`), and Python functions take them as keyword
arguments (`takes`).
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

METADATA = "option"  # the key of an `Option` in a field's metadata

_Parameters = ParamSpec("_Parameters")
_Chosen = TypeVar("_Chosen")
_Subject = TypeVar("_Subject")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Option:
    """How the command line shows a field.

    Attributes:
        help: What it does, in a sentence.
        kind: Its type on the command line; None for the field's own type.
        metavar: The placeholder for its value in the help; None for the type's name.
        heading: Its heading in the help; None for the general one.
        default_text: The default as the help shows it; None for the field's default, and an empty
            text to show none.
        usual: The value that a default of None means, shown as the default.
        command_default: The default on the command line, if it differs from Python's.
        envvar: An environment variable that sets it.
        argument: Whether it is a positional argument.
        off: The option that makes it False, if there is one.
        several: Whether it may be given several times, for paths that become one text.
    """

    help: str
    kind: Any = None
    metavar: str | None = None
    heading: str | None = None
    default_text: str | None = None
    usual: Any = None
    command_default: Any = None
    envvar: str | None = None
    argument: bool = False
    off: str | None = None
    several: bool = False


def option(default: Any, help: str, **looks: Any) -> Any:
    """Declare a field of an options class.

    Args:
        default: Its default in Python.
        help: What it does.
        looks: Further fields of `Option`.
    """
    metadata = {METADATA: Option(help, **looks)}
    return dataclasses.field(default=default, metadata=metadata)


def call_with(
    function: Callable[..., _Result], subject: object, options: object, **changed: Any
) -> _Result:
    """Call a function that `takes` options with an options object, some fields replaced."""
    chosen = dataclasses.replace(options, **changed)  # type: ignore[type-var]
    result: _Result = function.__wrapped__(subject, chosen)  # type: ignore[attr-defined]
    return result


def _choose(options: Callable[..., _Chosen], *args: object, **kwargs: object) -> _Chosen:
    """Make an options object. NumPy's scalars, such as an element of np.arange, become Python's."""
    return options(*map(_to_python, args), **{name: _to_python(v) for name, v in kwargs.items()})


def _to_python(value: Any) -> Any:
    is_scalar = hasattr(value, "dtype") and getattr(value, "shape", None) == ()
    return value.item() if is_scalar else value


def takes_only(
    options: Callable[_Parameters, _Chosen],
) -> Callable[[Callable[[_Chosen], _Result]], Callable[_Parameters, _Result]]:
    """Let a function that has one parameter, an options object, take the options as arguments."""

    def decorate(function: Callable[[_Chosen], _Result]) -> Callable[_Parameters, _Result]:
        @functools.wraps(function)
        def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            return function(_choose(options, *args, **kwargs))

        call.__signature__ = inspect.signature(options)  # type: ignore[attr-defined]
        return call

    return decorate


def takes(
    options: Callable[_Parameters, _Chosen],
) -> Callable[
    [Callable[[_Subject, _Chosen], _Result]],
    Callable[Concatenate[_Subject, _Parameters], _Result],
]:
    """Let a function of a subject and an options object take the options as further arguments.

    Example:
        With ``@takes(EmbedOptions) def embed(model, options)``, a caller writes
        ``embed(model, images, split="test")``.
    """

    def decorate(
        function: Callable[[_Subject, _Chosen], _Result],
    ) -> Callable[Concatenate[_Subject, _Parameters], _Result]:
        @functools.wraps(function)
        def call(
            subject: _Subject, /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
        ) -> _Result:
            return function(subject, _choose(options, *args, **kwargs))

        first, _ = inspect.signature(function).parameters.values()
        chosen = inspect.signature(options).parameters.values()
        call.__signature__ = inspect.Signature([first, *chosen])  # type: ignore[attr-defined]
        return call

    return decorate
