"""The command line: each command parses its options, calls a few functions, and prints.

Slow imports are inside the commands, so that ``ae --help`` is fast.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ae_cli.cli.anomalies import anomalies
from ae_cli.cli.completion import set_up_completion
from ae_cli.cli.console import report_error, report_warning
from ae_cli.cli.data import data
from ae_cli.cli.decode import decode
from ae_cli.cli.embed import embed
from ae_cli.cli.evaluate import evaluate
from ae_cli.cli.explore import explore
from ae_cli.cli.info import info
from ae_cli.cli.plot3d import plot3d
from ae_cli.cli.reconstruct import reconstruct
from ae_cli.cli.stopping import ignore_signals, signals_raise
from ae_cli.cli.train import train
from ae_cli.config import VERSION
from ae_cli.errors import AeError, AeWarning, kind_of_interruption

__all__ = ["app"]


class _Group(TyperGroup):
    """The group of commands. Only here do exceptions become an error line and an exit code.

    This is not done in a ``main`` function around the app, so that tests which invoke the app see
    the same as users.
    """

    show_traceback = False

    def main(self, *args: Any, is_program: bool = False, **kwargs: Any) -> Any:
        """Run a command. `is_program` says whether the process ends with it."""
        with signals_raise(restoring=not is_program):
            return super().main(*args, **kwargs)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        self.show_traceback = "--traceback" in args
        with self._errors():
            set_up_completion(ctx, args)
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with self._errors(), warnings.catch_warnings():
            # Print warnings of libraries as one line, too, without their place in the source.
            warnings.showwarning = lambda message, *_: report_warning(str(message))
            warnings.simplefilter("always", AeWarning)
            return super().invoke(ctx)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (typer.Exit, typer.Abort, SystemExit, BrokenPipeError):
            raise  # not errors: Typer handles them
        except BaseException as error:
            ignore_signals()
            if self.show_traceback:
                traceback.print_exc()
            message, code = _describe(error)
            report_error(message)
            raise typer.Exit(code) from error


def _describe(error: BaseException) -> tuple[str, int]:
    """The error line and the exit code for an exception."""
    if isinstance(error, KeyboardInterrupt):
        error = kind_of_interruption(error)()
    if isinstance(error, AeError):
        return str(error), error.exit_code
    if isinstance(error, typer.TyperException):  # an option or argument that does not parse
        message = error.format_message().rstrip(".").replace("Value error, ", "")
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "ae"
        return f"{message[:1].lower()}{message[1:]}; see `{command} --help`", error.exit_code
    return (
        f"{type(error).__name__}: {error}; this is a bug in ae: run `ae --traceback …` "
        "and report what it prints",
        1,
    )


app = typer.Typer(
    cls=_Group,
    help="Train an autoencoder on images, and see what it learned.",
    epilog="Example: ae train && ae reconstruct && ae embed && ae plot3d",
    invoke_without_command=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)
app.command(epilog="Example: ae train --epochs 10 --lr 0.005")(train)
app.command(epilog="Example: ae reconstruct --n 5")(reconstruct)
app.command(epilog="Example: ae embed --out latents.csv")(embed)
app.command(epilog="Example: ae plot3d latents.csv")(plot3d)
app.command(epilog="Example: ae explore --show")(explore)
app.command(epilog="Example: ae evaluate --out evaluation.png")(evaluate)
app.command(epilog="Example: ae anomalies --data photos --top 20")(anomalies)
app.command(epilog="Example: ae decode --grid 12")(decode)
app.command(epilog="Example: ae data fashion-mnist")(data)
app.command(epilog="Example: ae info ae.safetensors")(info)


def _print_version(wanted: bool) -> None:
    if wanted:
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
