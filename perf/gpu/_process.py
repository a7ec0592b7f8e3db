"""Running a command as a process group that can be stopped as a whole, also by the next slot."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from _freight import write_json

GRACE_SECONDS = 15.0  #: after Ctrl-C; `genbench run` saves the work of its steps in 10 s


class Exit(NamedTuple):
    """How a command ended: its exit code, or None if it was stopped, and its seconds."""

    code: int | None
    seconds: float


def run(
    command: Sequence[str],
    log: Path,
    seconds: float,
    folder: Path,
    environment: Mapping[str, str],
    running: Path,
    grace: float = GRACE_SECONDS,
) -> Exit:
    """Run a command for at most `seconds` and `grace`: first Ctrl-C is sent to its group, then SIGKILL.

    Args:
        command: Program and arguments.
        log: What it prints is added here.
        seconds: Until Ctrl-C.
        folder: Working folder.
        environment: All variables.
        running: Where the group is noted while it runs, for `stop_leftover`.
        grace: Between Ctrl-C and SIGKILL.
    """
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment, process_group=0
        )
    write_json(running, {"group": process.pid, "began": _began(process.pid)})
    code: int | None = None
    try:
        code = process.wait(timeout=max(0.0, seconds))
    except subprocess.TimeoutExpired:
        _signal(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=grace)
    finally:
        _signal(process.pid, signal.SIGKILL)  # whatever the command left running, too
        process.wait()
        running.unlink(missing_ok=True)
    return Exit(code, time.monotonic() - started)


def stop_leftover(running: Path) -> bool:
    """Kill the group that a slot left behind when it was killed itself; say whether there was one."""
    try:
        noted = json.loads(running.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    running.unlink()
    alive = noted["began"] is not None and _began(noted["group"]) == noted["began"]
    if alive:
        _signal(noted["group"], signal.SIGKILL)
    return alive


def _began(process: int) -> str | None:
    """Return when a process began, in ticks since boot: with its number, its identity on this machine."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


def _signal(group: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, what)
