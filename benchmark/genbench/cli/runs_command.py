"""`genbench runs`."""

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._options import make_store, store_option
from genbench.cli._output import Styled, echo
from genbench.errors import UsageError
from genbench.terminal import clipped

if TYPE_CHECKING:
    from genbench.runs import Listed


@click.command("runs")
@click.argument("folders", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-n", "--most", type=click.IntRange(min=1), default=20, show_default=True, help="How many are listed."
)
@click.option("--json", "as_json", is_flag=True, help="Print all of them as JSON.")
@store_option
def command(folders: tuple[Path, ...], most: int, as_json: bool, store_folder: str | Path | None) -> None:
    """List runs, the newest first: when, what, how much of it, and what came out; --json has it whole.

    Without FOLDERS: the runs that the store remembers, wherever their folders are, and those in
    genbench-results. With them: the runs in these folders alone.

    \b
    genbench runs
    genbench leaderboard FOLDER FOLDER      (one board of several runs)
    """
    from genbench.runs import list_runs

    usual = Path("genbench-results")
    store = make_store(store_folder)
    found = list_runs(None if folders else store, folders or ([usual] if usual.is_dir() else []))
    if as_json:
        echo(json.dumps([_as_json(one) for one in found], indent=1))
        return
    if not found:
        raise UsageError("no runs found", hint="genbench run --generator ddpm --classifier resnet32")
    for one in found[:most]:
        head, *lines = _lines(one)
        echo(Styled(head, bold=True))
        *prose, place = lines
        for line in prose:
            echo(clipped(f"  {line}"))
        echo(f"  {place}")  # which is never broken
    if len(found) > most:
        echo(f"... and {len(found) - most} more (-n {len(found)} lists all)")


def _lines(one: "Listed") -> Iterator[str]:
    """Yield what is said of a run, last where it is."""
    run = one.run
    began = datetime.fromisoformat(run.began).astimezone()
    yield f"{began:%Y-%m-%d %H:%M}  {one.folder.name}"
    yield run.what
    measured = f"{run.measured} of {run.cells} cells measured"
    failed = f", {run.failed} failed" if run.failed else ""
    yield f"{measured}{failed}" + (f", {one.state}" if one.state != "done" else "")
    if run.headline:
        yield run.headline
    folder = os.path.relpath(one.folder)
    place = str(one.folder) if folder.startswith("..") else folder
    yield place if one.is_there else f"{place} (not there any more)"


def _as_json(one: "Listed") -> dict[str, Any]:
    content = one.run.model_dump(mode="json", exclude={"scope", "schema_version"})
    return {**content, "state": one.state, "folder": str(one.folder), "is_there": one.is_there}
