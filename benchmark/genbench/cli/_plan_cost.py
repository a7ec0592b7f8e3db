"""What `genbench plan` says of cost: a line for every kind of work, and what fits into a given time."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genbench.cli._durations import duration, size
from genbench.costs import FAR_STRETCH, Estimate, Estimator, by_clock
from genbench.digest import digest

if TYPE_CHECKING:
    from genbench.plan import Cell, Plan

_SHOWN_LINES = 40
_TOLD_APART = frozenset({"dataset", "fit", "sample", "filter", "train"})
_TOP_UP = ", top-up "


@dataclass
class _Line:
    """Steps of one kind of work."""

    what: str
    keys: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    """The cost of the steps to run.

    Attributes:
        plan: Whose.
        todo: Keys of the steps to run. Top-ups of a filter make something where the filter leaves too little:
            they are listed, and counted nowhere.
        estimates: One for each.
        place: The device.
        workers: Processes that share the work.
    """

    plan: "Plan"
    todo: Sequence[str]
    estimates: Mapping[str, Estimate]
    place: str
    workers: int

    @classmethod
    def of(cls, plan: "Plan", todo: Sequence[str], estimator: Estimator, place: str, workers: int) -> "Cost":
        """Estimate every step."""
        return cls(plan, todo, {key: estimator.of(key) for key in todo}, place, workers)

    @property
    def counted(self) -> list[str]:
        """The steps to run but for top-ups."""
        return [key for key in self.todo if not self.is_top_up(key)]

    def is_top_up(self, key: str) -> bool:
        """Say whether a step does something only if a filter leaves too few images."""
        return _TOP_UP in self.plan.steps[key].label and self.plan.steps[key].stage in {"sample", "filter"}

    def unknown(self, keys: Sequence[str]) -> list[str]:
        """Return those of unknown duration."""
        return [key for key in keys if self.estimates[key].seconds is None]

    def seconds(self, keys: Sequence[str]) -> dict[str, float]:
        """Return the known durations."""
        known = {key: self.estimates[key].seconds for key in keys}
        return {key: one for key, one in known.items() if one is not None}

    def clock(self, keys: Sequence[str]) -> float:
        """Return the least time by the clock of steps that are all known."""
        return by_clock(self.plan, self.seconds(keys), self.workers)


def cost_table(cost: Cost) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return header and rows: a row for every kind of work."""
    rows: list[tuple[str, ...]] = []
    for line in _lines(cost):
        each = [cost.estimates[key] for key in line.keys]
        works = sorted({one.work.amount for one in each if one.work})
        unit = next((one.work.unit for one in each if one.work), "")
        known = [one.seconds for one in each if one.seconds is not None]
        whole = len(known) == len(each)
        sizes = [one.size_bytes for one in each if one.size_bytes is not None]
        far = any(one.stretch >= FAR_STRETCH for one in each)
        rows.append(
            (
                line.what,
                str(len(each)),
                _amounts(works, unit),
                duration(max(known)) + " *" * far if whole else "unknown",
                duration(sum(known)) if whole else "",
                size(sum(sizes)) if len(sizes) == len(each) else "unknown",
            )
        )
    return ["to run", "steps", "work of each", "time each", "in all", "disk"], rows


def cost_lines(cost: Cost) -> Iterator[str]:
    """Yield what the table comes to: what is unknown first, never a part of the cost as the whole."""
    counted = cost.counted
    unknown, known = cost.unknown(counted), cost.seconds(counted)
    where = f"on {cost.place}, by earlier runs in this store"
    if unknown:
        rest = f"; the other {len(known)} take {duration(sum(known.values()))}" if known else ""
        yield f"time: unknown. No estimate of {len(unknown)} of {len(counted)} steps {where}{rest}"
        yield from (f"  {line}" for line in _reasons(cost, unknown))
        yield "  a run with --seeds 1 measures one of each"
    else:
        shared = f"; with {cost.workers} workers at least {duration(cost.clock(counted))}"
        yield (
            f"time: about {duration(sum(known.values()))} of one worker {where}"
            + (shared if cost.workers > 1 else "")
        )
    if any(cost.estimates[key].stretch >= FAR_STRETCH for key in known):
        yield f"  * scaled up from steps that were more than {FAR_STRETCH:g} times shorter"
    yield _disk(cost, counted)
    peaks = [peak for key in counted if (peak := cost.estimates[key].peak_bytes)]
    if peaks:
        rest = f", of the {len(peaks)} whose like was measured" if len(peaks) < len(counted) else ""
        yield f"memory: at most {size(max(peaks))} for one step{rest}"
    tops = len(cost.todo) - len(counted)
    if tops:
        yield f"  not counted: {tops} top-ups, which make images only where a filter leaves too few"


def budget_lines(cost: Cost, budget: float) -> Iterator[str]:
    """Yield how many seeds fit into a time by the clock, or which rows do."""
    indices = sorted({cell.arm.index for cell in cost.plan.cells})
    workers = f"{cost.workers} worker{'s' * (cost.workers != 1)}"
    title = f"budget of {duration(budget)} on {cost.place}, {workers}:"
    fit, took = 0, 0.0
    for count in range(1, len(indices) + 1):
        keys = _needed(cost, [cell for cell in cost.plan.cells if cell.arm.index in indices[:count]])
        unknown = cost.unknown(keys)
        if unknown:
            at_least = cost.clock([key for key in keys if key not in set(unknown)])
            if at_least > budget:
                break
            rest = f"; the others take {duration(at_least)}" if at_least else ""
            yield (
                f"{title} cannot say how many of {len(indices)} seeds fit. Of the steps of the first "
                f"{count}, {len(unknown)} of {len(keys)} have no estimate{rest}"
            )
            return
        if cost.clock(keys) > budget:
            break
        fit, took = count, cost.clock(keys)
    if fit == len(indices):
        yield f"{title} everything fits, in about {duration(took)}"
        return
    seeds = f"{fit} of {len(indices)} seeds fit"
    when = f", in about {duration(took)}" if took else ", all of it cached"
    yield f"{title} {seeds}" + (f"{when}: --seeds {fit}" if fit else "")
    yield from _rows_that_fit(cost, budget)


def cost_json(cost: Cost) -> dict[str, Any]:
    """Return the cost for machines: a total is null as long as a part of it is unknown."""
    counted = cost.counted
    known, sizes = cost.seconds(counted), [cost.estimates[key].size_bytes for key in counted]
    unknown = cost.unknown(counted)
    return {
        "device": cost.place,
        "workers": cost.workers,
        "seconds": None if unknown else sum(known.values()),
        "clock_seconds": None if unknown else cost.clock(counted),
        "known_seconds": sum(known.values()),
        "unknown_steps": unknown,
        "bytes": None if None in sizes else sum(one for one in sizes if one is not None),
        "steps": {
            key: {
                "work": one.work.amount if one.work else None,
                "unit": one.work.unit if one.work else "",
                "seconds": one.seconds,
                "bytes": one.size_bytes,
                "peak_memory_bytes": one.peak_bytes,
                "unknown_because": one.reason,
                "times_longer_than_measured": one.stretch,
                "is_top_up": cost.is_top_up(key),
            }
            for key, one in cost.estimates.items()
        },
    }


# ------------------------------------------------------------------------------------------------ private


def _lines(cost: Cost) -> list[_Line]:
    """Group the steps by what they do, in the order in which they are first needed.

    Two generators or networks of one name have a line each; what measures them has one for all.
    """
    lines: dict[tuple[str, str], _Line] = {}
    for key in cost.counted:
        step, estimate = cost.plan.steps[key], cost.estimates[key]
        what, like = _what(step.document), ""
        if step.stage in _TOLD_APART:
            like = (estimate.work and estimate.work.like) or digest(step.document["component"])
        lines.setdefault((what, like), _Line(what)).keys.append(key)
    named = Counter(line.what for line in lines.values())
    for line in lines.values():
        if named[line.what] > 1:  # the label of the first step says which
            line.what = cost.plan.steps[line.keys[0]].label.partition(", seed")[0]
    return list(lines.values())[:_SHOWN_LINES]


def _what(document: Mapping[str, Any]) -> str:
    if "summary" in document:
        return f"summarise for {document['summary']['use']}"
    use = document.get("component", {}).get("use", "")
    return f"{document['stage']} {use}".strip()


def _amounts(works: Sequence[float], unit: str) -> str:
    if not works:
        return "unknown"
    ends = f"{works[0]:,.0f}" + (f" to {works[-1]:,.0f}" if works[-1] != works[0] else "")
    return f"{ends} {unit}{'s' * (works[-1] != 1)}"


def _reasons(cost: Cost, unknown: Sequence[str]) -> Iterator[str]:
    """Yield why steps have no estimate, each reason once, with the work that it hides."""
    found: dict[str, dict[str, list[Estimate]]] = {}
    for key in unknown:
        estimate = cost.estimates[key]
        what = _what(cost.plan.steps[key].document)
        found.setdefault(estimate.reason, {}).setdefault(what, []).append(estimate)
    for reason, kinds in found.items():
        told = []
        for what, estimates in kinds.items():
            works = sorted({one.work.amount for one in estimates if one.work})
            unit = next((one.work.unit for one in estimates if one.work), "")
            amount = f" of {_amounts(works, unit)}" if works and works[-1] > 1 else ""
            told.append(f"{len(estimates)} x {what}{amount}")
        yield f"{reason}: {', '.join(told)}"


def _disk(cost: Cost, keys: Sequence[str]) -> str:
    sizes = [cost.estimates[key].size_bytes for key in keys]
    known = sum(one for one in sizes if one is not None)
    missing = sum(one is None for one in sizes)
    if not missing:
        return f"disk: about {size(known)} in the store"
    rest = f"; the other {len(sizes) - missing} leave about {size(known)}" if missing < len(sizes) else ""
    return f"disk: unknown for {missing} of {len(sizes)} steps{rest}"


def _needed(cost: Cost, cells: Sequence["Cell"]) -> list[str]:
    """Return the steps to run for these cells, with all that they need."""
    wanted = {key for cell in cells for key in cell.steps}
    for key in reversed(cost.plan.steps):
        if key in wanted:
            wanted.update(cost.plan.steps[key].inputs.values())
    return [key for key in cost.counted if key in wanted]


def _rows_that_fit(cost: Cost, budget: float) -> Iterator[str]:
    """Yield which rows, with all their seeds and their baseline, fit on their own."""
    rows: dict[str, list[Cell]] = {}
    for cell in cost.plan.cells:
        rows.setdefault(cell.name.rpartition("/")[0], []).append(cell)
    for name, cells in list(rows.items())[:_SHOWN_LINES]:
        keys = _needed(cost, [*cells, *_baselines(cost, cells)])
        unknown = cost.unknown(keys)
        if unknown:
            yield f"  ?    {name}: {len(unknown)} steps have no estimate"
        else:
            took = cost.clock(keys)
            yield f"  {'fits' if took <= budget else 'no  '} {name}, all seeds: {duration(took)}"


def _baselines(cost: Cost, cells: Sequence["Cell"]) -> list["Cell"]:
    """Return the cells of real images alone that a row is compared with."""
    arm = cells[0].arm
    if arm.mix is None:
        return []
    wanted = (id(arm.dataset), id(arm.classifier), arm.mix.baseline)
    return [
        cell
        for cell in cost.plan.cells
        if cell.arm.is_baseline and (id(cell.arm.dataset), id(cell.arm.classifier), cell.arm.mix) == wanted
    ]
