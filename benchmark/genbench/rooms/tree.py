"""Processes that a process started, and their end: what a plugin leaves behind must not outlive its step."""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

_DEATH_SIGNAL, _SUBREAPER = 1, 36  # prctl


def descendants(pid: int) -> dict[int, str]:
    """Return the processes below one, children first, with their names; none where there is no /proc."""
    below: dict[int, list[tuple[int, str]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it ended meanwhile
            name, _, rest = (folder / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
            state, parent = rest.split()[:2]
            if state != "Z":
                below.setdefault(int(parent), []).append((int(folder.name), name))
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child, name in below.get(waiting.pop(0), ()):
            if child not in found:
                found[child] = name
                waiting.append(child)
    return found


def _is_helper(pid: int) -> bool:
    try:
        return b"from multiprocessing." in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def end_descendants(pid: int) -> list[str]:
    """Kill all processes below one; return their names, sorted, without multiprocessing's own helpers."""
    names: dict[int, str] = {}
    for _ in range(10):  # one that is killed may have started another just before
        running = descendants(pid)
        if not running:
            break
        names |= {one: name for one, name in running.items() if not _is_helper(one)}
        for one in running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
    return sorted(names.values())


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the one that started it dies (Linux).

    Args:
        parent: Its number: it may have died before this was asked.
    """
    _prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if sys.platform == "linux" and os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of all processes below whose own parent ends (Linux): none gets out of sight."""
    _prctl(_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0)))
