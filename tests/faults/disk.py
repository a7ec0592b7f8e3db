"""A disk that is full, read-only or failing, from any operation on or once. One message, and it resumes."""

import ctypes
import errno
import functools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from faults import runs
from faults.campaign import Size, Trial
from faults.operations import watch
from genbench import preflight
from genbench.errors import ExitCode

_SHORT = 3
_REMOVES = {"unlink", "remove", "rmdir"}
_NEW_NAMESPACE = 0x00020000  # CLONE_NEWNS: mounts that only this process sees
Fails = Callable[[int, str], bool]


def trials(size: Size) -> Iterator[Trial]:
    """Refuse operations of each kind from the k-th on, or the k-th alone, for every k or a few."""
    for number, (name, trial) in enumerate(_KINDS.items()):
        for place in runs.places(size, _SHORT, seed=number):
            yield Trial(f"{name} {place}", functools.partial(trial, place))
    if _may_mount():
        for kibibytes in range(16, 2000, 60) if size == "long" else (200,):
            yield Trial(f"a disk of {kibibytes} KiB", functools.partial(tiny_disk, kibibytes))


def full_from(place: runs.Place, folder: Path) -> None:
    """Nothing can be written any more; what is there can be removed."""
    first = place.number
    refused(folder, errno.ENOSPC, lambda number, name: number >= first and name not in _REMOVES)


def read_only_from(place: runs.Place, folder: Path) -> None:
    """Nothing can be changed any more."""
    first = place.number
    refused(folder, errno.EROFS, lambda number, name: number >= first)


def fails_once(place: runs.Place, folder: Path) -> None:
    """One operation fails, and the disk is as before."""
    first = place.number
    refused(folder, errno.EIO, lambda number, name: number == first)


_KINDS: dict[str, Callable[[runs.Place, Path], None]] = {
    "full from operation": full_from,
    "read-only from operation": read_only_from,
    "a failure at operation": fails_once,
}


def refused(folder: Path, reason: int, fails: Fails) -> None:
    """Run with operations that fail; then once more, without."""

    def prepare() -> None:
        number = 0

        def refuse(name: str, path: str, target: str) -> None:
            nonlocal number
            number += 1
            if fails(number, name) and not path.startswith(("/proc", "/dev")):
                raise OSError(reason, os.strerror(reason), path)

        watch(refuse)

    check_refused(runs.run_in_child(folder, prepare))
    runs.check_resumes(folder)


def check_refused(end: runs.Ended) -> None:
    """A run on a failing disk finishes, or ends in one message with the right code."""
    runs.check_no_traceback(end)
    assert end.code in {0, 1, 2, 4}, f"exit code {end.code}: {end.said[-1000:]}"
    if end.code == 4:
        assert "cannot write" in end.said or "cannot read the store" in end.said, end.said[-1000:]
    if end.code == 1:  # a step failed on its own file, while the store could be written
        assert "FAILED" in end.said, end.said[-1000:]
    if end.code == 2:  # found before anything was run
        assert "nothing was done yet" in end.said, end.said[-1000:]


def tiny_disk(kibibytes: int, folder: Path) -> None:
    """A store on a file system of a few kilobytes, which is enlarged afterwards."""
    store = folder / "store"
    store.mkdir()
    child = os.fork()
    if not child:
        code = 1
        try:
            _unshare()
            _mount(store, f"size={kibibytes}k")
            refused_at_once = runs.run_in_child(folder)
            assert (refused_at_once.code, refused_at_once.ran) == (ExitCode.STORE, 0), refused_at_once.said
            preflight.LEAST_FREE_BYTES = 0  # else no disk is small enough to be filled
            check_refused(runs.run_in_child(folder))
            _mount(store, "remount,size=50m")
            runs.check_resumes(folder)
            code = 0
        except BaseException as problem:  # for the parent to see
            (folder / "why").write_text(repr(problem))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, (folder / "why").read_text()


def _unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NAMESPACE):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)


def _mount(place: Path, options: str) -> None:
    line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    subprocess.run(line, check=True, capture_output=True)


@functools.cache
def _may_mount() -> bool:
    """Say whether this process may mount a file system for itself alone."""
    line = ["unshare", "--mount", "true"]
    try:
        return subprocess.run(line, check=False, capture_output=True).returncode == 0
    except OSError:
        return False
