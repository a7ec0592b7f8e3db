"""Where tasks run. An executor knows no step: it is given a function by name, and payloads for it.

inline     in this process, one at a time: for debugging
processes  in persistent worker processes: a crash, a hang or a kill is one failed task
"""

from genbench.executors.base import Event, Executor, Failure, Setup, Task, cores

__all__ = ["Event", "Executor", "Failure", "Setup", "Task", "cores"]
