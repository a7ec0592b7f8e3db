"""Who is at which step: duplicate work is avoided by leases, correctness never depends on them.

    <root>/leases/<key>      the process that is at a step, or `run-<token>` for a run as a whole
    <root>/runs/run-<token>  the keys that this run needs, one a line: `store gc` leaves them alone
    <root>/leases.lock       held for the few file operations that take or give back a lease

A lease names process, machine and boot. On this machine the process is looked up: a dead one gives way at
once, a live one never does. Of a process elsewhere only its heartbeat is seen, a counter that it raises;
where that stood still for a minute of the watcher's own monotonic clock, it is taken for dead. Clocks of
different machines are never compared, and no clock that can be set is read.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from genbench.disk import make_folder, read_regular, remove_place, writing_store
from genbench.errors import StoreUnwritableError

try:
    import fcntl
except ImportError:  # Windows: two processes may both take a lease, and do the same work twice
    fcntl = None  # type: ignore[assignment]

LEASE_SECONDS = 60.0  #: a lease elsewhere whose heartbeat stood still for this long belongs to a dead process
BEAT_SECONDS = 10.0  #: between two heartbeats
_LOCK_SECONDS = 5.0  # whoever holds the lock for longer is stopped: go on without it
_MOST_BYTES = 2**16  # of a lease
_RUN = "run-"


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
        started = _started(self.pid)
        if started is not None:
            return started == self.started
        with contextlib.suppress(OSError, OverflowError):  # somebody else's; or no number of a process
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return False
        return None  # without /proc, another process may have its number: the heartbeat tells


@dataclass
class Leases:
    """The leases of a store, and those that this object holds."""

    root: Path
    _held: dict[str, str] = field(default_factory=dict, repr=False)
    _watched: dict[str, tuple[Holder, float]] = field(default_factory=dict, repr=False)

    # ----------------------------------------------------------------------------------- taking and giving

    def acquire(self, key: str) -> bool:
        """Take a lease, unless another living process holds it."""
        if self.holder(key) is not None:
            return False
        with writing_store(self.root):
            make_folder(self._folder)
            with self.exclusively():
                if self.holder(key) is not None:  # somebody was faster
                    return False
                self._held[key] = secrets.token_hex(8)  # first: a signal from now on gives it back
                try:
                    self._write(key, _holder(self._held[key]))
                except BaseException:
                    self._held.pop(key)
                    raise
        return True

    def release(self, key: str) -> None:
        """Give a lease back; one that was taken over meanwhile stays with its new holder."""
        with contextlib.suppress(OSError), self.exclusively():
            if self._is_ours(key):
                (self._folder / key).unlink(missing_ok=True)
        self._held.pop(key, None)

    def release_all(self) -> None:
        """Give back whatever this object holds."""
        for key in list(self._held):
            self.release(key)

    def heartbeat(self) -> None:
        """Say that we are alive; forget the leases that another process took over.

        What we make without a lease is as good: equal keys mean equal content.
        """
        for key in list(self._held):
            with contextlib.suppress(OSError), self.exclusively():
                holder = self._read(key)
                if holder is not None and holder.token == self._held.get(key):
                    self._write(key, _holder(holder.token, holder.beat + 1))
                else:
                    self._held.pop(key, None)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Send heartbeats from a thread, and give everything back at the end."""
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(BEAT_SECONDS):
                self.heartbeat()

        thread = threading.Thread(target=beat, name="genbench heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            self.release_all()

    # -------------------------------------------------------------------------------------------- watching

    def holder(self, key: str) -> Holder | None:
        """Return the living process that holds a lease; None if there is none.

        A process elsewhere counts as living until its heartbeat stood still while this object watched.
        """
        holder = self._read(key)
        is_alive = holder.is_alive() if holder is not None else False
        if holder is None or is_alive is False:
            self._watched.pop(key, None)
            return None
        if is_alive:
            return holder
        seen, since = self._watched.get(key, (None, 0.0))
        if seen != holder:
            self._watched[key] = (holder, time.monotonic())
            return holder
        return holder if time.monotonic() - since <= LEASE_SECONDS else None

    def all(self) -> dict[str, Holder | None]:
        """Return the holder of every lease that is there; None where it is dead."""
        names = [path.name for path in self._folder.glob("*") if not path.name.startswith(".")]
        return {name: self.holder(name) for name in sorted(names)}

    def settle(self) -> dict[str, Holder]:
        """Wait until every holder elsewhere was seen to live or to be dead; return those that live.

        Takes up to `LEASE_SECONDS` where there is one elsewhere, and no time where there is none.
        """
        first = self.all()
        unsure = {name: one for name, one in first.items() if one is not None and one.is_alive() is None}
        while unsure:
            time.sleep(min(1.0, LEASE_SECONDS / 10))
            now = {name: self.holder(name) for name in unsure}
            unsure = {name: one for name, one in unsure.items() if now[name] == one}
        return {name: one for name, one in self.all().items() if one is not None}

    # ------------------------------------------------------------------------------------------------ runs

    @contextlib.contextmanager
    def needing(self, keys: Iterable[str]) -> Iterator[None]:
        """Mark what a run needs, for as long as it runs; sweep up what dead processes left."""
        name = f"{_RUN}{secrets.token_hex(8)}"
        path = self._runs / name
        try:
            with contextlib.suppress(StoreUnwritableError):  # a run that finds all it needs writes nothing
                self.acquire(name)
                with writing_store(self.root):
                    make_folder(self._runs)
                    temporary = path.with_name(f".{name}.tmp")
                    temporary.write_text("".join(f"{key}\n" for key in keys), encoding="ascii")
                    temporary.replace(path)
                    self._sweep()
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            self.release(name)

    def needed(self) -> dict[str, Holder]:
        """Return the keys that a living process is at, or that a living run needs, with the process."""
        found: dict[str, Holder] = {}
        for name, holder in self.all().items():
            if holder is None:
                continue
            if name.startswith(_RUN):
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    text = (self._runs / name).read_text(encoding="ascii")
                    found |= dict.fromkeys(text.splitlines(), holder)
            else:
                found[name] = holder
        return found

    def leftovers(self) -> list[Path]:
        """Return the leases of dead processes, and the marks of their runs."""
        holders = self.all()
        dead = [self._folder / name for name, holder in holders.items() if holder is None]
        temporary = [path for path in self._folder.glob(".*.tmp") if not holders.get(path.name[1:-4])]
        runs = [
            path
            for path in self._runs.glob("*")
            if holders.get(path.name.strip(".").removesuffix(".tmp")) is None
        ]
        return [*dead, *temporary, *runs]

    # --------------------------------------------------------------------------------------------- private

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep other processes from taking or giving back a lease; only for a moment.

        The system gives the lock back when its holder dies. One that is held for seconds belongs to a process
        that was stopped: waiting longer would stop everybody, going on may at worst do some work twice.
        """
        make_folder(self.root)
        with locking(self.root / "leases.lock", os.O_CREAT | os.O_RDWR):
            yield

    def _read(self, key: str) -> Holder | None:
        """Return who wrote a lease; None where there is none, or one that no genbench wrote."""
        try:
            content = json.loads(read_regular(self._folder / key, _MOST_BYTES, links=False))
            holder = Holder(**content)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        kinds = [type(value) for value in asdict(holder).values()]
        return holder if kinds == [int, str, str, str, int, str, int] else None

    def _write(self, key: str, holder: Holder) -> None:
        path = self._folder / key
        if path.is_dir():
            remove_place(path)
        temporary = path.with_name(f".{key}.tmp")
        try:
            temporary.write_text(json.dumps(asdict(holder)), encoding="ascii")
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _sweep(self) -> None:
        with self.exclusively():
            for path in self.leftovers():
                remove_place(path)

    def _is_ours(self, key: str) -> bool:
        holder = self._read(key)
        return holder is not None and holder.token == self._held.get(key)

    @property
    def _folder(self) -> Path:
        return self.root / "leases"

    @property
    def _runs(self) -> Path:
        return self.root / "runs"


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


def _holder(token: str, beat: int = 0) -> Holder:
    """Return this process as a holder."""
    _, boot, space = _here()
    pid = os.getpid()
    return Holder(pid, socket.gethostname(), boot, space, _started(pid) or 0, token, beat)


@cache
def _here() -> tuple[str, str, str]:
    """Return host (where nothing else is known), boot and space of process numbers of this machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return "", boot, os.readlink("/proc/self/ns/pid")
    except OSError:
        return socket.gethostname(), "", ""


def _started(pid: int) -> int | None:
    """Return when a living process started, in ticks since the boot; None if /proc does not show it.

    One that ended and waits for its parent to notice (state Z) lives no more.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()  # its name, in brackets, may hold anything
        return int(fields[19]) if fields[0] not in {"Z", "X"} else -1
    except (OSError, ValueError, IndexError):
        return None


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
