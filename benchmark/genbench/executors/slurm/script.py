"""Batch scripts: of an array of jobs that do steps, and of the job that controls a detached run."""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genbench.executors.slurm.config import Profile, Resources

_PLAIN = re.compile(r"[\w@%+=:,./-]*")
NOT_SHARED = 78  #: exit code of a job that does not see the folder of its session


@dataclass(frozen=True)
class ArrayOf:
    """What an array of jobs does.

    Attributes:
        number: Of the array within its session.
        pool: Whose bundles its jobs take.
        kind: Of step.
        count: How many jobs it has.
    """

    number: int
    pool: str
    kind: str
    count: int


def array_script(profile: Profile, resources: Resources, job: ArrayOf, root: Path, comment: str) -> str:
    """Return the script of an array.

    Args:
        profile: Of the cluster.
        resources: Of each job.
        job: What it does.
        root: Of the session.
        comment: By which its jobs are found in the queue.
    """
    log = f"{_unpatterned(root / 'logs')}/{job.number}-%a.txt"
    lines = [
        *_head(resources, f"genbench-{job.kind or 'step'}", log, comment),
        f"#SBATCH --array=0-{job.count - 1}",
        f"#SBATCH --signal=B:USR2@{profile.save_seconds}",
        "#SBATCH --requeue",
        *_begin(resources),
        f"if ! [ -d {shlex.quote(str(root))} ]; then",
        f'  echo "$(hostname) does not see the folder {shlex.quote(str(root))}" >&2',
        f"  exit {NOT_SHARED}",
        "fi",
        # In place of the shell, so that SLURM's signals reach it.
        shlex.join(
            [
                *("exec", profile.python or sys.executable, "-m", "genbench.executors.slurm.job"),
                *(str(root), job.pool, str(job.number), str(resources.workers)),
            ]
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def controller_script(
    profile: Profile, words: Sequence[str], folder: Path, log: Path, name: str, comment: str
) -> str:
    """Return the script of the job that controls a detached run.

    Near the end of its time it stops the run, which lets its steps save their work, and is requeued: the same
    command resumes. SLURM's own requeue, after preemption or a failure of its node, does the same.

    Args:
        profile: Of the cluster.
        words: The command.
        folder: Where it was typed.
        log: Where its output goes.
        name: Of the run.
        comment: By which it is found in the queue.
    """
    resources = profile.of_controller()
    lines = [
        *_head(resources, f"genbench-run-{name}", _unpatterned(log), comment),
        f"#SBATCH --chdir={_quoted(str(folder))}",
        f"#SBATCH --signal=B:USR2@{profile.save_seconds}",
        "#SBATCH --requeue",
        *_begin(resources),
        f"{shlex.join(words)} &",
        "run=$!",
        # A signal ends `wait`; the run goes on until it has saved, so it is waited for again.
        "trap 'kill -TERM $run; again=1' USR2",
        "trap 'kill -TERM $run; stay=1' TERM",
        "trap 'kill -TERM $run' INT",  # of `genbench cancel`
        "wait $run; code=$?",
        "while kill -0 $run 2>/dev/null; do wait $run; code=$?; done",
        'if [ -n "${again:-}" ]; then scontrol requeue "$SLURM_JOB_ID"; sleep 60; fi',
        # Of a job that ends by itself when it is preempted, SLURM thinks that it is done.
        'if [ -n "${stay:-}" ]; then sleep 60; fi',
        "exit $code",
    ]
    return "".join(f"{line}\n" for line in lines)


def _head(resources: Resources, name: str, log: str, comment: str) -> list[str]:
    """Return the lines that ask for resources; `log` is a pattern."""
    memory = resources.memory_gib
    asked = {
        "job-name": name,
        "output": log,
        "open-mode": "append",
        "comment": comment,
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "time": resources.time,
        "cpus-per-task": resources.cpus,
        "mem": f"{round(memory * 1024)}M" if memory else None,
        "gres": f"gpu:{resources.gpus}" if resources.gpus else None,
    }
    head = [
        f"#SBATCH --{option}={_quoted(str(value))}" for option, value in asked.items() if value is not None
    ]
    return ["#!/bin/bash", *head, *(f"#SBATCH {option}" for option in resources.options)]


def _quoted(value: str) -> str:
    r"""Return a value as sbatch reads it whole from a line of a script: as it is, or in quotes.

    >>> print(_quoted("gpu:a100:1"), _quoted('/home/a "b"'))
    gpu:a100:1 "/home/a \"b\""
    """
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _unpatterned(path: Path) -> str:
    """Return a path as a part of a pattern of sbatch's, in which `%a` would be a number."""
    return str(path).replace("%", "%%")


def _begin(resources: Resources) -> list[str]:
    """Return the lines that run before anything of ours."""
    return [*(f"module load {shlex.quote(module)}" for module in resources.modules), *resources.setup]
