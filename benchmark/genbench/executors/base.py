"""What every executor does: take bundles of tasks, tell what becomes of each."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from genbench.errors import GenbenchError

Status = Literal["started", "progress", "done", "failed", "interrupted"]


@dataclass(frozen=True)
class Task:
    """One piece of work: an identifier, and whatever the worker's function takes."""

    id: str
    payload: Any


@dataclass(frozen=True)
class Failure:
    """How a task ended badly.

    Attributes:
        reason: One line for tables: `ValueError: ...`, `killed by signal 9`, `no end within 60 s`.
        details: A traceback, or empty for errors that the user can mend.
        error: What was raised, if it is an error of genbench's own: its type crosses process borders.
    """

    reason: str
    details: str = ""
    error: GenbenchError | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a task."""

    id: str
    status: Status
    done: int = 0
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    failure: Failure | None = None


class Report(Protocol):
    """How a running task tells its progress."""

    def __call__(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Tell that `done` of `total` is done."""
        ...


class Perform(Protocol):
    """What a worker does with a payload."""

    def __call__(self, payload: Any, report: Report) -> None:
        """Do it, or raise."""
        ...

    def announce(self, payloads: Sequence[Any]) -> None:
        """Learn of a bundle before its first payload: called once with all of its payloads."""
        ...


@dataclass(frozen=True)
class Setup:
    """How a worker gets its function: `"module:function"` is imported there and called with `settings`.

    It returns a `Perform`. `settings` must be picklable; a `must_stop` function is added to it.

    Attributes:
        target: Where the function is.
        settings: What it is called with.
        threads: Of torch, in each worker process.
        environments: Variables of the first worker, the second and so on, and from the start again.
    """

    target: str
    settings: Mapping[str, Any]
    threads: int = 1
    environments: Sequence[Mapping[str, str]] = ()


class Executor(ABC):
    """Runs bundles of tasks. Bundles hold tasks that differ only in their seed; each may fail alone."""

    @property
    @abstractmethod
    def free(self) -> int:
        """How many more bundles can start now."""

    @abstractmethod
    def submit(self, bundle: Sequence[Task]) -> None:
        """Start a bundle; only while `free` is positive."""

    @abstractmethod
    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Return what happened, waiting at most this long for something to happen."""

    @abstractmethod
    def stop(self, grace_seconds: float) -> None:
        """Ask running tasks to save their work and stop; end what has not stopped by then."""

    @abstractmethod
    def close(self) -> None:
        """End all workers; nothing is running any more."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
