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

_FORMATS = ("text", "markdown", "csv", "json")
_BY_SUFFIX = {".md": "markdown", ".markdown": "markdown", ".csv": "csv", ".json": "json", ".txt": "text"}
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
    help="How to write it [default: by the suffix of --out: .md, .csv, .json, .txt; else text].",
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
    store_folder: Path | None,
) -> None:
    """Render records as markdown, text, CSV or JSON; without paths, all records of the store.

    \b
    genbench leaderboard leaderboard/records -o leaderboard/README.md
    genbench leaderboard submissions --verified verifications
    genbench leaderboard genbench-results/cifar10-5k genbench-results/cifar10-scaling --evaluate usefulness
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
    found += _found_across(evaluators, found)
    form = form or "text"
    render = {"text": render_terminal, "markdown": render_markdown, "csv": render_csv, "json": render_json}[
        form
    ]
    content = render(build_board(found, read_verified(verified)))
    if out is None:
        echo(content)
    else:
        with writing_output(out, "--out"):
            write_output(out, content.encode())
        echo(f"written: {out}", err=True)


def _found_across(evaluators: Sequence[str], records: "Sequence[Record]") -> "list[Record]":
    """Return what suite evaluators say of records of any number of runs."""
    if not evaluators:
        return []
    from genbench.findings import find
    from genbench.request import make_registry

    return find(evaluators, records, make_registry((), no_plugins=True))


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
