"""The state of a run: which steps wait, which run, and what becomes of those that need a failed one."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from genbench import preflight
from genbench.compose import Composer
from genbench.errors import DataError, GenbenchError, StoreUnwritableError, together
from genbench.executors import Event, Executor, Failure, Needs, Task
from genbench.executors.failures import INTERRUPTED
from genbench.frontier import Frontier
from genbench.guests import guests_of
from genbench.holders import Holder
from genbench.outlook import kinds_of_work, missing_steps, order_of_work
from genbench.plan import Plan, Step
from genbench.planner import without_failed
from genbench.records import Record
from genbench.registry import Registry
from genbench.stocks import check_stocks, reading_steps
from genbench.store import Store
from genbench.telemetry import RunEnd, RunFacts
from genbench.worker import RunOptions


@dataclass
class Observer:
    """What a run tells whoever watches; every function may be replaced."""

    planned: Callable[[Sequence[Step], Plan], None] = lambda steps, plan: None
    event: Callable[[Step, Event], None] = lambda step, event: None
    notice: Callable[[str], None] = lambda message: None
    waiting: Callable[[], None] = lambda: None  #: called a few times a second while steps run
    started: Callable[[RunFacts], None] = lambda run: None  #: before `planned`
    ended: Callable[[RunEnd], None] = lambda end: None  #: once, for each run that started


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


_PATIENCE_SECONDS = 0.2  # between two looks at what is going on
_MOST_SUPERSEDED = 20  # that a run lets a step be taken from it, before that is a failure
_LEAST_PAUSE_SECONDS = 0.05  # before another look at a step that another process is at
_MOST_PAUSE_SECONDS = 2.0  # likewise
_MOST_LOOKS_PER_SECOND = 200  # at all such steps


class Walk:
    """The state of one walk through a plan.

    Images that exist already are read first; nothing else runs before it is known that they are enough.

    Invariant: a step that was missing is waiting (in `_frontier`), running, or settled: done (in the store)
    or given up; never two of these. It is submitted when all of its inputs are settled. A step whose input
    failed is given up at once, but for the evaluation of a suite: what it lost is noted (`_lost`), and it is
    planned anew without that when all else that it reads is settled.

    What is done for an event grows with the steps that it makes ready, never with those that wait: a plan
    of 16,000 steps on 1,000 workers has 16,000 events, and as many looks through 16,000 steps would take
    longer than the steps. Leases of other processes are looked at with growing pauses, for the same reason.
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
        self.needs: Mapping[str, Needs] = {}  #: what steps take, as far as that is known
        self._no_data: dict[str, GenbenchError] = {}  # why a dataset or a stock cannot be read, by key
        self._datasets = preflight.Datasets(plan)
        #: The only steps that may run until they are done: then what is asked of stocks is checked.
        self._first = frozenset(reading_steps(plan, registry))
        self._first_left = {key for key in self.missing if key in self._first}
        self._running: set[str] = set()
        self._lost: dict[str, list[str]] = defaultdict(list)  # what suite evaluations cannot read any more
        self._superseded = Counter[str]()  # how often another run took a step from us
        self._robbed: set[str] = set()  # steps that were called off because that was noticed
        self._pauses: dict[str, float] = {}  # before the next look at a step that another process is at
        self._busy: dict[tuple[int, str], tuple[Holder, str]] = {}  # such processes, and a step of each
        self._told: set[tuple[int, str]] = set()
        self._frontier = Frontier(
            order_of_work(plan, self.missing, self._workers_at_once()),
            {key: plan.steps[key].inputs.values() for key in self.missing},
            self._kinds(),
            self._first,
        )

    def _workers_at_once(self) -> int:
        """Return how many steps may run at once: all, where trainings of several seeds share a worker."""
        return self._jobs if self._most_together == 1 else len(self.missing)

    def _kinds(self) -> dict[str, str]:
        """Return what kind of work the trainings are of which several may be handed over together."""
        if self._most_together == 1:
            return {}
        trainings = (key for key in self.missing if self._plan.steps[key].stage == "train")
        return kinds_of_work(self._plan, (key for key in trainings if key not in self.guests))

    def go(self, executor: Executor) -> None:
        """Submit steps as their inputs are done, until none is left."""
        while self._frontier or self._running:
            if self._first and not self._first_left:
                check_stocks(self._plan, self._store, self._registry)
                self._first = frozenset()
                self._frontier.let_all()
            self._submit_ready(executor)
            if not self._running:
                self._say_who_is_waited_for()
            self._observer.waiting()
            self._call_off_what_was_taken(executor)
            for event in executor.events(self._patience(executor)):
                self._take(event)

    def _patience(self, executor: Executor) -> float:
        """Return for how many seconds to wait for events: until a lease of others is to be looked at."""
        until_due = self._frontier.due - time.monotonic() if executor.free > 0 else _PATIENCE_SECONDS
        return min(_PATIENCE_SECONDS, max(_LEAST_PAUSE_SECONDS / 5, until_due))

    def _submit_ready(self, executor: Executor) -> None:
        """Hand over steps that are ready, in their order, while there are workers for them."""
        if executor.free > 0:
            self._frontier.wake(time.monotonic())
        while executor.free > 0:
            taken = self._frontier.take(self._most_together, self._jobs)
            if not taken:
                return
            if taken[0] in self._lost:
                self._shrink(taken[0])
                continue
            bundle = [key for key in taken if self._claim(key)]
            if bundle:
                self._running.update(bundle)
                self._save_records_for(bundle[0])
                executor.submit([self._task(one) for one in bundle])

    def _task(self, key: str) -> Task:
        """Return a step as it is handed to a worker."""
        holder = self._store.leases.holder(key)  # ourselves: a worker must know under which lease it works
        lease = holder.token if holder is not None else ""
        order = replace(self._plan.with_family(key, self.guests.get(key)), lease=lease)
        kind = self._plan.steps[key].stage
        return Task(key, order, self.needs.get(key, Needs()), label=order.label, kind=kind)

    def _claim(self, key: str) -> bool:
        """Take the lease of a step that is ready, if no other process is at it or has done it."""
        leases = self._store.leases
        is_ours = leases.acquire(key)
        if self._store.open(key) is not None:
            if is_ours:
                leases.release(key)  # it was done while we waited
            self._observer.event(self._plan.steps[key], Event(key, "found"))
            self._settle(key)
        elif is_ours:
            self._pauses.pop(key, None)
            self._frontier.leave(key)
            return True
        else:
            self._defer(key)
        return False

    def _defer(self, key: str) -> None:
        """Look again later at a step that another process is at: each time after twice the pause.

        However many such steps there are, they are looked at some hundred times a second at most.
        """
        holder = self._store.leases.holder(key)
        if holder is not None and (holder.pid, holder.host) not in self._told:
            self._busy[holder.pid, holder.host] = (holder, key)
        pause = self._pauses.get(key, _LEAST_PAUSE_SECONDS)
        self._pauses[key] = min(2 * pause, _MOST_PAUSE_SECONDS)
        crowd = self._frontier.deferred / _MOST_LOOKS_PER_SECOND
        self._frontier.defer(key, time.monotonic() + max(pause, crowd))

    def _say_who_is_waited_for(self) -> None:
        """Say once of each process that it is at a step that we cannot go on without."""
        busy, self._busy = self._busy, {}
        for about, (holder, key) in busy.items():
            if key in self._pauses:
                self._told.add(about)
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
            if self._is_with_others(step.key, event.failure):
                self._leave_to_others(step, event)
                return
            self._stop_if_needed_by_all(step, event.failure)
        self._observer.event(step, event)
        if event.status == "retried" and event.failure is not None:
            self._log(step.key, f"RETRIED {event.failure.reason}; attempt {event.attempt} follows")
        if not event.is_final:
            return
        self._running.discard(event.id)
        self._store.leases.release(event.id)
        self.summary.ran += event.status == "done"
        if event.status == "failed" and event.failure is not None:
            self._fail(step, event.failure)
        elif event.status == "interrupted":
            # By somebody else: when we stop, nobody listens to events any more.
            self._fail(step, INTERRUPTED)
        else:
            if step.stage == "dataset":
                self._datasets.check(step.key, self._store)
            self._settle(step.key)

    def _call_off_what_was_taken(self, executor: Executor) -> None:
        """Call off the steps whose lease another run took, as of a machine that slept: they are at it now."""
        for key in self._store.leases.take_lost():
            if key in self._running:
                self._robbed.add(key)
                executor.cancel(key)

    def _is_with_others(self, key: str, failure: Failure) -> bool:
        """Say whether a step failed for us alone: another run is at it, or has done it."""
        if failure.ends_run:
            return False
        was_taken = failure.kind == "superseded" or key in self._robbed
        self._robbed.discard(key)
        is_lost = was_taken and self._superseded[key] < _MOST_SUPERSEDED
        self._superseded[key] += was_taken
        return is_lost or self._store.has(key)

    def _leave_to_others(self, step: Step, event: Event) -> None:
        """Let a step wait again whose lease somebody took from us: they do it, or we begin it anew."""
        self._running.discard(step.key)
        self._store.leases.release(step.key)
        self._frontier.take_back(step.key)
        self._defer(step.key)
        note = "another run has taken it over"
        self._observer.event(step, Event(step.key, "queued", attempt=event.attempt, note=note))

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
            needed = self._datasets.keys
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

    def _settle(self, key: str) -> None:
        """Let nobody wait for a step any more."""
        self._pauses.pop(key, None)
        self._first_left.discard(key)
        self._frontier.settle(key)

    def _give_up(self, key: str) -> None:
        """Settle a step whose result will not come, and with it all that cannot be without it."""
        gone = [key]
        for one in gone:  # it grows
            for user in self._frontier.users(one):
                if self._plan.steps[user].work.inputs.records:
                    self._lost[user].append(one)
                else:
                    self._frontier.leave(user)  # before it counts one input less, and seems ready
                    gone.append(user)
            self._settle(one)

    def _shrink(self, key: str) -> None:
        """Replace the evaluation of a suite, of which all inputs are settled, by that of what did not fail.

        The new step has a key of its own: what is found without some cells is another result.
        """
        gone = [one for one in self._lost.pop(key) if not self._store.has(one)]
        smaller = without_failed(self._plan.steps[key], gone)
        self._settle(key)
        if smaller is None:  # nothing is left to look at: its record says which step failed
            return
        planned = self._plan.records.pop(key)
        self._plan.steps[smaller.key] = smaller
        self._plan.records[smaller.key] = replace(planned, key=smaller.key)
        if key in self.guests:
            self.guests[smaller.key] = self.guests.pop(key)
        if self._store.open(smaller.key) is None:
            self._frontier.add(smaller.key)
