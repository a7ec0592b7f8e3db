"""What a run would do: which steps are cached, what the others would cost, and whose code changed since."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, cast

from genbench.digest import Digester
from genbench.hookspecs import Kind
from genbench.plan import Plan
from genbench.registry import Registry
from genbench.store import Store

State = Literal["cached", "new", "stale", "failed"]
_USUAL_SECONDS = {  # roughly, at `quick`: only their proportions matter, to order steps
    "dataset": 1.0, "fit": 30.0, "sample": 5.0, "filter": 1.0,
    "train": 10.0, "predict": 0.2, "embed": 0.2, "evaluate": 0.1,
}  # fmt: skip
_CHAINS_PER_WORKER = (
    8  # in simulated runs, seed by seed took 0.1 % longer with so much work, up to 40 % with less
)


def survey(plan: Plan, store: Store) -> dict[str, State]:
    """Say for every step whether it is cached, new, stale or failed."""
    families: dict[str, str] = {}
    for line in store.index.lines():
        families[str(line.get("family"))] = str(line.get("key"))
    failed = store.failures.keys()
    states: dict[str, State] = {}
    with store.listed():
        for key in plan.steps:
            if store.has(key):
                states[key] = "cached"
            elif key in failed:
                states[key] = "failed"
            else:
                states[key] = "stale" if families.get(plan.family(key), key) != key else "new"
    return states


def changed_code(plan: Plan, store: Store, registry: Registry) -> Iterator[str]:
    """Name plugins whose code changed since cached results were made, while their versions did not."""
    seen: set[str] = set()
    changed: dict[str, dict[str, None]] = defaultdict(dict)
    for key, step in plan.steps.items():
        component = step.document.get("component", {}).get("use")
        kind_of_step = f"{step.stage} {component}"
        if kind_of_step in seen or not store.has(key):
            continue
        seen.add(kind_of_step)
        manifest = store.manifest(key)
        then = (manifest or {"run": {}})["run"].get("plugin")
        if then is None:
            continue
        now = registry.code(cast("Kind", then["kind"]), then["name"])
        if now.sha256 and then["sha256"] and now.sha256 != then["sha256"]:
            changed[now.distribution][f"{then['kind']} {then['name']}"] = None
    for distribution, names in changed.items():
        yield (
            f"the code of {distribution} changed since results of {', '.join(names)} were cached, but their "
            "versions did not: they are used as they are. Raise `version` in a ComponentSpec to make its "
            "results again."
        )


def order_of_work(plan: Plan, missing: Sequence[str], workers: int) -> list[str]:
    """Order steps seed by seed where there is work enough for that, else the longest chain first.

    Either way the images of the first seed are judged as soon as they are there: who sees that they are no
    good need not wait for the trainings.

    Seed by seed, a run that is stopped leaves whole seeds, which can be compared, and not many fits without
    a training. It may cost time at the end, when all workers but one have nothing left to do: at most that of
    the longest chain of steps (R. L. Graham, Bounds on Multiprocessing Timing Anomalies, 1969). This is
    little where every worker has work for many times as long. The order changes no result.

    Args:
        plan: What the steps are taken from.
        missing: The steps to run, each after its inputs.
        workers: How many steps run at the same time.
    """
    hangs_on: dict[str, float] = {}  # seconds, roughly, from a step's start to the end of what needs it
    seeds: dict[str, int] = {}  # the first one that needs a step
    for key in reversed(missing):
        step, record = plan.steps[key], plan.records.get(key)
        hangs_on[key] = hangs_on.get(key, 0.0) + _USUAL_SECONDS[step.stage]
        # What reads all records of a suite is of no seed, and puts no seed's steps before another's.
        if record is not None and record.subject != "suite":
            seeds[key] = min(seeds.get(key, record.arm.index), record.arm.index)
        for needed in step.inputs.values():
            hangs_on[needed] = max(hangs_on.get(needed, 0.0), hangs_on[key])
            if key in seeds:
                seeds[needed] = min(seeds.get(needed, seeds[key]), seeds[key])
    early = _of_first_images(plan, missing)
    work = sum(_USUAL_SECONDS[plan.steps[key].stage] for key in missing)
    if work < _CHAINS_PER_WORKER * workers * max(hangs_on.values(), default=0.0):
        before = max((hangs_on[key] for key in missing if plan.steps[key].stage == "train"), default=0.0)
        urgency = {key: max(hangs_on[key], before) if key in early else hangs_on[key] for key in missing}
        return sorted(missing, key=lambda key: (-urgency[key], key not in early))
    return sorted(missing, key=lambda key: (seeds.get(key, math.inf), key not in early, -hangs_on[key]))


def _of_first_images(plan: Plan, missing: Sequence[str]) -> set[str]:
    """Return the steps that it takes to judge the images of the first seed."""
    judged = {key: one.arm.index for key, one in plan.records.items() if one.subject == "image_set"}
    first = min(judged.values(), default=0)
    found = {key for key, index in judged.items() if index == first}
    for key in reversed(missing):
        if key in found:
            found |= set(plan.steps[key].inputs.values())
    return found


def missing_steps(plan: Plan, store: Store) -> list[str]:
    """Return the steps to run, in the plan's order: those that are missing and needed by a missing one.

    An intermediate result that was cleaned up is made again only if something that needs it is missing.
    """
    opened: dict[str, bool] = {}  # steps share inputs, and to open one may mean reading all of it

    def is_missing(key: str) -> bool:
        if key not in opened:
            opened[key] = store.open(key) is not None
        return not opened[key]

    with store.listed():
        needed = {key for key in plan.records if is_missing(key)}
        for key in reversed(plan.steps):
            if key in needed:
                needed |= {used for used in plan.steps[key].inputs.values() if is_missing(used)}
    return [key for key in plan.steps if key in needed]


def due_steps(plan: Plan, states: Mapping[str, State]) -> list[str]:
    """Return the steps that a run would take, as far as it is seen without reading what is cached."""
    needed = {key for key in plan.records if states[key] != "cached"}
    for key in reversed(plan.steps):
        if key in needed:
            needed |= {used for used in plan.steps[key].inputs.values() if states[used] != "cached"}
    return [key for key in plan.steps if key in needed]


def kinds_of_work(plan: Plan, keys: Iterable[str]) -> dict[str, str]:
    """Name for each step what makes two of them cost alike: everything but inputs and seed."""
    digester, found = Digester(), {}
    for key in keys:
        document = plan.steps[key].document
        work = {name: value for name, value in document.items() if name not in {"inputs", "seed"}}
        found[key] = digester.digest(work, "component")
    return found
