"""What every executor does: take bundles of tasks, tell what becomes of each.

docs/design/executors.md says how one is written; `genbench plugin check NAME` asks whether it is right.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from genbench.executors.config import ExecutorConfig
from genbench.executors.failures import Failure

Status = Literal["queued", "started", "progress", "retried", "found", "done", "failed", "interrupted"]
FINAL = frozenset[Status]({"done", "failed", "interrupted"})  #: the last news of a task


@dataclass(frozen=True)
class Needs:
    """What a task takes, as far as that is known: declared, or measured when the like was done before.

    Attributes:
        cpus: Cores that it keeps busy.
        gpus: GPUs that it computes on; 0 for one that needs none.
        memory_bytes: Of the machine, at most; None is unknown.
        gpu_memory_bytes: Of each of its GPUs, at most; None is unknown.
        seconds: That it takes; None is unknown.
    """

    cpus: int = 1
    gpus: int = 0
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Task:
    """One piece of work: an identifier, and whatever the worker's function takes.

    Attributes:
        id: Unique among those that have not ended; one that was called off may be submitted again.
        payload: What is done; picklable.
        needs: What it takes.
        attempt: How often it was begun, this time included: 2 after its first worker was lost.
        label: For people.
        kind: What tasks of one kind have in common is what they take; an engine may submit them together.
    """

    id: str
    payload: Any
    needs: Needs = Needs()
    attempt: int = 1
    label: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened to a task.

    `queued` and `progress` any number of times, `started` once per attempt, `retried` between two attempts,
    and at the end one of `done`, `failed` and `interrupted`, after which nothing more is said of it, unless
    it is submitted again. No executor tells `found`: the walk does, of a step that another run has done.

    Attributes:
        id: Of the task.
        status: What happened.
        done: Of `progress`: how much is done.
        total: Of how much.
        metrics: Numbers that go with it.
        seconds: Of the last event: how long the attempt took.
        failure: Of `failed`, and of `retried`: what ended the attempt.
        host: Name of the machine that the worker is on; empty where it is not known.
        attempt: Which attempt it is about; of `retried`, the one that comes next.
        note: Of `queued`: what it waits for, in a few words.
    """

    id: str
    status: Status
    done: int = 0
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    failure: Failure | None = None
    host: str = ""
    attempt: int = 1
    note: str = ""

    @property
    def is_final(self) -> bool:
        """Whether it is the last news of its task."""
        return self.status in FINAL


class Report(Protocol):
    """How a running task tells its progress."""

    def __call__(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Tell that `done` of `total` is done."""
        ...


class Perform(Protocol):
    """What a worker does with a task."""

    def __call__(self, task: Task, report: Report) -> None:
        """Do it, or raise."""
        ...

    def announce(self, tasks: Sequence[Task]) -> None:
        """Learn of a bundle before its first task: called once with all that is left of it."""
        ...


@dataclass(frozen=True)
class Setup:
    """What an executor is built with besides its options: the same for every engine.

    `"module:function"` is imported in each worker and called with `settings`; it returns a `Perform`.
    `settings` must be picklable; a `must_stop` function is added to it. `genbench.executors.at_work` does
    that, and everything else that a worker does.

    Attributes:
        target: Where the function is.
        settings: What it is called with.
        threads: Of torch, in each worker process.
        environments: Variables of the first worker, the second and so on, and from the start again.
        jobs: How many workers are wanted; an engine with a queue of its own may take it as a hint.
        timeout_seconds: How long one task may take, or None.
        retries: How often a task is begun again after its worker was lost (`failures.RETRIED`).
        gpu_memory_bytes: Of each GPU that workers share, in the order of `environments`; empty: unknown.
        shared_folder: That every machine must see under this name, where workers are on several; empty: none.
    """

    target: str
    settings: Mapping[str, Any]
    threads: int = 1
    environments: Sequence[Mapping[str, str]] = ()
    jobs: int = 1
    timeout_seconds: float | None = None
    retries: int = 0
    gpu_memory_bytes: Sequence[int] = ()
    shared_folder: str = ""


class Executor(ABC):
    """Runs bundles of tasks. Bundles hold tasks that differ only in their seed; each may fail alone.

    Built with its options and a `Setup`. All methods are called from one thread.

    Class attributes:
        has_workers: Whether tasks run in processes of their own. One that shares its process with them can
            neither outlive a task that kills it nor end one that hangs.
    """

    has_workers: ClassVar[bool] = True

    @abstractmethod
    def __init__(self, config: ExecutorConfig, setup: Setup) -> None:
        """Get ready; whatever takes long may go on in the background."""

    @property
    @abstractmethod
    def free(self) -> int:
        """How many more bundles it takes now: idle workers, or as many as its queue should hold."""

    @abstractmethod
    def submit(self, bundle: Sequence[Task]) -> None:
        """Take a bundle; only while `free` is positive. Returns at once."""

    @abstractmethod
    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Return what happened, in order, waiting at most this long for something to happen."""

    @abstractmethod
    def cancel(self, task_id: str) -> None:
        """Call off one task, running or not: it fails as `cancelled`, the rest of its bundle goes on.

        One that has ended meanwhile, or that nobody knows, is left alone.
        """

    @abstractmethod
    def stop(self, grace_seconds: float) -> None:
        """Ask running tasks to save their work and stop; end what has not stopped by then.

        What had not begun is forgotten. `events` still tells of those that were interrupted.
        """

    @abstractmethod
    def close(self) -> None:
        """End all workers; nothing is running any more."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
