"""Who is at which step: duplicate work is avoided by leases, correctness never depends on them.

    <root>/leases/<key>      the process that is at a step, or `run-<token>` for a run as a whole
    <root>/runs/run-<token>  the keys that this run needs, one a line: `store gc` leaves them alone
    <root>/leases.lock       held for the few file operations that take or give back a lease
    <root>/leases/.*.claim   who may change one lease right now; named after it, and there for moments

A lease names process, machine and boot. On this machine the process is looked up: a dead one gives way at
once, a live one never does. Of a process elsewhere only its heartbeat is seen, a counter that it raises;
where that stood still for a minute of the watcher's own monotonic clock, it is taken for dead. Clocks of
different machines are never compared, and no clock that can be set is read.

Of two processes that take over the lease of a dead one, one wins, also where files cannot be locked or the
lock is not given back: a lease comes to be by giving a file a second name, which fails where the name is
taken, and whoever changes one holds the claim on just that lease, which comes to be in the same way.
"""

import contextlib
import json
import os
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from genbench.digest import digest
from genbench.disk import make_folder, read_regular, remove_place, writing_store
from genbench.errors import GenbenchError, StoreUnwritableError
from genbench.holders import Holder, new_holder, read_holder
from genbench.locks import locking, named_once

LEASE_SECONDS = 60.0  #: a lease elsewhere whose heartbeat stood still for this long belongs to a dead process
BEAT_SECONDS = 10.0  #: between two heartbeats
_MOST_BYTES = 2**16  # of a lease
RUN = "run-"  #: how the name of a lease on a whole run begins


class Beating(ABC):
    """Leases, wherever they are kept: they are kept alive, and others' are watched until one is sure."""

    @abstractmethod
    def heartbeat(self) -> None:
        """Say that we are alive; forget the leases that another process took over."""

    @abstractmethod
    def release_all(self) -> None:
        """Give back whatever this object holds."""

    @abstractmethod
    def holder(self, key: str) -> Holder | None:
        """Return the living process that holds a lease; None if there is none."""

    @abstractmethod
    def all(self) -> dict[str, Holder | None]:
        """Return the holder of every lease that is there; None where it is dead."""

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Send heartbeats from a thread, and give everything back at the end."""
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(BEAT_SECONDS):
                with contextlib.suppress(GenbenchError):  # the next one may be heard
                    self.heartbeat()

        thread = threading.Thread(target=beat, name="genbench heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            self.release_all()

    def settle(self) -> None:
        """Wait until every holder elsewhere was seen to live or to be dead.

        Takes up to `LEASE_SECONDS` where there is one elsewhere, and no time where there is none.
        """
        first = self.all()
        unsure = {name: one for name, one in first.items() if one is not None and one.is_alive() is None}
        while unsure:
            time.sleep(min(1.0, LEASE_SECONDS / 10))
            now = {name: self.holder(name) for name in unsure}
            unsure = {name: one for name, one in unsure.items() if now[name] == one}


@dataclass
class Leases(Beating):
    """The leases of a store in a folder, and those that this object holds."""

    root: Path
    _held: dict[str, str] = field(default_factory=dict, repr=False)
    _lost: set[str] = field(default_factory=set, repr=False)
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
                mine = new_holder(secrets.token_hex(8))
                self._held[key] = mine.token  # first: a signal from now on gives it back
                try:
                    is_taken = self._seize(key, mine)
                except BaseException:
                    self._held.pop(key, None)
                    raise
        if not is_taken:
            self._held.pop(key, None)  # the heartbeat may have seen that it is not ours
        return is_taken

    def release(self, key: str) -> None:
        """Give a lease back; one that was taken over meanwhile stays with its new holder."""
        with contextlib.suppress(OSError), self.exclusively():
            holder = self._read(key)
            if holder is not None and holder.token == self._held.get(key):
                with self._claimed(holder) as is_ours:
                    if is_ours and self._is_ours(key):
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
                if holder is None or holder.token != self._held.get(key):
                    if self._held.pop(key, None) is not None:
                        self._lost.add(key)
                    continue
                with self._claimed(holder) as is_ours:
                    if is_ours and self._is_ours(key):
                        self._write(key, replace(holder, beat=holder.beat + 1))

    def holds(self, key: str) -> bool:
        """Say whether a lease is ours."""
        return key in self._held and self._is_ours(key)

    def take_lost(self) -> list[str]:
        """Return the keys whose lease another process took over since this was last asked."""
        lost = sorted(self._lost)
        self._lost.difference_update(lost)
        return lost

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

    # ------------------------------------------------------------------------------------------------ runs

    @contextlib.contextmanager
    def needing(self, keys: Iterable[str]) -> Iterator[None]:
        """Mark what a run needs, for as long as it runs; sweep up what dead processes left."""
        name = f"{RUN}{secrets.token_hex(8)}"
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
            if name.startswith(RUN):
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
        claims = [path for path in self._folder.glob(".*.claim") if self.holder(path.name) is None]
        runs = [
            path
            for path in self._runs.glob("*")
            if holders.get(path.name.strip(".").removesuffix(".tmp")) is None
        ]
        return [*dead, *temporary, *claims, *runs]

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
            return read_holder(read_regular(self._folder / key, _MOST_BYTES, links=False))
        except (OSError, ValueError):
            return None

    def _seize(self, name: str, mine: Holder) -> bool:
        """Take a lease, or a claim, that nobody or a dead process has; of any number of processes one can."""
        if self._create(name, mine):
            return True
        there = self._read(name)
        if self.holder(name) is not None:
            return False
        # It is in our way, and dead. Who may change it holds the claim on it, which one process at a time can
        # have; a claim of a dead process is taken over in the same way.
        with self._claimed(there, name) as is_ours:
            if not is_ours or self._read(name) != there:  # somebody was faster
                return False
            self._write(name, mine)
        return True

    @contextlib.contextmanager
    def _claimed(self, holder: Holder | None, name: str = "") -> Iterator[bool]:
        """Hold the claim on one lease, named after its token; yield False where somebody else does."""
        claim = f".{digest([holder.token if holder else name])[:16]}.claim"
        is_ours = self._seize(claim, new_holder(secrets.token_hex(8)))
        try:
            yield is_ours
        finally:
            if is_ours:
                (self._folder / claim).unlink(missing_ok=True)

    def _create(self, name: str, holder: Holder) -> bool:
        """Write a lease unless there is one, whole from its first moment; say whether that was so."""
        path = self._folder / name
        temporary = path.with_name(f".{holder.token}.tmp")
        try:
            temporary.write_text(json.dumps(asdict(holder)), encoding="ascii")
            return named_once(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

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
