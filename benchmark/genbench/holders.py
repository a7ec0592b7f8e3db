"""Which process is at a step, and whether it lives: looked up on this machine, unknown of any other."""

import contextlib
import json
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease.

    Attributes:
        pid: Its number.
        host: Name of its machine, for people.
        boot: Since when that machine is up: an identifier, empty where there is none.
        space: Where its number counts: containers number their processes anew.
        started: When it started, in ticks since the boot; numbers of processes are used again.
        token: Of this one lease.
        beat: How often it said that it is alive.
    """

    pid: int
    host: str
    boot: str
    space: str
    started: int
    token: str
    beat: int = 0

    @property
    def is_here(self) -> bool:
        """Whether its number means something to us."""
        return (self.host if not self.boot else "", self.boot, self.space) == _here()

    @property
    def label(self) -> str:
        """`PID 123 on this machine`, or `PID 123 on node7`."""
        return f"PID {self.pid} on {'this machine' if self.is_here else self.host}"

    def is_alive(self) -> bool | None:
        """Say whether the process lives; None if that cannot be seen from here."""
        if not self.is_here:
            return None
        started = started_at(self.pid)
        if started is not None:
            return started == self.started
        with contextlib.suppress(OSError, OverflowError):  # somebody else's; or no number of a process
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return False
        return None  # without /proc, another process may have its number: the heartbeat tells


class Keeper(Protocol):
    """Who is at which step of a store, wherever its leases are kept."""

    def acquire(self, key: str) -> bool:
        """Take a lease, unless another living process holds it."""
        ...

    def release(self, key: str) -> None:
        """Give a lease back; one that was taken over meanwhile stays with its new holder."""
        ...

    def holds(self, key: str) -> bool:
        """Say whether a lease is ours, for certain."""
        ...

    def take_lost(self) -> Sequence[str]:
        """Return the keys whose lease another process took over since this was last asked.

        What is committed without a lease does no harm: the first artifact of a key stays.
        """
        ...

    def beating(self) -> AbstractContextManager[None]:
        """Send heartbeats from a thread, and give everything back at the end."""
        ...

    def holder(self, key: str) -> Holder | None:
        """Return the living process that holds a lease; None if there is none."""
        ...

    def all(self) -> dict[str, Holder | None]:
        """Return the holder of every lease that is there; None where it is dead."""
        ...

    def settle(self) -> None:
        """Wait until every holder elsewhere was seen to live or to be dead."""
        ...

    def needing(self, keys: Iterable[str]) -> AbstractContextManager[None]:
        """Mark what a run needs, for as long as it runs."""
        ...

    def needed(self) -> dict[str, Holder]:
        """Return the keys that a living process is at, or that a living run needs, with the process."""
        ...

    def exclusively(self) -> AbstractContextManager[None]:
        """Keep other processes from taking or giving back a lease, where that is possible; for a moment."""
        ...

    def leftovers(self) -> Sequence[Path]:
        """Return the files that dead processes left."""
        ...


def read_holder(content: bytes) -> Holder | None:
    """Return who wrote a lease; None where no genbench did."""
    try:
        holder = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None
    kinds = [type(value) for value in asdict(holder).values()]
    return holder if kinds == [int, str, str, str, int, str, int] else None


def new_holder(token: str, beat: int = 0) -> Holder:
    """Return this process as a holder."""
    _, boot, space = _here()
    pid = os.getpid()
    return Holder(pid, socket.gethostname(), boot, space, started_at(pid) or 0, token, beat)


@cache
def _here() -> tuple[str, str, str]:
    """Return host (where nothing else is known), boot and space of process numbers of this machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return "", boot, os.readlink("/proc/self/ns/pid")
    except OSError:
        return socket.gethostname(), "", ""


def started_at(pid: int) -> int | None:
    """Return when a living process started, in ticks since the boot; None if /proc does not show it.

    One that ended and waits for its parent to notice (state Z) lives no more.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()  # its name, in brackets, may hold anything
        return int(fields[19]) if fields[0] not in {"Z", "X"} else -1
    except (OSError, ValueError, IndexError):
        return None
