"""Memory that running steps share: whether one more fits beside them, as far as what they take is known."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genbench.executors.base import Needs

_SHARE = 0.9  # of all memory: the rest is for the system, and for what was estimated too low
_GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """What there is.

    Attributes:
        machine_bytes: For all workers together; None is unknown.
        gpu_bytes: Of each GPU; empty is unknown.
    """

    machine_bytes: int | None = None
    gpu_bytes: Sequence[int] = ()

    def lacking(self, wanted: Needs, running: Sequence[Needs], on_gpu: Sequence[Needs], gpu: int) -> str:
        """Say what one more step waits for; nothing where it fits, or where it would be alone.

        A step of which nothing is known counts as taking nothing.

        Args:
            wanted: What it needs.
            running: What the running ones need.
            on_gpu: What those of them need that share its GPU.
            gpu: Which GPU that is.
        """
        if self.machine_bytes is not None and running and wanted.memory_bytes:
            taken = sum(one.memory_bytes or 0 for one in running)
            if taken and taken + wanted.memory_bytes > self.machine_bytes:
                return _told("memory", wanted.memory_bytes, taken, self.machine_bytes)
        if self.gpu_bytes and on_gpu and wanted.gpu_memory_bytes:
            there = self.gpu_bytes[gpu % len(self.gpu_bytes)]
            taken = sum(one.gpu_memory_bytes or 0 for one in on_gpu)
            if taken and taken + wanted.gpu_memory_bytes > _SHARE * there:
                return _told("GPU memory", wanted.gpu_memory_bytes, taken, int(_SHARE * there))
        return ""


def _told(what: str, wanted: int, taken: int, there: int) -> str:
    return (
        f"waits for {what}: about {wanted / _GIB:.1f} GiB, where running steps take about "
        f"{taken / _GIB:.1f} of {there / _GIB:.1f} GiB"
    )


def of_bundle(needs: Sequence[Needs]) -> Needs:
    """Return what a bundle needs: its tasks run in turn, or side by side in memory that was measured so."""
    machine = [one.memory_bytes for one in needs if one.memory_bytes]
    gpu = [one.gpu_memory_bytes for one in needs if one.gpu_memory_bytes]
    return Needs(
        cpus=max((one.cpus for one in needs), default=1),
        gpus=max((one.gpus for one in needs), default=0),
        memory_bytes=max(machine, default=None),
        gpu_memory_bytes=max(gpu, default=None),
    )


def memory_here(gibibytes: float | None = None) -> int | None:
    """Return how much memory steps may take together: what was said, else nine tenths of what there is.

    What there is is the machine's, or what the control group of a container or batch job may take.
    """
    if gibibytes is not None:
        return int(gibibytes * _GIB)
    limits = [_machine(), _group("/sys/fs/cgroup/memory.max")]
    limits.append(_group("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
    known = [one for one in limits if one]
    return int(_SHARE * min(known)) if known else None


def _machine() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return None


def _group(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such group, or `max`
        return None
