"""Hands bundles to Ray as tasks, and tells what becomes of them.

Ray finds each a machine with the cores, memory and GPUs that it needs, starts and keeps workers there, and
notices that one is gone. A lost bundle is handed to Ray again from here, and not by Ray's own `max_retries`:
that would do finished tasks of a bundle again, tell nobody, and begin steps that ran out of memory for ever.
"""

import contextlib
import hashlib
import os
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray import exceptions

from genbench.errors import UsageError
from genbench.executors.at_work import CANCELLED, after_loss, private_environment, worker_environment
from genbench.executors.base import Event, Executor, Needs, Setup, Task
from genbench.executors.failures import Failure, failure_of
from genbench.executors.memory import of_bundle
from genbench.executors.on_ray.board import Begun, BoardOfRun, Boards
from genbench.executors.on_ray.cluster import (
    Handover,
    Machines,
    check_machines,
    join_cluster,
    machines,
    shared_by_all,
    unfit,
)
from genbench.executors.on_ray.config import RayConfig
from genbench.executors.on_ray.work import work

_LEAST_QUEUED = 64  # bundles that Ray holds, so that a cluster that can grow knows what for
_LISTEN_SECONDS = 5.0  # that the board waits for news before it answers
_LOOK_SECONDS = 5.0  # between two looks at the machines
_START_SECONDS = 300.0  # that a worker may take to get ready, on a network's file system
_PATIENCE_SECONDS = 120.0  # for an answer of the board
_END_SECONDS = 10.0  # for workers that are ended
#: Variables that mean the same on every machine.
_TRAVELLING = frozenset(
    {
        "GENBENCH_DISABLE",
        "GENBENCH_HUB_MIRROR",
        "GENBENCH_RESIDENT_MIB",
        "HF_DATASETS_OFFLINE",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
    }
)
_OF_THREADS = ("OMP_", "MKL_", "OPENBLAS_")


@dataclass
class _Bundle:
    """A bundle as Ray has it."""

    number: int  # of the submission: what comes from an earlier one is too late
    reference: Any  # ready when Ray is done with it
    tasks: list[Task]  # that have not ended
    needs: Needs
    begun: float = 0.0  # when a worker took it
    host: str = ""
    heard: float = 0.0  # when its last task ended, or it began
    running: str = ""  # the task that has begun
    cancelled: set[str] = field(default_factory=set)
    end: Failure | None = None  # why we end it
    note: str = ""  # what it was said to wait for

    def hear(self, event: Event) -> None:
        """Note what its worker says of a task."""
        if event.status == "started":
            self.running, self.heard = event.id, time.monotonic()
        if event.is_final:
            self.tasks = [task for task in self.tasks if task.id != event.id]
            self.running, self.heard = "", time.monotonic()

    def is_late(self, timeout_seconds: float) -> bool:
        """Say whether its running task, or the start of its worker, takes longer than it may."""
        if not self.begun or not self.tasks or self.end:
            return False
        # The first of a bundle may do the work of all.
        limit = timeout_seconds * len(self.tasks) if self.running else timeout_seconds + _START_SECONDS
        return time.monotonic() - self.heard > limit


class RayExecutor(Executor):
    """Runs bundles as tasks of a Ray cluster, of any number of machines."""

    def __init__(self, config: RayConfig, setup: Setup) -> None:
        self._config = config
        # Ray shares out the GPUs; which of them a worker has is its business.
        self._setup = replace(setup, environments=())
        self._bundles: dict[int, _Bundle] = {}
        self._forgotten: list[Any] = []
        self._submitted = 0
        self._news: list[Event] = []
        self._stopping = False
        self._held = contextlib.ExitStack()
        try:
            if join_cluster(config, setup.jobs):
                self._held.callback(_leave)
            shared = self._held.enter_context(shared_by_all(setup.shared_folder))
            if setup.shared_folder:
                check_machines(shared)
            self._machines: Machines = machines()
            self._looked = time.monotonic()
            handover = Handover(self._setup, private_environment(), os.getcwd(), shared)
            self._board = self._held.enter_context(_board(handover))
            self._listening = self._board.call("take", _LISTEN_SECONDS)
        except BaseException:
            self._held.close()
            raise
        self._environment = _environment(self._setup)
        self._work = ray.remote(work)

    @property
    def free(self) -> int:
        """As many more as keep all machines busy, and show Ray what waits."""
        most = max(_LEAST_QUEUED, 2 * int(self._machines.cpus))
        return 0 if self._stopping else max(0, most - len(self._bundles))

    def submit(self, bundle: Sequence[Task]) -> None:
        """Hand a bundle to Ray."""
        self._submitted += 1
        number, needs = self._submitted, of_bundle([task.needs for task in bundle])
        task = self._work.options(
            name=bundle[0].label or "genbench",
            max_retries=0,
            runtime_env={"env_vars": self._environment},
            **self._machines.asked(needs, self._config.gpu_share),
        )
        reference = task.remote(self._board, number, list(bundle))
        self._bundles[number] = _Bundle(number, reference, list(bundle), needs)

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Wait for news from the board, and for tasks that Ray says are over."""
        self._gather(0.0 if self._news else timeout_seconds)
        late = self._setup.timeout_seconds
        for bundle in [one for one in self._bundles.values() if late and one.is_late(late)]:
            self._end(bundle, Failure(f"no end within {late:g} s (--step-timeout)", kind="timeout"))
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()
        found, self._news = self._news, []
        return found

    def cancel(self, task_id: str) -> None:
        """Have the worker skip a task, or end the worker that is at it; what nobody has begun, Ray drops."""
        for bundle in self._bundles.values():
            names = {task.id for task in bundle.tasks}
            if task_id in names:
                bundle.cancelled.add(task_id)
                self._board.call("cancel", bundle.number, task_id)
                if bundle.running == task_id or names <= bundle.cancelled:
                    self._end(bundle, CANCELLED)

    def stop(self, grace_seconds: float) -> None:
        """Ask running tasks to save their work, through the board, and end what has not stopped by then."""
        self._stopping = True
        self._board.call("stop")
        self._gather(0.0)
        for bundle in [one for one in self._bundles.values() if not one.begun]:
            self._forget(bundle)
        until = time.monotonic() + grace_seconds
        while self._bundles and time.monotonic() < until:
            self._gather(0.2)
        for bundle in list(self._bundles.values()):
            at = next((task for task in bundle.tasks if task.id == bundle.running), None)
            if at is not None:
                late = Failure(f"it did not stop within {grace_seconds:g} s", kind="cancelled")
                self._news.append(Event(at.id, "failed", failure=late, host=bundle.host, attempt=at.attempt))
            self._forget(bundle)

    def close(self) -> None:
        """End all workers of this run, and the cluster, if it is ours."""
        for bundle in list(self._bundles.values()):
            self._forget(bundle)
        try:
            with contextlib.suppress(exceptions.RayError, ConnectionError, RuntimeError):
                for reference in self._forgotten:
                    ray.cancel(reference, force=True)
                if self._forgotten:
                    ray.wait(self._forgotten, num_returns=len(self._forgotten), timeout=_END_SECONDS)
        finally:
            self._forgotten.clear()
            self._held.close()

    # ------------------------------------------------------------ listening

    def _gather(self, timeout_seconds: float) -> None:
        """Hear what workers told, then what Ray says of theirs: one that ended well has told all before."""
        running = {bundle.reference: bundle for bundle in self._bundles.values()}
        waited = [self._listening, *running]
        ready, _ = ray.wait(waited, num_returns=1, timeout=timeout_seconds)
        if not ready:
            return
        ready, _ = ray.wait(waited, num_returns=len(waited), timeout=0)
        ended = [running[one] for one in ready if one in running]
        if ended:
            self._board.call("nudge")
        self._hear()
        for bundle in ended:
            self._take_back(bundle)

    def _hear(self) -> None:
        try:
            news = ray.get(self._listening, timeout=_PATIENCE_SECONDS)
        except exceptions.RayError as problem:
            raise UsageError(
                f"executor ray: the cluster is out of reach: {str(problem).splitlines()[0]}",
                hint="the same command resumes, once it is back (`ray status`)",
            ) from None
        self._listening = self._board.call("take", _LISTEN_SECONDS)
        for number, told in news:
            bundle = self._bundles.get(number)
            if bundle is None:
                continue  # of an attempt that was given up
            if isinstance(told, Begun):
                bundle.begun = bundle.heard = time.monotonic()
                bundle.host = told.host
                if told.problem:
                    raise unfit([f"{told.host} {told.problem}"])
                continue
            bundle.hear(told)
            self._news.append(told)
            if bundle.running in bundle.cancelled:
                self._end(bundle, CANCELLED)

    def _take_back(self, bundle: _Bundle) -> None:
        """Take a bundle from Ray that is over: what its worker did not end itself is lost, or begun again."""
        failure = _said_of(bundle)
        del self._bundles[bundle.number]
        if not bundle.tasks:
            return
        at = next((task for task in bundle.tasks if task.id == bundle.running), bundle.tasks[0])
        retries = 0 if self._stopping or at.id in bundle.cancelled else self._setup.retries
        seconds = time.monotonic() - bundle.heard if bundle.running else 0.0
        event, again = after_loss(at, failure, retries, seconds)
        self._news.append(replace(event, host=bundle.host))
        left = [again] if again is not None else []
        for task in bundle.tasks:
            if task is not at and task.id in bundle.cancelled:
                called_off = Event(task.id, "failed", failure=CANCELLED, attempt=task.attempt)
                self._news.append(called_off)
            elif task is not at:
                left.append(task)
        if left and not self._stopping:
            self.submit(left)

    def _end(self, bundle: _Bundle, failure: Failure) -> None:
        """Have Ray end a bundle's worker; what follows is known when it says so."""
        if bundle.end is None:
            bundle.end = failure
            ray.cancel(bundle.reference, force=True)

    def _forget(self, bundle: _Bundle) -> None:
        """Have Ray drop a bundle, if it has not begun; `close` ends the worker of one that has."""
        self._bundles.pop(bundle.number, None)
        self._forgotten.append(bundle.reference)
        if not bundle.begun:
            with contextlib.suppress(exceptions.RayError):
                ray.cancel(bundle.reference)

    # ------------------------------------------------------------ the cluster

    def _look(self) -> None:
        """See which machines there are, and say of what waits if none of them will do."""
        self._machines, self._looked = machines(), time.monotonic()
        for bundle in self._bundles.values():
            note = "" if bundle.begun else self._machines.lacking(bundle.needs)
            if note and note != bundle.note:
                bundle.note = note
                self._news += [
                    Event(task.id, "queued", note=note, attempt=task.attempt) for task in bundle.tasks
                ]


def _environment(setup: Setup) -> dict[str, str]:
    """Return the variables that a worker has from its start: Ray keeps apart which worker has which.

    The last one keeps workers for runs of the same setup: nothing is left in them that another would mind.
    """
    wanted = worker_environment(setup)
    own = {
        name: value
        for name, value in os.environ.items()
        if (name in _TRAVELLING or name.startswith(_OF_THREADS)) and name not in wanted
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    digest = hashlib.sha256(pickle.dumps((setup, os.getcwd()))).hexdigest()
    return {**own, **given, "GENBENCH_RAY_SETUP": digest}


@contextlib.contextmanager
def _board(handover: Handover) -> Iterator[BoardOfRun]:
    """Put up the board of a run."""
    board = BoardOfRun(_boards(), f"{os.getpid()}-{time.time_ns()}")
    ray.get(board.actor.open.remote(board.run, handover))
    try:
        yield board
    finally:
        with contextlib.suppress(exceptions.RayError, ConnectionError, RuntimeError):
            board.actor.close.remote(board.run)


def _leave() -> None:
    _actors.clear()
    ray.shutdown()


_actors: dict[Any, Any] = {}  # by the connection to a cluster: starting one takes seconds


def _boards() -> Any:
    """Return the actor of this process; it is on this machine, and does not go down with another one."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context()
    connection = (here.gcs_address, here.get_job_id())
    if connection not in _actors:
        strategy = NodeAffinitySchedulingStrategy(here.get_node_id(), soft=False)
        made = ray.remote(Boards).options(num_cpus=0, max_concurrency=10_000, scheduling_strategy=strategy)
        _actors.clear()  # of connections that are closed
        _actors[connection] = made.remote()
    return _actors[connection]


_UNFIT = (exceptions.RayTaskError, exceptions.RuntimeEnvSetupError)  # before anything of ours runs


def _cause(problem: exceptions.RayError) -> BaseException:
    """Return what was raised in a worker, if that is what happened."""
    cause = getattr(problem, "cause", None)
    return cause if isinstance(cause, Exception) else problem


def _said_of(bundle: _Bundle) -> Failure:
    """Say why a bundle is over, of which Ray may only know that its worker is gone."""
    try:
        ray.get(bundle.reference)
    except exceptions.RayError as problem:
        if isinstance(problem, _UNFIT) and not bundle.begun:
            raise unfit([f"one cannot start a worker: {_cause(problem)}"]) from None
        return bundle.end or _failure_in_ray(problem)
    return bundle.end or Failure("its worker ended without a word", kind="lost")


def _failure_in_ray(problem: exceptions.RayError) -> Failure:
    """Say what became of a worker."""
    if isinstance(problem, exceptions.OutOfMemoryError):
        reason = "its machine ran out of memory, and Ray ended its worker"
        return Failure(reason, str(problem), kind="memory")
    if isinstance(problem, exceptions.NodeDiedError | exceptions.LocalRayletDiedError):
        return Failure("its machine left the Ray cluster", str(problem), kind="lost")
    if isinstance(problem, exceptions.WorkerCrashedError | exceptions.TaskCancelledError):
        return Failure("its worker died", str(problem), kind="lost")
    if isinstance(problem, exceptions.ObjectLostError):
        return Failure("what it was given was lost with a machine", str(problem), kind="lost")
    return failure_of(_cause(problem))
