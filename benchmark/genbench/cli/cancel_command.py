"""`genbench cancel`."""

from pathlib import Path

import click

from genbench.cli._options import make_store, store_option
from genbench.cli._output import echo


@click.command("cancel")
@click.argument("run", metavar="RUN")
@store_option
def command(run: str, store_folder: Path | None) -> None:
    """Call a run off: its steps save their work, its jobs leave the queue; the same command resumes it.

    RUN is its name, its folder, or the number of the job that `genbench submit` told.

    \b
    genbench cancel digits-ddpm-resnet32
    """
    from genbench.detached import cancel, standing_of

    usual = Path("genbench-results")
    store = make_store(store_folder)
    standing = standing_of(store, run, [usual] if usual.is_dir() else [])
    echo(f"{standing.name}: {cancel(standing)}")
