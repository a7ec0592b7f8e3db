"""An executor that holds to the contract, and, by its option `fault`, breaks it in one place."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

import genbench
from genbench.executors import Event, Executor, Failure, Setup, Task, processes
from genbench.executors.at_work import CANCELLED
from genbench.executors.config import ExecutorConfig, ProcessesConfig

LEFT: list[Executor] = []  # that were not closed


class BenchConfig(ExecutorConfig):
    """Options of `bench`."""

    fault: str = Field(default="", description="what is wrong")


def forked(memory_gib: float | None, setup: Setup) -> processes.ProcessExecutor:
    """Return worker processes that start at once, since they are forked."""
    with _forking():
        return processes.ProcessExecutor(ProcessesConfig(memory_gib=memory_gib), setup)


class Bench(Executor):
    """Worker processes, wrong in one place."""

    def __init__(self, config: BenchConfig, setup: Setup) -> None:
        self.fault = config.fault
        setup = replace(setup, threads=1) if self.fault == "one thread" else setup
        setup = replace(setup, timeout_seconds=None) if self.fault == "waits for ever" else setup
        setup = replace(setup, retries=9) if self.fault == "retries for ever" else setup
        setup = replace(setup, retries=0) if self.fault == "never retries" else setup
        self.inner = forked(None, setup)
        self.bundles: list[list[Task]] = []
        self.cancelled: set[str] = set()
        self.refused: list[Event] = []

    @property
    def free(self) -> int:
        return self.inner.free

    def submit(self, bundle: Sequence[Task]) -> None:
        self.bundles.append(list(bundle))
        again = [task for task in bundle if self.fault == "cancels for ever" and task.id in self.cancelled]
        bundle = [task for task in bundle if task not in again]
        self.refused += [Event(task.id, "failed", failure=CANCELLED) for task in again]
        if not bundle:
            return
        if self.fault == "cuts payloads":
            bundle = [replace(task, payload={**task.payload, "content": b"cut"}) for task in bundle]
        if self.fault == "parts bundles":
            for task in bundle:
                self.inner.submit([task])
        else:
            self.inner.submit(bundle)

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        refused, self.refused = self.refused, []
        return refused + [one for event in self.inner.events(timeout_seconds) for one in self.told(event)]

    def told(self, event: Event) -> list[Event]:
        """Return what becomes of an event."""
        if self.fault == "ends twice" and event.status == "done":
            return [event, event]
        if (self.fault, event.status) in {
            ("never begins", "started"), ("no progress", "progress"), ("retries in silence", "retried"),
        }:  # fmt: skip
            return []
        if self.fault == "no host":
            return [replace(event, host="")]
        return [event] if event.failure is None else self.failed(event, event.failure)

    def failed(self, event: Event, failure: Failure) -> list[Event]:
        if self.fault == "all alike":
            failure = replace(failure, kind="error")
        if self.fault == "no classes":
            failure = replace(failure, error=None)
        if self.fault == "drops what is odd" and "OddError" in failure.reason:
            failure = Failure("cannot pickle", kind="lost")
        if self.fault == "calls a loss an error" and failure.kind == "lost":
            failure = replace(failure, kind="error")
        event = replace(event, failure=failure)
        with_others = {"fails bundles": "error", "loses bundles": "lost", "cancels bundles": "cancelled"}
        if with_others.get(self.fault) != failure.kind or event.status != "failed":
            return [event]
        (others,) = [
            [one.id for one in bundle] for bundle in self.bundles if event.id in {b.id for b in bundle}
        ]
        for other in others:
            self.inner.cancel(other)
        self.fault = ""  # what is cancelled fails once
        return [event, *(replace(event, id=other) for other in others[others.index(event.id) + 1 :])]

    def cancel(self, task_id: str) -> None:
        self.cancelled.add(task_id)
        running = {worker.running for worker in self.inner._workers}
        if self.fault != "never cancels" and not (
            self.fault == "never cancels what runs" and task_id in running
        ):
            self.inner.cancel(task_id)

    def stop(self, grace_seconds: float) -> None:
        self.inner.stop(0.0 if self.fault == "stops at once" else grace_seconds)

    def close(self) -> None:
        if self.fault == "leaves workers":
            LEFT.append(self.inner)
        else:
            for worker in self.inner._workers:  # a forked one has both ends of its pipe, and sees no end
                worker.process.terminate()
            self.inner.close()


class _forking:  # noqa: N801 - read as a function
    """Let workers be forked rather than spawned."""

    def __enter__(self) -> None:
        self.before: Any = processes.multiprocessing.get_context
        fork = multiprocessing.get_context("fork")
        processes.multiprocessing.get_context = lambda name: fork  # type: ignore[assignment,return-value]

    def __exit__(self, *_: object) -> None:
        processes.multiprocessing.get_context = self.before


@genbench.hookimpl
def genbench_executors() -> list[genbench.ComponentSpec]:
    return [
        genbench.ComponentSpec(
            name="bench",
            target="wrong_executors:Bench",
            config="wrong_executors:BenchConfig",
            summary="wrong in one place",
        )
    ]
