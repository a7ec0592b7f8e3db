"""The progress of a run as JSON lines: another observer beside those that draw (`genbench.cli._progress`)."""

import socket
import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from genbench.cli._logs import JsonLog, Level
from genbench.runner import Observer
from genbench.terminal import count

if TYPE_CHECKING:
    from genbench.executors import Event
    from genbench.plan import Step
    from genbench.telemetry import RunEnd, RunFacts

_PROGRESS_SECONDS = 1.0  # between two lines about how far one step is
_SILENT_SECONDS = 60.0  # after which a line says that the program is alive
_SHOWN_RUNNING = 20
#: What is told where no progress is asked for.
_LOUD = frozenset({"run_started", "run_finished", "step_failed", "step_retried", "notice"})
_LEVELS: dict[str, Level] = {"failed": "error", "retried": "warning", "interrupted": "warning"}


class JsonProgress(AbstractContextManager["JsonProgress"]):
    """Tells of a run's beginning, its steps and its end.

    Args:
        log: Where lines go.
        quiet: Whether no progress is told: failures and remarks, beginning and end.
    """

    def __init__(self, log: JsonLog, *, quiet: bool = False) -> None:
        self._log, self._is_quiet = log, quiet
        self._steps = self._done = self._failed = 0
        self._began = self._spoke = time.monotonic()
        self._running: dict[str, tuple[str, float]] = {}  # label and beginning, by key
        self._far: dict[str, float] = {}  # when how far a step is was told, by key

    def __exit__(self, *_: object) -> None:
        """Nothing: `ended` tells how the run ended."""

    @property
    def observer(self) -> Observer:
        """What the runner talks to."""
        return Observer(
            event=self.event,
            notice=self.notice,
            waiting=self.waiting,
            started=self.started,
            ended=self.ended,
        )

    def started(self, run: "RunFacts") -> None:
        """Tell that a run begins."""
        self._log.run, self._steps, self._done, self._failed = run.id, run.missing, 0, 0
        self._began = time.monotonic()
        facts = {name: value for name, value in asdict(run).items() if name not in {"id", "started"}}
        said = f"{count(run.cells, 'cell')}, {count(run.steps, 'step')}: {run.missing} to run"
        self._tell("run_started", said, **facts)

    def event(self, step: "Step", event: "Event") -> None:
        """Tell news of one step."""
        self._follow(step, event)
        if event.status == "progress" and not self._is_time(event):
            return
        facts = {"host": event.host or socket.gethostname(), "attempt": event.attempt}
        about = {"key": step.key, "label": step.label, "stage": step.stage, "seed": str(step.seed), **facts}
        said, own = _told(step, event)
        self._tell(f"step_{event.status}", said, _LEVELS.get(event.status, "info"), **about, **own)

    def notice(self, message: str) -> None:
        """Pass on a remark of the runner."""
        self._tell("notice", message)

    def waiting(self) -> None:
        """Show that the program is alive, where nothing was told for long."""
        now = time.monotonic()
        if now - self._spoke < _SILENT_SECONDS:
            return
        running = [
            {"key": key, "label": label, "seconds": round(now - began, 1)}
            for key, (label, began) in list(self._running.items())[:_SHOWN_RUNNING]
        ]
        said = f"{self._done} of {count(self._steps, 'step')} done, {len(self._running)} running"
        self._tell("waiting", said, steps_done=self._done, steps=self._steps, running=running)

    def ended(self, end: "RunEnd") -> None:
        """Tell how the run ended."""
        failed = sum(record.result.status != "ok" for record in end.records)
        level: Level = "info" if end.status == "done" else _LEVELS[end.status]
        self._tell(
            "run_finished",
            f"{end.status}: {end.reason}" if end.reason else end.status,
            level,
            status=end.status,
            reason=end.reason,
            seconds=round(time.monotonic() - self._began, 3),
            steps_done=self._done,
            steps_failed=self._failed,
            evaluations=len(end.records),
            evaluations_failed=failed,
        )
        self._log.run = ""

    def _follow(self, step: "Step", event: "Event") -> None:
        if event.status == "started":
            self._running[step.key] = step.label, time.monotonic()
        elif event.status != "progress":  # it may be `queued` again: another run took it over
            self._running.pop(step.key, None)
            self._far.pop(step.key, None)
            self._done += event.status == "done"
            self._failed += event.status == "failed"

    def _is_time(self, event: "Event") -> bool:
        now = time.monotonic()
        if now - self._far.get(event.id, -_PROGRESS_SECONDS) < _PROGRESS_SECONDS:
            return False
        self._far[event.id] = now
        return True

    def _tell(self, event: str, message: str, level: Level = "info", **fields: Any) -> None:
        self._spoke = time.monotonic()
        if not self._is_quiet or event in _LOUD:
            self._log.tell(event, message, level, **fields)


def _told(step: "Step", event: "Event") -> tuple[str, dict[str, Any]]:
    """Return the message of an event about a step, and the fields that are its own."""
    reason = event.failure.reason if event.failure is not None else ""
    said, own = f" {event.status}", dict[str, Any]()
    if event.is_final:
        own["seconds"] = round(event.seconds, 3)
    match event.status:
        case "progress":
            said = f": {event.done}/{event.total}"
            own = {"done": event.done, "total": event.total, "metrics": dict(event.metrics)}
        case "queued":
            said, own = f" {event.note}", {"note": event.note}
        case "retried":
            said, own = f": {reason}; attempt {event.attempt} follows", {"reason": reason}
        case "failed":
            said = f" FAILED: {reason}"
            own |= {"reason": reason, "log": f"logs/{step.key}.log"}
        case "found":
            said = ": another run made its result"
        case "done":
            said = f": {event.seconds:.1f} s"
    return step.label + said, own
