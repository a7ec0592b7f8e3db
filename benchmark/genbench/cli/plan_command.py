"""`genbench plan`."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._durations import Budget, size
from genbench.cli._options import (
    device_option,
    make_registry,
    make_store,
    on_the_dataset,
    plugin_options,
    read_suite,
    records_option,
    store_option,
    suite_options,
)
from genbench.cli._output import echo, warn
from genbench.devices import choose_workers, device_name
from genbench.errors import UsageError
from genbench.terminal import as_wide, plain_table

if TYPE_CHECKING:
    from genbench.cli._plan_cost import Cost
    from genbench.hub import Absent
    from genbench.outlook import State
    from genbench.plan import Plan
    from genbench.registry import Registry
    from genbench.store import Store
    from genbench.suite import Suite

_SHOWN_PATTERNS = 4  # of the files that would be fetched; --json has all
_SHOWN_CELLS = 30
_SHOWN_FAILURES = 5


@click.command("plan")
@suite_options
@click.option(
    "--budget",
    "budgets",
    type=Budget(),
    multiple=True,
    metavar="TIME|steps|epochs",
    help="A time by the clock, such as 30s, 90m, 2h or 1d: say what of the run fits into it. `steps` and "
    "`epochs` are those of a run; both may be given.",
)
@device_option
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=0),
    help="Workers that would share the work [default: cores, or the number of GPUs].",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole plan, with its cost, as JSON.")
@records_option
@store_option
@plugin_options
def command(**options: Any) -> None:
    """Show the cells and steps of a run, what is cached, and what the rest would cost.

    Takes the same SUITE and options as `genbench run`, runs nothing and downloads nothing. Time is estimated
    from earlier steps of the same work on the same kind of device, and is unknown where there are none.

    \b
    genbench plan -g ddpm -c resnet32
    genbench plan -g ddpm -c resnet32 --budget 90m
    """
    from genbench.outlook import due_steps, survey
    from genbench.preflight import remarks, would_fail

    options["budget"], seconds = _budgets(options.pop("budgets"))
    registry = make_registry(options["plugin_files"], options["no_plugins"])
    store = make_store(options["store_folder"])
    suite = read_suite(options["suite"], options)
    plan, absent, changes = _planned(registry, store, suite)
    downloads = [(one, one.download_bytes()) for one in absent]
    if plan is None:
        echo("\n".join(_download_lines(downloads)))
        echo("the plan depends on these files: `genbench run` fetches them, and then runs")
        return
    states = survey(plan, store)
    adopted = _adopted(plan, store, states, options["adopted"])
    todo = due_steps(plan, states)
    cost = _cost(plan, store, registry, todo, options)
    failing = [str(problem) for problem in would_fail(plan, todo, store, registry)]
    if options["as_json"]:
        echo(json.dumps(_as_json(plan, states, failing, cost, downloads, seconds), indent=1))
    else:
        echo("\n".join(_as_text(plan, states, store)))
        for line in _cost_text(cost, downloads, seconds):
            echo(line if "\n" in line else as_wide(line))
        prospects = "\n".join(_prospects(plan, store))
        if prospects:
            echo("\n" + as_wide(prospects))
        for problem in failing:
            echo(as_wide(f"would fail: {problem}"))
        notes = (on_the_dataset(options, suite), *changes, adopted, *remarks(plan, todo, store, registry))
        for remark in notes:
            if remark:
                echo(as_wide(f"note: {remark}"))


# A run's own `--budget` is one of the values of this one.
command.params = [one for one in command.params if "--budget" not in one.opts or isinstance(one.type, Budget)]


def _budgets(given: Sequence[str | float]) -> tuple[str | None, float | None]:
    """Part the budget of a training from that of the user."""
    words = [one for one in given if isinstance(one, str)]
    times = [one for one in given if isinstance(one, float)]
    if len(words) > 1 or len(times) > 1:
        raise UsageError("--budget: give one time, and one of steps and epochs", hint="genbench plan --help")
    return next(iter(words), None), next(iter(times), None)


def _planned(
    registry: "Registry", store: "Store", suite: "Suite"
) -> "tuple[Plan | None, Sequence[Absent], Sequence[str]]":
    """Plan a suite without fetching anything, and say what was changed; no plan where files are not here."""
    from genbench import hub
    from genbench.planner import make_plan
    from genbench.request import with_smaller_batches
    from genbench.spec import resolve_suite

    def planned(file_digest: "Callable[[Path], str]") -> "tuple[Plan, Sequence[str]]":
        resolved = resolve_suite(registry, suite, file_digest, store.image_problem)
        smaller, changes = with_smaller_batches(resolved, suite, registry, store)
        if changes:
            resolved = resolve_suite(registry, smaller, file_digest, store.image_problem)
        return make_plan(resolved), changes

    try:
        found, absent = hub.without_fetching(planned, store.fingerprint)
    finally:
        store.fingerprints.keep()
    if isinstance(found, tuple):
        plan, changes = found
        return plan, absent, changes
    if not absent:
        raise found
    return None, absent, ()


def _cost(
    plan: "Plan", store: "Store", registry: "Registry", todo: Sequence[str], options: Mapping[str, Any]
) -> "Cost":
    """Estimate the steps to run on the device and with the workers that a run would have."""
    from genbench.cli._plan_cost import Cost
    from genbench.costs import Estimator, Place
    from genbench.machine import processor

    workers = choose_workers(options["device"], options["jobs"], warn)
    place = Place(device_name(workers.device), processor())
    count = max(1, min(workers.jobs, len(todo)))
    return Cost.of(plan, todo, Estimator(plan, store, registry, place), place.of("train"), count)


def _cost_text(
    cost: "Cost", downloads: "Sequence[tuple[Absent, int | None]]", budget: float | None
) -> Iterator[str]:
    from genbench.cli._plan_cost import budget_lines, cost_lines, cost_table

    if not cost.todo:
        yield "nothing to run: every step is cached"
        return
    header, rows = cost_table(cost)
    yield plain_table(header, rows, right=(1, 3, 4, 5))
    yield ""
    yield from cost_lines(cost)
    yield from _download_lines(downloads)
    if budget is not None:
        yield from budget_lines(cost, budget)


def _download_lines(downloads: "Sequence[tuple[Absent, int | None]]") -> Iterator[str]:
    for absent, count in downloads:
        much = "size unknown: the Hub cannot be asked" if count is None else size(count)
        listed = ", ".join(absent.patterns[:_SHOWN_PATTERNS])
        listed += ", ..." if len(absent.patterns) > _SHOWN_PATTERNS else ""
        yield f"download: {absent.kind} {absent.repository} ({listed}), {much}"
    if not downloads:
        yield "download: nothing"


def _as_json(
    plan: "Plan",
    states: "Mapping[str, State]",
    failing: Sequence[str],
    cost: "Cost",
    downloads: "Sequence[tuple[Absent, int | None]]",
    budget: float | None,
) -> dict[str, Any]:
    from genbench.cli._plan_cost import budget_lines, cost_json

    return {
        "would_fail": failing,
        "cells": [
            {"name": cell.name, "state": _cell_state(cell.steps, states), "steps": cell.steps}
            for cell in plan.cells
        ],
        "steps": {
            key: {"label": step.label, "state": states[key], "document": step.document}
            for key, step in plan.steps.items()
        },
        "cost": cost_json(cost),
        "downloads": [{**absent._asdict(), "bytes": count} for absent, count in downloads],
        "budget": None if budget is None else list(budget_lines(cost, budget)),
    }


def _as_text(plan: "Plan", states: "Mapping[str, State]", store: "Store") -> Iterator[str]:
    from genbench.plan import STAGES

    cell_rows = [(cell.name, _cell_state(cell.steps, states)) for cell in plan.cells]
    yield plain_table(["cell", "state"], cell_rows[:_SHOWN_CELLS])
    if len(cell_rows) > _SHOWN_CELLS:
        yield f"... and {len(cell_rows) - _SHOWN_CELLS} more (--json lists all)"
    counts = Counter((step.stage, states[key]) for key, step in plan.steps.items())
    kinds: tuple[State, ...] = ("cached", "new", "stale", "failed")
    step_rows = [(stage, *(str(counts[stage, kind] or "") for kind in kinds)) for stage in STAGES]
    used = [row for row in step_rows if any(row[1:])]
    yield ""
    yield plain_table(["steps", *kinds], used, right=(1, 2, 3, 4))
    yield ""
    yield from plan.remarks()
    failed = [key for key in plan.steps if states[key] == "failed"]
    for key in failed[:_SHOWN_FAILURES]:
        failure = store.failures.find(key) or {}
        yield f"failed: {plan.steps[key].label}: {failure.get('reason', '')}"
    if len(failed) > _SHOWN_FAILURES:
        yield f"... and {len(failed) - _SHOWN_FAILURES} more failed steps (genbench why CELL has each reason)"
    if any(state == "stale" for state in states.values()):
        yield "stale: results of another component version exist; `genbench why CELL` names it"


def _adopted(plan: "Plan", store: "Store", states: "dict[str, State]", places: Sequence[Path]) -> str:
    """Take evaluations that records tell of as cached, and say how many they are; nothing is stored."""
    if not places:
        return ""
    from genbench.adoption import Adopted, told_of

    told, files = told_of(plan, store, places)
    states.update(dict.fromkeys(told, "cached"))
    return Adopted(len(told), files, len(plan.records)).remark


def _prospects(plan: "Plan", store: "Store") -> Iterator[str]:
    """Yield what the suite declares, and what its contrasts could find by the spreads of earlier runs."""
    from genbench.planner import as_component
    from genbench.records import Record
    from genbench.upkeep import saved_records

    if plan.declared is None:
        return
    declared = plan.declared.declaration
    yield (
        f"contrasts declared: {declared.helps} with none, {declared.adds} with copies or free augmentation; "
        f"seeds that confirm: {declared.seeds - declared.choosing_seeds}; family {declared.family[:12]}"
    )
    compared = [cell.arm for cell in plan.cells if not cell.arm.is_baseline]  # not of baseline_datasets
    arms = {
        (id(arm.dataset), id(arm.classifier)): arm for arm in compared or [cell.arm for cell in plan.cells]
    }
    pairs = [
        (as_component(arm.dataset), as_component(arm.classifier))
        for arm in arms.values()
        if arm.classifier is not None
    ]
    records = [found for _, found in saved_records(store) if isinstance(found, Record)]
    if records:
        from genbench_leaderboard.prospects import expectations  # here: it takes numpy and scipy

        yield from expectations(records, declared, pairs)


def _cell_state(steps: tuple[str, ...], states: "Mapping[str, State]") -> "State":
    found = {states[key] for key in steps}
    worst: tuple[State, ...] = ("failed", "stale", "new")
    for state in worst:
        if state in found:
            return state
    return "cached"
