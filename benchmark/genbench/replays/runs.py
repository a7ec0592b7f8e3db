"""Running an experiment: its columns as runs with folders of their own, and the tables beside them.

OUT/NAME-replay/replay.md, replay.json     the tables; OUT/NAME-replay-scaled for the scaled version
OUT/NAME-replay/NAME-replayed/             a run, as `genbench run` leaves it
OUT/NAME-replay/NAME-controlled/           another one
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from genbench.api import carry_out
from genbench.disk import check_output, write_output, writing_output
from genbench.errors import UsageError
from genbench.escaping import markdown_text
from genbench.records import Record, read_records
from genbench.registry import Registry
from genbench.replays.columns import suite_of
from genbench.replays.conclusions import TABLES, folder_of
from genbench.replays.experiment import Experiment, scaled
from genbench.replays.outcome import Outcome, outcome_of, stored_outcome
from genbench.replays.planned import PlannedReplay, planned
from genbench.replays.shown import as_json, as_markdown
from genbench.replays.stored import recomputed
from genbench.runner import Observer
from genbench.runs import BOARDS
from genbench.store import Store


class Progress(Protocol):
    """What shows how far a run is."""

    @property
    def observer(self) -> Observer:
        """What the runner talks to."""
        ...


MakeProgress = Callable[[], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class How:
    """How an experiment is run.

    Attributes:
        registry: Where components are found.
        store: Where results are.
        out: Folder of results.
        command: What repeats it.
        is_scaled: Whether the scaled version is run.
        seeds: In place of the number of seeds of both columns.
        columns: Which columns are run; None for all, empty for none.
        planned_columns: Which columns a dry run plans; None for all.
        passed_on: Options of `genbench.run`, those that are None left out.
    """

    registry: Registry
    store: Store
    out: Path
    command: str = ""
    is_scaled: bool = False
    seeds: int | None = None
    columns: Sequence[str] | None = None
    planned_columns: Sequence[str] | None = None
    passed_on: Mapping[str, Any] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """Return the folder of an experiment."""
        return folder_of(self.out, name, is_scaled=self.is_scaled)


@dataclass(frozen=True)
class Replayed:
    """What came out, and what to say of the files; of a dry run, what it would have run."""

    found: Outcome
    lines: tuple[str, ...]
    plan: PlannedReplay | None = None


def replay(name: str, experiment: Experiment, how: How, progress: MakeProgress) -> Replayed:
    """Run an experiment and write its tables.

    Args:
        name: Of the experiment.
        experiment: As its file has it.
        how: How.
        progress: Makes what shows how far a run is, for each column.

    Raises:
        UsageError: It has no scaled version, or a component is unknown.
        GenbenchError: As `genbench.run` raises.
    """
    _check_columns(name, experiment, how.columns or how.planned_columns)
    chosen = scaled(experiment, name) if how.is_scaled else experiment
    if how.seeds is not None:
        columns = {
            column: one.model_copy(update={"seeds": how.seeds}) for column, one in chosen.columns.items()
        }
        chosen = chosen.model_copy(update=columns)
    folder = how.folder(name)
    dry = how.columns is not None and not how.columns
    if experiment.stored is not None:
        values = {} if dry else recomputed(experiment.stored, experiment.reported)
        found = stored_outcome(name, experiment, values, how.command)
    else:
        if not dry:
            _check_runnable(name, experiment)
            check_output(folder, "--out", files=TABLES)
        records = dict(_records(name, chosen, how, progress))
        found = outcome_of(
            name, chosen, records, how.registry, how.store, is_scaled=how.is_scaled, command=how.command
        )
    if dry:
        return Replayed(found, (), _planned(chosen, how))
    return Replayed(found, _written(folder, found))


def _planned(chosen: Experiment, how: How) -> PlannedReplay:
    return planned(
        chosen,
        how.registry,
        how.store,
        is_scaled=how.is_scaled,
        only=how.planned_columns,
        command=how.command,
    )


def _check_columns(name: str, experiment: Experiment, wanted: Sequence[str] | None) -> None:
    """Refuse a column that an experiment does not have."""
    lacking = [column for column in wanted or () if column not in experiment.columns]
    if lacking:
        there = " and ".join(experiment.columns) or "none"
        raise UsageError(
            f"{name} has no column {lacking[0]!r} to run; found: {there}",
            hint=f"genbench replay {name} --dry-run",
        )


def _check_runnable(name: str, experiment: Experiment) -> None:
    if not experiment.runs_here:
        raise UsageError(
            f"{name} cannot be run: {'; '.join(experiment.needs)}",
            hint=f"genbench replay {name} --dry-run   (shows what was reported)",
        )


def _records(
    name: str, experiment: Experiment, how: How, progress: MakeProgress
) -> Iterator[tuple[str, Sequence[Record]]]:
    """Yield the records of each column: of a run now, or of an earlier one that lies in the folder."""
    folder = how.folder(name)
    for column, one in experiment.columns.items():
        title = f"{name}-{column}{'-scaled' if how.is_scaled else ''}"
        if how.columns is None or column in how.columns:
            said = {key: value for key, value in how.passed_on.items() if value is not None}
            with progress() as shown:
                results = carry_out(
                    suite_of(experiment, one, title), {**said, "out": folder}, how.command, shown.observer
                )
            if how.is_scaled and results.folder is not None:
                _label(results.folder, experiment)
            yield column, list(results.records)
        elif (left := _left_by_earlier_runs(folder, title)) is not None:
            yield column, list(read_records([left]))


def _label(folder: Path, experiment: Experiment) -> None:
    """Say above the board of a scaled run what was changed: the board itself knows options alone."""
    page = folder / BOARDS[0]
    if experiment.scale is not None and page.is_file():
        text = f"> scaled: {markdown_text('; '.join(experiment.scale.changes))}\n\n"
        write_output(page, (text + page.read_text(encoding="utf-8")).encode())


def _left_by_earlier_runs(folder: Path, title: str) -> Path | None:
    """Return the newest records of a column; one that was run otherwise has a number behind its name."""
    found = [one for one in folder.glob(f"{title}*/records") if one.is_dir()]
    return max(found, key=lambda one: one.stat().st_mtime_ns, default=None)


def _written(folder: Path, found: Outcome) -> tuple[str, ...]:
    with writing_output(folder, "--out"):
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in zip(TABLES, (as_markdown(found), as_json(found)), strict=True):
            write_output(folder / file, text.encode())
    runs = "; the runs stand beside them" if found.experiment.columns else ""
    return (f"written: {folder}/replay.md and .json{runs}",)
