"""Where the program starts: ``ae``, or ``python -m ae_cli``."""

from __future__ import annotations

import atexit
import gc
import signal
import sys

from ae_cli.errors import kind_of_interruption


def main() -> None:
    """Run the command line. Ctrl-C prints one line, even while modules are still being imported."""
    # Importing makes many objects and hardly any garbage. With Python's own threshold, of hundreds
    # of objects, the search for it takes 3 per cent of the start.
    gc.set_threshold(100_000)
    try:
        from ae_cli.cli import app

        app(prog_name="ae", is_program=True)
    except KeyboardInterrupt as error:
        kind = kind_of_interruption(error)
        print(f"stopped: {kind()}", file=sys.stderr)
        sys.exit(kind.exit_code)
    finally:  # torch takes a moment to shut down, and a signal then could only cause a traceback
        atexit.register(_ignore_signals)


def _ignore_signals() -> None:
    """Ignore all signals, and that Python reports one which arrives while they begin to be."""
    report = sys.unraisablehook
    sys.unraisablehook = lambda seen: None if seen.exc_type is OSError else report(seen)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
