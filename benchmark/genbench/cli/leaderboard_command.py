"""`genbench leaderboard`: a board of records; `submit` and `verify` are about records of others."""

import importlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from genbench.cli._named import check_finished
from genbench.cli._options import make_store, store_option
from genbench.cli._output import echo, form_of_file
from genbench.disk import check_file, write_output, writing_output
from genbench.errors import ExitCode, UsageError
from genbench.escaping import LONGEST_SENTENCE, one_line

if TYPE_CHECKING:
    from genbench.records import Record
    from genbench.sheets import Shown
    from genbench.store import Store
    from genbench_leaderboard.rows import Board

_FORMATS = ("text", "markdown", "html", "latex", "csv", "json")
_BY_SUFFIX = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".tex": "latex",
    ".csv": "csv",
    ".json": "json",
    ".txt": "text",
}
_WITHOUT_FINDINGS = ("csv", "latex")  #: what suite evaluators say has no place in these
_SHOWN_FAILURES = 10  #: reasons
_COMMANDS = {
    "submit": "Pack records, predictions and the plan of a run, for others to verify.",
    "verify": "Recompute a submission from its predictions, and name what contradicts.",
}


class _Leaderboard(click.Group):
    """A command that takes paths, and two commands beside it; a folder called `submit` is `./submit`."""

    allow_interspersed_args = True  # as of any command: options may follow the paths

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"genbench.cli.leaderboard_{cmd_name}_command")
        command: click.Command = module.command
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Hand over to a command where the first word names one; else all words are those of the board."""
        if args and args[0] in _COMMANDS:
            command = self.get_command(click.Context(self), args[0])
            assert command is not None
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group("leaderboard", cls=_Leaderboard, invoke_without_command=True, subcommand_metavar="")
@click.argument(
    "records", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[FILE_OR_FOLDER]..."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="How to write it [default: by the suffix of --out: .md, .html, .tex, .csv, .json, .txt; else text].",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to a file instead of the terminal.",
)
@click.option(
    "--verified",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE_OR_FOLDER",
    help="What `verify` wrote, by somebody you trust: every row says how far it was checked.",
)
@click.option(
    "--evaluate",
    "evaluators",
    multiple=True,
    metavar="NAME",
    help="A suite evaluator (usefulness, exchange_rate, effective_robustness) over all of these records.",
)
@store_option
def command(
    records: tuple[Path, ...],
    form: str | None,
    out: Path | None,
    verified: tuple[Path, ...],
    evaluators: tuple[str, ...],
    store_folder: str | Path | None,
) -> None:
    """Render records as text, Markdown, an HTML page, LaTeX, CSV or JSON; without paths, all of the store.

    \b
    genbench leaderboard leaderboard/records -o leaderboard/README.md
    genbench leaderboard genbench-results/NAME -o board.html
    genbench leaderboard submissions --verified verifications
    genbench leaderboard genbench-results/cifar10-5k genbench-results/cifar10-scaling --evaluate usefulness
    """
    from genbench.indexed import collector_paused, indexed_records
    from genbench_leaderboard.board import build_board
    from genbench_leaderboard.verification import read_verified

    if out is not None:
        form = form_of_file(out, form, _BY_SUFFIX, "a board")
        check_file(out, "--out")
    if evaluators and form in _WITHOUT_FINDINGS:
        raise UsageError(
            f"--evaluate {evaluators[0]}: {form} holds rows alone, and would lose what it finds",
            hint="--format text|markdown|html|json   shows findings",
        )
    with collector_paused():  # of 100,000 records it would take a sixth of the time, and find 2 % of memory
        found = list(indexed_records(records)) if records else list(_saved(make_store(store_folder)))
        _check_places(records, bool(found))
        if not found:
            raise UsageError("no records found", hint="genbench run --generator ddpm --classifier resnet32")
        _refuse_unmeasured(found, records)
        found = _with_findings(evaluators, found)
        _check_verified(verified)
        board = build_board(found, read_verified(verified))
        content = _rendered(found, board, form or "text", records, out)
    if out is None:
        echo(content)
    else:
        with writing_output(out, "--out"):
            write_output(out, content.encode())
        echo(f"written: {out}", err=True)


def _with_findings(evaluators: Sequence[str], records: "list[Record]") -> "list[Record]":
    """Return records of any number of runs with what suite evaluators say of all of them."""
    if not evaluators:
        return records
    from genbench.findings import with_findings
    from genbench.request import make_registry

    return with_findings(evaluators, records, make_registry((), no_plugins=True))


def _rendered(
    found: "Sequence[Record]", board: "Board", form: str, places: Sequence[Path], out: Path | None
) -> str:
    """Write the board in one of the forms, with the pictures that lie beside its records where one shows any.

    Args:
        found: The records.
        board: What is shown of them.
        form: One of `_FORMATS`.
        places: Where the records are.
        out: The file, from which the paths of pictures are seen; None for the current folder.
    """
    from genbench_leaderboard import tables

    if form == "html":
        from genbench_leaderboard.page import render_page

        return render_page(board, found, _shown(places))
    if form == "markdown":
        return tables.render_markdown(board, _strips(places, out), is_own=False)
    renderers = {
        "text": tables.render_terminal,
        "latex": tables.render_latex,
        "csv": tables.render_csv,
        "json": tables.render_json,
    }
    return renderers[form](board)


def _shown(places: Sequence[Path]) -> "dict[str, Shown]":
    """Return what is shown beside records: in the folders that were named, and in those that are in them."""
    from genbench.sheets import FOLDER, find_shown

    inside = [child for place in places if place.is_dir() for child in sorted(place.iterdir())]
    return find_shown([*places, *(child for child in inside if (child / FOLDER).is_dir())])


def _strips(places: Sequence[Path], out: Path | None) -> dict[str, str]:
    """Return the paths of strips of synthetic images, as seen from the page, by `images_id`."""
    start = (out.parent if out is not None else Path()).resolve()
    return {
        name: Path(os.path.relpath(one.strip.resolve(), start)).as_posix()
        for name, one in _shown(places).items()
        if one.strip is not None
    }


def _check_places(places: Sequence[Path], are_records: bool) -> None:
    """Refuse a folder in which no record is: a board without what it should hold would look complete.

    Args:
        places: The files and folders that were named.
        are_records: Whether anything was found in any of them; if so, a single place needs no look.

    Raises:
        UsageError: There is none; the message says what was looked for, and what is there.
    """
    from genbench.metrics import Subject
    from genbench.records import files_of

    if are_records and len(places) < 2:
        return
    for place in places:
        if files_of([place]):
            continue
        check_finished(place)
        others = sum(1 for _ in place.rglob("*.json"))
        wanted = ", ".join(f"{subject}-*.json" for subject in get_args(Subject))
        raise UsageError(
            f"no records found in {place}: none of {wanted}, at any depth; it has "
            f"{others or 'no'} other .json file{'' if others == 1 else 's'}",
            hint="genbench runs   lists runs, whose folders have records; a record of another name is read "
            "where its file is named",
        )


def _check_verified(places: Sequence[Path]) -> None:
    """Refuse folders in which nothing is that `verify` wrote: every row would look as if nobody had checked.

    One empty folder beside others is fine: a results repository starts with one.

    Raises:
        UsageError: There is nothing in any of them.
    """
    if places and not any(place.is_file() or any(place.rglob("*.json")) for place in places):
        raise UsageError(
            f"--verified {', '.join(map(str, places))}: there is no .json file in it, at any depth",
            hint=f"genbench leaderboard verify SUBMISSION -o {places[0] / 'NAME.json'}   writes one",
        )


def _refuse_unmeasured(found: "Sequence[Record]", places: Sequence[Path]) -> None:
    """Refuse records without a measured cell, of which there is no board; findings of suites may stand alone.

    Where anything failed, it is said what did, and the command ends with 1.

    Raises:
        UsageError: There are records of image sets alone.
    """
    cells = [record for record in found if record.result.subject == "cell"]
    judged = cells or [record for record in found if record.result.subject == "suite"]
    if any(record.result.status == "ok" for record in judged):
        return
    said = Counter(
        one_line(record.result.reason, LONGEST_SENTENCE) for record in found if record.result.status != "ok"
    )
    if not said:
        raise UsageError(
            "there are records of image sets alone, and none of a cell: nothing was trained, and there is no "
            "board",
            hint="name the folder that has records of cells, too: genbench runs   lists them",
        )
    scope = "every evaluation failed" if said.total() == len(found) else "no cell was measured"
    echo(f"nothing was measured, and there is no board: {scope}", err=True)
    for reason, times in said.most_common(_SHOWN_FAILURES):
        echo(f"  {reason}" + (f"   ({times} times)" if times > 1 else ""), err=True)
    if len(said) > _SHOWN_FAILURES:
        echo(f"  and {len(said) - _SHOWN_FAILURES} other reasons, in {', '.join(map(str, places))}", err=True)
    sys.exit(ExitCode.CELLS_FAILED)


def _saved(store: "Store") -> "Iterator[Record]":
    """Yield the records of the store; one that cannot be read is named and left out: a run writes it anew."""
    from genbench.upkeep import saved_records

    for path, found in saved_records(store):
        if isinstance(found, str):
            echo(f"left out records/{path.name}: {found}", err=True)
        else:
            yield found
