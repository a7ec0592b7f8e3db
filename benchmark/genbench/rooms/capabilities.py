"""Give up what the superuser may do beyond files: containers run as root, and Landlock does not stop root.

With `CAP_PERFMON` or `CAP_SYS_PTRACE`, the environment and the memory of processes outside could be read.
What concerns the owners of files is kept: Landlock decides which files, and a folder that is mounted into a
container often belongs to somebody else.
"""

import contextlib
import ctypes
import sys

_VERSION = 0x20080522  # of the structures below (`include/uapi/linux/capability.h`)
_KEPT = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4  # CHOWN, DAC_OVERRIDE, FOWNER, FSETID


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_capabilities() -> None:
    """Keep only what concerns the owners of files, for good (after `no_new_privileges`).

    Raises:
        OSError: The kernel refuses.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION, 0), (_Sets * 2)()  # 64 bits in two halves
    with contextlib.suppress(AttributeError):  # a C library without them: musl has them, others may not
        if libc.capget(ctypes.byref(header), sets) != 0:
            raise OSError(ctypes.get_errno(), "cannot read capabilities")
        kept = [sets[0].permitted & _KEPT, 0]
        for half, bits in zip(sets, kept, strict=True):
            half.effective = half.permitted = bits
            half.inheritable = 0
        if libc.capset(ctypes.byref(header), sets) != 0:
            raise OSError(ctypes.get_errno(), "cannot give up capabilities")
