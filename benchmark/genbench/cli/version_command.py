"""`genbench version`."""

import click

from genbench import __version__
from genbench.cli._output import echo


@click.command("version")
def command() -> None:
    """Print the version."""
    echo(__version__)
