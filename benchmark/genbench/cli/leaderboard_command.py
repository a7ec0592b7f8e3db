"""`genbench leaderboard`: a board of records; `submit` and `verify` are about records of others."""

import importlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._options import make_store, store_option
from genbench.cli._output import echo
from genbench.disk import check_output, write_output, writing_output
from genbench.errors import ExitCode, UsageError
from genbench.escaping import LONGEST_SENTENCE, one_line

if TYPE_CHECKING:
    from genbench.records import Record
    from genbench.store import Store
    from genbench_leaderboard.rows import Board

_FORMATS = ("text", "markdown", "html", "csv", "json")
_BY_SUFFIX = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".csv": "csv",
    ".json": "json",
    ".txt": "text",
}
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
    help="How to write it [default: by the suffix of --out: .md, .html, .csv, .json, .txt; else text].",
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
@store_option
def command(
    records: tuple[Path, ...],
    form: str | None,
    out: Path | None,
    verified: tuple[Path, ...],
    store_folder: Path | None,
) -> None:
    """Render records as text, markdown, one HTML page, CSV or JSON; without paths, all of the store.

    \b
    genbench leaderboard leaderboard/records -o leaderboard/README.md
    genbench leaderboard genbench-results/NAME -o board.html
    genbench leaderboard submissions --verified verifications
    """
    from genbench.records import read_records
    from genbench_leaderboard.board import build_board
    from genbench_leaderboard.tables import render_csv, render_json, render_markdown, render_terminal
    from genbench_leaderboard.verification import read_verified

    if out is not None:
        form = form or _form_of(out)
        check_output(out, "--out")
    found = list(read_records(records)) if records else list(_saved(make_store(store_folder)))
    if not found:
        raise UsageError("no records found", hint="genbench run --generator ddpm --classifier resnet32")
    _refuse_failures(found, records)
    board = build_board(found, read_verified(verified))
    if form == "html":
        content = _page(board, found, records)
    else:
        renders = {"markdown": render_markdown, "csv": render_csv, "json": render_json}
        content = renders.get(form or "text", render_terminal)(board)
    if out is None:
        echo(content)
    else:
        with writing_output(out, "--out"):
            write_output(out, content.encode())
        echo(f"written: {out}", err=True)


def _page(board: "Board", found: "Sequence[Record]", places: "Sequence[Path]") -> str:
    """Return the board as a page, with the pictures that lie beside its records."""
    from genbench.sheets import find_shown
    from genbench_leaderboard.page import render_page

    return render_page(board, found, find_shown(places))


def _refuse_failures(found: "Sequence[Record]", places: Sequence[Path]) -> None:
    """Refuse records of failures alone, of which there is no board: say what failed, and end with 1."""
    if any(record.result.status == "ok" for record in found):
        return
    said = Counter(one_line(record.result.reason, LONGEST_SENTENCE) for record in found)
    echo("nothing was measured, and there is no board: every evaluation failed", err=True)
    for reason, times in said.most_common(_SHOWN_FAILURES):
        echo(f"  {reason}" + (f"   ({times} times)" if times > 1 else ""), err=True)
    if len(said) > _SHOWN_FAILURES:
        echo(f"  and {len(said) - _SHOWN_FAILURES} other reasons, in {', '.join(map(str, places))}", err=True)
    sys.exit(ExitCode.CELLS_FAILED)


def _form_of(out: Path) -> str:
    """Return the form that a file's suffix stands for; a file without one is text.

    Raises:
        UsageError: The suffix stands for none.
    """
    suffix = out.suffix.lower()
    if suffix and suffix not in _BY_SUFFIX:
        raise UsageError(
            f"--out {out}: no form of a board is called {suffix}; known are {', '.join(_BY_SUFFIX)}",
            hint=f"genbench leaderboard ... --format {'|'.join(_FORMATS)} -o {out}",
        )
    return _BY_SUFFIX.get(suffix, "text")


def _saved(store: "Store") -> "Iterator[Record]":
    """Yield the records of the store; one that cannot be read is named and left out: a run writes it anew."""
    from genbench.upkeep import saved_records

    for path, found in saved_records(store):
        if isinstance(found, str):
            echo(f"left out records/{path.name}: {found}", err=True)
        else:
            yield found
