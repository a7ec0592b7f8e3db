"""What workers do while an executor is checked (`genbench.testing`): imported in each by its name.

A task's payload says what it does; what it sees comes back as the metrics of its progress. Imports no torch.
"""

import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genbench.errors import Interrupted, StoreUnwritableError, UsageError
from genbench.executors import Task
from genbench.executors.base import Report

TARGET = f"{__name__}:make_probe"
HINT = "mend it so"
_PAUSE_SECONDS = 0.05


class OwnError(UsageError):
    """An error of genbench's own kind, of a class that nobody else knows."""


class OddError(Exception):
    """What cannot be pickled, nor written."""

    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __str__(self) -> str:
        raise RuntimeError("it says nothing")


class Probe:
    """Does what each payload names, `do`, with its other entries."""

    def __init__(self, must_stop: Callable[[], bool], greeting: str) -> None:
        self._must_stop = must_stop
        self._greeting = greeting
        self._announced: list[Sequence[str]] = []

    def __call__(self, task: Task, report: Report) -> None:
        """Do a task."""
        asked: Mapping[str, Any] = task.payload
        getattr(self, f"_{asked['do']}")(task, report, asked)

    def announce(self, tasks: Sequence[Task]) -> None:
        """Keep what was announced."""
        self._announced.append([task.id for task in tasks])

    def _nothing(self, task: Task, report: Report, asked: Mapping[str, Any]) -> None:
        """End well, after a while."""
        time.sleep(asked.get("seconds", 0.0))

    def _count(self, task: Task, report: Report, asked: Mapping[str, Any]) -> None:
        """Tell progress, step by step."""
        for number in range(1, asked["total"] + 1):
            report(number, asked["total"], {"square": float(number**2)})

    def _bundle(self, task: Task, report: Report, asked: Mapping[str, Any]) -> None:
        """Tell how often a bundle with this task was announced, and how many tasks it had."""
        mine = [ids for ids in self._announced if task.id in ids]
        report(1, 1, {"times": len(mine), "tasks": len(mine[0]) if mine else 0})

    def _sum(self, task: Task, report: Report, asked: Mapping[str, Any]) -> None:
        """Tell the checksum of what came."""
        report(1, 1, {"sum": float(zlib.crc32(asked["content"])), "bytes": float(len(asked["content"]))})

    def _look(self, task: Task, report: Report, asked: Mapping[str, Any]) -> None:
        """Tell what this process was started with: numbers among the variables, and its settings."""
        seen = {name: os.environ.get(name, "") for name in asked["names"]}
        numbers = {name: float(value) for name, value in seen.items() if value.isdigit()}
        report(1, 1, {**numbers, "settings": float(self._greeting == asked["greeting"]), "pid": os.getpid()})

    def _raise(self, task: Task, report: Report, asked: Mapping[str, Any]) -> None:
        """Raise something."""
        raise {
            "error": lambda: ValueError("a mistake of the step's own"),
            "user": lambda: UsageError("a wrong option", hint=HINT),
            "own": lambda: OwnError("of a class of its own", hint=HINT),
            "store": lambda: StoreUnwritableError("the store is full"),
            "memory": lambda: MemoryError("too little"),
            "exit": lambda: SystemExit(3),
            "odd": OddError,
        }[asked["what"]]()

    def _die(self, task: Task, report: Report, asked: Mapping[str, Any]) -> None:
        """Kill this process, unless it is a later attempt than the ones that shall die."""
        if task.attempt <= asked["times"]:
            report(1, 2, {"pid": os.getpid()})
            time.sleep(_PAUSE_SECONDS)  # so that it is told before the end
            os.kill(os.getpid(), signal.SIGKILL)

    def _wait(self, task: Task, report: Report, asked: Mapping[str, Any]) -> None:
        """Go on until it is asked to stop, then say that all is saved, and stop."""
        until = time.monotonic() + asked.get("seconds", 600.0)
        report(0, 1, {"pid": os.getpid()})
        while time.monotonic() < until:
            if self._must_stop():
                report(1, 1, {"saved": 1.0})
                raise Interrupted("stopped")
            time.sleep(_PAUSE_SECONDS)


def make_probe(must_stop: Callable[[], bool], greeting: str) -> Probe:
    """Return what a worker does."""
    return Probe(must_stop, greeting)
