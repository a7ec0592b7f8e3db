"""Tasks run in this process, one at a time (`--jobs 0`): for debuggers and profilers."""

import time
import traceback
from collections.abc import Mapping, Sequence

from genbench.errors import GenbenchError, GuestError, Interrupted
from genbench.escaping import exception_text, writable
from genbench.executors.base import Event, Executor, Failure, Perform, Setup, Task
from genbench.registry import import_target

_MOST_DETAILS = 50_000  # characters of a traceback


class InlineExecutor(Executor):
    """Runs a bundle when its events are asked for. Cannot stop a task that hangs: it ignores time limits."""

    def __init__(self, setup: Setup, jobs: int = 1, timeout_seconds: float | None = None) -> None:
        self._perform: Perform = import_target(setup.target, "executor")(
            **setup.settings, must_stop=lambda: False
        )
        self._waiting: list[Task] = []

    @property
    def free(self) -> int:
        """One bundle at a time."""
        return 0 if self._waiting else 1

    def submit(self, bundle: Sequence[Task]) -> None:
        """Keep a bundle until events are asked for."""
        self._perform.announce([task.payload for task in bundle])
        self._waiting.extend(bundle)

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Run the next task and return how it ended."""
        if not self._waiting:
            time.sleep(timeout_seconds)
            return []
        return [_run(self._perform, self._waiting.pop(0))]

    def stop(self, grace_seconds: float) -> None:
        """Forget what has not started."""
        self._waiting.clear()

    def close(self) -> None:
        """Nothing to end."""


def _run(perform: Perform, task: Task) -> Event:
    started = time.perf_counter()

    def silent(done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Progress has nobody to go to while this process is busy."""

    try:
        perform(task.payload, silent)
    except Interrupted:
        return Event(task.id, "interrupted")
    except (Exception, SystemExit) as problem:  # whatever a plugin raises is this task's failure; not Ctrl-C
        return Event(task.id, "failed", failure=failure_of(problem), seconds=time.perf_counter() - started)
    return Event(task.id, "done", seconds=time.perf_counter() - started)


def failure_of(problem: BaseException) -> Failure:
    """Say in one line how a task failed; with a traceback, unless the user can mend it."""
    if isinstance(problem, GenbenchError):
        return Failure(writable(problem), error=problem)
    if isinstance(problem, GuestError):
        return Failure(writable(problem), problem.details)
    trace = writable("".join(traceback.format_exception(problem)))
    return Failure(exception_text(problem), trace[-_MOST_DETAILS:])
