"""Persistent worker processes: a crash, a hang or an out-of-memory kill is one failed task, not a lost run.

A worker ends with the process that started it, whatever becomes of that, and takes with it what it started.
Workers are spawned, so that they start clean, on a CPU with one torch thread each that waits passively: two
busy processes with two spinning threads each ran six times slower than with one.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from genbench.errors import Interrupted
from genbench.executors.base import Event, Executor, Failure, Setup, Task
from genbench.executors.inline import failure_of
from genbench.registry import import_target
from genbench.rooms import is_private
from genbench.rooms.room import cause_of_death
from genbench.rooms.tree import end_descendants, end_with_parent

_THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_MOST_EVENTS = 100  # of one worker that are read at once: the others want to be heard, too
_START_SECONDS = 120.0  # that a worker may take to import torch, on a disk that is busy
_USUAL = {"OMP_WAIT_POLICY": "PASSIVE", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    place: int  # among the workers; one that replaces a dead one takes its place, and its GPU
    tasks: list[Task] = field(default_factory=list)
    handed: float = 0.0  # when it was given its tasks
    started: float | None = None  # when the running task began; importing torch is not its time

    @property
    def seconds(self) -> float:
        """How long the running task has taken."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    def is_late(self, timeout_seconds: float) -> bool:
        """Say whether its running task, or its start, takes longer than it may."""
        if not self.tasks:
            return False
        if self.started is None:
            return time.monotonic() - self.handed > timeout_seconds + _START_SECONDS
        # The first of a bundle may do the work of all.
        return self.seconds > timeout_seconds * len(self.tasks)

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
    """Runs bundles in `jobs` worker processes.

    Args:
        setup: How a worker gets its function.
        jobs: Number of workers; all are started at once, so that they import torch side by side.
        timeout_seconds: How long one task may take; its worker is killed then. The first of a bundle may do
            the work of all.
    """

    def __init__(self, setup: Setup, jobs: int, timeout_seconds: float | None = None) -> None:
        self._setup = setup
        self._jobs = jobs
        self._timeout = timeout_seconds
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._stopping = False
        for _ in range(jobs):
            self._start()

    @property
    def free(self) -> int:
        """Idle workers, and those that may still be started."""
        busy = sum(bool(worker.tasks) for worker in self._workers)
        return 0 if self._stopping else self._jobs - busy

    def submit(self, bundle: Sequence[Task]) -> None:
        """Hand a bundle to an idle worker, or to a new one."""
        for gone in [one for one in self._workers if not one.tasks and not one.process.is_alive()]:
            self._end(gone, "killed while idle")
        worker = next((worker for worker in self._workers if not worker.tasks), None) or self._start()
        worker.tasks, worker.handed = list(bundle), time.monotonic()
        worker.connection.send(list(bundle))

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Wait for news from any worker: messages, deaths, and tasks that take too long."""
        sources: list[Any] = [worker.connection for worker in self._workers if worker.tasks]
        if not sources:
            time.sleep(timeout_seconds)
        ready = wait(sources, timeout_seconds) if sources else []
        found: list[Event] = []
        for worker in list(self._workers):
            if worker.connection in ready:
                found += self._read(worker)
            if worker in self._workers and self._timeout and worker.is_late(self._timeout):
                found += self._end(worker, f"no end within {self._timeout:g} s (--step-timeout)")
        return found

    def stop(self, grace_seconds: float) -> None:
        """Ask every worker to save its work and stop, then end those that did not."""
        self._stopping = True
        for worker in self._workers:
            if worker.process.is_alive():
                worker.process.terminate()
        until = time.monotonic() + grace_seconds
        while any(worker.tasks for worker in self._workers) and time.monotonic() < until:
            self.events(0.2)

    def close(self) -> None:
        """End all workers: an idle one leaves by itself when its pipe closes, a busy one is killed."""
        for worker in self._workers:
            if not worker.tasks:
                worker.connection.close()
        for worker in self._workers:
            worker.process.join(timeout=0 if worker.tasks else 2)
            worker.end()
        self._workers.clear()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        private = {name: value for name, value in os.environ.items() if is_private(name)}
        process = self._context.Process(target=_work, args=(theirs, self._setup, private))
        taken = {worker.place for worker in self._workers}
        place = next(number for number in range(self._jobs + len(taken)) if number not in taken)
        usual = {**dict.fromkeys(_THREAD_COUNTS, str(self._setup.threads)), **_USUAL}
        environments = self._setup.environments or ({},)
        own = {**environments[place % len(environments)], **dict.fromkeys(private)}
        with _environment(usual, own), _without_main():
            process.start()
        theirs.close()
        worker = _Worker(process, ours, place)
        self._workers.append(worker)
        return worker

    def _read(self, worker: _Worker) -> list[Event]:
        """Read what a worker has to say, or find out how it died."""
        found: list[Event] = []
        try:
            while len(found) < _MOST_EVENTS and worker.connection.poll():
                event: Event = worker.connection.recv()
                found.append(event)
                if event.status == "started":
                    worker.started = time.monotonic()
                if event.status in {"done", "failed", "interrupted"}:
                    worker.tasks = [task for task in worker.tasks if task.id != event.id]
                    worker.started, worker.handed = None, time.monotonic()
        except (EOFError, OSError):
            worker.process.join(timeout=5)
            found += self._end(worker, cause_of_death(worker.process.exitcode))
        return found

    def _end(self, worker: _Worker, reason: str) -> list[Event]:
        """Bury a worker: its running task failed; the rest of its bundle is handed to another."""
        worker.end()
        self._workers.remove(worker)
        if not worker.tasks:
            return []
        first, *rest = worker.tasks
        if rest and not self._stopping:
            self.submit(rest)
        return [Event(first.id, "failed", failure=Failure(reason), seconds=worker.seconds)]


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
    import torch

    torch.set_num_threads(setup.threads)
    perform = import_target(setup.target, "executor")(**setup.settings, must_stop=stop.is_set)
    os.environ.update(private)  # after the server of rooms was forked, which has none of it
    while not stop.is_set():
        if not connection.poll(0.2):
            continue
        try:
            bundle = connection.recv()
        except (EOFError, OSError):
            return
        perform.announce([task.payload for task in bundle])
        for task in bundle:
            connection.send(_perform(perform, task, connection, stop))


def _perform(perform: Any, task: Task, connection: Connection, stop: threading.Event) -> Event:
    """Do one task; whatever it raises becomes an event."""
    if stop.is_set():
        return Event(task.id, "interrupted")

    def report(done: int, total: int, metrics: Mapping[str, float]) -> None:
        connection.send(Event(task.id, "progress", done=done, total=total, metrics=dict(metrics)))

    connection.send(Event(task.id, "started"))
    started = time.perf_counter()
    try:
        perform(task.payload, report)
    except Interrupted:
        return Event(task.id, "interrupted")
    except BaseException as problem:  # whatever a plugin raises, SystemExit included, is this task's failure
        return Event(task.id, "failed", failure=failure_of(problem), seconds=time.perf_counter() - started)
    return Event(task.id, "done", seconds=time.perf_counter() - started)


@contextlib.contextmanager
def _environment(usual: Mapping[str, str], own: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables for a child that is started inside: usual ones the user may have set, its own always.

    None takes one away: what a process has from its start could be read there by all that runs in it.
    """
    values = {**{name: value for name, value in usual.items() if name not in os.environ}, **own}
    before = {name: os.environ.get(name) for name in values}
    _set_variables(values)
    try:
        yield
    finally:
        _set_variables(before)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
