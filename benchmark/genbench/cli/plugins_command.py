"""`genbench plugins`."""

import sys

import click

from genbench.cli._options import make_registry, plugin_options
from genbench.cli._output import Styled, echo
from genbench.errors import ExitCode


@click.command("plugins")
@plugin_options
def command(plugin_files: tuple[str, ...], no_plugins: bool) -> None:
    """Show every plugin, its state, and why one did not load; exit code 2 if one did not."""
    registry = make_registry(plugin_files, no_plugins, lenient=True)
    width = max(len(plugin.name) for plugin in registry.plugins)
    for plugin in registry.plugins:
        names = ", ".join(name for _, name in plugin.components)
        state = Styled(f"{plugin.state:8}", colour="green" if plugin.state == "ok" else "red")
        echo(f"{plugin.name:{width}}  ", state, f"  {plugin.origin:24}  {plugin.reason or names}")
    if any(plugin.state in {"failed", "conflict"} for plugin in registry.plugins):
        sys.exit(ExitCode.USAGE)
