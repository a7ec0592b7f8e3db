"""`genbench report`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from genbench.cli._named import run_folder
from genbench.cli._options import (
    make_plan_of,
    make_registry,
    make_store,
    plugin_options,
    read_suite,
    store_option,
)
from genbench.cli._output import echo
from genbench.disk import check_file, write_output, writing_output
from genbench.errors import UsageError

if TYPE_CHECKING:
    from genbench.records import Record


@click.command("report")
@click.argument("run", metavar="RUN")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page [default: report.html in the run's folder].",
)
@store_option
@plugin_options
def command(
    run: str,
    output: Path | None,
    store_folder: str | Path | None,
    plugin_files: tuple[str, ...],
    no_plugins: bool,
) -> None:
    """Write one page of HTML about a run: its steps, rows, curves, images and failures.

    RUN is the folder of a run, any file in it, or its name, as `genbench runs` lists it. The page needs no
    other file and no network. It shows real images beside synthetic ones: do not publish it. What the
    store no longer has is named on the page.

    \b
    genbench report genbench-results/digits-ddpm-resnet32
    genbench report digits-ddpm-resnet32 -o report.html
    """
    store = make_store(store_folder)
    folder = run_folder(run, store)
    out = output or folder / "report.html"
    if out.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(
            f"--output {out}: the report is a page of HTML", hint=f"-o {out.with_suffix('.html')}"
        )
    check_file(out, "--output")
    records = _records(folder)
    registry = make_registry(plugin_files, no_plugins)
    plan = make_plan_of(registry, store, read_suite(str(folder / "suite.toml"), {}))

    from genbench.report import draw_sheets, find_run
    from genbench.runs import read_run
    from genbench_leaderboard.board import build_board
    from genbench_leaderboard.page import render_page

    sheets = draw_sheets(plan, store)
    found = find_run(plan, store, read_run(folder), records, sheets)
    page = render_page(build_board(records), records, run=found)
    with writing_output(out, "--output"):
        write_output(out, page.encode())
    echo(f"written: {out} ({len(page.encode()) / 2**20:.1f} MiB). It shows real images: do not publish it")
    for line in found.lacks:
        echo(f"  lacks: {line}", err=True)


def _records(folder: Path) -> "list[Record]":
    from genbench.records import read_records

    place = folder / "records"
    found = list(read_records([place])) if place.is_dir() else []
    if not found:
        raise UsageError(
            f"{folder} has no records: nothing was measured yet, or the run is still at work",
            hint=f"genbench run {folder / 'suite.toml'}   runs it, or goes on with it",
        )
    return found
