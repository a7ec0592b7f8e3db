"""Stands in for sbatch, squeue, scancel and scontrol where there is no cluster: jobs are local processes.

It knows what genbench asks of them, and no more: arrays, signals, requeue, final states. No job waits.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_KILL_SECONDS = 5.0
_PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol")


def install(folder: Path) -> dict[str, str]:
    """Write the programs; return the environment in which they are found."""
    programs, state = folder / "bin", folder / "state"
    for place in (programs, state):
        place.mkdir(parents=True)
    for name in _PROGRAMS:
        line = shlex.join([sys.executable, "-S", __file__, str(state), name])
        (programs / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (programs / name).chmod(0o755)
    return {"PATH": f"{programs}:{os.environ['PATH']}"}


def preempt(state: Path, job: str) -> None:
    """Take a job's node away: it is told to end, and begins anew."""
    _Job(state, job).change(requeued=True)
    _signal(_Job(state, job), signal.SIGTERM, whole=True)


class _Job:
    """A job, by its file."""

    def __init__(self, state: Path, number: str) -> None:
        self._path = state / f"{number}.json"

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._path.read_text())
        return found

    def change(self, **facts: Any) -> dict[str, Any]:
        with _locked(self._path.parent):
            content = self.read() | facts
            draft = self._path.with_suffix(".new")
            draft.write_text(json.dumps(content))
            draft.replace(self._path)
        return content


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    with (state / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _all(state: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(state.glob("*.json"))]


def _sbatch(state: Path, words: Sequence[str]) -> int:
    text = sys.stdin.read()
    asked = dict(
        shlex.split(line, comments=True)[0].removeprefix("--").partition("=")[::2]
        for line in re.findall(r"^#SBATCH (--.*)$", text, re.MULTILINE)
    )
    if asked.get("partition") == "nowhere":
        sys.stderr.write("sbatch: error: invalid partition specified: nowhere\n")
        return 1
    with _locked(state):
        number = len(list(state.glob("*.sh"))) + 1
        (state / f"{number}.sh").write_text(text)
    last = int(asked["array"].rpartition("-")[2]) if "array" in asked else None
    for index in range(last + 1) if last is not None else [None]:
        name = str(number) if index is None else f"{number}_{index}"
        output = "%".join(part.replace("%a", str(index)) for part in asked["output"].split("%%"))
        facts = {"id": name, "array": number, "index": index, "output": output, "state": "PENDING", "pid": 0}
        facts |= {"comment": asked.get("comment", ""), "name": asked.get("job-name", ""), "restarts": 0}
        (state / f"{name}.json").write_text(json.dumps(facts | {"folder": asked.get("chdir", "")}))
        line = [sys.executable, "-S", __file__, str(state), "keep", name]
        quiet = subprocess.DEVNULL
        subprocess.Popen(line, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
    sys.stdout.write(f"{number}\n")
    return 0


def _keep(state: Path, words: Sequence[str]) -> int:
    """Run a job until it is not requeued."""
    job = _Job(state, words[0])
    while True:
        facts = job.read()
        if facts.get("cancelled"):
            break
        own = {"SLURM_JOB_ID": str(facts["id"]), "SLURM_RESTART_COUNT": str(facts["restarts"])}
        if facts["index"] is not None:
            own |= {"SLURM_ARRAY_JOB_ID": str(facts["array"]), "SLURM_ARRAY_TASK_ID": str(facts["index"])}
        if not Path(facts["output"]).parent.is_dir():
            job.change(state="FAILED", pid=0)
            return 0
        with Path(facts["output"]).open("ab") as log:
            running = subprocess.Popen(
                ["bash", str(state / f"{facts['array']}.sh")],
                env={**os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=facts["folder"] or None,
                start_new_session=True,
            )
        job.change(state="RUNNING", pid=running.pid)
        code = _watched(job, running)
        facts = job.change(pid=0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        if not facts.get("requeued") or facts.get("cancelled"):
            break
        job.change(state="PENDING", requeued=False, restarts=facts["restarts"] + 1)
        time.sleep(0.3)
    job.change(state="CANCELLED" if facts.get("cancelled") else "FAILED" if code else "COMPLETED")
    return 0


def _watched(job: _Job, running: "subprocess.Popen[bytes]") -> int:
    """Wait for the end of a job; one that was told to end and does not is killed."""
    told = 0.0
    while running.poll() is None:
        time.sleep(0.05)
        facts = job.read()
        if facts.get("cancelled") or facts.get("requeued"):
            told = told or time.monotonic()
            if facts["state"] == "RUNNING" and time.monotonic() - told > 1.0:
                job.change(state="COMPLETING")  # which a job that outstays its signal waits for
            if time.monotonic() - told > _KILL_SECONDS:
                os.killpg(running.pid, signal.SIGKILL)
    return running.returncode


def _squeue(state: Path, words: Sequence[str]) -> int:
    for job in _all(state):
        index = "N/A" if job["index"] is None else job["index"]
        facts = (job["id"], job["array"], index, job["state"], "node", "None", job["comment"], job["name"])
        sys.stdout.write("|".join(map(str, facts)) + "\n")
    return 0


def _scancel(state: Path, words: Sequence[str]) -> int:
    options = {word for word in words if word.startswith("-")}
    named = next((word.partition("=")[2] for word in options if word.startswith("--signal=")), "")
    for name in [word for word in words if not word.startswith("-")]:
        for facts in [one for one in _all(state) if name in {str(one["id"]), str(one["array"])}]:
            job = _Job(state, facts["id"])
            if facts["state"] not in {"PENDING", "RUNNING"}:
                continue
            if "--state=PENDING" in options and facts["state"] != "PENDING":
                continue
            if named:
                _signal(job, signal.Signals[f"SIG{named}"], whole="--batch" not in options)
            else:
                job.change(cancelled=True)
                _signal(job, signal.SIGTERM, whole=True)
    return 0


def _scontrol(state: Path, words: Sequence[str]) -> int:
    _, name = words
    job = _Job(state, name)
    job.change(requeued=True)
    _signal(job, signal.SIGTERM, whole=True)
    return 0


def _signal(job: _Job, number: int, *, whole: bool) -> None:
    pid = job.read()["pid"]
    if pid:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole else os.kill)(pid, number)


if __name__ == "__main__":
    place, program, *rest = sys.argv[1:]
    sys.exit(globals()[f"_{program}"](Path(place), rest))
