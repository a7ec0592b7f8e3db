"""Keeping other processes out: locks on files, and files that only one of them can make."""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: without locks, files that only one can make keep processes apart
    fcntl = None  # type: ignore[assignment]

_LOCK_SECONDS = 5.0  # whoever holds the lock for longer is stopped: go on without it


#: What says that a file system gives no file a second name; or that it may be written to in no way at all.
_NO_LINKS = frozenset(
    {
        errno.EPERM,
        errno.EACCES,
        errno.EINVAL,
        errno.ENOSYS,  # of many that are mounted by FUSE
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
        errno.EMLINK,
        errno.EXDEV,
    }
)


def named_once(draft: Path, path: Path) -> bool:
    """Give a file that was written beside its place a second name, its own; False if something has that.

    The file is whole from its first moment, and of any number of processes one gets the name. On a file
    system without second names the latter holds, too, but half a file may be seen.
    """
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    except OSError as problem:
        if problem.errno not in _NO_LINKS:
            raise
        return _written_anew(path, draft.read_bytes())
    return True


def _written_anew(path: Path, content: bytes) -> bool:
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
