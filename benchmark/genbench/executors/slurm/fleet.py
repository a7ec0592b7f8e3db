"""The pools that bundles are offered in, and the jobs that were submitted to take them."""

import contextlib
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from genbench.digest import digest
from genbench.errors import GenbenchError, StoreError
from genbench.executors.at_work import worker_environment
from genbench.executors.base import Setup, Task
from genbench.executors.slurm import commands
from genbench.executors.slurm.commands import Seen, SlurmError
from genbench.executors.slurm.config import Profile, Resources
from genbench.executors.slurm.script import ArrayOf, array_script
from genbench.executors.slurm.session import Claim, Session

_REFUSALS = 20  # of sbatch in a row, with a pause after each, before the run ends
_REFUSED_SECONDS = 15.0
_PATIENCE_SECONDS = 60.0  # after which it is told why a job waits
_LOG_CHARACTERS = 400  # of what a job printed that could not begin

Where = Literal["waiting", "running", "over"]


@dataclass
class Job:
    """A job of an array, as far as it is known here.

    Attributes:
        name: In the session.
        pool: Whose bundles it takes.
        id: SLURM's.
        submitted: When.
        where: Whether it is in SLURM's queue, at work, or gone.
        host: Where it is at work.
        has_begun: Whether it ever said hello.
        tasks: That it is at.
        is_soon_free: Whether what it is at is known to be short.
    """

    name: str
    pool: str
    id: str
    submitted: float
    where: Where = "waiting"
    host: str = ""
    has_begun: bool = False
    tasks: set[str] = field(default_factory=set)
    is_soon_free: bool = False


@dataclass
class Group:
    """Tasks of one kind that ask for the same.

    Attributes:
        pool: That they are offered in, with all kinds that ask for that.
        kind: Of step.
        resources: Of each job.
        offered: Bundles that no job is known to have begun: tasks by the name of the bundle.
    """

    pool: str
    kind: str
    resources: Resources
    offered: dict[str, Sequence[Task]] = field(default_factory=dict)

    @property
    def waiting(self) -> list[Task]:
        """Their tasks."""
        return [task for tasks in self.offered.values() for task in tasks]


class Fleet:
    """Jobs of one session."""

    def __init__(self, profile: Profile, setup: Setup, session: Session) -> None:
        self._profile, self._setup, self._session = profile, setup, session
        self.groups: dict[tuple[str, str], Group] = {}  # by pool and kind
        self.jobs: dict[str, Job] = {}  # by name
        self._serial = 0  # of bundles
        self._arrays = 0  # that were submitted
        self._refused, self._not_before = 0, 0.0

    def alive(self, where: Where | None = None) -> list[Job]:
        """Return the jobs that are not gone."""
        return [job for job in self.jobs.values() if job.where != "over" and where in {None, job.where}]

    # ------------------------------------------------------------------------------------------------- pools

    def offer(self, tasks: Sequence[Task], requeues: int = 0) -> None:
        """Offer a bundle to the jobs that there are, or will be."""
        if not tasks:
            return
        first = tasks[0]
        resources = self._profile.resources(first.kind, first.needs)
        pool = digest(resources.model_dump(mode="json"))[:8]
        group = self.groups.setdefault((pool, first.kind), Group(pool, first.kind, resources))
        self._serial += 1
        bundle = f"{self._serial:06d}"
        group.offered[bundle] = tuple(tasks)
        self._session.put(pool, bundle, tasks, requeues)

    def take_back(self, task_id: str) -> Claim | None:
        """Take the bundle of a task back; None where a job has it."""
        for group in self.groups.values():
            for name in [
                one for one, tasks in group.offered.items() if any(it.id == task_id for it in tasks)
            ]:
                claim = self._session.take_back(group.pool, name)
                if claim is not None:
                    del group.offered[name]
                return claim
        return None

    def take_one_back(self, pool: str) -> Claim | None:
        """Take a bundle of a pool back that no job has."""
        for group in [one for one in self.groups.values() if one.pool == pool]:
            for name in list(group.offered):
                claim = self._session.take_back(pool, name)
                if claim is not None:
                    del group.offered[name]
                    return claim
        return None

    def take_all_back(self, *, but_served: bool = False) -> None:
        """Take everything back that no job has taken; or only what no job would ever take."""
        served = {job.pool for job in self.alive()} if but_served else set()
        for group in self.groups.values():
            for name in list(group.offered) if group.pool not in served else ():
                if self._session.take_back(group.pool, name) is not None:
                    del group.offered[name]

    def is_begun(self, task_id: str) -> None:
        """Forget that a bundle is in the queue: one of its tasks has begun."""
        for group in self.groups.values():
            for name in [
                one for one, tasks in group.offered.items() if any(it.id == task_id for it in tasks)
            ]:
                del group.offered[name]

    # ------------------------------------------------------------------------------------------- submitting

    def submit(self) -> list[tuple[Group, str]]:
        """Submit an array for each group that has more to do than idle jobs could take now.

        Returns:
            What to say of groups.

        Raises:
            SlurmError: SLURM takes no job of ours.
        """
        told: list[tuple[Group, str]] = []
        if time.monotonic() < self._not_before:
            return told
        idle = Counter(job.pool for job in self.alive() if not job.tasks)
        soon = Counter(job.pool for job in self.alive() if job.tasks and job.is_soon_free)
        for group in self.groups.values():
            worth, is_short = self._worth(group)
            wanted = math.ceil(worth / group.resources.workers)
            there = min(wanted, idle[group.pool] + soon[group.pool] * is_short)
            idle[group.pool] = max(0, idle[group.pool] - there)  # the others are for the next kind
            lacking = min(wanted - there, self._profile.most_jobs - len(self.alive()))
            if lacking > 0:
                told.append((group, self._submit_array(group, lacking)))
        return told

    def is_short(self, task: Task) -> bool:
        """Say whether a task is known to be so short that it shares a job."""
        return task.needs.seconds is not None and task.needs.seconds < self._profile.job_seconds

    def _worth(self, group: Group) -> tuple[int, bool]:
        """Return how many workers a group's queue is worth; whether all in it is short."""
        if not group.offered or not all(self.is_short(task) for task in group.waiting):
            return len(group.offered), False
        seconds = sum(task.needs.seconds or 0.0 for task in group.waiting)
        return min(len(group.offered), math.ceil(seconds / self._profile.job_seconds) or 1), True

    def _submit_array(self, group: Group, count: int) -> str:
        array = ArrayOf(self._arrays, group.pool, group.kind, count)
        names = [f"{array.number}-{index}" for index in range(count)]
        self._session.expect(names)
        # By its first part `genbench cancel` finds the jobs of a controller.
        comment = f"genbench:{os.environ.get('SLURM_JOB_ID', '')}:{self._session.root.name}"
        script = array_script(self._profile, group.resources, array, self._session.root, comment)
        environment = commands.job_environment({**os.environ, **worker_environment(self._setup)})
        try:
            number = commands.sbatch(script, environment)
        except SlurmError as problem:
            self._refused += 1
            if not self._arrays or self._refused >= _REFUSALS:
                raise
            self._not_before = time.monotonic() + _REFUSED_SECONDS
            return f"waits: SLURM takes no more jobs ({problem.message})"
        self._refused, now = 0, time.monotonic()
        self._arrays += 1
        self.jobs |= {
            name: Job(name, group.pool, f"{number}_{index}", now) for index, name in enumerate(names)
        }
        return f"waits for job {number} of SLURM"

    # ------------------------------------------------------------------------------------------- what to say

    def reasons(self, seen: Mapping[str, Seen]) -> list[tuple[Group, str]]:
        """Return what groups wait for, in SLURM's words, where it takes long."""
        told = []
        before = time.monotonic() - _PATIENCE_SECONDS
        for group in self.groups.values():
            waiting = [job for job in self.alive("waiting") if job.pool == group.pool]
            found = [seen[job.id].reason for job in waiting if job.id in seen and job.submitted < before]
            reasons = sorted({reason for reason in found if reason})
            if reasons:
                told.append((group, f"waits for jobs of SLURM ({', '.join(reasons)})"))
        return told

    def stillborn(self, job: Job, seen: Seen | None) -> GenbenchError:
        """Return why a job could not even begin: all others would fare alike."""
        log = self._session.root / "logs" / f"{job.name}.txt"
        said, node = "", seen.node if seen is not None and seen.node else "its node"
        with contextlib.suppress(OSError):
            said = log.read_text(encoding="utf-8", errors="replace").strip()[-_LOG_CHARACTERS:]
        if said:
            return SlurmError(
                f"job {job.id} on {node} could not begin: {said}",
                hint=f"see python, modules and setup in the profile; the log is {log}",
            )
        return StoreError(
            f"job {job.id} ended before it began, and left no log: {node} does not see the folder "
            f"{self._session.root}, or cannot write there",
            hint="put the store on the file system that all nodes share (--store), or name a folder there in "
            "the profile (folder)",
        )
