"""Give up the network: a small seccomp filter for what Landlock leaves open (UDP, MPTCP, raw, io_uring).

The filter is classic BPF over `struct seccomp_data` (`include/uapi/linux/seccomp.h`): a system call's number
at byte 0, its architecture at byte 4, its first argument at byte 16.
"""

import ctypes
import errno
import platform
import struct
import sys

from genbench.rooms.landlock import no_new_privileges

_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # architecture, number of `socket`
_IO_URING_SETUP = 425
_X32 = 0x40000000  # x86-64 answers a second set of numbers, all above this one
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_UNIX = 1  # the family of sockets that stay allowed: they end on this machine
_SET_SECCOMP, _FILTER = 22, 2  # prctl


def can_deny_network() -> bool:
    """Say whether the filter is known for this machine."""
    return sys.platform == "linux" and platform.machine() in _MACHINES


def deny_network() -> bool:
    """Refuse every socket that is not a Unix one to this thread and its children, for good.

    Returns:
        Whether the filter is in force.
    """
    if not can_deny_network():
        return False
    architecture, socket = _MACHINES[platform.machine()]
    program = [
        (_LOAD, 0, 0, 4), (_EQUAL, 0, 7, architecture),  # another architecture's calls: refuse
        (_LOAD, 0, 0, 0), (_AT_LEAST, 5, 0, _X32),
        (_EQUAL, 4, 0, _IO_URING_SETUP), (_EQUAL, 0, 2, socket),
        (_LOAD, 0, 0, 16), (_EQUAL, 0, 1, _UNIX),
        (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE),
    ]  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    no_new_privileges()
    refused: int = ctypes.CDLL(None, use_errno=True).prctl(
        _SET_SECCOMP, ctypes.c_ulong(_FILTER), filters, ctypes.c_ulong(0), ctypes.c_ulong(0)
    )
    return refused == 0
