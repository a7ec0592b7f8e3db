"""Observers of one run together: what tells plugins, such as MLflow, and what looks at the first images."""

import contextlib
import copy
import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from genbench import __version__
from genbench.compose import Composer
from genbench.escaping import exception_text
from genbench.executors import Event
from genbench.interrupts import saving
from genbench.metrics import unlike_their_labels
from genbench.plan import Plan, Step
from genbench.records import Record
from genbench.registry import Registry
from genbench.store import Store
from genbench.telemetry import RunEnd, RunFacts, StepFacts, ending
from genbench.walk import Observer, RunSummary
from genbench.worker import RunOptions

STARTED, STEP, FINISHED = "genbench_run_started", "genbench_step_finished", "genbench_run_finished"


def facts_of(plan: Plan, missing: int, store: Store, options: RunOptions) -> RunFacts:
    """Return what observers are told of a run that begins now."""
    return RunFacts(
        id=uuid.uuid4().hex,
        suite=plan.declared.declaration.suite if plan.declared else "",
        command=options.command,
        started=datetime.now(UTC),
        host=socket.gethostname(),
        process=os.getpid(),
        version=__version__,
        store=str(store.root),
        executor=options.executor if options.jobs else "inline",
        device=options.device,
        jobs=options.jobs,
        cells=len(plan.cells),
        steps=len(plan.steps),
        missing=missing,
    )


@contextlib.contextmanager
def told(observer: Observer, run: RunFacts, summary: RunSummary) -> Iterator[None]:
    """Tell an observer that a run begins, and how it ended; `summary` holds its records by then.

    A signal cuts short what observers do at the end of a run that a signal stopped.
    """
    observer.started(run)
    try:
        yield
    except KeyboardInterrupt:
        with saving():
            observer.ended(RunEnd("interrupted"))
        raise
    except Exception as problem:
        observer.ended(RunEnd("failed", exception_text(problem)))
        raise
    observer.ended(ending(tuple(summary.records)))


def with_plugins(observer: Observer, plan: Plan, store: Store, registry: Registry, command: str) -> Observer:
    """Return an observer that tells those of plugins, too; the same one where no plugin observes."""
    if not any(registry.heard(hook) for hook in (STARTED, STEP, FINISHED)):
        return observer
    plugins = _Plugins(observer, plan, store, registry, command)

    def started(run: RunFacts) -> None:
        observer.started(run)
        plugins.started(run)

    def event(step: Step, news: Event) -> None:
        observer.event(step, news)
        plugins.event(step, news)

    def ended(end: RunEnd) -> None:
        plugins.ended(end)
        observer.ended(end)

    return Observer(observer.planned, event, observer.notice, observer.waiting, started, ended)


def with_first_look(observer: Observer, plan: Plan, store: Store) -> Observer:
    """Return an observer that warns at once of images that do not show what their labels say.

    Only those of the first seed are looked at: the others have the same generator and the same options.
    """
    composer: Composer | None = None
    judged = [key for key, one in plan.records.items() if one.subject == "image_set"]
    first = min((plan.records[key].arm.index for key in judged), default=0)
    looked_at = {key for key in judged if plan.records[key].arm.index == first}

    def event(step: Step, news: Event) -> None:
        nonlocal composer
        observer.event(step, news)
        if step.key not in looked_at or news.status != "done":
            return
        composer = composer or Composer(plan, store, "", keep=False)
        record = composer.record(step.key)
        metrics = record.result.metrics if record else ()
        found = unlike_their_labels((one.name, one.role, one.value) for one in metrics)
        if found:
            arm = plan.records[step.key].arm
            observer.notice(
                f"{arm.generator.label} for {arm.dataset.label}: a network trained on real images sees the "
                f"class of the label in {found[0]:.0f} % of these images, in {found[1]:.0f} % of real ones. "
                "Look at them before you go on (genbench preview): trainings on them tell little"
            )

    return replace(observer, event=event)


class _Plugins:
    """Tells the observers of plugins; what goes wrong there is a remark, and hurts no run.

    They are handed copies: nothing that they do with them reaches a record.
    """

    def __init__(
        self, observer: Observer, plan: Plan, store: Store, registry: Registry, command: str
    ) -> None:
        self._notice = observer.notice
        self._plan, self._store, self._registry, self._command = plan, store, registry, command
        self._composer: Composer | None = None
        self._run: RunFacts | None = None

    def started(self, run: RunFacts) -> None:
        """Tell that the run begins."""
        self._run = run
        self._tell(STARTED, {"run": run})

    def event(self, step: Step, event: Event) -> None:
        """Tell of a step that is over."""
        heard = self._registry.heard(STEP)
        if not heard or not event.is_final:
            return
        facts: dict[str, Any] = {
            "stage": step.stage,
            "key": step.key,
            "status": event.status,
            "seconds": event.seconds,
            "run": self._run,
        }
        self._tell(STEP, {**facts, "step": self._facts(step, event)} if "step" in heard else facts)

    def ended(self, end: RunEnd) -> None:
        """Tell that the run is over."""
        heard = self._registry.heard(FINISHED)
        records = copy.deepcopy(end.records) if "records" in heard else ()
        self._tell(
            FINISHED, {"run": self._run, "status": end.status, "reason": end.reason, "records": records}
        )

    def _tell(self, hook: str, facts: dict[str, Any]) -> None:
        for remark in self._registry.tell(hook, facts):
            self._notice(remark)

    def _facts(self, step: Step, event: Event) -> StepFacts:
        ended = datetime.now(UTC)
        is_done = event.status == "done"
        attempt = (self._store.manifest(step.key) or {}).get("run", {}) if is_done else {}
        return StepFacts(
            key=step.key,
            stage=step.stage,
            label=step.label,
            status=event.status,
            reason=event.failure.reason if event.failure is not None else "",
            started=ended - timedelta(seconds=event.seconds),
            ended=ended,
            seconds=event.seconds,
            seed=step.seed,
            inputs=dict(step.inputs),
            host=event.host or socket.gethostname(),
            attempt=event.attempt,
            device=attempt.get("hardware", {}).get("device", ""),
            peak_memory_bytes=attempt.get("peak_memory_bytes", 0),
            log=str(self._store.log_path(step.key)),
            record=self._record(step.key) if is_done else None,
        )

    def _record(self, key: str) -> Record | None:
        """Compose what an evaluation measured. Nothing is kept: what is published is composed at the end."""
        if key not in self._plan.records:
            return None
        if self._composer is None:
            self._composer = Composer(self._plan, self._store, self._command, keep=False)
        return copy.deepcopy(self._composer.record(key))
