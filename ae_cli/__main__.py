"""Run the command line as ``python -m ae_cli``."""

from ae_cli.cli import app

app(prog_name="ae")
