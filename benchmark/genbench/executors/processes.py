"""Persistent worker processes: a crash, a hang or an out-of-memory kill is one failed task, not a lost run.

A worker ends with the process that started it, whatever becomes of that, and takes with it what it started.
Workers are spawned, so that they start clean. A bundle waits where the steps that run leave too little memory
for it, as far as that is known; others may pass it meanwhile.
"""

import contextlib
import multiprocessing
import signal
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from genbench.executors.at_work import (
    CANCELLED,
    after_loss,
    carry_out,
    environment,
    prepare_worker,
    private_environment,
    worker_environment,
)
from genbench.executors.base import Event, Executor, Needs, Setup, Task
from genbench.executors.config import ProcessesConfig
from genbench.executors.failures import Failure, out_of_memory_kills
from genbench.executors.memory import Memory, memory_here, of_bundle
from genbench.rooms.room import cause_of_death
from genbench.rooms.tree import end_descendants, end_with_parent

_MOST_EVENTS = 100  # of one worker that are read at once: the others want to be heard, too
_START_SECONDS = 120.0  # that a worker may take to import torch, on a disk that is busy


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    place: int  # among the workers; one that replaces a dead one takes its place, and its GPU
    tasks: list[Task] = field(default_factory=list)
    needs: Needs = field(default_factory=Needs)
    handed: float = 0.0  # when it was given its tasks
    running: str = ""  # the task that has begun; importing torch is not its time
    started: float = 0.0  # when that was
    cancelled: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """How long the running task has taken."""
        return time.monotonic() - self.started if self.running else 0.0

    def is_late(self, timeout_seconds: float) -> bool:
        """Say whether its running task, or its start, takes longer than it may."""
        if not self.tasks:
            return False
        if not self.running:
            return time.monotonic() - self.handed > timeout_seconds + _START_SECONDS
        # The first of a bundle may do the work of all.
        return self.seconds > timeout_seconds * len(self.tasks)

    def take(self, bundle: Sequence[Task]) -> None:
        """Hand it a bundle."""
        self.tasks, self.needs = list(bundle), of_bundle([task.needs for task in bundle])
        self.handed, self.running = time.monotonic(), ""
        self.cancelled.clear()
        with contextlib.suppress(OSError):  # it died a moment ago, which is noticed when it is listened to
            self.connection.send(list(bundle))

    def hear(self, event: Event) -> None:
        """Note what it says of a task."""
        if event.status == "started":
            self.running, self.started = event.id, time.monotonic()
        if event.is_final:
            self.tasks = [task for task in self.tasks if task.id != event.id]
            self.running, self.handed = "", time.monotonic()

    def end(self) -> None:
        """Kill it, and everything below it."""
        if self.process.pid is not None:
            end_descendants(self.process.pid)
        self.process.kill()
        self.process.join()
        self.connection.close()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Let a worker start without importing the script of whoever called us.

    A spawned process imports the main module of its parent again; nothing of it is needed here, and a script
    without `if __name__ == "__main__"` would run a second time.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class ProcessExecutor(Executor):
    """Runs bundles in `setup.jobs` worker processes of this machine.

    All are started at once, so that they import torch side by side. A step that takes too long is ended with
    its worker; the first of a bundle may do the work of all.
    """

    def __init__(self, config: ProcessesConfig, setup: Setup) -> None:
        self._setup = setup
        self._memory = Memory(memory_here(config.memory_gib), setup.gpu_memory_bytes)
        self._context: Any = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._queue: deque[list[Task]] = deque()  # bundles without a worker: it is gone, or memory is short
        self._notes: dict[str, str] = {}  # what queued tasks were said to wait for
        self._news: list[Event] = []
        self._stopping = False
        self._memory_kills = out_of_memory_kills()
        for _ in range(setup.jobs):
            self._start()

    @property
    def free(self) -> int:
        """Idle workers, and those that may still be started, but for those that a queued bundle will take."""
        busy = sum(bool(worker.tasks) for worker in self._workers)
        return 0 if self._stopping else max(0, self._setup.jobs - busy - len(self._queue))

    def submit(self, bundle: Sequence[Task]) -> None:
        """Hand a bundle to an idle worker, or to a new one; or keep it until there is memory for it."""
        self._queue.append(list(bundle))
        self._begin_queued()

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Wait for news from any worker: messages, deaths, and tasks that take too long."""
        self._begin_queued()
        sources: list[Any] = [worker.connection for worker in self._workers if worker.tasks]
        patience = 0.0 if self._news else timeout_seconds
        if not sources and patience:
            time.sleep(patience)
        ready = wait(sources, patience) if sources else []
        late = self._setup.timeout_seconds
        for worker in list(self._workers):
            if worker.connection in ready:
                self._read(worker)
            if worker in self._workers and late and worker.is_late(late):
                reason = f"no end within {late:g} s (--step-timeout)"
                self._bury(worker, Failure(reason, kind="timeout"))
        self._begin_queued()
        found, self._news = self._news, []
        return found

    def cancel(self, task_id: str) -> None:
        """Take a task out of the queue, have its worker skip it, or end the worker that is at it."""
        for bundle in self._queue:
            for task in [one for one in bundle if one.id == task_id]:
                bundle.remove(task)
                self._news.append(Event(task.id, "failed", failure=CANCELLED, attempt=task.attempt))
        self._queue = deque(bundle for bundle in self._queue if bundle)
        for worker in list(self._workers):
            if worker.running == task_id:
                self._bury(worker, CANCELLED)
            elif any(task.id == task_id for task in worker.tasks):
                worker.cancelled.add(task_id)  # it may be about to begin it
                with contextlib.suppress(OSError):
                    worker.connection.send(task_id)

    def stop(self, grace_seconds: float) -> None:
        """Ask every worker to save its work and stop, then end those that did not."""
        self._stopping = True
        self._queue.clear()
        for worker in self._workers:
            if worker.process.is_alive():
                worker.process.terminate()
        until, news = time.monotonic() + grace_seconds, list(self.events(0))
        while any(worker.tasks for worker in self._workers) and time.monotonic() < until:
            news.extend(self.events(0.2))
        for worker in [one for one in self._workers if one.tasks]:
            self._bury(worker, Failure(f"it did not stop within {grace_seconds:g} s", kind="cancelled"))
        self._news = [*news, *self._news]

    def close(self) -> None:
        """End all workers: an idle one leaves by itself when its pipe closes, a busy one is killed."""
        for worker in self._workers:
            if not worker.tasks:
                worker.connection.close()
        for worker in self._workers:
            worker.process.join(timeout=0 if worker.tasks else 2)
            worker.end()
        self._workers.clear()

    # ------------------------------------------------------------------------------------------------ workers

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._setup, private_environment()))
        taken = {worker.place for worker in self._workers}
        place = next(number for number in range(self._setup.jobs + len(taken)) if number not in taken)
        with environment(worker_environment(self._setup, place)), _without_main():
            process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, place))

    def _begin_queued(self) -> None:
        """Hand queued bundles to idle workers, the oldest first, where there is memory for them."""
        if self._stopping or not self._queue:
            return
        for gone in [one for one in self._workers if not one.tasks and not one.process.is_alive()]:
            self._bury(gone, Failure("killed while idle", kind="lost"))
        idle = sum(not worker.tasks for worker in self._workers)
        for _ in range(min(len(self._queue) - idle, self._setup.jobs - len(self._workers))):
            self._start()
        left: deque[list[Task]] = deque()
        for bundle in self._queue:
            if not self._begin(bundle):
                left.append(bundle)
        self._queue = left

    def _begin(self, bundle: Sequence[Task]) -> bool:
        """Hand a bundle to the idle worker whose GPU has the most left for it; say whether there is one."""
        needs, waits_for = of_bundle([task.needs for task in bundle]), ""
        busy = [worker for worker in self._workers if worker.tasks]
        by_gpu: Mapping[int, list[Needs]] = {
            self._gpu(one): [other.needs for other in busy if self._gpu(other) == self._gpu(one)]
            for one in self._workers
        }
        idle = [worker for worker in self._workers if not worker.tasks]
        for worker in sorted(idle, key=lambda one: len(by_gpu[self._gpu(one)])):
            gpu = self._gpu(worker)
            waits_for = self._memory.lacking(needs, [one.needs for one in busy], by_gpu[gpu], gpu)
            if not waits_for:
                worker.take(bundle)
                return True
        for task in bundle if waits_for else ():
            if self._notes.get(task.id) != waits_for:
                self._notes[task.id] = waits_for
                self._news.append(Event(task.id, "queued", note=waits_for, attempt=task.attempt))
        return False

    def _gpu(self, worker: _Worker) -> int:
        return worker.place % max(1, len(self._setup.environments))

    def _read(self, worker: _Worker) -> None:
        """Read what a worker has to say, or find out how it died."""
        try:
            for _ in range(_MOST_EVENTS):
                if not worker.connection.poll():
                    return
                event: Event = worker.connection.recv()
                worker.hear(event)
                self._news.append(event)
                if worker.running in worker.cancelled:
                    self._bury(worker, CANCELLED)
                    return
        except (EOFError, OSError):
            worker.process.join(timeout=5)
            self._bury(worker, self._loss(worker.process.exitcode))

    def _loss(self, exit_code: int | None) -> Failure:
        """Say how a worker was lost: for lack of memory, if the kernel killed one for that meanwhile."""
        kills, self._memory_kills = self._memory_kills, out_of_memory_kills()
        if exit_code == -signal.SIGKILL and self._memory_kills > kills:
            return Failure("its process was killed: the machine ran out of memory", kind="memory")
        return Failure(cause_of_death(exit_code), kind="lost")

    def _bury(self, worker: _Worker, failure: Failure) -> None:
        """End a worker: what it was at failed, or is begun again; the rest of its bundle is for another."""
        seconds = worker.seconds
        worker.end()
        self._workers.remove(worker)
        if not worker.tasks:
            return
        at = next((task for task in worker.tasks if task.id == worker.running), worker.tasks[0])
        retries = 0 if self._stopping or at.id in worker.cancelled else self._setup.retries
        event, again = after_loss(at, failure, retries, seconds)
        self._news.append(event)
        left = [again] if again is not None else []
        for task in worker.tasks:
            if task is not at and task.id in worker.cancelled:
                self._news.append(Event(task.id, "failed", failure=CANCELLED, attempt=task.attempt))
            elif task is not at:
                left.append(task)
        if left and not self._stopping:
            self._queue.appendleft(left)


# ----------------------------------------------------------------------------------------------- in a worker


def _work(connection: Connection, setup: Setup, private: Mapping[str, str]) -> None:
    """The life of a worker: import once, then bundle after bundle, until the pipe closes."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the main process, which asks us to stop
    if hasattr(signal, "SIGHUP"):  # so does the end of the terminal
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        end_with_parent(parent.pid)
    perform = prepare_worker(setup, stop.is_set, private)
    while not stop.is_set():
        if not connection.poll(0.2):
            continue
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return
        if isinstance(message, list):  # else it calls off a task that has ended meanwhile
            carry_out(perform, message, connection.send, stop.is_set, _Cancelled(connection))


class _Cancelled:
    """Says which tasks of a bundle were called off since it came."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: set[str] = set()

    def __call__(self, task_id: str) -> bool:
        with contextlib.suppress(EOFError, OSError):
            while self._connection.poll():
                self._known.add(self._connection.recv())
        return task_id in self._known
