"""Keeping other processes out: locks on files, and files that only one of them can make."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: without locks, files that only one can make keep processes apart
    fcntl = None  # type: ignore[assignment]

_LOCK_SECONDS = 5.0  # whoever holds the lock for longer is stopped: go on without it


def written_anew(path: Path, content: bytes) -> bool:
    """Write a file that is not there; False if it is."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return True


@contextlib.contextmanager
def locking(place: Path, flags: int = os.O_RDONLY, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """Keep out other processes that lock this file or folder.

    Args:
        place: The file or folder; what is in it stays as it is.
        flags: How it is opened.
        seconds: After how long we go on although somebody has it, who must then have been stopped.
    """
    descriptor = os.open(place, flags, 0o644)
    try:
        until = time.monotonic() + seconds
        while not _locked(descriptor) and time.monotonic() < until:
            time.sleep(0.002)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Try to lock a file; where that is not possible at all, say that it is."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True
