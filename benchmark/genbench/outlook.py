"""What a run would do: which steps are cached, what the others would cost, and whose code changed since."""

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


def survey(plan: Plan, store: Store) -> dict[str, State]:
    """Say for every step whether it is cached, new, stale or failed."""
    families: dict[str, str] = {}
    for line in store.index.lines():
        families[str(line.get("family"))] = str(line.get("key"))
    failed = store.failures.keys()
    states: dict[str, State] = {}
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


def longest_first(plan: Plan, missing: Sequence[str]) -> list[str]:
    """Order steps by the work that hangs on them: the longest chain first, so that no worker idles last.

    The order changes no result.
    """
    hangs_on: dict[str, float] = {}
    for key in reversed(missing):
        hangs_on[key] = hangs_on.get(key, 0.0) + _USUAL_SECONDS[plan.steps[key].stage]
        for needed in plan.steps[key].inputs.values():
            hangs_on[needed] = max(hangs_on.get(needed, 0.0), hangs_on[key])
    return sorted(missing, key=lambda key: -hangs_on[key])


def missing_steps(plan: Plan, store: Store) -> list[str]:
    """Return the steps to run, in the plan's order: those that are missing and needed by a missing one.

    An intermediate result that was cleaned up is made again only if something that needs it is missing.
    """
    opened: dict[str, bool] = {}  # steps share inputs, and to open one may mean reading all of it

    def is_missing(key: str) -> bool:
        if key not in opened:
            opened[key] = store.open(key) is not None
        return not opened[key]

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
