"""Give up rights to files: what this process and its children may read and write (Linux Landlock, no root).

The kernel's documentation is https://docs.kernel.org/userspace-api/landlock.html; every number here is from
its `include/uapi/linux/landlock.h`. Rights only shrink: nobody who is confined can undo it.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, the same numbers on every architecture
_NO_NEW_PRIVILEGES = 38  # prctl

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHARACTER_DEVICE, _MAKE_BLOCK_DEVICE = 1 << 6, 1 << 11
_TRUNCATE, _DEVICE_IOCTL = 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_IOCTL  # the rest is about folders
_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: 1 << 13, 3: _TRUNCATE, 5: _DEVICE_IOCTL}

_TCP = 0b11  # bind and connect: from ABI 4
_SCOPES = 0b11  # abstract Unix sockets of processes outside, and signals to them: from ABI 6


@dataclass(frozen=True)
class Rights:
    """What a confined process may do with files; a folder stands for all that is in it.

    Attributes:
        read: May be read, listed and executed.
        write: May be read, written, and filled with new files and folders.
        listed: Names in it may be listed; nothing may be read.
        devices: Device files that may be used.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    listed: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """Return the kernel's Landlock version; 0 where there is none (macOS, Windows, old or locked down)."""
    if sys.platform != "linux":
        return 0
    with contextlib.suppress(OSError):
        return _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return 0


def confine(rights: Rights, *, network: bool = False) -> int:
    """Lose all rights to files but these, for good, and with them TCP and signals to processes outside.

    Call it while this process has one thread: others would keep what they may do. What is open stays open.
    Paths that do not exist are left out.

    Args:
        rights: What stays allowed.
        network: Whether TCP stays allowed.

    Returns:
        The Landlock version that was applied.

    Raises:
        OSError: The kernel has no Landlock, or refuses.
    """
    version = abi()
    if not version:
        raise OSError("this kernel has no Landlock")
    every = sum(bits for since, bits in _RIGHTS_BY_ABI.items() if since <= version)
    tcp = _TCP if version >= 4 and not network else 0
    rules = _Ruleset(every, tcp, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8  # an older kernel knows a shorter structure
    ruleset = _call(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    reading = _EXECUTE | _READ_FILE | _READ_FOLDER
    try:
        _allow(ruleset, rights.read, reading & every)
        _allow(ruleset, rights.listed, _READ_FOLDER & every)
        _allow(ruleset, rights.devices, (_WRITE_FILE | _READ_FILE | _READ_FOLDER | _DEVICE_IOCTL) & every)
        _allow(ruleset, rights.write, every & ~(_MAKE_CHARACTER_DEVICE | _MAKE_BLOCK_DEVICE))
        no_new_privileges()
        _call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return version


def no_new_privileges() -> None:
    """Let no program that this process starts have more rights than it: what both guards ask for first."""
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, *(ctypes.c_ulong(value) for value in (1, 0, 0, 0)))


def _allow(ruleset: int, paths: Iterable[Path], rights: int) -> None:
    """Add a rule for each path that exists."""
    for path in paths:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            own = rights if path.is_dir() else rights & _ON_FILES
            if own:
                rule = _Beneath(own, place)
                _call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0))
        finally:
            os.close(place)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    found: int = libc.syscall(ctypes.c_long(number), *arguments)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found
