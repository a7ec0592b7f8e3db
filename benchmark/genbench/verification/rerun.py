"""Run cells again, drawn at random, in a fresh store, and compare what comes out.

On the same kind of machine with the same versions, a result is byte for byte the same. Elsewhere the last
bits of a training differ, and with them the answers about some images: then top-1 is compared, within three
standard errors of a share of as many images, and nothing else is.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from genbench.levels import Rerun
from genbench.plan import Cell, Plan
from genbench.records import Record
from genbench.registry import Registry
from genbench.runner import Observer, run
from genbench.store import Store
from genbench.verification.comparing import unequal
from genbench.worker import RunOptions

STANDARD_ERRORS = 3.0
_MOST_SECONDS = 1e12  # of `genbench.records.Seconds`
#: What touches the last bits of a result; how many cores there were does not.
_HARDWARE = ("device", "processor", "instruction_set", "threads", "system", "cuda", "tf32")
_ENGINE = ("trained_together", "micro_batch_images", "whole_step_graph")


@dataclass(frozen=True)
class Wanted:
    """Which cells to run again.

    Attributes:
        cells: How many, at most.
        seed: From which they are drawn.
        options: How they are run.
    """

    cells: int
    seed: int
    options: RunOptions


def drawn(cells: Sequence[Cell], wanted: Wanted) -> list[Cell]:
    """Draw cells: which, depends on the seed and on their names alone."""
    ordered = sorted(cells, key=lambda cell: cell.name)
    return random.Random(wanted.seed).sample(ordered, min(wanted.cells, len(ordered)))


def run_again(
    plan: Plan, cells: Sequence[Cell], registry: Registry, place: Path, wanted: Wanted, observer: Observer
) -> dict[str, Record]:
    """Run cells in a new store; return their records by key, failed ones included."""
    summary = run(_part(plan, cells), Store(place), registry, wanted.options, observer)
    return {record.result.key: record for record in summary.records}


def compared(claimed: Record, again: Record) -> tuple[Rerun, list[str]]:
    """Compare a record with that of the same cell, run again; return the finding, and what contradicts."""
    is_same = _kind(claimed) == _kind(again)
    found, tolerance = (unequal(claimed, again, run=False), 0.0) if is_same else _far(claimed, again)
    seconds, reported = (
        min(sum(cost.seconds or 0.0 for cost in one.run.costs), _MOST_SECONDS) for one in (again, claimed)
    )
    lines = [f"run again: {line}" for line in found]
    return Rerun(not found, is_same, tolerance, seconds, reported), lines


def _kind(record: Record) -> Mapping[str, object]:
    """Return what two attempts must share to give the same bits."""
    hardware = {name: record.run.hardware.get(name) for name in (*_HARDWARE, *_ENGINE)}
    return {**hardware, **record.run.versions}


def _far(claimed: Record, again: Record) -> tuple[list[str], float]:
    """Compare top-1 of every split across kinds of machines; return what differs, and what was allowed."""
    found, widest = [], 0.0
    here = {metric.label: metric for metric in again.result.metrics}
    for metric in claimed.result.metrics:
        other = here.get(metric.label)
        if (
            metric.name != "top1"
            or metric.value is None
            or not metric.n
            or other is None
            or other.value is None
        ):
            continue
        share = min(max(other.value / 100, 1 / metric.n), 1 - 1 / metric.n)
        allowed = 100 * STANDARD_ERRORS * math.sqrt(share * (1 - share) / metric.n)
        widest = max(widest, allowed)
        if abs(metric.value - other.value) > allowed:
            found.append(
                f"metric {metric.label} is {metric.value:.6g}, and {other.value:.6g} here, on another kind "
                f"of machine; {allowed:.2g} points apart are allowed"
            )
    return found, widest


def _part(plan: Plan, cells: Sequence[Cell]) -> Plan:
    """Return the part of a plan that these cells need."""
    needed: set[str] = set()
    waiting = [key for cell in cells for key in cell.steps]
    while waiting:
        key = waiting.pop()
        if key not in needed:
            needed.add(key)
            waiting += plan.steps[key].inputs.values()
    return Plan(
        steps={key: step for key, step in plan.steps.items() if key in needed},
        cells=list(cells),
        records={key: one for key, one in plan.records.items() if key in needed and one.subject != "suite"},
        protocol=plan.protocol,
        planned_indices=plan.planned_indices,
    )
