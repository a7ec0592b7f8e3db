"""`genbench plan`."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._options import planned, plugin_options, store_option, suite_options
from genbench.cli._output import echo

if TYPE_CHECKING:
    from genbench.outlook import State
    from genbench.plan import Plan
    from genbench.store import Store

_SHOWN_CELLS = 30
_SHOWN_FAILURES = 5


@click.command("plan")
@suite_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole plan as JSON.")
@store_option
@plugin_options
def command(**options: Any) -> None:
    """Show the cells and steps of a run, what is cached, and what it would cost.

    Takes the same SUITE and options as `genbench run`, and runs nothing.
    """
    from genbench.outlook import survey

    _, store, plan = planned(options)
    states = survey(plan, store)
    echo(json.dumps(_as_json(plan, states), indent=1) if as_json(options) else _as_text(plan, states, store))


def as_json(options: Mapping[str, Any]) -> bool:
    """Say whether `--json` was given."""
    return bool(options["as_json"])


def _as_json(plan: "Plan", states: "Mapping[str, State]") -> dict[str, Any]:
    return {
        "cells": [
            {"name": cell.name, "state": _cell_state(cell.steps, states), "steps": cell.steps}
            for cell in plan.cells
        ],
        "steps": {
            key: {"label": step.label, "state": states[key], "document": step.document}
            for key, step in plan.steps.items()
        },
    }


def _as_text(plan: "Plan", states: "Mapping[str, State]", store: "Store") -> str:
    from tabulate import tabulate

    from genbench.outlook import estimate_seconds
    from genbench.plan import STAGES

    cell_rows = [(cell.name, _cell_state(cell.steps, states)) for cell in plan.cells]
    lines = [tabulate(cell_rows[:_SHOWN_CELLS], headers=["cell", "state"], tablefmt="simple")]
    if len(cell_rows) > _SHOWN_CELLS:
        lines.append(f"... and {len(cell_rows) - _SHOWN_CELLS} more (--json lists all)")
    counts = Counter((step.stage, states[key]) for key, step in plan.steps.items())
    kinds: tuple[State, ...] = ("cached", "new", "stale", "failed")
    step_rows = [(stage, *(counts[stage, kind] or "" for kind in kinds)) for stage in STAGES]
    used = [row for row in step_rows if any(row[1:])]
    lines += ["", tabulate(used, headers=["steps", *kinds], tablefmt="simple"), ""]
    lines += plan.remarks()
    failed = [key for key in plan.steps if states[key] == "failed"]
    for key in failed[:_SHOWN_FAILURES]:
        failure = store.failures.find(key) or {}
        lines.append(f"failed: {plan.steps[key].label}: {failure.get('reason', '')}")
    if len(failed) > _SHOWN_FAILURES:
        lines.append(
            f"... and {len(failed) - _SHOWN_FAILURES} more failed steps (genbench why CELL has each reason)"
        )
    if any(state == "stale" for state in states.values()):
        lines.append("stale: results of another component version exist; `genbench why CELL` names it")
    todo = [key for key, state in states.items() if state != "cached"]
    seconds, unknown = estimate_seconds(plan, todo, store)
    lines.append(_estimate(len(todo), seconds, unknown))
    return "\n".join([*lines, "", *_prospects(plan, store)])


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
    arms = {(id(cell.arm.dataset), id(cell.arm.classifier)): cell.arm for cell in plan.cells}
    pairs = [
        (as_component(arm.dataset), as_component(arm.classifier))
        for arm in arms.values()
        if arm.classifier is not None
    ]
    records = [found for _, found in saved_records(store) if isinstance(found, Record)]
    if records:
        from genbench_leaderboard.prospects import expectations  # here: it takes numpy and scipy

        yield from expectations(records, declared, pairs)


def _estimate(todo: int, seconds: float, unknown: int) -> str:
    if not todo:
        return "nothing to run: every step is cached"
    if unknown == todo:
        return f"{todo} steps to run; no earlier run to estimate their cost from"
    known = (
        f"about {seconds / 60:.1f} core-minutes by earlier runs"
        if seconds >= 60
        else f"about {seconds:.0f} core-seconds by earlier runs"
    )
    return f"{todo} steps to run: {known}" + (
        f", and {unknown} steps without an earlier run" if unknown else ""
    )


def _cell_state(steps: tuple[str, ...], states: "Mapping[str, State]") -> "State":
    found = {states[key] for key in steps}
    worst: tuple[State, ...] = ("failed", "stale", "new")
    for state in worst:
        if state in found:
            return state
    return "cached"
