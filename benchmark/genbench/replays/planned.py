"""What a replay would run: the arms, cells and steps of its columns, what is cached, and what it takes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genbench import hub, terminal
from genbench.outlook import due_steps, survey
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.registry import Registry
from genbench.replays.columns import suite_of
from genbench.replays.experiment import Column, Experiment
from genbench.replays.listed import whole_takes
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite


@dataclass(frozen=True)
class PlannedColumn:
    """A column before it is run.

    Attributes:
        name: `replayed` or `controlled`.
        arms: Its rows, in words.
        seeds: Of every cell.
        cells: How many it has; None where files that the plan depends on must be fetched first.
        cells_to_run: Of which a step is to be run.
        steps_to_run: Of all cells, those that serve several counted once.
        steps_cached: Steps that the store has.
        absent: Repositories whose files a run would fetch.
    """

    name: str
    arms: tuple[str, ...]
    seeds: int
    cells: int | None
    cells_to_run: int = 0
    steps_to_run: int = 0
    steps_cached: int = 0
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedReplay:
    """What a replay would do.

    Attributes:
        columns: Those that it would run.
        takes: The estimate of the experiment's file.
        changes: What the scaled version has smaller; empty for the whole.
        command: What runs it; empty where nothing can be run.
    """

    columns: tuple[PlannedColumn, ...]
    takes: str
    changes: tuple[str, ...]
    command: str


def planned(
    experiment: Experiment,
    registry: Registry,
    store: Store,
    *,
    is_scaled: bool = False,
    only: Sequence[str] | None = None,
    command: str = "",
) -> PlannedReplay:
    """Plan an experiment; nothing is run, and nothing is fetched.

    Args:
        experiment: As it would be run: the scaled version, if that would.
        registry: Where components are found.
        store: What may hold some of the steps.
        is_scaled: Whether it is the scaled version.
        only: Which columns would be run; None for all.
        command: What runs it.

    Raises:
        UsageError: A component or one of its options is unknown.
    """
    columns = {name: one for name, one in experiment.columns.items() if only is None or name in only}
    scale = experiment.scale if is_scaled else None
    runs = experiment.runs_here
    return PlannedReplay(
        tuple(_planned(name, one, experiment, registry, store) for name, one in columns.items()),
        _takes(experiment, is_scaled=is_scaled) if runs else "",
        scale.changes if scale else (),
        command if runs else "",
    )


def _takes(experiment: Experiment, *, is_scaled: bool) -> str:
    if is_scaled and experiment.scale is not None:
        minutes = experiment.scale.core_minutes
        return f"{minutes:g} core-minutes for both columns, with the experiment's own seeds"
    return whole_takes(experiment)


def _planned(
    name: str, column: Column, experiment: Experiment, registry: Registry, store: Store
) -> PlannedColumn:
    titles = {one.arm: one.name for one in reversed(experiment.reported) if one.arm}
    arms = tuple(arm.title or titles.get(key, key) for key, arm in column.arms.items())
    found, absent = _plan(suite_of(experiment, column, name), registry, store)
    if found is None:
        return PlannedColumn(name, arms, column.seeds, None, absent=absent)
    states = survey(found, store)
    due = set(due_steps(found, states))
    return PlannedColumn(
        name,
        arms,
        column.seeds,
        len(found.cells),
        sum(not due.isdisjoint(cell.steps) for cell in found.cells),
        len(due),
        sum(state == "cached" for state in states.values()),
        absent,
    )


def _plan(
    content: Mapping[str, Any], registry: Registry, store: Store
) -> tuple[Plan | None, tuple[str, ...]]:
    """Plan a suite without fetching anything; no plan where it depends on files that are not here."""
    suite = make_suite(content, "replay")
    found, absent = hub.without_fetching(
        lambda file_digest: make_plan(resolve_suite(registry, suite, file_digest)), store.fingerprint
    )
    if isinstance(found, Plan):
        return found, tuple(one.repository for one in absent)
    if not absent:
        raise found
    return None, tuple(one.repository for one in absent)


def plan_lines(found: PlannedReplay) -> Iterator[str]:
    """Yield a plan for a terminal, a paragraph each."""
    for column in found.columns:
        arms = "\n".join(terminal.filled(arm, "    ", "  * ") for arm in column.arms)
        yield terminal.filled(f"{column.name}: {_amount(column)}") + "\n" + arms
    if found.takes:
        yield f"takes about: {found.takes}"
    if found.changes:
        changes = "\n".join(terminal.filled(change, "    ", "  * ") for change in found.changes)
        yield f"--scale changes\n{changes}"
    if found.command:
        yield f"Run it with:\n  {found.command}"


def plan_points(found: PlannedReplay) -> Iterator[str]:
    """Yield a plan as the points of a list, without the command."""
    for column in found.columns:
        yield f"{column.name}: {_amount(column)}: {', '.join(column.arms)}"
    if found.takes:
        yield f"takes about: {found.takes}"
    if found.changes:
        yield f"--scale changes: {'; '.join(found.changes)}"


def _amount(column: PlannedColumn) -> str:
    of = f"{terminal.count(len(column.arms), 'arm')}, {terminal.count(column.seeds, 'seed')}"
    fetched = f"; fetched first: {', '.join(column.absent)}" if column.absent else ""
    if column.cells is None:
        return f"{of}; its steps depend on files that are not here{fetched}"
    return (
        f"{of}; {terminal.count(column.cells, 'cell')}, {column.cells_to_run:,} to run; "
        f"{terminal.count(column.steps_to_run, 'step')} to run, {column.steps_cached:,} cached{fetched}"
    )


def plan_entry(found: PlannedReplay) -> dict[str, Any]:
    """Return a plan as it stands in JSON."""
    return asdict(found)
