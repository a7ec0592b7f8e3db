"""Writing files so that they last, and saying in one message where they cannot be written.

A file is flushed before it takes its place, and so is the folder that names it: after a power failure either
the old content is there or the new one. Nothing here knows what a store is.
"""

import contextlib
import errno
import os
import secrets
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from genbench.errors import OutputError, StoreUnwritableError, UsageError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})  # file systems that cannot flush a folder
_PROBE_BYTES = 4096


# ------------------------------------------------------------------------------------------------ flushing


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names, without which a new file in it may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file's content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it, each flushed into the one that holds it; return it."""
    if folder.is_dir():
        return folder
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)
    return folder


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader sees the old content or the new, never a part, whatever happens.

    Costs two flushes, of the file and of its folder.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_place(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def move_folder(folder: Path, place: Path) -> bool:
    """Give a folder its name; False if something has it."""
    try:
        folder.rename(place)
    except OSError as problem:
        if problem.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise
        return False
    return True


def set_aside(place: Path, aside: Path) -> None:
    """Remove a folder in one step, as others see it: half of it must not look like the whole."""
    shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        place.rename(aside)
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()


# ------------------------------------------------------------------------------------------------- reading

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link",
}


def open_regular(path: Path, *, links: bool = True) -> BinaryIO:
    """Open a file for reading, if it is one: reading a pipe or a device may wait for ever, or never end.

    Args:
        path: The file.
        links: Whether it may be a link to one.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is a folder, a pipe, a socket or a device.
    """
    _check_regular((path.stat() if links else path.lstat()).st_mode)  # opening a device may do something
    # What was a file may be a pipe by now: opening one without this flag waits for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags if links else flags | getattr(os, "O_NOFOLLOW", 0)), "rb")
    try:
        _check_regular(os.fstat(file.fileno()).st_mode)
    except ValueError:
        file.close()
        raise
    return file


def read_regular(path: Path, most_bytes: int, *, links: bool = True) -> bytes:
    """Read a file that is not larger than `most_bytes`.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger, or no regular file.
    """
    with open_regular(path, links=links) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(most_bytes + 1) if size <= most_bytes else b""  # its size may be a lie
    if size > most_bytes or len(content) > most_bytes:
        found = f"{size:,}" if size > most_bytes else "more"
        raise ValueError(f"{found} bytes, of at most {most_bytes:,}")
    return content


def kind_of(mode: int) -> str:
    """Name what is no regular file: `a pipe`; empty for a file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "a device")


def _check_regular(mode: int) -> None:
    kind = kind_of(mode)
    if kind:
        raise ValueError(f"no regular file but {kind}")


# ------------------------------------------------------------------------------------- what cannot be written


@contextlib.contextmanager
def writing_store(root: Path) -> Iterator[None]:
    """Turn what the disk refuses into one message.

    Only for genbench's own work with files: what a plugin's code raises is never wrapped in this.

    Raises:
        StoreUnwritableError: Instead of any OSError.
    """
    try:
        yield
    except OSError as problem:
        raise StoreUnwritableError(
            f"cannot write to the store {root}: {problem.strerror or problem}",
            hint="make room there, or name another folder with --store DIR; the same command resumes, and "
            "finished work is kept. `genbench store gc --dry-run` lists what the store could do without",
        ) from problem


def probe(folder: Path) -> None:
    """Write a small file in a folder, flushed and all; it does not stay.

    Raises:
        OSError: That is not possible.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0" * _PROBE_BYTES)
        file.flush()
        os.fsync(file.fileno())


def check_output(path: Path, option: str, folders: Iterable[str] = (), files: Iterable[str] = ()) -> None:
    """Refuse, before any work, a place that could not be written to after it.

    Args:
        path: A folder, where `folders` or `files` will lie in it; else a file.
        option: What names another place: `--out`.
        folders: Folders that will be made or used in `path`.
        files: Files that will be written there.

    Raises:
        UsageError: Something is in the way, or the place is not writable.
        OutputError: The disk is full or failing.
    """
    inner = [path / name for name in folders]
    for folder in (path, *inner) if inner else ():
        if folder.exists() and not folder.is_dir():
            raise _refused(path, f"{folder} is a file, not a folder", option)
    for file in [path / name for name in files] or ([] if inner else [path]):
        if file.is_dir():
            raise _refused(path, f"{file} is a folder, not a file", option)
    try:
        for place in {_nearest(folder): None for folder in (path if inner else path.parent, *inner)}:
            probe(place)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        if problem.errno in _FULL:
            hint = f"make room there, or name another place with {option}; nothing was done yet"
            raise OutputError(f"cannot write to {path}: {reason}", hint=hint) from problem
        raise _refused(path, reason, option) from problem


def check_file(path: Path, option: str) -> None:
    """Refuse, before any work, a file that could not be written, or whose folder nobody made.

    Raises:
        UsageError: There is no such folder, something is in the way, or the place is not writable.
        OutputError: The disk is full or failing.
    """
    folder = path.parent
    with contextlib.suppress(OSError):  # of a file in the way, `check_output` tells
        if not folder.exists() and _nearest(folder):
            raise UsageError(
                f"cannot write to {path}: there is no folder {folder}",
                hint=f"mkdir -p {shlex.quote(str(folder))}   makes it; nothing was done yet",
            )
    check_output(path, option)


@contextlib.contextmanager
def writing_output(path: Path, option: str, kept: str = "") -> Iterator[None]:
    """Turn a failed write outside the store into one message.

    Args:
        path: What is written.
        option: What names another place: `--out`.
        kept: What is not lost.

    Raises:
        OutputError: Instead of any OSError.
    """
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or str(problem)
        hint = f"make room there, or name another place with {option}"
        raise OutputError(
            f"cannot write {path}: {reason}", hint=f"{hint}; {kept}" if kept else hint
        ) from problem


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user asked for; as a whole, unless it is a device or a pipe."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            file.write(content)
        return
    place = path.resolve()  # a link stays a link
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, content)


def _nearest(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{place} is a file, not a folder")
    return place


def _refused(path: Path, reason: str, option: str) -> UsageError:
    hint = f"name another place with {option}, or make this one writable; nothing was done yet"
    return UsageError(f"cannot write to {path}: {reason}", hint=hint)
