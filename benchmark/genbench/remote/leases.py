"""Leases in a bucket: who is at which step, by writes that a server makes conditional.

    leases/<key>.json      the process that is at a step, or `run-<token>` for a run as a whole
    runs/run-<token>.json  the keys that this run needs: `store gc` leaves them alone

A lease is taken by creating it, beaten by replacing exactly the content that we wrote last, and stolen by
replacing exactly the content that stood still for `LEASE_SECONDS` of the thief's own clock. So of any two
processes one wins, whatever their clocks say and however late an answer is. A token in every lease tells a
write of ours whose answer was lost from somebody else's.

A holder that could not beat for `SURE_SECONDS` no longer counts itself as one, which is well before anybody
else may steal. What is made without a lease does no harm: the first manifest of a key stays.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from genbench.holders import Holder, new_holder, read_holder
from genbench.leases import LEASE_SECONDS, RUN, Beating
from genbench.remote.objects import Objects, RemoteError, Tag

SURE_SECONDS = LEASE_SECONDS * 0.6  #: after so long without an answer to a heartbeat, a lease may be lost
LOOK_SECONDS = 2.0  #: between two looks at a lease that somebody else holds
LEAVE_SECONDS = (
    150.0  #: how long a lease that is being given back is left alone: longer than a request may take
)
LEAVING = -1  #: the heartbeat of a lease that is being given back
_AT_ONCE = 8  # heartbeats


def _now() -> float:
    """Return a clock that nobody sets, and that stands still while the machine sleeps: that of thieves."""
    return time.monotonic()


def _awake() -> float:
    """Return one that goes on meanwhile, where there is one: for owners, who may be robbed in their sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class _Held(NamedTuple):
    """A lease of ours: what we wrote last, and when we began to."""

    holder: Holder
    tag: Tag
    since: float


class _Seen(NamedTuple):
    """A lease of somebody else: since when it stands still, and when we looked last."""

    holder: Holder | None  # None: nobody can tell who
    tag: Tag
    since: float
    looked: float


@dataclass
class BucketLeases(Beating):
    """The leases in a bucket, and those that this object holds: one thread takes and gives, another beats."""

    objects: Objects
    _held: dict[str, _Held] = field(default_factory=dict, repr=False)
    _seen: dict[str, _Seen] = field(default_factory=dict, repr=False)
    _lost: set[str] = field(default_factory=set, repr=False)
    #: Tokens of leases of ours that may be there, though we neither beat nor delete them: our process lives,
    #: so nothing else says that they are free.
    _given_up: set[str] = field(default_factory=set, repr=False)
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False)  # of dictionaries, for moments

    # ----------------------------------------------------------------------------------- taking and giving

    def acquire(self, key: str) -> bool:
        """Take a lease, unless another living process holds it."""
        if key in self._held:
            return False
        for _ in range(2):  # the second time we know who is in our way: that process may be dead
            seen = self._recent(key) if key in self._seen else None
            if seen is not None and not self._is_over(seen):
                return False
            began, mine = _awake(), new_holder(secrets.token_hex(8))
            self._given_up.add(mine.token)  # until we know: it may be written, and its answer lost
            if seen is None:
                tag = self.objects.create(_name(key), _content(mine))
            else:
                tag = self.objects.replace(_name(key), _content(mine), seen.tag)
            self._given_up.discard(mine.token)
            if tag is not None:
                with self._guard:
                    self._seen.pop(key, None)
                    self._lost.discard(key)
                    if seen is not None and seen.holder is not None:
                        self._given_up.discard(seen.holder.token)  # it is written over
                    self._held[key] = _Held(mine, tag, began)
                return True
            self._look(key)
        return False

    def release(self, key: str) -> None:
        """Give a lease back; one that was taken over meanwhile stays with its new holder."""
        with self._guard:
            held = self._held.pop(key, None)
        if held is None:
            return
        self._given_up.add(held.holder.token)
        with contextlib.suppress(RemoteError):
            # No way to delete on a condition is known to all servers. So a last write, which fails if the
            # lease is not ours, says that we leave: nobody takes it while the deletion may be on its way.
            # Where its answer is lost it must not be repeated: it would hit whoever came next.
            left = self._written(key, held, LEAVING)
            if left is not None and _awake() - left.since < SURE_SECONDS:
                self._given_up.discard(held.holder.token)  # the deletion may still be on its way later
                self.objects.delete_once(_name(key))

    def release_all(self) -> None:
        """Give back whatever this object holds."""
        for key in list(self._held):
            self.release(key)

    def holds(self, key: str) -> bool:
        """Say whether a lease is ours, for certain: its last heartbeat was answered, not long ago."""
        held = self._held.get(key)
        return held is not None and _awake() - held.since < SURE_SECONDS

    def take_lost(self) -> list[str]:
        """Return the keys whose lease another process took over since this was last asked."""
        with self._guard:
            lost, self._lost = sorted(self._lost), set()
        return lost

    def heartbeat(self) -> None:
        """Say that we are alive; forget the leases that another process took over.

        What cannot be said because the server cannot be reached is said the next time.
        """

        def beat(key: str) -> None:
            with contextlib.suppress(RemoteError):
                self._beat(key)

        keys = list(self._held)
        if len(keys) < 2:
            for key in keys:
                beat(key)
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(beat, keys))

    # -------------------------------------------------------------------------------------------- watching

    def holder(self, key: str) -> Holder | None:
        """Return the living process that holds a lease; None if there is none."""
        held = self._held.get(key)
        if held is not None:
            return held.holder
        seen = self._recent(key)
        return None if seen is None or self._is_over(seen) else seen.holder

    def is_elsewhere(self, key: str) -> bool:
        """Say whether another process was at a step when we looked last; nothing is asked."""
        seen = self._seen.get(key)
        return seen is not None and not self._is_over(seen)

    def all(self) -> dict[str, Holder | None]:
        """Return the holder of every lease that is there; None where it is dead."""
        found = {}
        for one in self.objects.list("leases/"):
            key = one.name.removeprefix("leases/").removesuffix(".json")
            self._note_listed(key, one.tag)
            found[key] = self.holder(key)
        return dict(sorted(found.items()))

    # ------------------------------------------------------------------------------------------------ runs

    @contextlib.contextmanager
    def needing(self, keys: Iterable[str]) -> Iterator[None]:
        """Mark what a run needs, for as long as it runs."""
        name = f"{RUN}{secrets.token_hex(8)}"
        try:
            self.acquire(name)
            self.objects.put(_run(name), json.dumps(list(keys)).encode())
            yield
        finally:
            with contextlib.suppress(RemoteError):
                self.objects.delete([_run(name)])
            self.release(name)

    def needed(self) -> dict[str, Holder]:
        """Return the keys that a living process is at, or that a living run needs, with the process."""
        found: dict[str, Holder] = {}
        for name, holder in self.all().items():
            if holder is None:
                continue
            if name.startswith(RUN):
                found |= dict.fromkeys(self._needs(name), holder)
            else:
                found[name] = holder
        return found

    def remove_dead(self) -> int:
        """Remove the leases and the marks of dead processes; return how many they were."""
        holders = self.all()
        removed = 0
        for key in [key for key, holder in holders.items() if holder is None]:
            if self.acquire(key):
                if key.startswith(RUN):
                    self.objects.delete([_run(key)])
                self.release(key)
                removed += 1
        return removed

    def exclusively(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: no server keeps others out of more than one object."""
        return contextlib.nullcontext()

    def leftovers(self) -> Sequence[Path]:
        """Return nothing: no files are left where there are none."""
        return ()

    # --------------------------------------------------------------------------------------------- private

    def _needs(self, name: str) -> list[str]:
        found = self.objects.get(_run(name))
        with contextlib.suppress(ValueError, RecursionError):
            keys = json.loads(found.content) if found is not None else []
            return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []
        return []

    def _recent(self, key: str) -> _Seen | None:
        """Return who holds a lease, as it was a moment ago: a run asks a few times a second."""
        seen = self._seen.get(key)
        if seen is None or _now() - seen.looked >= LOOK_SECONDS:
            return self._look(key)
        return seen

    def _note_listed(self, key: str, tag: Tag) -> None:
        """Let a lease that a listing shows as we saw it count as seen now: it need not be read again."""
        seen = self._seen.get(key)
        if seen is not None:
            is_same = tag.e_tag != "" and tag.e_tag == seen.tag.e_tag  # a listing names no versions
            self._seen[key] = seen._replace(looked=_now() if is_same else float("-inf"))

    def _look(self, key: str) -> _Seen | None:
        """Read who holds a lease, and since when it stands still on our own clock."""
        found = self.objects.get(_name(key))
        if found is None:
            self._seen.pop(key, None)
            return None
        now, before = _now(), self._seen.get(key)
        since = before.since if before is not None and before.tag == found.tag else now
        seen = self._seen[key] = _Seen(read_holder(found.content), found.tag, since, now)
        return seen

    def _beat(self, key: str) -> None:
        """Say that we are at a step, or find out that it was taken over."""
        held = self._held.get(key)
        if held is None:
            return
        written = self._written(key, held, held.holder.beat + 1)
        with self._guard:
            if self._held.get(key) is not held:  # given back meanwhile, and perhaps taken anew
                return
            if written is not None:
                self._held[key] = written
            else:
                self._given_up.add(held.holder.token)
                del self._held[key]
                self._lost.add(key)

    def _written(self, key: str, held: _Held, beat: int) -> _Held | None:
        """Replace a lease of ours by one with another counter; None if it is ours no more."""
        for _ in range(3):
            began, mine = _awake(), replace(held.holder, beat=beat)
            tag = self.objects.replace(_name(key), _content(mine), held.tag)
            if tag is not None:
                return _Held(mine, tag, began)
            # A beat whose answer was lost, or one that another thread sends right now: the lease is ours.
            found = self.objects.get(_name(key))
            there = read_holder(found.content) if found is not None else None
            if found is None or there is None or there.token != held.holder.token or there.beat == LEAVING:
                return None
            held, beat = held._replace(tag=found.tag), beat if beat == LEAVING else there.beat + 1
        return None

    def _is_over(self, seen: _Seen) -> bool:
        """Say whether a lease may be taken over: its holder is dead, or it stood still for too long.

        A process on this machine is looked up: a dead one gives way at once, a living one never does, unless
        it is we who gave the lease up. One that was about to leave may have a deletion on its way, which must
        not hit the lease of somebody else.
        """
        if seen.holder is not None and seen.holder.token in self._given_up:
            return True
        if seen.holder is not None and seen.holder.beat == LEAVING:
            return _now() - seen.since > LEAVE_SECONDS
        is_alive = seen.holder.is_alive() if seen.holder is not None else None
        if is_alive is not None:
            return not is_alive
        return _now() - seen.since > LEASE_SECONDS


def _name(key: str) -> str:
    return f"leases/{key}.json"


def _run(name: str) -> str:
    return f"runs/{name}.json"


def _content(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()
