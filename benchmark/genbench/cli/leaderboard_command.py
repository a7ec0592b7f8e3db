"""`genbench leaderboard`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from genbench.cli._options import make_store, store_option
from genbench.cli._output import echo
from genbench.disk import check_output, write_output, writing_output
from genbench.errors import UsageError

if TYPE_CHECKING:
    from genbench.records import Record
    from genbench.store import Store

_FORMATS = ("text", "markdown", "csv", "json")


@click.command("leaderboard")
@click.argument(
    "records", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[FILE_OR_FOLDER]..."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="text",
    show_default=True,
    help="How to write it.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to a file instead of the terminal.",
)
@store_option
def command(records: tuple[Path, ...], form: str, out: Path | None, store_folder: Path | None) -> None:
    """Render records as markdown, text, CSV or JSON; without paths, all records of the store.

    \b
    genbench leaderboard leaderboard/records --format markdown -o leaderboard/README.md
    """
    from genbench.records import read_records
    from genbench_leaderboard.board import build_board
    from genbench_leaderboard.tables import render_csv, render_json, render_markdown, render_terminal

    if out is not None:
        check_output(out, "--out")
    found = list(read_records(records)) if records else list(_saved(make_store(store_folder)))
    if not found:
        raise UsageError("no records found", hint="genbench run --generator ddpm --classifier resnet32")
    render = {"text": render_terminal, "markdown": render_markdown, "csv": render_csv, "json": render_json}[
        form
    ]
    content = render(build_board(found))
    if out is None:
        echo(content)
    else:
        with writing_output(out, "--out"):
            write_output(out, content.encode())
        echo(f"written: {out}", err=True)


def _saved(store: "Store") -> "Iterator[Record]":
    """Yield the records of the store; one that cannot be read is named and left out: a run writes it anew."""
    from genbench.upkeep import saved_records

    for path, found in saved_records(store):
        if isinstance(found, str):
            echo(f"left out records/{path.name}: {found}", err=True)
        else:
            yield found
