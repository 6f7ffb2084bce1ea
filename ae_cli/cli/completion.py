"""``ae --install-completion`` and ``--show-completion``, for a shell that may be named."""

from __future__ import annotations

from typing import Any

from ae_cli.errors import UsageError, brief

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def set_up_completion(context: Any, args: list[str]) -> None:
    """Do what the two options ask for, and end the program, if one of them is there.

    Typer itself takes no name of a shell, and says in other ways than an error line that it does
    not know the shell or cannot write a file.

    Args:
        context: The context of the program's group of commands.
        args: All that was typed after the program's name.

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
            + (f"not for {shell}" if shell else "which of them this is cannot be told"),
            f"name one of them: ae {args[0]} bash",
        )
    try:
        option.callback(context, option, shell)
    except OSError as error:
        raise UsageError(
            f"cannot write {error.filename} ({error.strerror})",
            f"see what ae --show-completion {shell} prints, and put it where it belongs",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"a start-up file of {shell} cannot be read ({brief(error)})",
            f"see what ae --show-completion {shell} prints, and put it where it belongs",
        ) from error


def _find_shell() -> str | None:
    """The shell that the program was started from; None where it cannot be told."""
    import shellingham  # type: ignore[import-untyped]  # Typer depends on it

    try:
        name: str = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        return None
    return name
