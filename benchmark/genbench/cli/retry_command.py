"""`genbench retry`."""

from pathlib import Path

import click

from genbench.cli._options import make_store, store_option
from genbench.cli._output import echo
from genbench.terminal import count


@click.command("retry")
@click.argument("text", default="")
@store_option
def command(text: str, store_folder: str | Path | None) -> None:
    """Forget failures, so that the next run tries those steps again from their start.

    TEXT selects failures by a part of their label; without it all are forgotten. A run tries failed steps
    again anyway, from their last checkpoint: `retry` also throws the checkpoint away.
    """
    store = make_store(store_folder)
    forgotten = 0
    for key in sorted(store.failures.keys()):
        failure = store.failures.find(key) or {}
        if text in failure.get("label", ""):
            echo(f"{failure.get('label', key[:16])}: {failure.get('reason', '')}")
            store.remove(key)
            store.failures.forget(key)
            forgotten += 1
    again = "; type the same `genbench run` again" if forgotten else ""
    echo(f"{count(forgotten, 'failure')} forgotten{again}")
