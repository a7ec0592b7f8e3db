"""SLURM's commands, and what they print. None asks for accounting: sacct needs a database that many lack."""

import getpass
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genbench.errors import GenbenchError
from genbench.escaping import one_line
from genbench.executors.failures import FailureKind

_SECONDS = 60.0  # that a command may take: a busy controller is slow
_LONGEST_MESSAGE = 300
#: What squeue is asked for; array tasks one by one.
_FORMAT = "%i|%F|%K|%T|%N|%r|%k|%j"
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "CONFIGURING", "RESV_DEL_HOLD"})
_AT_WORK = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})
#: What ended a job, by its state; a state that is not here means that its process ended by itself.
_KINDS: Mapping[str, tuple[FailureKind, str]] = {
    "TIMEOUT": ("timeout", "its time limit was reached before it could save its work"),
    "DEADLINE": ("timeout", "its deadline was reached"),
    "OUT_OF_MEMORY": ("memory", "it took more memory than it had asked for"),
    "NODE_FAIL": ("lost", "its node failed"),
    "BOOT_FAIL": ("lost", "its node did not start"),
    "PREEMPTED": ("lost", "it was preempted and not requeued"),
    "REVOKED": ("lost", "it was taken away"),
    "CANCELLED": ("cancelled", "it was cancelled (scancel)"),
    "FAILED": ("lost", "its process was lost"),
    "COMPLETED": ("lost", "its process ended"),
    "": ("lost", "SLURM does not know it any more"),
}


class SlurmError(GenbenchError):
    """A command of SLURM failed."""


@dataclass(frozen=True)
class Seen:
    """A job as squeue shows it.

    Attributes:
        id: `12`, or `12_3` of an array.
        array: Number of the array, or of the job.
        index: In the array, as text; empty for another job.
        state: `PENDING`, `RUNNING`, `CANCELLED` ...
        node: Where it runs or ran; may be empty.
        reason: What it waits for, in SLURM's words.
        comment: That it was submitted with.
        name: Of the job.
    """

    id: str
    array: str
    index: str
    state: str
    node: str = ""
    reason: str = ""
    comment: str = ""
    name: str = ""

    @property
    def waits(self) -> bool:
        """Whether it is in the queue."""
        return self.state in _WAITING

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return not self.waits and self.state not in _AT_WORK


def ending(state: str) -> tuple[FailureKind, str]:
    """Say how a job in a final state ended that had tasks left: kind of failure, and words.

    >>> ending("OUT_OF_MEMORY")[0], ending("FAILED")[0], ending("CANCELLED")[0]
    ('memory', 'lost', 'cancelled')
    """
    return _KINDS.get(state.partition(" ")[0], ("lost", f"it is {state}"))


def queue(states: str = "all") -> list[Seen]:
    """Return one's own jobs; those that have ended as long as SLURM remembers them (minutes).

    Raises:
        SlurmError: squeue does not answer.
    """
    told = _call(["squeue", f"--user={getpass.getuser()}", "-h", "-r", f"--states={states}", "-o", _FORMAT])
    return [one for line in told.splitlines() if (one := parsed(line)) is not None]


def parsed(line: str) -> Seen | None:
    """Read a line of squeue in the format that `queue` asks for.

    >>> parsed("12_3|12|3|RUNNING|node1|None|genbench|genbench-train").index
    '3'
    """
    parts = line.split("|")
    if len(parts) < 8:
        return None
    job, array, index, state, node, reason, comment, name = parts[:8]
    return Seen(
        job,
        array,
        index if index.isdigit() else "",
        state,
        "" if node in {"n/a", "(null)"} else node,
        reason if reason != "None" else "",
        comment if comment != "(null)" else "",
        name,
    )


def sbatch(script: str, environment: Mapping[str, str]) -> str:
    """Submit a batch script; return the job's number.

    Args:
        script: Its text.
        environment: That the job starts with.

    Raises:
        SlurmError: It is refused; the message has SLURM's words.
    """
    told = _call(["sbatch", "--parsable"], script, environment)
    return told.strip().splitlines()[-1].partition(";")[0]


def job_environment(wanted: Mapping[str, str | None]) -> dict[str, str]:
    """Return the variables that a job starts with, without those of a job that we are in.

    Args:
        wanted: All; None for one that it must not have.
    """
    return {
        name: value
        for name, value in wanted.items()
        if value is not None and (name == "SLURM_CONF" or not name.startswith("SLURM_"))
    }


def scancel(jobs: Sequence[str], *options: str) -> None:
    """Cancel jobs, or signal them; those that are gone are left alone."""
    if jobs:
        _call(["scancel", "--quiet", *options, *jobs], may_fail=True)


def requeue(job: str) -> bool:
    """Put a running job back in the queue, from where it starts anew; say whether SLURM took it."""
    try:
        _call(["scontrol", "requeue", job])
    except SlurmError:
        return False
    return True


def _call(
    words: Sequence[str],
    text: str = "",
    environment: Mapping[str, str] | None = None,
    *,
    may_fail: bool = False,
) -> str:
    try:
        done = subprocess.run(
            words,
            input=text,
            env={**(os.environ if environment is None else environment), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise SlurmError(f"{words[0]} cannot be called: {problem}") from problem
    if done.returncode and not may_fail:
        said = one_line(done.stderr.strip() or f"exit code {done.returncode}", _LONGEST_MESSAGE)
        raise SlurmError(f"{words[0]}: {said}", hint="see the profile: genbench docs slurm")
    return done.stdout
