"""The board of a run, in an actor beside the main process: workers leave news, and read what they are told.

A worker calls it a few times a second at most, whatever a step reports, and less often the more workers there
are. What the main process asks for is answered when there is news, so that it waits in one call.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genbench.executors.base import Event
from genbench.executors.on_ray.cluster import Handover

_MOST_CALLS_A_SECOND = 200.0  # of all workers together
LEAST_PAUSE_SECONDS = 0.25  #: between two calls of a worker that has only progress to tell
_GONE_SECONDS = 60.0  # without a word, after which a worker no longer counts


@dataclass(frozen=True)
class Begun:
    """A worker has taken a bundle.

    Attributes:
        host: Name of its machine.
        problem: What keeps that machine from doing any step of this run, or empty.
    """

    host: str
    problem: str = ""


@dataclass(frozen=True)
class Orders:
    """What a worker is told.

    Attributes:
        stop: Whether to save the work and stop.
        cancelled: Tasks of its bundle that were called off.
        pause_seconds: How long to wait before telling progress again.
    """

    stop: bool = False
    cancelled: frozenset[str] = frozenset()
    pause_seconds: float = LEAST_PAUSE_SECONDS


News = tuple[int, Event | Begun]  # with the number of the bundle's submission


class Board:
    """What the actor holds of a run; methods are called through Ray, and those that wait let others in."""

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._news: list[News] = []
        self._cancelled: dict[int, frozenset[str]] = {}  # by submission: a task may be submitted again
        self._stopping = False
        self._heard: dict[int, float] = {}  # when each bundle's worker last called
        self._arrived = asyncio.Event()

    async def take_over(self) -> Handover:
        """Return what a worker needs once: it holds keys, and so it is in no task's arguments."""
        return self._handover

    async def tell(self, bundle: int, events: Sequence[Event | Begun], leaves: bool) -> Orders:
        """Take news of a bundle's worker; return what it should know."""
        now = time.monotonic()
        if leaves:
            self._heard.pop(bundle, None)
        else:
            self._heard[bundle] = now
        cancelled = self._cancelled.get(bundle, frozenset())
        if events:
            self._news.extend((bundle, event) for event in events)
            self._arrived.set()
        return Orders(self._stopping, cancelled, self._pause(now))

    def _pause(self, now: float) -> float:
        pause = max(LEAST_PAUSE_SECONDS, len(self._heard) / _MOST_CALLS_A_SECOND)
        if pause > LEAST_PAUSE_SECONDS:  # with few workers, those that are gone do no harm
            self._heard = {key: when for key, when in self._heard.items() if now - when < _GONE_SECONDS}
        return pause

    async def take(self, patience_seconds: float) -> Sequence[News]:
        """Return all news, as soon as there are any, or when somebody nudges."""
        try:
            await asyncio.wait_for(self._arrived.wait(), patience_seconds)
        except TimeoutError:
            return []
        self._arrived.clear()
        found, self._news = self._news, []
        return found

    async def nudge(self) -> None:
        """Have `take` return at once."""
        self._arrived.set()

    async def cancel(self, bundle: int, task_id: str) -> None:
        """Have the worker of a bundle skip a task that has not begun."""
        self._cancelled[bundle] = self._cancelled.get(bundle, frozenset()) | {task_id}

    async def stop(self) -> None:
        """Have running tasks save their work and stop."""
        self._stopping = True


class Boards:
    """The actor: one for all runs of a main process, which may make many, one after another."""

    def __init__(self) -> None:
        self._boards: dict[str, Board] = {}

    async def open(self, run: str, handover: Handover) -> None:
        """Begin a run."""
        self._boards[run] = Board(handover)

    async def close(self, run: str) -> None:
        """End a run: workers that call about it are told off, and stop."""
        self._boards.pop(run, None)

    async def call(self, run: str, method: str, *arguments: Any) -> Any:
        """Call a method of a run's board."""
        return await getattr(self._boards[run], method)(*arguments)


@dataclass(frozen=True)
class BoardOfRun:
    """Where a run's board is.

    Attributes:
        actor: Handle of the actor.
        run: Name of the run.
    """

    actor: Any
    run: str

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of `Board`; return the reference of its answer."""
        return self.actor.call.remote(self.run, method, *arguments)
