"""`genbench list`."""

import click

from genbench.cli._options import make_registry, plugin_options, ready_suites
from genbench.cli._output import Styled, echo
from genbench.errors import UsageError, did_you_mean
from genbench.terminal import entry

_PLURALS = ("datasets", "generators", "filters", "classifiers", "evaluators", "executors", "suites")


@click.command("list")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
@plugin_options
def command(kinds: tuple[str, ...], plugin_files: tuple[str, ...], no_plugins: bool) -> None:
    """List datasets, generators, filters, classifiers, evaluators or suites; without KIND, everything.

    KIND is datasets, generators, filters, classifiers, evaluators, executors or suites.
    """
    wanted = [_plural(kind) for kind in kinds] or list(_PLURALS)
    registry = make_registry(plugin_files, no_plugins, lenient=True)
    for position, plural in enumerate(wanted):
        if plural == "suites":
            rows = [(path.stem, _first_comment(path.read_text(encoding="utf-8"))) for path in ready_suites()]
        else:
            kind = plural.removesuffix("s")
            rows = [(spec.name, spec.summary) for spec in registry.specs(kind)]  # type: ignore[arg-type]
        if rows:
            echo("\n" if position else "", Styled(plural, bold=True))
            width = max(len(name) for name, _ in rows)
            for name, summary in rows:
                echo(entry("  ", [(name, width)], summary))
    broken = [plugin.name for plugin in registry.plugins if plugin.state in {"failed", "conflict"}]
    if broken:
        echo(f"\nnot loaded: {', '.join(broken)} (genbench plugins says why)", err=True)


def _plural(kind: str) -> str:
    plural = kind if kind.endswith("s") else f"{kind}s"
    if plural not in _PLURALS:
        raise UsageError(f"unknown kind {kind!r}. {did_you_mean(plural, _PLURALS)}")
    return plural


def _first_comment(toml: str) -> str:
    return toml.partition("\n")[0].lstrip("# ")
