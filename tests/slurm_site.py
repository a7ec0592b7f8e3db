"""Where tests of SLURM run: a real cluster of one node where its daemons start, else a double.

A test module that needs its fixtures says `site, run_with = slurm_site.site, slurm_site.run_with`.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import slurm_cluster
import slurm_double
from genbench.executors import Event, Needs, Setup, Task
from genbench.executors.probe import TARGET
from genbench.executors.slurm import commands
from genbench.executors.slurm.config import SlurmConfig, read_profile
from genbench.executors.slurm.engine import SlurmExecutor

PATIENCE_SECONDS = 90.0
JOBS = "my jobs %a"  # a folder whose name sbatch would take apart
PROFILE = """\
partition = "low"
time = "00:05:00"
memory_gib = 0.5
poll_seconds = 0.5
idle_seconds = 0.5
"""


@dataclass
class Site:
    """Where jobs run in these tests.

    Attributes:
        is_real: Whether that is a cluster.
        preempt: Takes the node of a job away for a moment, given the job's number.
        why_not: Why it is not real.
    """

    is_real: bool
    preempt: Callable[[str], None]
    why_not: str = ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [one for one in os.environ if one.startswith(("SLURM_", "SBATCH_"))]:
            patch.delenv(name)
        why_not = slurm_cluster.lacking()
        if os.environ.get("GENBENCH_TEST_SLURM") == "double":
            why_not = "GENBENCH_TEST_SLURM=double"
        if not why_not:
            try:
                with slurm_cluster.cluster() as cluster:
                    for name, value in cluster.environment.items():
                        patch.setenv(name, value)
                    yield Site(True, _preempt)
                return
            except slurm_cluster.NotStartedError as problem:
                why_not = str(problem)
        folder = tmp_path_factory.mktemp("double")
        for name, value in slurm_double.install(folder).items():
            patch.setenv(name, value)
        yield Site(False, lambda job: slurm_double.preempt(folder / "state", job), why_not)
        commands.scancel([one.id for one in commands.queue() if not one.is_over])


def _preempt(job: str) -> None:
    """Submit a job that takes the whole node, for a moment."""
    script = "#!/bin/bash\n#SBATCH --partition=high\n#SBATCH --exclusive\n#SBATCH -o /dev/null\nsleep 1\n"
    commands.sbatch(script, commands.job_environment({**os.environ}))


@pytest.fixture
def run_with(site: Site, tmp_path: Path) -> Iterator[Callable[..., "Run"]]:
    """Build executors of the probe, with lines of a profile and fields of the setup."""
    made: list[Run] = []
    eventually(lambda: not jobs_at_work())  # those of an earlier test may take a moment to leave the queue

    def make(lines: str = "", *, shared: bool = False, **fields: Any) -> Run:
        usual = "".join(one for one in PROFILE.splitlines(True) if one.split()[0] not in lines)
        (tmp_path / "profile.toml").write_text(usual + f'folder = "{tmp_path / JOBS}"\n' + lines)
        read_profile.cache_clear()
        folder = str(tmp_path / "shared") if shared else ""
        setup = Setup(TARGET, {"greeting": ""}, shared_folder=folder, **fields)
        made.append(Run(SlurmExecutor(SlurmConfig(profile=tmp_path / "profile.toml"), setup)))
        return made[-1]

    yield make
    for one in made:
        one.executor.close()


class Run:
    """An executor, and what it told."""

    def __init__(self, executor: SlurmExecutor) -> None:
        self.executor = executor
        self.events: list[Event] = []

    def until(self, is_reached: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_reached():
            assert time.monotonic() < end, [(one.id, one.status, one.note) for one in self.events]
            self.events += self.executor.events(0.1)

    def finish(self, *bundles: list[Task]) -> dict[str, Event]:
        for bundle in bundles:
            self.executor.submit(bundle)
        names = {task.id for bundle in bundles for task in bundle}
        self.until(lambda: names <= self.ended().keys())
        return self.ended()

    def ended(self) -> dict[str, Event]:
        return {one.id: one for one in self.events if one.is_final}

    def told(self, name: str) -> list[str]:
        return [one.status for one in self.events if one.id == name and one.status != "queued"]

    def has(self, name: str, status: str) -> bool:
        return any(one.id == name and one.status == status for one in self.events)


def task(name: str, do: str = "nothing", needs: Needs | None = None, **asked: Any) -> Task:
    return Task(name, {"do": do, **asked}, needs or Needs(), label=name, kind="train")


def jobs_at_work() -> list[str]:
    return [one.id for one in commands.queue() if one.state == "RUNNING" and one.name == "genbench-train"]


def eventually(is_reached: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_reached():
        assert time.monotonic() < end
        time.sleep(0.1)
