"""`genbench cancel`."""

from pathlib import Path

import click

from genbench.cli._options import make_store, store_option
from genbench.cli._output import echo


@click.command("cancel")
@click.argument("run", metavar="RUN")
@store_option
def command(run: str, store_folder: Path | None) -> None:
    """Stop a run: its steps save their work, and its jobs leave the queue.

    RUN is its name, its folder, or the number of the job that `genbench submit` printed. The command that
    began it resumes it later.

    \b
    genbench cancel digits-ddpm-resnet32
    """
    from genbench.detached import cancel, standing_of

    usual = Path("genbench-results")
    store = make_store(store_folder)
    standing = standing_of(store, run, [usual] if usual.is_dir() else [])
    echo(f"{standing.name}: {cancel(standing)}")
