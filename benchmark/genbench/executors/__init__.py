"""Where tasks run. An executor knows no step: it is given a function by name, and payloads for it.

inline     in this process, one at a time: for debugging
processes  in persistent worker processes: a crash, a hang or a kill is one failed task
"""

from collections.abc import Mapping
from typing import NamedTuple

from genbench.executors.base import Event, Executor, Failure, Setup, Task, cores

__all__ = ["BUILT_IN", "BuiltIn", "Event", "Executor", "Failure", "Setup", "Task", "cores"]


class BuiltIn(NamedTuple):
    """An executor that comes with genbench: its class, as `"module:Class"`, and what it does in a line."""

    target: str
    summary: str


#: Plugins add others (`genbench_executors`).
BUILT_IN: Mapping[str, BuiltIn] = {
    "inline": BuiltIn(
        "genbench.executors.inline:InlineExecutor",
        "in this process, one step at a time (what --jobs 0 uses)",
    ),
    "processes": BuiltIn(
        "genbench.executors.processes:ProcessExecutor",
        "in persistent worker processes on this machine (the default)",
    ),
}
