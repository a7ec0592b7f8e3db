"""One command on the borrowed machine: `python perf/gpu slot` takes in what came, and continues the list.

It installs the wheels, joins the data that has arrived, runs the tasks that are left, stops in time, and
leaves figures, records and whatever is needed to continue elsewhere in the folder `$OUT`.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from _cargo import spent_artifacts
from _delivery import Delivery, deliver, figures, table
from _freight import LIST, read_shipment, unpack
from _machine import SLOT_SECONDS, TREE
from _process import GRACE_SECONDS, run, stop_leftover
from _state import State
from _tasks import Task, work_list

_PACKING_SECONDS = 30.0  # kept free at the end: records of an unfinished run, tars and their digests
_LEAST_SECONDS = 15.0  # less than this is not worth resuming for
_STATE = "state.json"


def main(arguments: list[str]) -> int:
    """Run one slot; return 0 if no task has failed so far."""
    began = time.monotonic()
    options = _options(arguments)
    work, out = options.work.absolute(), options.out.absolute()
    work.mkdir(parents=True, exist_ok=True)
    if stop_leftover(work / "running.json"):
        print("a task of a slot that was killed was still running: stopped")
    state = take_in(options.carried, work)
    _retry(state, work, options.retry)
    state.slots += 1
    state.write(work / _STATE)
    install(work, rehearsal=options.rehearsal)
    slot = _Slot(work, out, state, began + options.seconds, rehearsal=options.rehearsal)
    slot.go(options.until)
    delivery = slot.deliver(last=True)
    state.write(work / _STATE)
    slot.print_summary(delivery, time.monotonic() - began)
    return 1 if any(ended.status == "failed" for ended in state.tasks.values()) else 0


def take_in(carried: Path, work: Path) -> State:
    """Join what was carried; return the newest state, of this machine or carried to it.

    Raises:
        CargoError: Something is damaged.
    """
    state = State.read(work / _STATE)
    for folder in sorted(file.parent for file in carried.glob(f"*/{LIST}")):
        shipment = read_shipment(folder)
        arrived = unpack(folder, shipment, work)
        missing = [f"{place} lacks {size:,} bytes" for place, size in arrived.missing_bytes.items()]
        print(
            f"{folder.name}: {len(arrived.complete)} groups complete{''.join(f'; {one}' for one in missing)}"
        )
        if "state" in shipment and shipment["state"]["slots"] > state.slots:
            state = State.from_json(shipment["state"])
    if all((work / place).exists() for place in state.carried):
        state.carried = []
    return state


def install(work: Path, *, rehearsal: bool) -> None:
    """Install the wheels once for each set of them.

    A rehearsal does not have the machine's Python: there the wheels are unpacked for it beside, to show that
    pip takes them, and only genbench's own is used.

    Raises:
        SystemExit: No wheels were carried, or pip refused one.
    """
    wheels = sorted((work / "wheels").glob("*.whl"))
    if not wheels:
        sys.exit(f"no wheels in {work / 'wheels'}: carry .gpu/call-1 with this command")
    names = "\n".join(wheel.name for wheel in wheels)
    mark = work / "installed.txt"
    if mark.is_file() and mark.read_text(encoding="utf-8") == names:
        return
    own = [wheel for wheel in wheels if wheel.name.startswith("genbench-")]
    if rehearsal:
        foreign = ["--python-version", "3.12", "--implementation", "cp", "--only-binary=:all:"]
        foreign += [f"--platform=manylinux_2_{minor}_x86_64" for minor in (17, 27, 28)]
        _pip(wheels, work / "site-of-the-machine", *foreign)
    _pip(own if rehearsal else wheels, work / "site")
    mark.write_text(names, encoding="utf-8")


def _pip(wheels: list[Path], target: Path, *options: str) -> None:
    shutil.rmtree(target, ignore_errors=True)
    flags = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *flags,
        *options,
        "--target",
        str(target),
        *map(str, wheels),
    ]
    if subprocess.run(
        command, check=False, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    ).returncode:
        sys.exit(
            "pip refused the wheels (its message is above); make them again with: python perf/gpu prepare"
        )


class _Slot:
    """The tasks of one slot until its deadline."""

    def __init__(self, work: Path, out: Path, state: State, deadline: float, *, rehearsal: bool) -> None:
        self._work, self._out, self._state, self._deadline = work, out, state, deadline
        self._tasks = work_list(work, rehearsal=rehearsal)
        self._environment = environment(work)
        self._facts = _facts(work, self._environment)
        if self._facts["device"] == "cpu" and not rehearsal:
            sys.exit("torch sees no GPU here; without one there is only: python perf/gpu rehearse")
        self._ran = 0

    def go(self, until: str | None = None) -> None:
        """Run tasks in order until one does not fit into what is left, or to `until`; deliver after each."""
        for task in self._tasks:
            if self._state.is_over(task.name):
                continue
            lacking = [place for place in task.needs if not (self._work / place).exists()]
            if task.resumes:
                lacking += [place for place in self._state.carried if not (self._work / place).exists()]
            if lacking:
                more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
                self._state.end(task.name, "unfinished", 0, f"waits for {lacking[0]}{more} to be carried in")
                continue
            wanted = _LEAST_SECONDS if task.resumes else task.expected_seconds
            if self._left() < (wanted if self._ran or task.resumes else 1):
                return
            self._run(task)
            self.deliver()
            if task.name == until:
                return

    def deliver(self, *, last: bool = False) -> Delivery:
        """Leave everything so far in `out`, except what earlier slots sent.

        Only the last delivery counts as sent: each replaces the one before.
        """
        before = list(self._state.sent)
        report = {"facts": self._facts, "figures": figures(self._work / "results"), "tree": tree_digest()}
        delivery = deliver(self._work, self._out, self._state, report)
        if not last:
            self._state.sent = before
        return delivery

    def print_summary(self, delivery: Delivery, seconds: float) -> None:
        """Print the table, last of all."""
        print(f"\n{self._facts['device']}, torch {self._facts['versions']['torch']}")
        print("\n".join(table(self._state, figures(self._work / "results"))))
        over = sum(self._state.is_over(task.name) for task in self._tasks)
        if delivery.left:
            print(f"{delivery.left_bytes:,} bytes wait for the next slot: {', '.join(delivery.left)}")
        print(
            f"slot {self._state.slots}: {seconds:.0f} s, {over} of {len(self._tasks)} tasks are over, "
            f"{delivery.files} files with {delivery.size:,} bytes in {self._out}"
        )

    def _left(self) -> float:
        return self._deadline - _PACKING_SECONDS - GRACE_SECONDS - time.monotonic()

    def _run(self, task: Task) -> None:
        """Run a task's commands, and note how it ended."""
        print(f"{task.name} ...", flush=True)
        alone, self._ran = self._ran == 0, self._ran + 1
        most = self._left() if task.resumes else min(self._left(), task.limit_seconds)
        cut_short = task.resumes or most < task.limit_seconds
        (self._work / "results" / f"{task.name}.jsonl").unlink(missing_ok=True)
        shutil.rmtree(self._work / "boards" / task.name, ignore_errors=True)
        log = self._work / "logs" / f"{task.name}.log"
        ended = time.monotonic() + most
        began = time.monotonic()
        for command in task.commands:
            variables = {
                **self._environment,
                "PERF_FIGURES": str(self._work / "results" / f"{task.name}.jsonl"),
            }
            running = self._work / "running.json"
            code = run(command, log, ended - time.monotonic(), TREE, variables, running).code
            if code != 0:
                break
        seconds = time.monotonic() - began
        if code is not None:
            self._state.end(
                task.name, "failed" if code else "passed", seconds, _last_line(log) if code else ""
            )
        elif cut_short and (task.resumes or not alone):
            self._state.end(task.name, "unfinished", seconds, "stopped with its slot")
        else:
            self._state.end(task.name, "failed", seconds, f"killed after {seconds:.0f} s")
        if task.resumes and code is None:
            self._keep_records(task)
        if task.resumes and code == 0:
            self._state.spent = sorted({*self._state.spent, *spent_artifacts(self._work)})
        self._state.write(self._work / _STATE)

    def _keep_records(self, task: Task) -> None:
        """Save the records of the cells that are done: on another machine their costs cannot be composed."""
        for command in task.commands:
            keep = [sys.executable, "perf/gpu/checks/keep_records.py", *command[command.index("run") + 1 :]]
            log = self._work / "logs" / "keep-records.log"
            run(
                keep, log, _PACKING_SECONDS / 2, TREE, self._environment, self._work / "running.json", grace=0
            )


def environment(work: Path) -> dict[str, str]:
    """Return the variables of every task.

    The code is the tree's, which travels with every command; of genbench's wheel only the entry points count.
    """
    project = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    roots = [str((TREE / package).parent) for package in packages]
    paths = [*roots, str(TREE / "perf"), str(work / "site")]
    (work / "hub").mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "GENBENCH_HUB_MIRROR": str(work / "hub"),
        "GENBENCH_STORE": str(work / "store"),
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
    }


def tree_digest() -> str:
    """Return the SHA-256 of the tree's Python and TOML files: which code a slot ran."""
    whole = hashlib.sha256()
    for folder in ("benchmark", "plugins", "leaderboard", "perf"):
        for file in sorted((TREE / folder).rglob("*")):
            if file.suffix in {".py", ".toml"}:
                whole.update(f"{file.relative_to(TREE)}\n".encode() + file.read_bytes())
    return whole.hexdigest()


def _facts(work: Path, variables: dict[str, str]) -> dict[str, Any]:
    """Return hardware and versions; asked once for each machine and set of wheels."""
    file = work / "facts.json"
    if not file.is_file() or file.stat().st_mtime < (work / "installed.txt").stat().st_mtime:
        command = [sys.executable, "perf/gpu/checks/facts.py"]
        done = subprocess.run(command, cwd=TREE, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"the machine lacks something that genbench needs:\n{done.stderr}")
        file.write_text(done.stdout, encoding="utf-8")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _retry(state: State, work: Path, names: list[str]) -> None:
    """Forget how tasks ended: those that are named, or start with a name."""
    for task in [task for task in state.tasks if any(task.startswith(name) for name in names)]:
        del state.tasks[task]
    state.write(work / _STATE)


def _last_line(log: Path) -> str:
    """Return the error that a command ended with, else its last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    spoken = [line.strip()[:120] for line in lines if line.strip()]
    return next((line for line in spoken[-10:] if line.startswith("Error:")), *spoken[-1:] or ["no output"])


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python perf/gpu slot", description=__doc__)
    out = Path(os.environ.get("OUT") or "out")
    parser.add_argument(
        "--seconds", type=float, default=SLOT_SECONDS, help="when the slot ends (default: %(default)s)"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("/tmp/genbench-gpu"), help="the lease's folder on this machine"
    )
    parser.add_argument("--carried", type=Path, default=TREE / ".gpu", help="folder of what was carried in")
    parser.add_argument("--out", type=Path, default=out, help="what comes back (default: $OUT, else out)")
    parser.add_argument("--until", metavar="NAME", help="end the slot after this task")
    parser.add_argument(
        "--retry", action="append", default=[], metavar="NAME", help="run tasks again that start with NAME"
    )
    parser.add_argument("--rehearsal", action="store_true", help="the same tasks, small enough for a CPU")
    return parser.parse_args(arguments)
