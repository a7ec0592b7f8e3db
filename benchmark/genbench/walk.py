"""The state of a run: which steps wait, which run, and what becomes of those that need a failed one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from genbench import preflight
from genbench.compose import Composer
from genbench.errors import DataError, GenbenchError, StoreUnwritableError, together
from genbench.executors import Event, Executor, Failure, Needs, Task
from genbench.guests import guests_of
from genbench.leases import Holder
from genbench.outlook import kind_of_work, longest_first, missing_steps
from genbench.plan import Plan, Step
from genbench.planner import without_failed
from genbench.records import Record
from genbench.registry import Registry
from genbench.stocks import check_stocks, reading_steps
from genbench.store import Store
from genbench.worker import RunOptions


@dataclass
class Observer:
    """What a run tells whoever watches; every function may be replaced."""

    planned: Callable[[Sequence[Step], Plan], None] = lambda steps, plan: None
    event: Callable[[Step, Event], None] = lambda step, event: None
    notice: Callable[[str], None] = lambda message: None
    waiting: Callable[[], None] = lambda: None  #: called a few times a second while steps run


@dataclass
class RunSummary:
    """What a run left.

    Attributes:
        records: One per planned record, failed ones included.
        failed: Steps that failed, with the reason.
        ran: How many steps ran.
    """

    records: list[Record] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    ran: int = 0


class Walk:
    """The state of one walk through a plan.

    Images that exist already are read first; nothing else runs before it is known that they are enough.

    Invariant: a step that was missing is waiting, running, done (in the store) or given up, never two of
    these. It is submitted when none of its inputs is waiting or running. A step whose input failed is given
    up, but for the evaluation of a suite, which is planned anew without that input.
    """

    def __init__(
        self, plan: Plan, store: Store, registry: Registry, observer: Observer, options: RunOptions
    ) -> None:
        self._most_together, self._jobs = options.most_together, max(1, options.jobs)
        self.summary = RunSummary()
        self.missing = missing_steps(plan, store)
        self._plan, self._store, self._registry, self._observer = plan, store, registry, observer
        self._command = options.command
        self.guests = guests_of(plan, self.missing, registry, options.confine)
        self._trainings = {
            key: kind_of_work(plan.steps[key].document)
            for key in self.missing
            if plan.steps[key].stage == "train" and self._most_together > 1 and key not in self.guests
        }
        self.needs: Mapping[str, Needs] = {}  #: what steps take, as far as that is known
        self._no_data: dict[str, GenbenchError] = {}  # why a dataset or a stock cannot be read, by key
        self._waiting = dict.fromkeys(longest_first(plan, self.missing))
        #: The only steps that may run until they are done: then what is asked of stocks is checked.
        self._first = frozenset(reading_steps(plan, registry))
        self._running: set[str] = set()
        self._blocked: dict[str, Holder] = {}
        self._told: set[tuple[int, str]] = set()
        self._users: dict[str, list[str]] = {}
        for key in self.missing:
            for needed in plan.steps[key].inputs.values():
                self._users.setdefault(needed, []).append(key)

    def go(self, executor: Executor) -> None:
        """Submit steps as their inputs are done, until none is left."""
        while self._waiting or self._running:
            if self._first and not any(key in self._waiting or key in self._running for key in self._first):
                check_stocks(self._plan, self._store, self._registry)
                self._first = frozenset()
            self._submit_ready(executor)
            if not self._running:
                self._say_who_is_waited_for()
            self._observer.waiting()
            # With nothing running, every step that is ready is leased by another process: look again soon.
            for event in executor.events(0.2 if self._running else 0.05):
                self._take(event)

    def _submit_ready(self, executor: Executor) -> None:
        for key in list(self._waiting):
            if executor.free <= 0:
                return
            if self._first and key not in self._first:
                continue
            bundle = [one for one in self._together(key) if self._claim(one)]
            if bundle:
                self._running.update(bundle)
                self._save_records_for(bundle[0])
                executor.submit([self._task(one) for one in bundle])

    def _task(self, key: str) -> Task:
        """Return a step as it is handed to a worker."""
        holder = self._store.leases.holder(key)  # ourselves: a worker must know under which lease it works
        lease = holder.token if holder is not None else ""
        order = replace(self._plan.with_family(key), guest=self.guests.get(key), lease=lease)
        return Task(
            key, order, self.needs.get(key, Needs()), label=order.label, kind=self._plan.steps[key].stage
        )

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
        # Never more than a worker's share, or the other workers would idle.
        return alike[: min(self._most_together, math.ceil(len(alike) / self._jobs))]

    def _ready(self, key: str) -> bool:
        needed = self._plan.steps[key].inputs.values()
        return not any(one in self._waiting or one in self._running for one in needed)

    def _claim(self, key: str) -> bool:
        """Take a step's lease, if no other process is at it or has done it."""
        leases = self._store.leases
        self._blocked.pop(key, None)
        if leases.acquire(key):
            del self._waiting[key]
            if self._store.open(key) is None:
                return True
            leases.release(key)  # it was done while we waited
        elif self._store.open(key) is not None:
            del self._waiting[key]
        else:
            holder = leases.holder(key)
            if holder is not None:
                self._blocked[key] = holder
        return False

    def _say_who_is_waited_for(self) -> None:
        """Say once of each process that it is at a step that we cannot go on without."""
        for key, holder in self._blocked.items():
            if key in self._waiting and (holder.pid, holder.host) not in self._told:
                self._told.add((holder.pid, holder.host))
                what = self._plan.steps[key].label
                self._observer.notice(f"waiting for {holder.label}, which is at: {what}")

    def _save_records_for(self, key: str) -> None:
        """Save the records that the evaluation of a suite reads: a worker knows steps, not names."""
        records = self._plan.steps[key].work.inputs.records
        composer = Composer(self._plan, self._store, self._command) if records else None
        for needed in records:
            assert composer is not None
            composer.record(needed)

    def _take(self, event: Event) -> None:
        step = self._plan.steps[event.id]
        if event.status == "failed" and event.failure is not None:
            self._stop_if_needed_by_all(step, event.failure)
        self._observer.event(step, event)
        if event.status == "retried" and event.failure is not None:
            self._log(step.key, f"RETRIED {event.failure.reason}; attempt {event.attempt} follows")
        if not event.is_final:
            return
        self._running.discard(event.id)
        self._store.leases.release(event.id)
        self.summary.ran += event.status == "done"
        for remark in self._registry.step_finished(step.stage, step.key, event.status, event.seconds):
            self._observer.notice(remark)
        if event.status == "failed" and event.failure is not None:
            self._fail(step, event.failure)
        elif event.status == "interrupted":
            # By somebody else: when we stop, nobody listens to events any more.
            reason = "its worker was told to stop; the same command resumes it"
            self._fail(step, Failure(reason, kind="cancelled"))
        elif step.stage == "dataset":
            preflight.check_dataset(self._plan, step.key, self._store)

    def _fail(self, step: Step, failure: Failure) -> None:
        """Note a failure, and give up the steps that need this one."""
        if failure.ends_run:
            raise failure.error or StoreUnwritableError(f"{step.label}: {failure.reason}")
        self._note_failure(step, failure)
        self._give_up(step.key)

    def _stop_if_needed_by_all(self, step: Step, failure: Failure) -> None:
        """End the run with one message where no data, or no stock, can be read: all cells would fail."""
        if failure.ends_run:  # it is no fault of the data
            return
        if step.key in self._first:
            needed: Sequence[str] = (step.key,)
        elif step.stage == "dataset":
            needed = [key for key, one in self._plan.steps.items() if one.stage == "dataset"]
        else:
            return
        self._no_data[step.key] = failure.error or DataError(f"{step.label}: {failure.reason}")
        if self._no_data.keys() >= set(needed):
            self._store.leases.release(step.key)
            self._note_failure(step, failure)
            raise together([self._no_data[key] for key in needed])

    def _note_failure(self, step: Step, failure: Failure) -> None:
        """Write why a step failed: into its log, and where the next plan finds it."""
        self.summary.failed[step.key] = failure.reason
        log = self._log(step.key, f"FAILED {failure.reason}\n{failure.details}")
        note = {
            "label": step.label,
            "reason": failure.reason,
            "kind": failure.kind,
            "log": f"logs/{log.name}",
            "document": step.document,
        }
        self._store.failures.note(step.key, note)

    def _log(self, key: str, line: str) -> Path:
        """Add a line to a step's log, and return where that is."""
        log = self._store.log_path(key)
        with self._store.writing(), log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        return log

    def _give_up(self, key: str) -> None:
        """Give up all steps that wait for a result that will not come."""
        for user in self._users.get(key, ()):
            if user not in self._waiting:
                continue
            if self._plan.steps[user].work.inputs.records:
                self._shrink(user)
            else:
                del self._waiting[user]
                self._give_up(user)

    def _shrink(self, key: str) -> None:
        """Replace the evaluation of a suite by that of the cells that did not fail.

        The new step has a key of its own: what is found without some cells is another result.
        """
        step = self._plan.steps[key]
        there = {one for one in step.work.inputs.records if one in self._waiting or one in self._running}
        gone = [one for one in step.work.inputs.records if one not in there and not self._store.has(one)]
        smaller = without_failed(step, gone)
        del self._waiting[key]
        if smaller is None:  # nothing is left to look at: its record says which step failed
            return
        planned = self._plan.records.pop(key)
        self._plan.steps[smaller.key] = smaller
        self._plan.records[smaller.key] = replace(planned, key=smaller.key)
        for needed in smaller.inputs.values():
            self._users.setdefault(needed, []).append(smaller.key)
        if key in self.guests:
            self.guests[smaller.key] = self.guests.pop(key)
        if self._store.open(smaller.key) is None:
            self._waiting[smaller.key] = None
