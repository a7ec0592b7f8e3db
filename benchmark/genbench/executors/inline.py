"""Tasks run in this process, one at a time (`--jobs 0`): for debuggers and profilers."""

import time
from collections.abc import Sequence
from typing import ClassVar

from genbench.executors.at_work import CANCELLED, carry_out_task
from genbench.executors.base import Event, Executor, Perform, Setup, Task
from genbench.executors.config import ExecutorConfig
from genbench.registry import import_target

_MOST_NEWS = 100  # of one task: nobody reads its progress before it ends


class InlineExecutor(Executor):
    """Runs a task when events are asked for. Cannot stop a task that hangs: it ignores time limits."""

    has_workers: ClassVar[bool] = False

    def __init__(self, config: ExecutorConfig, setup: Setup) -> None:
        self._perform: Perform = import_target(setup.target, "executor")(
            **setup.settings, must_stop=lambda: False
        )
        self._waiting: list[Task] = []
        self._announced: Sequence[Task] = ()  # with the next task
        self._news: list[Event] = []

    @property
    def free(self) -> int:
        """One bundle at a time."""
        return 0 if self._waiting or self._news else 1

    def submit(self, bundle: Sequence[Task]) -> None:
        """Keep a bundle until events are asked for."""
        self._waiting.extend(bundle)
        self._announced = tuple(bundle)

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Run the next task and return what it told, all at once."""
        if self._waiting:
            task, announced = self._waiting.pop(0), self._announced
            self._announced = ()
            news: list[Event] = []
            last = carry_out_task(self._perform, task, announced, news.append, passing=KeyboardInterrupt)
            self._news += [news[0], *news[1:][-_MOST_NEWS:], last]
        elif not self._news:
            time.sleep(timeout_seconds)
        found, self._news = self._news, []
        return found

    def cancel(self, task_id: str) -> None:
        """Take a task out of the queue; one that runs keeps this process busy until it ends."""
        for task in [one for one in self._waiting if one.id == task_id]:
            self._waiting.remove(task)
            self._news.append(Event(task.id, "failed", failure=CANCELLED, attempt=task.attempt))

    def stop(self, grace_seconds: float) -> None:
        """Forget what has not started."""
        self._waiting.clear()

    def close(self) -> None:
        """Nothing to end."""
