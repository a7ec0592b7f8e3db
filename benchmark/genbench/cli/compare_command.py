"""`genbench compare`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from genbench.cli._named import check_finished, run_folder
from genbench.cli._options import make_store, store_option
from genbench.cli._output import echo, form_of_file
from genbench.disk import check_file, write_output, writing_output
from genbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from genbench.store import Store
    from genbench_leaderboard.versus import Side

_BY_SUFFIX = {".md": "markdown", ".markdown": "markdown", ".json": "json", ".txt": "text"}
_MOST_BYTES, _MOST_DEPTH = 256 * 2**20, 30  # of the JSON of a board


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    help="How to write it [default: by the suffix of --out: .md, .json, .txt; else text].",
)
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file.")
@store_option
def command(a: str, b: str, form: str | None, out: Path | None, store_folder: str | Path | None) -> None:
    """Say what differs between two runs or boards: first in configuration, then in outcome.

    A and B are runs (folder, name, or a file in it), folders of records, or the JSON of boards. Rows that
    both have are compared by seeds and test images, pair by pair, where these are the same on both sides.

    \b
    genbench compare digits-ddpm-resnet32 digits-ddpm-resnet32-2
    genbench compare leaderboard/records/digits-quick genbench-results/digits-quick --format markdown
    """
    if out is not None:
        form = form_of_file(out, form, _BY_SUFFIX, "a comparison")
        check_file(out, "--out")
    from genbench_leaderboard.versus import compare_sides, render

    store = make_store(store_folder)
    found = render(compare_sides(_side(a, store), _side(b, store)), form or "text")
    if out is None:
        echo(found.rstrip("\n"))
        return
    with writing_output(out, "--out"):
        write_output(out, found.encode())
    echo(f"written: {out}", err=True)


def _side(name: str, store: "Store") -> "Side":
    """Read what a name stands for: a run, records, or a board."""
    from genbench_leaderboard.versus import side_of_records

    place = Path(name)
    if place.is_file() and place.suffix.lower() == ".json" and not _is_of_a_run(place):
        return _of_board(place)
    if place.is_file() and not _is_of_a_run(place):
        raise UsageError(
            f"{name} is a file, but neither the JSON of a board nor one of a run",
            hint="genbench compare takes the JSON of a board (genbench leaderboard RECORDS -o board.json), a "
            "folder of records, or a run: its name, its folder, or any file in it",
        )
    if place.is_dir() and not (place / "suite.toml").is_file():
        folder = place
    else:
        folder = run_folder(name, store) / "records"
    from genbench.records import read_records

    records = list(read_records([folder])) if folder.is_dir() else []
    if not any(record.result.subject == "cell" and record.result.status == "ok" for record in records):
        for one in (folder, folder.parent):
            check_finished(one)
        raise UsageError(
            f"{name} has no records of measured cells",
            hint="name a run (genbench runs lists them), a folder of records, or the JSON of a board",
        )
    return side_of_records(name, records)


def _is_of_a_run(place: Path) -> bool:
    """Say whether a file lies in a run's folder, or in its records, pictures or what is shown of it."""
    return any((folder / "suite.toml").is_file() for folder in (place.parent, place.parent.parent))


def _of_board(place: Path) -> "Side":
    from genbench.untrusted import parse_json, read_text
    from genbench_leaderboard.versus import side_of_board

    try:
        return side_of_board(str(place), parse_json(read_text(place, _MOST_BYTES), _MOST_DEPTH))
    except ValueError as problem:
        raise DataError(f"{place} cannot be read ({problem})") from None
