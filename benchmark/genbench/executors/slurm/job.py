"""What a job does: takes bundles of its pool until none is left, with workers as on any machine.

    python -m genbench.executors.slurm.job FOLDER POOL ARRAY WORKERS

USR2 (near the end of its time) and TERM (preempted, or cancelled) let steps save their work. What was begun
stays claimed: when SLURM has requeued the job, it begins there again, as the next attempt. After USR2 the job
asks for that itself. A job that is killed leaves the same claims, which the run then reads.
"""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from genbench.executors.at_work import after_loss
from genbench.executors.base import Event, Task
from genbench.executors.config import ProcessesConfig
from genbench.executors.failures import Failure
from genbench.executors.processes import ProcessExecutor
from genbench.executors.slurm import commands
from genbench.executors.slurm.session import Bye, Claim, Hello, Session, Work

GRACE_SECONDS = 60.0  #: how long steps may take to save; SLURM may give less
_LOOK_SECONDS = 0.2
_MARK_SECONDS = 1.0  # between two looks at what was called off
_SIGNAL_SECONDS = 5.0  # within which we get a signal that a worker got, if it was meant for the job
_TELL_SECONDS = 1.0  # between two messages about a task's progress


class Job:
    """A job at work."""

    def __init__(self, session: Session, pool: str, name: str, number: str) -> None:
        self._session, self._pool, self._name, self._number = session, pool, name, number
        self._host = socket.gethostname()
        self._work: Work = session.work
        self._signal = 0
        self._saved_at = 0.0  # when a worker stopped that we did not ask to
        self._claims: dict[str, Claim] = {}  # by name
        self._progress: dict[str, Event] = {}  # the latest of each task, not told yet
        self._told = time.monotonic()
        self._marked = 0.0
        self._cancelled: set[str] = set()

    def run(self, workers: int) -> int:
        """Do bundles until there are no more; return the exit code."""
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._take)
        sees = self._work.sees
        if sees and not Path(sees).exists():
            self._tell(
                Bye(f"{self._host} does not see {sees}: the store must be in a folder that all nodes share")
            )
            return 1
        self._tell(Hello(self._host, int(os.environ.get("SLURM_RESTART_COUNT", "0"))))
        os.environ.update(self._work.private)  # workers get it when they have started, as on any machine
        executor = ProcessExecutor(ProcessesConfig(), replace(self._work.setup, jobs=workers))
        try:
            for claim in self._resumed():
                self._begin(executor, claim)
            self._go_on(executor)
            # A run that is preempted with its jobs may close its session first: they save all the same.
            if self._claims and (self._signal or self._session.stop != "close"):
                executor.stop(GRACE_SECONDS)
                self._listen(executor, 0.0)
        finally:
            executor.close()
        return self._leave()

    def _go_on(self, executor: ProcessExecutor) -> None:
        """Take bundles while there are any, and nobody asks to stop."""
        idle_since = time.monotonic()
        while not self._signal and not self._session.stop:
            while executor.free > 0 and (claim := self._next()) is not None:
                self._begin(executor, claim)
            was_busy = bool(self._claims)
            self._listen(executor, _LOOK_SECONDS)
            self._cancel(executor)
            if self._saved_at and time.monotonic() - self._saved_at > _SIGNAL_SECONDS:
                return
            if was_busy:  # and looks for more before it is idle
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= self._work.idle_seconds:
                return

    def _next(self) -> Claim | None:
        return self._session.claim(self._pool, self._name)

    def _begin(self, executor: ProcessExecutor, claim: Claim) -> None:
        self._claims[claim.name] = claim
        self._keep(claim)
        # What was called off here before and is handed over again may be called off again.
        self._cancelled.difference_update(task.id for task in claim.tasks)
        executor.submit(claim.tasks)

    def _resumed(self) -> Iterator[Claim]:
        """Yield what this job had taken before it was requeued, or what is left of it."""
        for claim in self._session.claims(self._name):
            failure = Failure("its job was requeued by SLURM before it could save", kind="lost")
            event, left = begin_again(claim, failure, self._work)
            if event is not None:
                self._tell(replace(event, host=self._host))
            self._session.keep(self._name, left)
            if left.tasks:
                yield left

    def _listen(self, executor: ProcessExecutor, seconds: float) -> None:
        """Pass on what workers say, and write down what is left of each bundle."""
        for event in executor.events(seconds):
            if event.status == "progress":
                self._progress[event.id] = event
                if event.done >= event.total or event.done == 0:
                    self._tell_progress()
                continue
            self._tell_progress()
            # A worker that has not yet learned to heed signals dies of the one that is meant for the job.
            is_lost = event.failure is not None and event.failure.kind == "lost" and self._signal != 0
            if (event.status == "interrupted" or is_lost) and self._session.stop != "save":
                self._save(event)
                continue
            self._tell(replace(event, host=event.host or self._host))
            self._note(event)
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._tell_progress()

    def _note(self, event: Event) -> None:
        """Write down what an event changes of the bundle that its task is in."""
        for claim in [one for one in self._claims.values() if any(task.id == event.id for task in one.tasks)]:
            left = _after(claim, event)
            self._keep(left)
            self._claims[claim.name] = left
            if not left.tasks:
                del self._claims[claim.name]

    def _save(self, event: Event) -> None:
        """Write down that a task was stopped and has saved its work."""
        self._saved_at = self._saved_at or time.monotonic()
        why = "its time ended" if self._signal == signal.SIGUSR2 else "its job was preempted"
        for claim in self._claims.values():
            if claim.begun == event.id:
                self._keep(replace(claim, saved=f"{why}; its work is saved"))

    def _cancel(self, executor: ProcessExecutor) -> None:
        """Call off what was called off."""
        if time.monotonic() - self._marked < _MARK_SECONDS:
            return
        self._marked = time.monotonic()
        mine = {task.id for claim in self._claims.values() for task in claim.tasks}
        for task_id in (self._session.cancelled() & mine) - self._cancelled:
            self._cancelled.add(task_id)
            executor.cancel(task_id)

    def _leave(self) -> int:
        """End, as whoever asked for it expects."""
        if self._session.stop or not self._signal:
            self._tell(Bye())
            with contextlib.suppress(OSError):
                self._session.retire()
            return 0
        if self._signal == signal.SIGUSR2:
            commands.requeue(self._number)  # if it is refused, the run begins another job
        else:
            self._outstay()
        return 128 + self._signal

    def _outstay(self) -> None:
        """Wait to be taken away: of a job that ends before it is preempted, SLURM thinks that it is done."""
        while not self._session.stop:
            time.sleep(_MARK_SECONDS)
            try:
                states = [one.state for one in commands.queue() if one.id == self._number]
            except commands.SlurmError:
                continue
            if states != ["RUNNING"]:
                return

    def _keep(self, claim: Claim) -> None:
        """Write down what is left of a bundle, for whom there still is a session to read it."""
        with contextlib.suppress(FileNotFoundError):
            self._session.keep(self._name, claim)

    def _tell(self, message: object) -> None:
        if self._session.root.is_dir():
            self._session.tell(self._name, message)

    def _tell_progress(self) -> None:
        for event in self._progress.values():
            self._tell(replace(event, host=event.host or self._host))
        self._progress.clear()
        self._told = time.monotonic()

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._signal = self._signal or number


def _after(claim: Claim, event: Event) -> Claim:
    """Return what an event leaves of the bundle that its task is in."""
    if event.is_final:
        return replace(claim, tasks=tuple(task for task in claim.tasks if task.id != event.id), begun="")
    if event.status == "started":
        return replace(claim, begun=event.id)
    if event.status == "retried":
        again = (
            replace(task, attempt=event.attempt) if task.id == event.id else task for task in claim.tasks
        )
        return replace(claim, tasks=tuple(again), begun="")
    return claim


def begin_again(claim: Claim, failure: Failure, work: Work) -> tuple[Event | None, Claim]:
    """Say what becomes of a bundle whose job ended: what to tell, and what of it is begun again.

    Work that was saved is begun again `requeues` times; what was lost with its job, as often as work that is
    lost anywhere.

    Args:
        claim: As the job left it.
        failure: What ended the job.
        work: The rules.
    """
    at = next((task for task in claim.tasks if task.id == claim.begun), None)
    if at is None:  # nothing had begun
        return None, replace(claim, begun="", saved="")
    if claim.saved:
        failure = Failure(claim.saved, kind="lost")
        allowed = at.attempt if claim.requeues < work.requeues else 0
    else:
        allowed = work.setup.retries + claim.requeues
    event, again = after_loss(at, failure, allowed)
    left = tuple(_without(claim.tasks, at, again))
    return event, Claim(claim.name, left, requeues=claim.requeues + bool(claim.saved))


def _without(tasks: Sequence[Task], one: Task, again: Task | None) -> Iterator[Task]:
    """Yield tasks, one of them as it is begun again, or left out."""
    for task in tasks:
        if task is not one:
            yield task
        elif again is not None:
            yield again


def main(words: Sequence[str]) -> int:
    """Do a job's work."""
    folder, pool, array, workers = words
    place = os.environ.get("SLURM_ARRAY_TASK_ID", "0")
    number = f"{os.environ.get('SLURM_ARRAY_JOB_ID', '')}_{place}"
    if Session(Path(folder)).stop == "close":  # the run ended before a job that it no longer waits for began
        return 0
    return Job(Session(Path(folder)), pool, f"{array}-{place}", number).run(int(workers))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
