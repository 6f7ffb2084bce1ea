"""The command line: each command parses its options, calls a few functions, and prints.

A command's module is imported when the command is run, and slow imports are inside the commands,
so that ``ae --help`` is fast.
"""

from __future__ import annotations

import functools
import inspect
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from itertools import takewhile
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from ae_cli.cli.completion import set_up_completion
from ae_cli.cli.console import report_error, report_stop, report_warning
from ae_cli.cli.stopping import Signals, signals_raise
from ae_cli.errors import AeError, AeWarning, Interrupted, Terminated, kind_of_interruption
from ae_cli.processes import is_first

__all__ = ["COMMANDS", "app", "load_command"]

# What the list of commands says of each, the first line of its docstring, and an example.
COMMANDS = {
    "train": (
        "Train an autoencoder and write it to a checkpoint file.",
        "ae train --epochs 10 --lr 0.005",
    ),
    "reconstruct": ("Draw images above their reconstructions.", "ae reconstruct --n 5"),
    "embed": ("Write a table with the latents of every image.", "ae embed --out latents.csv"),
    "plot3d": (
        "Draw the latents of a table as points in space, coloured by label.",
        "ae plot3d latents.csv",
    ),
    "explore": (
        "Make a page in which you walk through the latent space.",
        "ae explore --show",
    ),
    "curve": (
        "Draw how the losses of runs changed from epoch to epoch.",
        "ae curve ae.safetensors",
    ),
    "sweep": (
        "Train models with several numbers of latents, to see how many are enough.",
        "ae sweep --latent-dim 2,4,8,16",
    ),
    "evaluate": (
        "Report how good a model is, compared with PCA with as many components.",
        "ae evaluate --out evaluation.png",
    ),
    "anomalies": (
        "Find images that are unlike a model's training images.",
        "ae anomalies --data photos --top 20",
    ),
    "neighbours": (
        "Find the images that are most like an image: those whose latents are nearest.",
        "ae neighbours --like photo.jpg",
    ),
    "duplicates": (
        "Find images that are there more than once, even if they were saved again or made smaller.",
        "ae duplicates",
    ),
    "decode": (
        "Decode latents to images: from a table, on a grid, between two images, or at random.",
        "ae decode --grid 12",
    ),
    "export": (
        "Write the model for other programs: ONNX, torch.export, TensorBoard's Projector.",
        "ae export --out ae.onnx",
    ),
    "data": (
        "List the known data sets, or show what a data set, a folder or a file contains.",
        "ae data fashion-mnist",
    ),
    "info": (
        "Show what a checkpoint contains: model, training, data, and how good it is.",
        "ae info ae.safetensors",
    ),
}


STOPPED = (Interrupted.exit_code, Terminated.exit_code)
SHARED = ("train", "embed")  # commands that several processes can share


HELP_ALL = "help_all"  # the parameter of --help-all


def _hide_types_of_flags(parameters: list[Any]) -> None:
    """Show nothing where Typer's help would say ``<bool>``: a flag has no value to be typed."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""


class _Command(TyperCommand):
    """A command. If it has an option ``--help-all``, only that shows options under headings."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _hide_types_of_flags(self.get_params(ctx))
        shows_all = ctx.meta.get(HELP_ALL) or all(p.name != HELP_ALL for p in self.params)
        rare: list[Any] = [p for p in self.params if getattr(p, "rich_help_panel", None)]
        for parameter in rare:
            parameter.hidden = not shows_all  # only here: the shell completes it
        super().format_help(ctx, formatter)
        for parameter in rare:
            parameter.hidden = False


class _Group(TyperGroup):
    """The group of commands. Only here do exceptions become an error line and an exit code.

    This is not done in a ``main`` function around the app, so that tests which invoke the app see
    the same as users.
    """

    show_traceback = False
    words: list[str] = []  # noqa: RUF012 - replaced, never changed

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.signals = Signals()
        for name, (summary, _) in COMMANDS.items():  # enough to list and to complete them
            self.add_command(TyperCommand(name, help=summary))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _hide_types_of_flags(self.get_params(ctx))
        super().format_help(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is named, and only that."""
        name, _, others = super().resolve_command(ctx, args)
        if name not in SHARED and not is_first():
            raise typer.Exit  # of several processes, one is enough
        return name, None if name is None else load_command(name), others

    def main(self, *args: Any, is_program: bool = False, **kwargs: Any) -> Any:
        """Run a command. `is_program` says whether the process ends with it."""
        with signals_raise(restoring=not is_program) as self.signals:
            return super().main(*args, **kwargs)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        self.show_traceback = "--traceback" in takewhile(lambda word: word.startswith("-"), args)
        self.words = list(args)
        return self._report_errors(self._parse_args, ctx, args)

    def _parse_args(self, ctx: Any, args: list[str]) -> Any:
        set_up_completion(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        result = self._report_errors(self._invoke, ctx)
        self.signals.ignored = True  # the command is complete
        return result

    def _invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            # Print warnings of libraries as one line, too, without their place in the source.
            warnings.showwarning = lambda message, *_: report_warning(str(message))
            warnings.simplefilter("always", AeWarning)
            return super().invoke(ctx)

    def _report_errors(self, work: Callable[..., Any], *args: Any) -> Any:
        """Call `work`, and turn an exception into an error line and an exit code.

        This is no context manager: a signal that arrives while one is entered or left, in
        `contextlib`, raises an exception that it does not see.
        """
        try:
            return work(*args)
        except (typer.Exit, typer.Abort, SystemExit, BrokenPipeError):
            raise  # not errors: Typer handles them
        except BaseException as error:
            self.signals.ignored = True
            if self.show_traceback:
                traceback.print_exc()
            message, code = _describe(error, self.words)
            if is_first() or code == 1:  # what is wrong is wrong for all, unless it is a bug
                report = report_stop if code in STOPPED else report_error
                report(message)
            raise typer.Exit(code) from error


def _describe(error: BaseException, words: list[str]) -> tuple[str, int]:
    """The error line and the exit code for an exception."""
    if isinstance(error, KeyboardInterrupt):
        error = kind_of_interruption(error)()
    if isinstance(error, AeError):
        return str(error), error.exit_code
    if isinstance(error, typer.TyperException):  # an option or argument that does not parse
        from ae_cli.cli.wording import describe_mistake

        return describe_mistake(error, words, list(COMMANDS), load_command), error.exit_code
    return (
        f"{type(error).__name__}: {error}; this is a bug in ae: run `ae --traceback …` "
        "and report what it prints",
        1,
    )


@functools.cache
def load_command(name: str) -> TyperCommand:
    """Make a command from the function of its name in the module of its name."""
    _, example = COMMANDS[name]
    function = getattr(import_module(f"ae_cli.cli.{name}"), name)
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    text = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)  # Rich wraps it
    single = typer.Typer(add_completion=False)
    single.command(name, cls=_Command, help=text, epilog=f"Example: {example}")(function)
    return cast(TyperCommand, typer.main.get_command(single))


app = typer.Typer(
    cls=_Group,
    help="Train an autoencoder on images, and see what it learned.",
    epilog="Example: ae train && ae reconstruct && ae embed && ae plot3d",
    invoke_without_command=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from ae_cli.config import VERSION

        print(f"ae {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
            show_default=False,
        ),
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback", help="Print a traceback if a command fails.", show_default=False
        ),
    ] = False,
) -> None:
    # `_Group` handles --traceback. Without a command, print the help.
    if context.invoked_subcommand is None:
        print(context.get_help())
