"""`genbench leaderboard verify`."""

import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._options import (
    device_option,
    make_store,
    store_option,
    timeout_option,
)
from genbench.cli._output import Styled, echo, warn
from genbench.devices import choose_workers
from genbench.disk import check_file, write_output, writing_output
from genbench.errors import ExitCode

if TYPE_CHECKING:
    from genbench.levels import Checked, Verification
    from genbench.verification.rerun import Wanted

_COLOURS = {"reported": "yellow", "recomputed": "green", "reproduced": "green"}


@click.command("verify")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER")
@click.option(
    "--rerun",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Draw N cells and run them again, in a store of their own.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Draw the same cells as before [default: a new one]."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What the leaderboard reads [default: <FOLDER>.verification.json, beside it].",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(min=0), default=1, show_default=True, help="Worker processes."
)
@device_option
@timeout_option
@store_option
def command(folder: Path, out: Path | None, store_folder: str | Path | None, **options: Any) -> None:
    """Recompute a submission from its predictions, and name what contradicts.

    FOLDER is what `genbench leaderboard submit` wrote. It is data: nothing of it is executed or unpickled, no
    plugin is loaded, and labels come from the dataset as this machine loads it. Each record ends as
    *reported* (its author says so), *recomputed* (its numbers follow from its predictions) or *reproduced*
    (run again, with the same result). Exit code 5 if anything contradicts.

    \b
    genbench leaderboard verify submissions/my-rows
    genbench leaderboard verify submissions/my-rows --rerun 2
    """
    from genbench.cli._progress import Lines
    from genbench.runner import Observer
    from genbench.verification.verify import verify

    whole = folder.resolve()
    place = out if out is not None else whole.with_name(f"{whole.name}.verification.json")
    check_file(place, "--out")
    store = make_store(store_folder)
    wanted = _wanted(options) if options["rerun"] else None
    lines = Lines()
    observer = Observer(event=lines.progress, notice=lines.notice)
    with tempfile.TemporaryDirectory(prefix="genbench-verify-") as scratch:
        found = verify(folder, Path(scratch), store, wanted, observer)
    with writing_output(place, "--out"):
        write_output(place, found.to_json().encode())
    for parts in _said(found):
        echo(*parts)
    echo(f"written: {place}", err=True)
    if found.contradicts:
        sys.exit(ExitCode.CONTRADICTED)


def _wanted(options: Mapping[str, Any]) -> "Wanted":
    from genbench.verification.layout import COMMAND
    from genbench.verification.rerun import Wanted
    from genbench.worker import RunOptions

    how = RunOptions(
        **choose_workers(options["device"], options["jobs"], warn)._asdict(),
        step_timeout_seconds=options["step_timeout"],
        command=COMMAND,
        keep_records=False,
    )
    seed = secrets.randbits(32) if options["seed"] is None else options["seed"]
    return Wanted(options["rerun"], seed, how)


def _said(found: "Verification") -> "Iterator[tuple[str | Styled, ...]]":
    """Yield what to print: a line per record, what contradicts it, and a summary."""
    for one in sorted(found.records, key=lambda record: record.name):
        level = "contradicted" if one.contradictions else one.level
        yield (Styled(f"{level:13}", colour=_COLOURS.get(level, "red")), one.name)
        for line in one.contradictions:
            yield (Styled("  contradiction: ", colour="red"), line)
        for line in one.unchecked:
            yield (f"  not recomputed: {line}",)
        if one.rerun is not None:
            yield (f"  {_rerun(one)}",)
    for line in found.contradictions:
        yield (Styled("contradiction: ", colour="red"), line)
    for line in found.notes:
        yield (f"note: {line}",)
    counts = {level: sum(one.level == level for one in found.records) for level in _COLOURS}
    broken = sum(bool(one.contradictions) for one in found.records) + len(found.contradictions)
    yield (", ".join(f"{count} {level}" for level, count in counts.items()) + f"; {broken} contradicted",)
    if found.drawn:
        yield (f"run again: {', '.join(found.drawn)} (--rerun {len(found.drawn)} --seed {found.seed})",)


def _rerun(one: "Checked") -> str:
    rerun = one.rerun
    assert rerun is not None
    how = "byte for byte" if rerun.same_machine else f"within {rerun.tolerance_points:.2g} points of top-1"
    where = "the same kind of machine" if rerun.same_machine else "another kind of machine"
    outcome = "agrees" if rerun.agrees else "differs"
    return (
        f"run again on {where}: {outcome}, compared {how}; {rerun.seconds:.1f} s here, "
        f"{rerun.seconds_reported:.1f} s reported"
    )
