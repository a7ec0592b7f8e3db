"""What every executor does: take bundles of tasks, tell what becomes of each."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Status = Literal["started", "progress", "done", "failed", "interrupted"]


@dataclass(frozen=True)
class Task:
    """One piece of work: an identifier, and whatever the worker's function takes."""

    id: str
    payload: Any


@dataclass(frozen=True)
class Outcome:
    """How a task ended badly.

    Attributes:
        reason: One line for tables: `ValueError: ...`, `killed by signal 9`, `no end within 60 s`.
        details: A traceback, or empty for errors that the user can mend.
    """

    reason: str
    details: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened to a task."""

    id: str
    status: Status
    done: int = 0
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    outcome: Outcome | None = None


class Report(Protocol):
    """How a running task tells its progress."""

    def __call__(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Tell that `done` of `total` is done."""
        ...


class Perform(Protocol):
    """What a worker does with a payload."""

    def __call__(self, payload: Any, report: Report, deadline: float | None) -> None:
        """Do it, or raise."""
        ...

    def announce(self, payloads: Sequence[Any]) -> None:
        """Learn of a bundle before its first payload: called once with all of its payloads."""
        ...


@dataclass(frozen=True)
class Setup:
    """How a worker gets its function: `"module:function"` is imported there and called with `settings`.

    It returns a `Perform`. `settings` must be picklable; a `must_stop` function is added to it.
    """

    target: str
    settings: Mapping[str, Any]


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
