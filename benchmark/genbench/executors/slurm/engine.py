"""Steps as arrays of jobs: in the process of the run.

Bundles are offered in pools, one for all steps that ask the same of the cluster. For the steps of a kind that
wait in one, an array is submitted, but for those that idle jobs can take: jobs take bundles of their pool one
after the other, so that a thousand steps of a second are a few jobs. They tell what happens through files;
squeue is asked now and then, for jobs that wait, and for those that are gone without a word.
"""

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genbench.disk import make_folder
from genbench.errors import GenbenchError, StoreError
from genbench.executors.at_work import CANCELLED, after_loss, private_environment
from genbench.executors.base import Event, Executor, Setup, Task
from genbench.executors.failures import Failure, FailureKind
from genbench.executors.slurm import commands
from genbench.executors.slurm.commands import Seen, SlurmError
from genbench.executors.slurm.config import SlurmConfig
from genbench.executors.slurm.fleet import Fleet, Group, Job
from genbench.executors.slurm.job import begin_again
from genbench.executors.slurm.leftovers import Leftovers
from genbench.executors.slurm.session import Bye, Claim, Hello, Session, Work

_MOST_TASKS = 1000  # that are handed over and not ended
_LISTEN_SECONDS = 0.1  # between two looks at what jobs tell
_FORGOTTEN_SECONDS = 30.0  # after which squeue shows a job that was submitted
_CLOSE_SECONDS = 10.0  # that jobs may take to end at the end of a run
_OF_THE_CLUSTER = frozenset({"CANCELLED", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"})  # ends of jobs not begun


class SlurmExecutor(Executor):
    """Runs bundles in jobs of a SLURM cluster."""

    def __init__(self, config: SlurmConfig, setup: Setup) -> None:
        self._profile = config.settled
        self._setup = setup
        self._tasks: dict[str, Task] = {}  # handed over and not ended, as they were last begun
        self._news: list[Event] = []
        self._notes: dict[str, str] = {}
        self._called_off: set[str] = set()  # tasks with a mark in the session
        self._looked = time.monotonic()
        self._stopping = self._detached = self._had_trouble = False
        self._session, self._work = self._begun()
        self._fleet = Fleet(self._profile, setup, self._session)
        self._leftovers = Leftovers(self._session.root.parent, self._session)

    @property
    def free(self) -> int:
        """As many as a cluster's queue should hold."""
        return 0 if self._stopping else max(0, _MOST_TASKS - len(self._tasks))

    def submit(self, bundle: Sequence[Task]) -> None:
        """Offer a bundle; for all that was offered, arrays are submitted when events are asked for."""
        for task in bundle:
            self._tasks[task.id] = task
            self._leftovers.take(task.id)
            if task.id in self._called_off:  # another run had it, and has not done it
                self._called_off.discard(task.id)
                self._session.renew(task.id)
        self._fleet.offer(bundle)

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Submit what was offered; wait for news of jobs."""
        until = time.monotonic() + timeout_seconds
        while True:
            if not self._stopping:
                for group, note in self._fleet.submit():
                    self._say_queued(group, note)
            self._listen()
            if time.monotonic() - self._looked >= self._profile.poll_seconds:
                self._look()
            if self._news or time.monotonic() >= until:
                found, self._news = self._news, []
                return found
            time.sleep(max(0.0, min(_LISTEN_SECONDS, until - time.monotonic())))

    def cancel(self, task_id: str) -> None:
        """Take a task out of its queue, or tell the job that has it."""
        task = self._tasks.get(task_id)
        if task is None:
            return
        claim = self._fleet.take_back(task_id)
        if claim is None:
            self._called_off.add(task_id)
            self._session.cancel(task_id)
            return
        self._end(Event(task_id, "failed", failure=CANCELLED, attempt=task.attempt))
        self._fleet.offer([one for one in claim.tasks if one.id != task_id], claim.requeues)

    def stop(self, grace_seconds: float) -> None:
        """Let jobs save their work and end; or leave them alone, if the profile says so."""
        self._stopping = True
        if self._profile.on_interrupt == "detach":
            self._detached = True
            return
        self._session.ask_to_stop("save")
        # The mark alone would do, but on some networks it is seen late; who has not begun needs no time.
        with contextlib.suppress(SlurmError):
            commands.scancel([job.id for job in self._fleet.alive("waiting")], "--state=PENDING")
            commands.scancel([job.id for job in self._fleet.alive("running")], "--signal=TERM", "--batch")
        self._fleet.take_all_back()
        until, news = time.monotonic() + grace_seconds, self._news
        self._news = []
        while any(job.tasks for job in self._fleet.alive()) and time.monotonic() < until:
            news.extend(self.events(0.2))
        late = Failure(f"it did not stop within {grace_seconds:g} s", kind="cancelled")
        for task_id in [one for job in self._fleet.alive() for one in job.tasks]:
            self._end(Event(task_id, "failed", failure=late, attempt=self._tasks[task_id].attempt))
        self._news = [*news, *self._news]

    def close(self) -> None:
        """End all jobs, unless they are left to go on."""
        if self._detached:
            self._fleet.take_all_back(but_served=True)
            self._session.leave()
            self._session.retire()
            return
        with contextlib.suppress(OSError):
            self._session.ask_to_stop("close")
        # A job may say now that it could not begin; whatever goes wrong here, keys must not stay.
        with contextlib.suppress(OSError, GenbenchError):
            self._end_jobs()
        with contextlib.suppress(OSError):
            self._session.remove(keep_logs=self._had_trouble)
        self._leftovers.tidy()

    # ------------------------------------------------------------------------------------ beginning and end

    def _begun(self) -> tuple[Session, Work]:
        """Begin a session."""
        sees = ""
        if self._setup.shared_folder:  # a file there shows a job whether it sees the same folder
            mark = make_folder(Path(self._setup.shared_folder).absolute()) / f".slurm-{os.urandom(6).hex()}"
            mark.touch()
            sees = str(mark)
        idle, requeues = self._profile.idle_seconds, self._profile.requeues
        # SLURM says itself which GPUs a job has.
        work = Work(
            replace(self._setup, jobs=1, environments=(), gpu_memory_bytes=()),
            private_environment(),
            idle,
            requeues,
            sees,
        )
        return Session.new(self._folder(), work), work

    def _folder(self) -> Path:
        """Return where sessions are: a folder that all nodes see."""
        if self._profile.folder is not None:
            return self._profile.folder.expanduser().absolute()
        if self._setup.shared_folder:
            return Path(self._setup.shared_folder).absolute() / "slurm"
        return Path.cwd() / "genbench-slurm"

    def _end_jobs(self) -> None:
        """See that no job is left in the queue or at work."""
        try:
            commands.scancel([job.id for job in self._fleet.alive("waiting")])
            until = time.monotonic() + _CLOSE_SECONDS
            while self._fleet.alive("running") and time.monotonic() < until:
                with contextlib.suppress(GenbenchError):  # a job says that it could not begin
                    self._listen()
                time.sleep(_LISTEN_SECONDS)
        finally:
            commands.scancel([job.id for job in self._fleet.alive("running")])

    # -------------------------------------------------------------------------------------------- listening

    def _listen(self) -> None:
        """Read what jobs told."""
        for job in self._fleet.alive():
            self._hear(job)

    def _hear(self, job: Job) -> None:
        for message in self._session.hear(job.name):
            if isinstance(message, Event):
                self._pass_on(job, message)
            elif isinstance(message, Hello):
                job.where, job.host, job.has_begun = "running", message.host, True
            elif isinstance(message, Bye) and message.reason:
                raise StoreError(message.reason, hint="--store DIR   names a folder that all nodes share")
            elif isinstance(message, Bye):
                self._bury(job, "lost", "its job ended")

    def _pass_on(self, job: Job, event: Event) -> None:
        """Pass an event on; a task that has ended may be heard of again, from a job that was requeued."""
        task = self._tasks.get(event.id)
        if task is None:
            return
        if event.status in {"started", "retried"}:
            self._tasks[event.id] = replace(task, attempt=event.attempt)
            self._fleet.is_begun(event.id)
        if event.status == "started":
            job.tasks.add(event.id)
            job.is_soon_free = self._fleet.is_short(task)
        elif event.status == "retried":
            job.tasks.discard(event.id)
        if event.is_final:
            self._end(event)
        else:
            self._news.append(event)

    def _end(self, event: Event) -> None:
        kind = event.failure.kind if event.failure is not None else "user"
        self._had_trouble |= kind in {"lost", "memory", "timeout"}
        self._fleet.is_begun(event.id)
        if self._tasks.pop(event.id, None) is not None:
            self._news.append(event)
        for job in self._fleet.alive():
            job.tasks.discard(event.id)

    def _say_queued(self, group: Group, note: str) -> None:
        for task in group.waiting:
            if task.id in self._tasks and self._notes.get(task.id) != note:
                self._notes[task.id] = note
                self._news.append(Event(task.id, "queued", note=note, attempt=task.attempt))

    # ---------------------------------------------------------------------------------- jobs that are gone

    def _look(self) -> None:
        """Ask squeue what became of the jobs; a controller that does not answer is asked again later."""
        self._looked = time.monotonic()
        self._session.beat()
        if not self._fleet.alive():
            return
        try:
            seen = {one.id: one for one in commands.queue()}
        except SlurmError:
            return
        for job in self._fleet.alive():
            self._compare(job, seen.get(job.id))
        for group, note in self._fleet.reasons(seen):
            self._say_queued(group, note)

    def _compare(self, job: Job, seen: Seen | None) -> None:
        """Compare what is known of a job with what squeue says."""
        if seen is not None and not seen.is_over:
            if seen.waits and job.where == "running":  # it was requeued
                job.where = "waiting"
            return
        if seen is None and time.monotonic() - job.submitted < _FORGOTTEN_SECONDS:
            return
        self._hear(job)  # its last words
        if job.where == "over":
            return
        state = seen.state if seen is not None else ""
        if not job.has_begun and state not in _OF_THE_CLUSTER:
            self._had_trouble = True
            raise self._fleet.stillborn(job, seen)
        kind, words = commands.ending(state)
        self._bury(job, kind, f"job {job.id}{f' on {job.host}' if job.host else ''}: {words}")

    def _bury(self, job: Job, kind: FailureKind, words: str) -> None:
        """A job is gone: what it was at fails or is begun again, what it had not begun is for another job."""
        job.where = "over"
        for claim in self._session.claims(job.name):
            event, left = self._left_of(claim, Failure(words, kind=kind))
            if event is not None:
                self._pass_on(job, replace(event, host=job.host))
            self._fleet.offer([task for task in left.tasks if task.id in self._tasks], left.requeues)
        self._session.drop(job.name)
        # Who cancels a job that has not begun calls off a step: one of those that nobody has taken.
        if not job.has_begun and kind == "cancelled" and not self._stopping:
            called_off = self._fleet.take_one_back(job.pool)
            for task in called_off.tasks if called_off else ():
                failure = Failure(words, kind="cancelled")
                self._end(Event(task.id, "failed", failure=failure, attempt=task.attempt))

    def _left_of(self, claim: Claim, failure: Failure) -> tuple[Event | None, Claim]:
        """Say what becomes of a bundle whose job is gone: what to tell, and what is begun again."""
        if failure.kind == "lost" or (failure.kind == "timeout" and claim.saved):
            return begin_again(claim, failure, self._work)
        at = next((task for task in claim.tasks if task.id == claim.begun), None)
        event = after_loss(at, failure, 0)[0] if at is not None else None
        return event, replace(claim, tasks=tuple(task for task in claim.tasks if task is not at))
