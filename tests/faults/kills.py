"""SIGKILL: at file operations, and of groups of processes at any time. The same command resumes."""

import functools
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from faults import runs
from faults.campaign import Size, Trial
from faults.operations import watch

_SHORT_KILLS = 8
_LONG_GROUPS = 40


def trials(size: Size) -> Iterator[Trial]:
    """Kill at file operations (every one, or a few), then workers, main process and both at random times."""
    for place in runs.places(size, _SHORT_KILLS, seed=1):
        yield Trial(f"kill at file operation {place}", functools.partial(killed_at, place))
    for number in range(_LONG_GROUPS if size == "long" else 1):
        whom = ("group", "main", "workers")[number % 3]
        yield Trial(f"kill {number} of the {whom}", functools.partial(killed_later, whom, number))
    for number in range(_LONG_GROUPS // 4 if size == "long" else 1):
        yield Trial(f"five kills in a row {number}", functools.partial(killed_often, number), count=5)


def killed_at(place: runs.Place, folder: Path) -> None:
    """Kill a run before a file operation."""
    number = place.number

    def prepare() -> None:
        left = [number]

        def count(name: str, path: str, target: str) -> None:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        watch(count)

    end = runs.run_in_child(folder, prepare)
    assert end.code in {-signal.SIGKILL, 0}, end.said  # fewer operations than usual: it came to its end
    runs.check_resumes(folder)


def killed_later(whom: str, number: int, folder: Path) -> None:
    """Kill processes of a run with workers at a random time."""
    child = runs.started(folder, jobs=1)
    time.sleep(random.Random(number).uniform(0.3, 6.0))
    if whom == "group":
        os.killpg(child, signal.SIGKILL)
    elif whom == "main":
        os.kill(child, signal.SIGKILL)
    else:
        for worker in _children(child):
            os.kill(worker, signal.SIGKILL)
    end = runs.ended(child, folder / "out.log")
    runs.check_no_traceback(end)
    assert end.code in {-signal.SIGKILL, 0, 1}
    runs.check_resumes(folder)


def killed_often(number: int, folder: Path) -> None:
    """Kill a run and its repetitions; what was finished stays finished."""
    chance = random.Random(number)
    for _ in range(5):
        child = runs.started(folder)
        time.sleep(chance.uniform(0.02, 0.5))
        os.killpg(child, signal.SIGKILL)
        runs.ended(child, folder / "out.log")
    runs.check_resumes(folder)


def _children(parent: int) -> list[int]:
    try:
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:  # it ended
        return []
    return [int(child) for child in found]
