"""A trial in a process of its own, which may use so much memory and time and no more."""

import os
import resource
import signal
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def bounded(attempt: Callable[[], object], *, mebibytes: int, seconds: int) -> None:
    """Call a function in a fork of this process.

    Args:
        attempt: What is tried; an AssertionError or any other exception fails the trial.
        mebibytes: What it may allocate beyond what this process has.
        seconds: What it may take.

    Raises:
        AssertionError: It failed; the message says how.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        message = b""
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_mapped_bytes() + (mebibytes << 20),) * 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff says there what it thinks of a file
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns about broken metadata
                attempt()
        except BaseException as problem:
            lines = traceback.format_exception_only(problem)[-1].strip().splitlines()
            message = (lines[0] if lines else type(problem).__name__).encode(errors="replace")[:2000]
        with suppress(OSError):
            os.write(writing, message)
        os._exit(1 if message else 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        message = told.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGALRM:
        raise AssertionError(f"took more than {seconds} s")
    if code:
        raise AssertionError(message.decode(errors="replace") or f"ended with exit code {code}")


def _mapped_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
