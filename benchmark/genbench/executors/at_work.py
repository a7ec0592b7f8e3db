"""What a worker of any engine does: the one place for its environment, its threads, and how tasks are run.

    worker_environment   before a worker starts: the variables that it must have from the start
    prepare_worker       in the worker, once: threads, and the function that does the work
    carry_out            in the worker, for each bundle: tasks in turn, whatever they raise as events

On a CPU each worker has one thread that waits passively: two busy processes with two spinning threads each
ran six times slower than with one.
"""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from genbench.errors import Interrupted
from genbench.executors.base import Event, Perform, Setup, Task
from genbench.executors.failures import Failure, failure_of
from genbench.registry import import_target
from genbench.rooms import is_private

_THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_USUAL = {"OMP_WAIT_POLICY": "PASSIVE", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def private_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return keys, tokens and addresses: no worker has them from its start, `prepare_worker` brings them.

    What a process has from its start can be read by all that runs in it.
    """
    return {name: value for name, value in environ.items() if is_private(name)}


def worker_environment(
    setup: Setup, place: int = 0, environ: Mapping[str, str] = os.environ
) -> dict[str, str | None]:
    """Return the variables that a worker must have from its start; None: that it must not have.

    Args:
        setup: Of the executor.
        place: Number of the worker: one that replaces a lost one has its number, and its GPU.
        environ: What it would have otherwise. What the user set there of threads stays; what belongs to the
            worker's place does not.
    """
    environments = setup.environments or ({},)
    own = environments[place % len(environments)]
    return {**_of_threads(setup, environ), **own, **dict.fromkeys(private_environment(environ))}


@contextlib.contextmanager
def environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables for a child that is started inside; None takes one away."""
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


def _of_threads(setup: Setup, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what is usual, where the user did not say otherwise."""
    usual = {**dict.fromkeys(_THREAD_COUNTS, str(setup.threads)), **_USUAL}
    return {name: value for name, value in usual.items() if name not in environ}


def prepare_worker(
    setup: Setup, must_stop: Callable[[], bool], private: Mapping[str, str] | None = None
) -> Perform:
    """Get a worker process ready, and return the function that does its tasks; called there once.

    Where that function cannot be had, what is returned raises why for each task.

    Args:
        setup: Of the executor.
        must_stop: Says whether tasks should save their work and stop.
        private: What `private_environment` returned where the run was started.
    """
    # For engines that cannot choose what a process starts with; in time, unless torch is loaded already.
    os.environ.update(_of_threads(setup, os.environ))
    kept = private_environment()
    for name in kept:
        del os.environ[name]
    try:
        perform: Perform = import_target(setup.target, "executor")(**setup.settings, must_stop=must_stop)
    except (Exception, SystemExit) as problem:
        perform = _Broken(problem)
    # Only now: the server of rooms was forked before, and has none of it.
    os.environ.update({**kept, **(private or {})})
    torch = sys.modules.get("torch")
    if torch is not None:  # last: what rooms are forked from sets them, too
        torch.set_num_threads(setup.threads)
    return perform


class _Broken:
    """Stands in for a function that cannot be had: every task fails by what kept it from being made."""

    def __init__(self, problem: BaseException) -> None:
        self._problem = problem

    def __call__(self, task: Task, report: Any) -> None:
        """Raise why."""
        raise self._problem

    def announce(self, tasks: Sequence[Task]) -> None:
        """Nothing to be ready for."""


def carry_out(
    perform: Perform,
    bundle: Sequence[Task],
    send: Callable[[Event], None],
    must_stop: Callable[[], bool],
    is_cancelled: Callable[[str], bool] = lambda task_id: False,
    passing: type[BaseException] | tuple[()] = (),
) -> None:
    """Do a bundle, task after task; whatever happens to each is sent as an event.

    Args:
        perform: What `prepare_worker` returned.
        bundle: The tasks.
        send: Where events go; called from this thread alone.
        must_stop: As for `prepare_worker`: what has not begun then is interrupted.
        is_cancelled: Asked before each task.
        passing: What is not taken for a task's own failure: Ctrl-C, in a process that people stop by it.
    """
    announced = False
    for task in bundle:
        if must_stop():
            send(_event(task, "interrupted"))
        elif is_cancelled(task.id):
            send(_event(task, "failed", failure=CANCELLED))
        else:
            left = bundle if announced else [one for one in bundle if not is_cancelled(one.id)]
            send(carry_out_task(perform, task, [] if announced else left, send, passing))
            announced = True


CANCELLED = Failure("cancelled", kind="cancelled")  #: of a task that was called off


def carry_out_task(
    perform: Perform,
    task: Task,
    announced: Sequence[Task],
    send: Callable[[Event], None],
    passing: type[BaseException] | tuple[()] = (),
) -> Event:
    """Do one task and return how it ended; what it tells before goes to `send`.

    Args:
        perform: What `prepare_worker` returned.
        task: The task.
        announced: All that is left of its bundle, where it is the first of it; else nothing.
        send: Where events go.
        passing: As for `carry_out`.
    """

    def report(done: int, total: int, metrics: Mapping[str, float]) -> None:
        send(_event(task, "progress", done=done, total=total, metrics=dict(metrics)))

    send(_event(task, "started"))
    started = time.perf_counter()
    try:
        if announced:
            perform.announce(announced)
        perform(task, report)
    except Interrupted:
        return _event(task, "interrupted")
    except passing:
        raise
    except BaseException as problem:  # whatever a plugin raises, SystemExit included, is this task's failure
        failure, seconds = failure_of(problem), time.perf_counter() - started
        return _event(task, "failed", failure=failure, seconds=seconds)
    return _event(task, "done", seconds=time.perf_counter() - started)


def _event(task: Task, status: Any, **facts: Any) -> Event:
    return Event(task.id, status, host=socket.gethostname(), attempt=task.attempt, **facts)


def next_attempt(task: Task) -> Task:
    """Return a task as it is begun again."""
    return replace(task, attempt=task.attempt + 1)


def after_loss(task: Task, failure: Failure, retries: int, seconds: float = 0.0) -> tuple[Event, Task | None]:
    """Say what becomes of a task whose attempt ended without a word of its own.

    Args:
        task: As it was begun.
        failure: What ended it.
        retries: How often a task may be begun again.
        seconds: How long the attempt took.

    Returns:
        `retried` and the task to begin again, or `failed` and None.
    """
    if failure.may_be_retried and task.attempt <= retries:
        again = next_attempt(task)
        return Event(task.id, "retried", failure=failure, seconds=seconds, attempt=again.attempt), again
    return Event(task.id, "failed", failure=failure, seconds=seconds, attempt=task.attempt), None
