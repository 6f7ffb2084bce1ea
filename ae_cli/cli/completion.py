"""``ae --install-completion`` and ``--show-completion``, with an optional shell."""

from __future__ import annotations

from typing import Any

from ae_cli.errors import UsageError, brief

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def set_up_completion(context: Any, args: list[str]) -> None:
    """Handle the two options, if one of them is given, and then end the program.

    Typer itself does not take the name of a shell, and prints no error line if it does not know the
    shell or cannot write a file.

    Args:
        context: The context of the program's group of commands.
        args: All arguments of the program.

    Raises:
        UsageError: There is no completion for the shell, or a file cannot be written.
    """
    options = {
        option: parameter
        for parameter in context.command.params
        if parameter.name in ("install_completion", "show_completion")
        for option in parameter.opts
    }
    if context.resilient_parsing or not args or args[0] not in options:
        return
    option = options[args[0]]
    shell = args[1] if len(args) > 1 else _find_shell()
    if shell not in SHELLS:
        known = ", ".join(SHELLS[:-1])
        raise UsageError(
            f"{args[0]} is for {known} and {SHELLS[-1]}, and "
            + (f"not for {shell}" if shell else "the current shell is not recognised"),
            f"name one of them: ae {args[0]} bash",
        )
    try:
        option.callback(context, option, shell)
    except OSError as error:
        raise UsageError(
            f"cannot write {error.filename} ({error.strerror})",
            f"add what ae --show-completion {shell} prints to its start-up file yourself",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"a start-up file of {shell} cannot be read ({brief(error)})",
            f"add what ae --show-completion {shell} prints to its start-up file yourself",
        ) from error


def _find_shell() -> str | None:
    """The shell that the program was started from; None if it is not recognised."""
    import shellingham  # type: ignore[import-untyped]  # Typer depends on it

    try:
        name: str = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        return None
    return name
