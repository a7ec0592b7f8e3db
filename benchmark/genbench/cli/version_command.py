"""`genbench version`."""

import click

from genbench import __version__


@click.command("version")
def command() -> None:
    """Print the version."""
    click.echo(__version__)
