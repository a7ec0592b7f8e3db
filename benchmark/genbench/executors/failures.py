"""How tasks fail: the kinds of failure, and what follows from each."""

import errno
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from genbench import errors
from genbench.errors import GenbenchError, GuestError, SpoiledProcessError, StoreUnwritableError
from genbench.escaping import exception_text, writable

FailureKind = Literal[
    "error",  # the step's own code raised
    "user",  # something that the user can mend: an error of genbench's own, told without a traceback
    "lost",  # its worker or the worker's machine is gone; the step is not to blame
    "memory",  # there was too little memory, of the machine or of the GPU
    "timeout",  # it took longer than it may
    "cancelled",  # somebody called it off
    "superseded",  # another attempt has taken it over
    "store",  # the store cannot be written: no step would fare better
    "spoiled",  # code of a third party changed the process that it shares with all others
]
KINDS: tuple[FailureKind, ...] = get_args(FailureKind)
RETRIED = frozenset[FailureKind]({"lost"})  #: the same again may end well (`Setup.retries`)
ENDING = frozenset[FailureKind]({"store", "spoiled"})  #: the run ends with the first of these
_MOST_DETAILS = 50_000  # characters of a traceback
_MEMORY = ("MemoryError", "OutOfMemoryError")  # names of classes; torch's are torch.OutOfMemoryError
_ALLOCATION = "DefaultCPUAllocator: can't allocate memory"  # all that torch raises on a CPU is a RuntimeError


@dataclass(frozen=True)
class Failure:
    """How a task ended badly.

    Attributes:
        reason: One line for tables: `ValueError: ...`, `killed by signal 9`, `no end within 60 s`.
        details: A traceback, or empty for errors that the user can mend.
        error: What was raised, if it is an error of genbench's own: its type crosses process borders. It is
            always of a class of `genbench.errors`, which every process can load.
        kind: Of which kind; what is done about it follows from that alone.
    """

    reason: str
    details: str = ""
    error: GenbenchError | None = None
    kind: FailureKind = "error"

    @property
    def ends_run(self) -> bool:
        """Whether no other step would fare better."""
        return self.kind in ENDING

    @property
    def may_be_retried(self) -> bool:
        """Whether the same again may end well."""
        return self.kind in RETRIED


#: Of a task whose worker was told to stop by somebody else than the run.
INTERRUPTED = Failure("its worker was told to stop; the same command resumes it", kind="cancelled")


def failure_of(problem: BaseException) -> Failure:
    """Say how a task failed by what it raised; with a traceback, unless the user can mend it.

    What is returned can be pickled, whatever was raised.
    """
    kind = kind_of(problem)
    if isinstance(problem, GenbenchError):
        return Failure(writable(problem), error=_portable(problem), kind=kind)
    if isinstance(problem, GuestError):
        return Failure(writable(problem), problem.details, kind=kind)
    trace = writable("".join(traceback.format_exception(problem)))
    return Failure(exception_text(problem), trace[-_MOST_DETAILS:], kind=kind)


def kind_of(problem: BaseException) -> FailureKind:
    """Return the kind of failure that an exception is.

    >>> kind_of(ValueError("x")), kind_of(MemoryError()), kind_of(errors.UsageError("x"))
    ('error', 'memory', 'user')
    """
    if isinstance(problem, StoreUnwritableError):
        return "store"
    if isinstance(problem, SpoiledProcessError):
        return "spoiled"
    if isinstance(problem, errors.SupersededError):
        return "superseded"
    if isinstance(problem, GenbenchError):
        return "user"
    return "memory" if _is_about_memory(problem) else "error"


def _is_about_memory(problem: BaseException) -> bool:
    if isinstance(problem, GuestError):  # of a room, only the class's name and the text are known
        return problem.errno == errno.ENOMEM or str(problem).partition(":")[0].endswith(_MEMORY)
    names = {base.__name__ for base in type(problem).__mro__}
    is_allocation = type(problem) is RuntimeError and _ALLOCATION in exception_text(problem)
    return not names.isdisjoint(_MEMORY) or is_allocation


def _portable(problem: GenbenchError) -> GenbenchError:
    """Return an error as one of `genbench.errors`: a plugin's own class may be unknown to who reads it."""
    if type(problem).__module__ == errors.__name__:
        return problem
    known = next(base for base in type(problem).__mro__ if base.__module__ == errors.__name__)
    assert issubclass(known, GenbenchError)
    return known(writable(problem.message), hint=writable(problem.hint))


def out_of_memory_kills() -> int:
    """Return how many processes the kernel killed for lack of memory so far, here; 0 where it does not say.

    Counted for our control group where that counts, which is what a container or a batch job has.
    """
    for path, name in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/proc/vmstat", "oom_kill")):
        try:
            lines = Path(path).read_text(encoding="ascii").splitlines()
            return next(int(line.split()[1]) for line in lines if line.split()[0] == name)
        except (OSError, ValueError, IndexError, StopIteration):
            continue
    return 0
