"""Live progress: bars on a terminal, one plain line per step elsewhere."""

import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from genbench.cli._durations import duration
from genbench.cli._json_progress import JsonProgress
from genbench.cli._logs import active
from genbench.cli._output import echo
from genbench.escaping import LONGEST_LABEL, LONGEST_MESSAGE, one_line
from genbench.executors.failures import INTERRUPTED
from genbench.runner import Observer
from genbench.terminal import count

if TYPE_CHECKING:
    from genbench.executors import Event
    from genbench.plan import Plan, Step

_PLAIN_SECONDS = 15.0  # a long step says how far it is this often, where there are no bars
_SHOWN_RUNNING = 4
_MOST_BARS = 12  # of running steps: a terminal has few lines, and drawing a thousand bars takes a core
_FIRST_SECONDS = 3.0  # and so early it is said what happens before the first step is done


def _where(event: "Event") -> str:
    """Name the machine that a step ran on, if it is not this one."""
    return f" on {event.host}" if event.host not in {"", socket.gethostname()} else ""


def _reason(event: "Event") -> str:
    """Say why a step is over and not done; empty if it is done."""
    if event.status == "interrupted":
        return INTERRUPTED.reason
    return event.failure.reason if event.failure is not None else ""


class Lines(AbstractContextManager["Lines"]):
    """One line per finished step, and one now and then for a long one."""

    def __init__(self) -> None:
        self._total = self._finished = self._elsewhere = 0
        self._spoke: dict[str, float] = {}
        self._far: dict[str, _Far] = {}  # by key
        self._failures: Counter[str] = Counter()  # reasons
        self._waits: set[str] = set()  # what was said to be waited for
        self._running: dict[str, tuple[str, float]] = {}  # label and beginning, by key
        self._began = self._last_line = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Say how many steps failed for a reason that was said once, and why some were not taken."""
        for reason, times in self._failures.items():
            if times > 1:
                self.say(f"{count(times - 1, 'other step')} FAILED alike: {reason}")
        if kind is None:
            self.finish()

    def finish(self) -> None:
        """Say what became of steps that were neither done nor failed here."""
        left = self._total - self._over
        if left > 0 and self._failures:
            self.say(f"{count(left, 'step')} not run: what they need failed")
        if self._elsewhere:
            self.say(f"{count(self._elsewhere, 'step')} not run here: another genbench did them meanwhile")

    @property
    def _over(self) -> int:
        """How many steps nobody waits for any more."""
        return self._finished + self._elsewhere

    @property
    def observer(self) -> Observer:
        """What the runner talks to."""
        return Observer(self.planned, self.event, self.notice, self.waiting)

    def planned(self, steps: "Sequence[Step]", plan: "Plan") -> None:
        """Say how much is to do."""
        self._total, self._began = len(steps), time.monotonic()
        rest = len(plan.steps) - len(steps)
        told = "nothing to run, all is cached" if not steps else f"{len(steps)} to run"
        cached = f", {rest} cached or not needed" if steps and rest else ""
        self.say(f"{count(len(plan.cells), 'cell')}, {count(len(plan.steps), 'step')}: {told}{cached}")

    def event(self, step: "Step", event: "Event") -> None:
        """Take news of one step."""
        if event.status == "started":
            self._running[event.id] = (step.label, time.monotonic())
            self.started(step, event)
            return
        if event.status == "progress":
            self._far[event.id] = _Far.after(self._far.get(event.id), event)
            self.progress(step, event)
            return
        self.left(event.id)
        if event.status == "queued":
            self.queued(step, event)
        elif event.status == "retried" and event.failure is not None:
            self.retried(step, event, event.failure.reason)
        elif event.status == "found":
            self._elsewhere += 1
            self.counted()
        elif event.status in {"done", "failed", "interrupted"}:
            self._finished += 1
            self.finished(step, event)
            self.counted()

    def left(self, key: str) -> None:
        """Note that a step does not run any more, or not yet."""
        self._running.pop(key, None)
        self._far.pop(key, None)

    def counted(self) -> None:
        """Nothing: every line says how many steps are finished."""

    def queued(self, step: "Step", event: "Event") -> None:
        """Say what a step waits for that could run otherwise."""
        if event.note and event.note not in self._waits:  # many steps may wait for the same
            self._waits.add(event.note)
            self.say(f"  {step.label} {event.note}")

    def retried(self, step: "Step", event: "Event", reason: str) -> None:
        """Say that a step lost its worker and is begun again."""
        self.say(f"  {step.label}{_where(event)}: {reason}; attempt {event.attempt} follows")

    def started(self, step: "Step", event: "Event") -> None:
        """Nothing: `waiting` tells of steps that take long."""

    def waiting(self) -> None:
        """Say what is going on, where nothing was said for a while."""
        now = time.monotonic()
        patience = _PLAIN_SECONDS if self._last_line >= self._began + _FIRST_SECONDS else _FIRST_SECONDS
        if now - max(self._last_line, self._began) < patience or not self._total:
            return
        if not self._running:
            first = "starting workers, which load torch"
            since = self._last_line if self._finished else self._began
            self.say(f"  {'waiting' if self._finished else first}: {now - since:.0f} s so far")
        for key, (label, began) in list(self._running.items())[:_SHOWN_RUNNING]:
            far = self._far.get(key)
            self._spoke[key] = now
            so_far = f"{now - began:.0f} s so far"
            if far is not None:
                so_far = f"{far.done}/{far.total}, {so_far}{far.left(now)}{far.measured()}"
            self.say(f"  {label}: {so_far}")

    def progress(self, step: "Step", event: "Event") -> None:
        """Say how far a step is, now and then."""
        now = time.monotonic()
        if now - self._spoke.setdefault(event.id, now) >= _PLAIN_SECONDS:
            self._spoke[event.id] = now
            far = self._far[event.id]
            self.say(f"  {step.label}: {far.done}/{far.total}{far.left(now)}{far.measured()}")

    def finished(self, step: "Step", event: "Event") -> None:
        """Say that a step is done, or why it failed."""
        width = len(str(self._total))
        head = f"[{self._finished:{width}}/{self._total}] {step.label}"
        reason = _reason(event)
        if reason:
            self._failures[reason] += 1
            if self._failures[reason] == 1:
                self.say(f"{head}{_where(event)}  FAILED: {reason}")
        else:
            attempt = f", attempt {event.attempt}" if event.attempt > 1 else ""
            self.say(f"{head}  {event.seconds:.1f} s{_where(event)}{attempt}")

    def notice(self, message: str) -> None:
        """Pass on a remark of the runner."""
        self.say(f"note: {message}")

    def say(self, line: str) -> None:
        """Print one line."""
        self._last_line = time.monotonic()
        echo(one_line(line, LONGEST_MESSAGE), err=True)


class Bars(Lines):
    """A bar for the run, and one for each running step."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),  # labels may hold what rich would read
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True, emoji=False),
            transient=True,
        )
        self._overall: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        super().__exit__(kind)
        self._bars.stop()

    def planned(self, steps: "Sequence[Step]", plan: "Plan") -> None:
        """Open the bar of the whole run."""
        super().planned(steps, plan)
        if steps:
            self._overall = self._bars.add_task(
                "steps", total=len(steps), metrics="starting workers, which load torch"
            )

    def waiting(self) -> None:
        """Nothing: the bars say since when."""

    def started(self, step: "Step", event: "Event") -> None:
        """Open a bar for the step, which says since when it runs; how far it is follows, if it tells."""
        self._show(event.id, step.label)

    def progress(self, step: "Step", event: "Event") -> None:
        """Move a step's bar."""
        if event.id not in self._tasks:
            self._show(event.id, step.label)
        task, far = self._tasks.get(event.id), self._far[event.id]
        if task is not None:
            metrics = one_line(f"{far.left(time.monotonic())}{far.measured()}".lstrip(", "), LONGEST_LABEL)
            self._bars.update(task, completed=event.done, total=event.total, metrics=metrics)

    def left(self, key: str) -> None:
        """Take a step's bar away."""
        super().left(key)
        if key in self._tasks:
            self._bars.remove_task(self._tasks.pop(key))
            # Bars belong to the steps that have run longest: the first without one is soon found.
            other = next((key for key in self._running if key not in self._tasks), None)
            if other is not None:
                self._show(other, self._running[other][0])

    def counted(self) -> None:
        """Move the bar of the whole run."""
        self._bars.update(self._overall, completed=self._over, metrics=self._without_bar())

    def _show(self, key: str, label: str) -> None:
        """Open a bar for a running step, if there is room for one."""
        if len(self._tasks) < _MOST_BARS:
            self._tasks[key] = self._bars.add_task(one_line(label, LONGEST_LABEL), total=None, metrics="")
        self._bars.update(self._overall, metrics=self._without_bar())

    def _without_bar(self) -> str:
        """Say how many steps run where not all of them have a bar."""
        more = len(self._running) - len(self._tasks)
        return f"{len(self._running):,} running, {len(self._tasks)} shown" if more > 0 else ""

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        self._bars.console.print(one_line(line, LONGEST_MESSAGE), markup=False, highlight=False)


def make_progress(*, quiet: bool) -> Lines | JsonProgress:
    """Return bars on a terminal, lines elsewhere, neither if asked to be quiet, JSON if asked for that."""
    log = active()
    if log is not None:
        return JsonProgress(log, quiet=quiet)
    if quiet:
        return Silence()
    return Bars() if sys.stderr.isatty() else Lines()


class Silence(Lines):
    """Failures and notices only."""

    def planned(self, steps: "Sequence[Step]", plan: "Plan") -> None:
        """Say nothing."""
        self._total = len(steps)

    def progress(self, step: "Step", event: "Event") -> None:
        """Say nothing."""

    def waiting(self) -> None:
        """Say nothing."""

    def queued(self, step: "Step", event: "Event") -> None:
        """Say nothing."""

    def retried(self, step: "Step", event: "Event", reason: str) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""

    def finished(self, step: "Step", event: "Event") -> None:
        """Say only why a step failed."""
        if _reason(event):
            super().finished(step, event)


@dataclass(frozen=True)
class _Far:
    """How far a step is: what was done when it was first heard of, and now.

    A step that resumes begins in its middle, and what it does before it first tells is no part of its pace.
    """

    first: int
    since: float
    done: int
    total: int
    metrics: Mapping[str, float]

    @classmethod
    def after(cls, before: "_Far | None", event: "Event") -> "_Far":
        """Take news; what counts something else begins anew. Metrics stay until there are newer ones."""
        if before is None or event.total != before.total or event.done < before.done:
            return cls(event.done, time.monotonic(), event.done, event.total, event.metrics)
        return replace(before, done=event.done, metrics=event.metrics or before.metrics)

    def left(self, now: float) -> str:
        """Say about how long the rest takes; nothing where no pace is known."""
        made, taken = self.done - self.first, now - self.since
        if not made or taken <= 0 or self.done >= self.total:
            return ""
        return f", about {duration(taken / made * (self.total - self.done))} left"

    def measured(self) -> str:
        """Write the metrics."""
        told = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"  {told}" if told else ""
