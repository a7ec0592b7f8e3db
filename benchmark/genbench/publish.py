"""What a run leaves in its folder: board, records, pictures, the suite, and what `genbench runs` lists.

    FOLDER/leaderboard.md, .csv, .json   the board of this run
    FOLDER/records/*.json                every measurement, and what failed at the last attempt
    FOLDER/pictures.md, pictures/        what evaluators drew
    FOLDER/shown/                        contact sheets of synthetic images, for the rows of published boards
    FOLDER/suite.toml                    the run as a suite
    FOLDER/run.json                      one line of the index (`genbench.runs`)

A run that measured nothing writes no board; a success is never removed or replaced by a failure.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genbench import terminal
from genbench.digest import digest
from genbench.disk import check_output, write_output, writing_output
from genbench.errors import DataError
from genbench.escaping import markdown_span, one_line
from genbench.executors import Event
from genbench.journals import Journal
from genbench.pictures import write_gallery
from genbench.plan import Plan, Step
from genbench.records import Record, read_record
from genbench.registry import package_digest
from genbench.runner import Observer, RunSummary
from genbench.runs import (
    BOARDS,
    RECORDS,
    SUITE,
    WRITTEN,
    Place,
    Run,
    choose_place,
    claimed,
    finish,
    new_run,
    now,
    place_to_publish,
    scope_of,
)
from genbench.sheets import FOLDER as SHOWN
from genbench.sheets import read_shown
from genbench.showing import write_shown
from genbench.store import Store
from genbench.suite import Suite
from genbench.verification.layout import suite_text

_KEPT = "every result is in the store, and nothing is run again"


@dataclass(frozen=True)
class Published:
    """What was written.

    Attributes:
        folder: Where.
        run: What the index says of it; its `headline` says in words what the board found.
        board: The board as text for a terminal, without its headline; empty where nothing was measured.
        lines: What to say of the files.
    """

    folder: Path
    run: Run
    board: str
    lines: tuple[str, ...]


@dataclass
class Publication:
    """A run and the folder that it has; made before anything runs, written to when it is over.

    Where a different run was faster, the folder changes: when it is claimed, or when it is written to.

    Attributes:
        plan: What is run.
        suite: The suite that it was made of.
        store: Where results are.
        place: The folder.
        run: What the index says of it as yet.
        named: Whether somebody chose the suite's name as that of the folder.
        suite_file: The file that the suite was read from.
    """

    plan: Plan
    suite: Suite
    store: Store
    place: Place
    run: Run
    named: bool = False
    suite_file: Path | None = None

    @classmethod
    def prepared(
        cls,
        plan: Plan,
        suite: Suite,
        store: Store,
        out: Path,
        command: str,
        *,
        named: bool = False,
        suite_file: Path | None = None,
    ) -> "Publication":
        """Choose the folder of a run, and see that it can be written.

        Args:
            plan: What is run.
            suite: The suite that it was made of.
            store: Where results are.
            out: Where the folders of runs are.
            command: What repeats it.
            named: Whether somebody chose the suite's name as that of the folder.
            suite_file: The file that the suite was read from; that of the run's own folder repeats it.

        Raises:
            UsageError: The chosen name is another run's, or something is in the way.
            OutputError: The disk is full or failing.
        """
        scope = scope_of(plan)
        place = choose_place(out, suite, scope, named=named)
        _check_folder(place.folder)
        run = new_run(plan, suite, place, command, scope, suite_file)
        return cls(plan, suite, store, place, run, named, suite_file)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Mark the folder as this run's, while it runs; another one, if that was taken meanwhile.

        Raises:
            UsageError: The chosen name was taken meanwhile.
        """
        out, scope = self.place.folder.parent, self.run.scope
        claim = claimed(out, self.suite, scope, self.store, self._run_at, named=self.named)
        with claim as (self.place, self.run):
            yield

    def watched(self, observer: Observer) -> Observer:
        """Return an observer that also keeps the journal that `genbench status` reads; once it is claimed."""
        journal = Journal(self.store.root, self.run.id)

        def planned(steps: Sequence[Step], plan: Plan) -> None:
            journal.planned(steps, plan)
            observer.planned(steps, plan)

        def event(step: Step, event: Event) -> None:
            journal.event(step, event)
            observer.event(step, event)

        return replace(observer, planned=planned, event=event)

    def _run_at(self, place: Place) -> Run:
        """Return this run's line, if it is written there."""
        return new_run(self.plan, self.suite, place, self.run.command, self.run.scope, self.suite_file)

    def publish(self, summary: RunSummary) -> Published:
        """Write what a run left; `place` says where, which may be another folder than was claimed.

        Raises:
            OutputError: It cannot be written.
        """
        mine = place_to_publish(self.place, self.run, self.suite, self._run_at)
        with writing_output(self.place.folder, "--out", kept=_KEPT), mine as (self.place, self.run):
            folder = self.place.folder
            (folder / RECORDS).mkdir(parents=True, exist_ok=True)
            records = _with_successes_of_before(summary.records, folder / RECORDS)
            cells = [one for one in records if one.result.subject == "cell"]
            measured = len(_cells(one for one in cells if one.result.status == "ok"))
            run = self.run.model_copy(
                update={
                    "ended": now(),
                    "state": "done",
                    "measured": measured,
                    "failed": len(_cells(one for one in cells if one.result.status != "ok")),
                }
            )
            _write_records(records, folder / RECORDS)
            board: str = ""
            lines: tuple[str, ...] = (
                f"nothing was measured: no board; what failed is in {folder / RECORDS}",
            )
            if measured:
                run, board, lines = self._write_board(run, records)
            finish(folder, run, self.store)
        return Published(folder, run, board, lines)

    def _write_board(self, run: Run, records: Sequence[Record]) -> tuple[Run, str, tuple[str, ...]]:
        folder = self.place.folder
        pictures = write_gallery(self.plan, self.store, folder)
        write_shown(self.plan, self.store, folder)
        declared = self.plan.declared
        family = declared.declaration.family if declared else ""
        board = rendered(records, family, run.command, self.store, _strips(folder))
        run = run.model_copy(update={"headline": board["headline"]})
        page = board["md"] + f"\n{_where_to_type(run)}\n"
        page += f"\n[{pictures} pictures of these cells](pictures.md)\n" if pictures else ""
        for name, content in zip(BOARDS, (page, board["csv"], board["json"]), strict=True):
            write_output(folder / name, content.encode())
        head = f"# Repeat with, in {run.typed_in}: {one_line(run.command)}\n"
        write_output(folder / SUITE, (head + suite_text(self.suite)).encode())  # what `submit` plans again
        lines = [f"written: {folder}/leaderboard.md, .csv, .json, {terminal.count(len(records), 'record')}"]
        lines += [f"pictures of networks: {folder}/pictures.md"] if pictures else []
        return run, board["txt"], tuple(lines)


def check_results(out: Path, suite: Suite) -> None:
    """Refuse, before a suite is planned, a place where no run could write.

    Raises:
        UsageError: Something is in the way, or the place is not writable.
        OutputError: The disk is full or failing.
    """
    _check_folder(out / suite.name)


def _check_folder(folder: Path) -> None:
    check_output(folder, "--out", folders=(RECORDS, "pictures", SHOWN), files=WRITTEN)


def _strips(folder: Path) -> dict[str, str]:
    """Return the strips of synthetic images beside a run, as seen from its board, by `images_id`."""
    shown = read_shown(folder)
    return {name: f"{SHOWN}/{one.sheet.strip}" for name, one in shown.items() if one.sheet.strip}


def rendered(
    records: Sequence[Record],
    family: str,
    command: str,
    store: Store,
    strips: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return a board in every form, by suffix, and its `headline`; from the store if it was rendered before.

    What a board says depends on the records, on the command that repeats it, on the terminal's width, on the
    pictures beside it and on the code that renders it, and on nothing else.

    Args:
        records: Of the run.
        family: What its suite declared; empty for all.
        command: What repeats the run; a record may be of an earlier one.
        store: Where boards are kept.
        strips: Paths of strips of synthetic images, by `Row.images_id`: the Markdown shows them.
    """
    code = [package_digest("genbench"), package_digest("genbench_leaderboard")]
    about = sorted([record.result_digest, record.run_digest] for record in records)
    key = digest([*code, family, command, terminal.width(), about, dict(strips or {})])
    known: dict[str, str] | None = store.boards.find(key)
    if known is None:
        from genbench_leaderboard.board import build_board
        from genbench_leaderboard.headline import headline
        from genbench_leaderboard.tables import render_csv, render_json, render_markdown, render_terminal

        board = build_board(records, family=family, command=command)
        known = {
            "txt": render_terminal(board, with_headline=False),  # it is said below, where it is read
            "md": render_markdown(board, strips),
            "csv": render_csv(board),
            "json": render_json(board),
            "headline": headline(board),
        }
        store.boards.keep(key, known)
    return known


# ------------------------------------------------------------------------------------------------- records


def _with_successes_of_before(records: Sequence[Record], folder: Path) -> list[Record]:
    """Replace a failure by what an earlier attempt at the same evaluation left here, if that succeeded."""
    before: dict[str, Record] = {}
    if any(record.result.status != "ok" for record in records):
        before = {
            record.result.key: record for _, record in _readable(folder) if record.result.status == "ok"
        }
    return [
        before.get(record.result.key, record) if record.result.status != "ok" else record
        for record in records
    ]


def _write_records(records: Sequence[Record], folder: Path) -> None:
    """Write the records of a run, and remove what failed at an earlier attempt and is no part of this one."""
    names = {record.file_name for record in records}
    for record in records:
        path, content = folder / record.file_name, record.to_json().encode()
        if not path.is_file() or path.read_bytes() != content:  # a crash may have left half of it
            write_output(path, content)
    for path, record in _readable(folder, names):
        if record.result.status != "ok":
            path.unlink(missing_ok=True)


def _readable(folder: Path, without: set[str] | None = None) -> Iterator[tuple[Path, Record]]:
    """Yield the records in a folder; what cannot be read as one is left alone."""
    for path in sorted(folder.glob("*.json")):
        if path.name not in (without or ()):
            with contextlib.suppress(DataError):
                yield path, read_record(path, inside=folder.resolve())


def _cells(records: Iterator[Record]) -> set[tuple[object, ...]]:
    """Return the cells that records are about, several evaluations of one counted once."""
    return {
        (
            *(digest(one.identity) if one else "" for one in _components(record)),
            record.result.mix,
            record.result.index,
        )
        for record in records
    }


def _components(record: Record) -> tuple[Any, ...]:
    result = record.result
    return result.dataset, result.generator, result.filter, result.classifier


def _where_to_type(run: Run) -> str:
    place = markdown_span(run.typed_in)
    return f"Type the command in the folder {place}, as seen from this page: its paths begin there."
