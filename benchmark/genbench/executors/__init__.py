"""Where tasks run. An executor knows no step: it is given a function by name, and payloads for it.

inline     in this process, one at a time: for debugging
processes  in persistent worker processes: a crash, a hang or a kill is one failed task

base       what every executor does: `Executor`, `Setup`, `Task`, `Event`
at_work    what every worker does: environment, threads, tasks in turn
failures   the kinds of failure, and what follows from each
memory     whether one more step fits beside those that run
config     their options;  making  one by its name;  probe  what workers do while one is checked
"""

from genbench.executors.base import FINAL, Event, Executor, Needs, Perform, Setup, Status, Task, cores
from genbench.executors.failures import Failure, FailureKind

__all__ = [
    "FINAL", "Event", "Executor", "Failure", "FailureKind", "Needs", "Perform", "Setup", "Status", "Task",
    "cores",
]  # fmt: skip
