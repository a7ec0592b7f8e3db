"""Walk a plan: skip what the store has, hand the rest to an executor, gather the records."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from genbench.digest import digest
from genbench.errors import Interrupted, StoreError
from genbench.executors import Event, Executor, Setup, Task
from genbench.gather import gather, save_records
from genbench.plan import Plan, Step
from genbench.records import Record
from genbench.registry import PluginSource, Registry, code_digest, import_target
from genbench.store import Store

State = Literal["cached", "new", "stale", "failed"]
_USUAL_SECONDS = {  # roughly, at `quick`: only their proportions matter, to order steps
    "dataset": 1.0, "fit": 30.0, "sample": 5.0, "filter": 1.0,
    "train": 10.0, "predict": 0.2, "embed": 0.2, "evaluate": 0.1,
}  # fmt: skip
RESIDENT_SHARE = 0.25  #: of `--max-memory`, for image sets
MOST_TOGETHER = 8  #: trainings side by side
GRACE_SECONDS = 10.0  #: how long a step may take to save its work after Ctrl-C
WORKER = "genbench.runner:make_worker"


@dataclass(frozen=True)
class RunOptions:
    """How a plan is run; nothing here changes a result's identity."""

    jobs: int
    device: str = "cpu"
    step_timeout_seconds: float | None = None
    checkpoint_seconds: float = 30.0
    executor: str = "processes"
    command: str = "genbench run"
    profile: bool = False
    max_memory_gib: float | None = None
    vectorize: Literal["auto", "on", "off"] = "auto"
    keep_records: bool = True

    @property
    def most_together(self) -> int:
        """How many trainings that differ in their seed are handed to a worker as one bundle."""
        wanted = self.vectorize == "on" or (self.vectorize == "auto" and self.device.startswith("cuda"))
        return MOST_TOGETHER if wanted and not self.profile else 1


@dataclass
class Observer:
    """What a run tells whoever watches; every function may be replaced."""

    planned: Callable[[Sequence[Step], Plan], None] = lambda steps, plan: None
    event: Callable[[Step, Event], None] = lambda step, event: None
    notice: Callable[[str], None] = lambda message: None


@dataclass
class Outcome:
    """What a run left.

    Attributes:
        records: One per planned record, failed ones included.
        failed: Steps that failed, with the reason.
        ran: How many steps ran.
        busy_seconds: Wall seconds that steps took, summed.
    """

    records: list[Record] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    ran: int = 0
    busy_seconds: float = 0.0


def survey(plan: Plan, store: Store) -> dict[str, State]:
    """Say for every step whether it is cached, new, stale or failed."""
    families: dict[str, str] = {}
    for line in store.index():
        families[str(line.get("family"))] = str(line.get("key"))
    failed = store.failed_keys()
    states: dict[str, State] = {}
    for key, step in plan.steps.items():
        if store.has(key):
            states[key] = "cached"
        elif key in failed:
            states[key] = "failed"
        else:
            states[key] = "stale" if families.get(step.family, key) != key else "new"
    return states


def estimate_seconds(plan: Plan, keys: Sequence[str], store: Store) -> tuple[float, int]:
    """Estimate the wall seconds of steps from finished ones of the same stage: (seconds, steps unknown)."""
    by_kind: dict[str, list[float]] = {}
    by_key = {str(line.get("key")): line for line in store.index()}
    for key, line in by_key.items():
        manifest = store.manifest(key)
        if manifest is not None and line.get("seconds") is not None:
            by_kind.setdefault(_kind_of_work(manifest["document"]), []).append(float(line["seconds"]))
    total, unknown = 0.0, 0
    for key in keys:
        known = by_kind.get(_kind_of_work(plan.steps[key].document))
        if known is None:
            unknown += 1
        else:
            total += sum(known) / len(known)
    return total, unknown


def run(
    plan: Plan, store: Store, registry: Registry, options: RunOptions, observer: Observer | None = None
) -> Outcome:
    """Run every step that the store lacks, and return the records of the plan.

    A failed step fails the cells that need it; the others still run. Ctrl-C saves the work of running steps.

    Raises:
        Interrupted: Ctrl-C; the same plan resumes.
        StoreError: The store is full or read-only.
    """
    watcher = observer or Observer()
    walk = _Walk(plan, store, registry, watcher, options)
    watcher.planned([plan.steps[key] for key in walk.missing], plan)
    for damage in store.found_damaged:
        watcher.notice(f"a damaged result is made again: {plan.steps[damage.key].label} ({damage.reason})")
    for message in changed_code(plan, store, registry):
        watcher.notice(message)
    if walk.missing:
        executor = _make_executor(store, registry, options, most=len(walk.missing))
        try:
            walk.go(executor)
        except KeyboardInterrupt:
            executor.stop(GRACE_SECONDS)
            raise Interrupted("stopped; the same command resumes") from None
        finally:
            executor.close()
            walk.release_all()
    walk.outcome.records = list(gather(plan, store, walk.outcome.failed, options.command))
    from genbench.suite_records import suite_records  # it imports torch, which `plan` does without

    for key, record in suite_records(plan, store, walk.outcome.records, options.command):
        walk.outcome.records.append(record)
        if record.result.status == "failed":
            walk.outcome.failed[key] = record.result.reason
    if options.keep_records:
        save_records(store, walk.outcome.records)
    return walk.outcome


def changed_code(plan: Plan, store: Store, registry: Registry) -> Iterator[str]:
    """Name components whose code changed since cached results were made, while their version did not."""
    seen: set[str] = set()
    now: dict[str, str] = {}
    for key, step in plan.steps.items():
        component = step.document.get("component", {}).get("use")
        kind_of_work = f"{step.stage} {component}"
        if kind_of_work in seen or not store.has(key):
            continue
        seen.add(kind_of_work)
        manifest = store.manifest(key)
        for name, then in (manifest or {"run": {}})["run"].get("code", {}).items():
            kind, _, component_name = name.partition(" ")
            if name not in now:
                now[name] = code_digest(registry.spec(kind, component_name).target)
            if now[name] and then and now[name] != then:
                yield (
                    f"the code of {name} changed since cached results were made, but its version did not: "
                    "they are used as they are. Raise `version` in its ComponentSpec to make them again."
                )


def make_worker(
    *, root: str, source: PluginSource, options: RunOptions, must_stop: Callable[[], bool]
) -> "_Performer":
    """Build what a worker process does with a step; called there."""
    if options.max_memory_gib is not None:
        limit_memory(options.max_memory_gib, options.device)
    from genbench.steps import Workshop

    workshop = Workshop(
        Store(Path(root)),
        Registry(source),
        options.device,
        must_stop,
        options.checkpoint_seconds,
        options.profile,
        options.vectorize,
    )
    return _Performer(workshop)


class _Performer:
    """Executes steps in a worker."""

    def __init__(self, workshop: Any) -> None:
        self._workshop = workshop

    def __call__(self, step: Step, report: Any, deadline: float | None) -> None:
        """Execute a step."""
        from genbench.steps import execute

        execute(step, self._workshop, report, deadline)

    def announce(self, steps: Sequence[Step]) -> None:
        """Note which trainings come next, and may run side by side."""
        self._workshop.announce(steps)


def limit_memory(gibibytes: float, device: str) -> None:
    """Hold this process to an amount of memory: of the device on a GPU, of its data elsewhere.

    A step that needs more fails, and says which option needs less; sets are held in memory up to a quarter.
    """
    os.environ["GENBENCH_RESIDENT_MIB"] = str(int(gibibytes * 1024 * RESIDENT_SHARE))
    if device.startswith("cuda"):
        import torch

        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gibibytes * 2**30 / whole))
        return
    with contextlib.suppress(ImportError):  # no such limits on Windows
        import resource

        limit = int(gibibytes * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


class _Walk:
    """The state of one walk through a plan."""

    def __init__(
        self, plan: Plan, store: Store, registry: Registry, observer: Observer, options: RunOptions
    ) -> None:
        self._most_together, self._jobs = options.most_together, max(1, options.jobs)
        self._trainings = {
            key: _kind_of_work(step.document)
            for key, step in plan.steps.items()
            if step.stage == "train" and self._most_together > 1
        }
        self.outcome = Outcome()
        self.missing = _missing(plan, store)
        self._plan, self._store, self._registry, self._observer = plan, store, registry, observer
        self._waiting = dict.fromkeys(_longest_first(plan, self.missing))
        self._running: set[str] = set()
        self._leased: set[str] = set()
        self._users: dict[str, list[str]] = {}
        for key in self.missing:
            for needed in plan.steps[key].inputs.values():
                self._users.setdefault(needed, []).append(key)

    def go(self, executor: Executor) -> None:
        """Submit steps as their inputs are done, until none is left."""
        beat = time.monotonic()
        while self._waiting or self._running:
            self._submit_ready(executor)
            for event in executor.events(0.2 if self._running else 0.05):
                self._take(event)
            if time.monotonic() - beat > 10:
                beat = time.monotonic()
                for key in self._leased:
                    self._store.heartbeat(key)

    def release_all(self) -> None:
        """Give back the leases of steps that did not end."""
        for key in list(self._leased):
            self._release(key)

    def _submit_ready(self, executor: Executor) -> None:
        for key in list(self._waiting):
            if executor.free <= 0:
                return
            bundle = [one for one in self._together(key) if self._claim(one)]
            if bundle:
                self._running.update(bundle)
                executor.submit([Task(one, self._plan.steps[one]) for one in bundle])

    def _together(self, key: str) -> list[str]:
        """Return a step that is ready, with others that train the same network on another seed."""
        if key not in self._waiting or not self._ready(key):
            return []
        kind = self._trainings.get(key)
        if kind is None:
            return [key]
        alike = [
            other for other in self._waiting if self._trainings.get(other) == kind and self._ready(other)
        ]
        return alike[: min(self._most_together, math.ceil(len(alike) / self._jobs))]

    def _ready(self, key: str) -> bool:
        needed = self._plan.steps[key].inputs.values()
        return not any(one in self._waiting or one in self._running for one in needed)

    def _claim(self, key: str) -> bool:
        """Take a step's lease, if no other process is at it or has done it."""
        if not self._store.acquire(key):
            if self._store.has(key):
                del self._waiting[key]
            return False
        del self._waiting[key]
        self._leased.add(key)
        if self._store.has(key):  # it was done while we waited
            self._release(key)
            return False
        return True

    def _take(self, event: Event) -> None:
        step = self._plan.steps[event.id]
        self._observer.event(step, event)
        if event.status in {"started", "progress"}:
            return
        self._running.discard(event.id)
        self._release(event.id)
        self.outcome.busy_seconds += event.seconds
        self.outcome.ran += event.status == "done"
        self._registry.step_finished(step.stage, step.key, event.status, event.seconds)
        if event.status == "failed" and event.outcome is not None:
            self._fail(step, event.outcome.reason, event.outcome.details)

    def _fail(self, step: Step, reason: str, details: str) -> None:
        """Note a failure, and give up the steps that need this one."""
        if reason.startswith("cannot write to the store"):
            raise StoreError(*reason.split("\n  ", 1)[:1], hint=reason.partition("\n  ")[2])
        self.outcome.failed[step.key] = reason
        log = self._store.log_path(step.key)
        with self._store.writing(), log.open("a", encoding="utf-8") as file:
            file.write(f"FAILED {reason}\n{details}\n")
        note = {"label": step.label, "reason": reason, "log": f"logs/{log.name}", "document": step.document}
        self._store.note_failure(step.key, note)
        self._give_up(step.key)

    def _give_up(self, key: str) -> None:
        for user in self._users.get(key, ()):
            if user in self._waiting:
                del self._waiting[user]
                self._give_up(user)

    def _release(self, key: str) -> None:
        self._leased.discard(key)
        self._store.release(key)


def _missing(plan: Plan, store: Store) -> list[str]:
    """Return the steps to run, in the plan's order: those that are missing and needed by a missing one.

    An intermediate result that was cleaned up is made again only if something that needs it is missing.
    """
    needed: set[str] = {key for key in plan.records if store.open(key) is None}
    for key in reversed(plan.steps):
        if key in needed:
            needed |= {used for used in plan.steps[key].inputs.values() if store.open(used) is None}
    return [key for key in plan.steps if key in needed]


def _longest_first(plan: Plan, missing: Sequence[str]) -> list[str]:
    """Order steps by the work that hangs on them: the longest chain first, so that no worker idles last.

    The order changes no result.
    """
    hangs_on: dict[str, float] = {}
    for key in reversed(missing):
        hangs_on[key] = hangs_on.get(key, 0.0) + _USUAL_SECONDS[plan.steps[key].stage]
        for needed in plan.steps[key].inputs.values():
            hangs_on[needed] = max(hangs_on.get(needed, 0.0), hangs_on[key])
    return sorted(missing, key=lambda key: -hangs_on[key])


def _make_executor(store: Store, registry: Registry, options: RunOptions, most: int) -> Executor:
    name = "inline" if options.jobs == 0 else options.executor
    settings = {"root": str(store.root), "source": registry.source, "options": options}
    built_in = {
        "inline": "genbench.executors.inline:InlineExecutor",
        "processes": "genbench.executors.processes:ProcessExecutor",
    }
    target = built_in.get(name) or registry.spec("executor", name).target
    jobs = max(1, min(options.jobs, most))
    made: Executor = import_target(target, name)(Setup(WORKER, settings), jobs, options.step_timeout_seconds)
    return made


def _kind_of_work(document: Mapping[str, Any]) -> str:
    """What makes two steps cost alike: everything but inputs and seed."""
    return digest({name: value for name, value in document.items() if name not in {"inputs", "seed"}})
