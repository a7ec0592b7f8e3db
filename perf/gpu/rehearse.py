"""A lease without a GPU: `python perf/gpu rehearse` plays both sides here (about 15 min on two cores).

The machine is a folder. With every command a copy of the tree and of what is carried goes in, within the
limits; the command is killed when its time is over; what comes back is checked against the limits and
collected. Tasks are scaled down (`slot --rehearsal`), and so are the slots. One command is given less time
than its slot takes for granted, so that it is killed in the middle of a task; and once the machine is lost.
It ends when every task has passed, and prints a table.

What it cannot show: Python 3.12, whose wheels are unpacked by pip and not imported (what runs is this
interpreter with its own packages); CUDA graphs; and whatever only a GPU can break.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from _cargo import artifacts
from _delivery import check_limits
from _freight import CargoError, sha256
from _machine import LIMITS, MIB, TREE
from _process import stop_leftover
from prepare import tree_files

_MOST_SLOTS = 30
_KILLED_SLOT = 2  # is killed before it expects to be
_LAST_TASK = "records-1"  # of the machine that is lost: its successor has to continue with the next seed
_SEEDS = 2


class Row(NamedTuple):
    """One command, for the table."""

    slot: int
    seconds: float
    over: int
    carried: int
    returned: int
    what: str


def main(arguments: list[str]) -> int:
    """Rehearse until every task is over; return 0 if all passed and the records are home."""
    options = _options(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="genbench-rehearsal-"))
    lease = _Lease(folder, options.seconds)
    _home("prepare", "--to", str(lease.home))
    lease.queue = lease.folders("call-*")
    while not lease.is_over() and len(lease.rows) < _MOST_SLOTS:
        lease.command()
    print("\n".join(["", *lease.table()]))
    problems = lease.problems()
    print(
        "\n".join(problems)
        or f"rehearsed: every task passed, records of {_SEEDS} seeds came home; kept in {folder}"
    )
    return 1 if problems else 0


class _Lease:
    """Both sides of a lease, and what has happened."""

    def __init__(self, folder: Path, slot_seconds: float) -> None:
        self.home, self._back = folder / "home", folder / "back"
        self._machine, self._records, self._seconds = folder / "machine", folder / "records", slot_seconds
        self.queue: list[Path] = []
        self.rows: list[Row] = []
        self._state: dict[str, dict[str, object]] = {}
        self._slots = 0
        self._wiped = False
        self._before_the_loss: dict[str, str] = {}

    def command(self) -> None:
        """Carry, run one slot, take back what it left, and perhaps lose the machine."""
        number, over = len(self.rows) + 1, set(self._names("passed"))
        carried = self._carry_in()
        limit = self._seconds * (0.5 if number == _KILLED_SLOT else 1.1)
        print(f"-- command {number}: at most {limit:.0f} s, {carried / MIB:.1f} MiB carried", flush=True)
        seconds, killed = self._run(limit)
        returned = self._take_back(number)
        finished = [name for name in self._names("passed") if name not in over]
        words = [*(["killed"] if killed else []), f"passed: {', '.join(finished) or 'nothing'}"]
        if _LAST_TASK in finished and not self._wiped:
            self._lose_machine()
            words.append("then the machine was lost")
        self.rows.append(
            Row(number, seconds, len(self._names("passed")), carried, returned, "; ".join(words))
        )

    def is_over(self) -> bool:
        """Say whether the last task was dealt with."""
        return bool(self._state) and not self._names("unfinished") and f"records-{_SEEDS}" in self._state

    def folders(self, pattern: str) -> list[Path]:
        """Return folders at home that are to be carried."""
        return sorted(self.home.glob(pattern))

    def table(self) -> list[str]:
        """Return the table of all commands."""
        lines = [f"{'slot':>4} {'seconds':>8} {'tasks':>6} {'MiB in':>7} {'MiB out':>8}  what"]
        for row in self.rows:
            sizes = f"{row.carried / MIB:7.1f} {row.returned / MIB:8.2f}"
            lines.append(f"{row.slot:4} {row.seconds:8.1f} {row.over:6} {sizes}  {row.what}")
        return lines

    def problems(self) -> list[str]:
        """Return what did not go as it must."""
        found = [
            f"FAIL {name}: {entry['note']}"
            for name, entry in self._state.items()
            if entry["status"] != "passed"
        ]
        if self._slots != len(self.rows):
            found.append(f"FAIL: slots are counted to {self._slots}, but there were {len(self.rows)}")
        if not self._wiped:
            found.append("FAIL: the machine was never lost")
        again = [place for place, mark in self._before_the_loss.items() if self._marks().get(place) != mark]
        if again:
            found.append(f"FAIL: made again after the machine was lost: {', '.join(again)}")
        for suite in ("cifar10-gpu", "cifar10-gpu-cutmix"):
            if not list((self._records / suite).glob("cell-*.json")):
                found.append(f"FAIL: no records of {suite} came home")
        return found

    def _carry_in(self) -> int:
        """Copy the tree, and of the queue what fits; return the bytes."""
        tree = self._machine / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        for name in tree_files():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TREE / name, tree / name)
        while self.queue and _bytes(tree) + _bytes(self.queue[0]) <= LIMITS.carried_bytes:
            one = self.queue.pop(0)
            shutil.copytree(one, tree / ".gpu" / one.name)
        size = _bytes(tree)
        if size > LIMITS.carried_bytes:
            raise CargoError(f"{size:,} bytes would have to be carried, {LIMITS.carried_bytes:,} may be")
        return size

    def _run(self, limit: float) -> tuple[float, bool]:
        """Run a slot as the machine does: in the tree, with $OUT empty, killed at the limit."""
        out = self._machine / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("GENBENCH_", "PYTHON"))
        }
        variables = {**kept, "OUT": str(out), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "perf/gpu", "slot", "--rehearsal", "--seconds", str(self._seconds)]
        command += ["--work", str(self._machine / "work"), *([] if self._wiped else ["--until", _LAST_TASK])]
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=self._machine / "tree", env=variables)
        try:
            process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return time.monotonic() - began, True
        return time.monotonic() - began, False

    def _take_back(self, number: int) -> int:
        """Check what came back against the limits, and collect it; return its bytes."""
        back = self._back / f"{number:02}"
        shutil.copytree(self._machine / "out", back)
        size = check_limits(back)
        lists = sorted(back.glob("slot-*.json"))
        if lists:
            arguments = ("--to", str(self.home), "--records", str(self._records), "--seeds", str(_SEEDS))
            _home("collect", str(back), *arguments)
            state = json.loads(lists[-1].read_text(encoding="utf-8"))["state"]
            self._state, self._slots = state["tasks"], state["slots"]
        return size

    def _lose_machine(self) -> None:
        """Remove all that is on the machine; the next commands carry everything again."""
        stop_leftover(self._machine / "work" / "running.json")
        shutil.rmtree(self._machine)
        self._wiped = True
        self._before_the_loss = self._marks()
        first, *others = self.folders("state-*")
        self.queue = [first, *self.folders("call-*"), *others]

    def _marks(self) -> dict[str, str]:
        """Return the manifest digests of the evaluations at home: they tell when each was made."""
        home = self.home / "home"
        found = (one.place for one in artifacts(home) if one.document["stage"] == "evaluate")
        return {place: sha256(home / place / "manifest.json") for place in found}

    def _names(self, status: str) -> list[str]:
        return [name for name, entry in self._state.items() if entry["status"] == status]


def _home(*arguments: str) -> None:
    """Run a command of the home side.

    Raises:
        SystemExit: It failed.
    """
    done = subprocess.run([sys.executable, "perf/gpu", *arguments], cwd=TREE, check=False)
    if done.returncode:
        sys.exit(f"python perf/gpu {' '.join(arguments)} failed")


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python perf/gpu rehearse", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to play it (default: a temporary folder)")
    parser.add_argument("--seconds", type=float, default=240, help="of a slot (default: %(default)s)")
    return parser.parse_args(arguments)
