"""Options of `slurm`, and its profile: a TOML file of what is asked of the cluster. Imports no engine."""

import re
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from genbench.documents import STAGES
from genbench.errors import UsageError, did_you_mean
from genbench.executors.base import Needs
from genbench.executors.config import ExecutorConfig
from genbench.explain import explain
from genbench.options import Options
from genbench.untrusted import parse_toml, read_text

PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol")
GIB = 2**30
_MOST_BYTES, _MOST_DEPTH = 2**18, 6
_TIME = re.compile(r"(\d+-)?\d{1,5}(:\d{1,2}){0,2}")
_OWN_OPTIONS = (
    *("--array", "--job-name", "--output", "--error", "--open-mode", "--signal", "--requeue", "--no-requeue"),
    *("--export", "--comment", "--parsable", "--wrap", "--dependency", "--chdir"),
)

Interrupt = Literal["cancel", "detach"]


def _as_time(value: str) -> str:
    if not _TIME.fullmatch(value):
        raise ValueError("use SLURM's notation: MINUTES, HH:MM:SS or DAYS-HH:MM:SS")
    return value


def _as_option(value: str) -> str:
    name = value.partition("=")[0]
    if not value.startswith("-") or "\n" in value:
        raise ValueError("use options of sbatch, as --constraint=a100")
    if name in _OWN_OPTIONS:
        raise ValueError(f"genbench sets {name} itself")
    return value


def _as_line(value: str) -> str:
    if "\n" in value:
        raise ValueError("one line each")
    return value


Time = Annotated[str, AfterValidator(_as_time)]
Line = Annotated[str, AfterValidator(_as_line)]


class Resources(Options):
    """What one job asks for; what is left out is the cluster's default."""

    partition: Line | None = Field(default=None, description="partition, or several with commas")
    account: Line | None = Field(default=None, description="account that is charged")
    qos: Line | None = Field(default=None, description="quality of service")
    time: Time | None = Field(default=None, description="time limit of a job, as HH:MM:SS")
    cpus: int | None = Field(
        default=None, ge=1, description="cores of a job [default: what its step is known to take]"
    )
    memory_gib: float | None = Field(
        default=None, gt=0, description="memory of a job [default: what its step is known to take]"
    )
    gpus: str | int | None = Field(
        default=None,
        description="GPUs of a job, as --gres takes them: 1, a100:1 [default: as the step needs]",
    )
    workers: int = Field(default=1, ge=1, le=64, description="steps side by side in one job")
    options: tuple[Annotated[str, AfterValidator(_as_option)], ...] = Field(
        default=(), description="further options of sbatch, one each"
    )
    modules: tuple[Line, ...] = Field(default=(), description="modules that are loaded first")
    setup: tuple[Line, ...] = Field(default=(), description="lines of shell that are run first")

    def completed(self, needs: Needs) -> "Resources":
        """Return these with what a step is known to take, where nothing was said."""
        found: dict[str, object] = {}
        if self.cpus is None and needs.cpus > 1:
            found["cpus"] = needs.cpus
        if self.gpus is None and needs.gpus:
            found["gpus"] = needs.gpus
        if self.memory_gib is None and needs.memory_bytes:
            # Rounded up, so that steps that are nearly alike share an array.
            found["memory_gib"] = float(-(-needs.memory_bytes // GIB))
        return self.model_copy(update=found)


class Profile(Resources):
    """What is asked of a cluster, for all kinds of steps and for each."""

    folder: Path | None = Field(
        default=None,
        description="folder that all nodes see, where jobs and run exchange files [default: in the store]",
    )
    python: Line | None = Field(
        default=None, description="Python interpreter of jobs [default: the one that runs genbench]"
    )
    most_jobs: int = Field(
        default=32,
        ge=1,
        le=1000,
        description="jobs that wait and run at a time; more steps than these share them",
    )
    job_seconds: float = Field(
        default=300.0, ge=0, description="steps that are known to be shorter than this share jobs"
    )
    idle_seconds: float = Field(default=10.0, ge=0, description="how long a job waits for one more step")
    save_seconds: int = Field(
        default=120,
        ge=1,
        le=65535,
        description="so long before the end of its time a job saves and is requeued",
    )
    requeues: int = Field(
        default=20, ge=0, description="how often a step is begun again after preemption or the time limit"
    )
    on_interrupt: Interrupt = Field(
        default="cancel",
        description="at Ctrl-C: cancel lets jobs save their work and ends them; detach leaves them to finish "
        "their steps",
    )
    poll_seconds: float = Field(default=10.0, gt=0, description="time between two looks at the queue")
    steps: Mapping[str, Resources] = Field(
        default_factory=dict, description="what differs for a kind of step: [steps.train]"
    )
    controller: Resources = Field(
        default=Resources(cpus=1), description="the job of `genbench submit`, which hands out steps"
    )

    @model_validator(mode="after")
    def _known_kinds(self) -> "Profile":
        for kind in self.steps:
            if kind not in STAGES:
                raise ValueError(f"unknown kind of step {kind!r}. {did_you_mean(kind, STAGES)}")
        return self

    def resources(self, kind: str, needs: Needs) -> Resources:
        """Return what a job asks for that does steps of one kind."""
        common = {name: getattr(self, name) for name in Resources.model_fields}
        own = self.steps.get(kind)
        if own is not None:
            common |= {name: getattr(own, name) for name in own.model_fields_set}
        return Resources(**common).completed(needs)

    def of_controller(self) -> Resources:
        """Return what the job of a detached run asks for."""
        common = {name: getattr(self, name) for name in ("partition", "account", "qos", "modules", "setup")}
        own = {name: getattr(self.controller, name) for name in self.controller.model_fields_set}
        return Resources(**{"cpus": 1, **common, **own})


@cache
def read_profile(path: Path) -> Profile:
    """Read a profile; once in a process.

    Raises:
        UsageError: It cannot be read, is not TOML, or has an unknown or unusable entry.
    """
    hint = "genbench docs slurm   (has an example)"
    try:
        content = parse_toml(read_text(path, _MOST_BYTES), _MOST_DEPTH)
    except ValueError as problem:
        raise UsageError(f"cannot read profile {path}: {problem}", hint=hint) from problem
    try:
        return Profile.model_validate(content)
    except ValidationError as problem:
        raise UsageError(explain(problem, f"profile {path}", Profile), hint=hint) from None


class SlurmConfig(ExecutorConfig):
    """Options of `slurm`."""

    is_here: ClassVar[bool] = False
    primary: ClassVar[str | None] = "profile"
    location_fields: ClassVar[frozenset[str]] = frozenset({"profile"})

    profile: Path | None = Field(
        default=None, description="TOML file that says what is asked of the cluster (genbench docs slurm)"
    )
    on_interrupt: Interrupt | None = Field(
        default=None, description="as in the profile, which it overrides: cancel or detach"
    )

    @property
    def jobs_elsewhere(self) -> int:
        """As many as the jobs that wait and run at a time have workers."""
        return self.settled.most_jobs * self.settled.workers

    @property
    def threads_elsewhere(self) -> int:
        """A worker's share of the cores that a job asks for."""
        return max(1, (self.settled.cpus or 1) // self.settled.workers)

    @property
    def settled(self) -> Profile:
        """The profile, as it counts."""
        found = read_profile(self.profile.expanduser()) if self.profile is not None else Profile()
        return found.model_copy(update={"on_interrupt": self.on_interrupt} if self.on_interrupt else {})

    def check_machine(self) -> None:
        """Refuse an unusable profile, and a machine without SLURM's commands.

        Raises:
            UsageError: One of them is missing.
        """
        _ = self.settled
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise UsageError(
                f"executor slurm: no command {missing[0]} on this machine",
                hint="log in to a node of the cluster from which jobs are submitted; `--executor processes` "
                "runs on this machine",
            )
