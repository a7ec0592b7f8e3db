"""Copying results between a folder and a bucket: `genbench store push`, `pull` and `sync`.

Whole results alone are copied, each checked before it leaves a folder, and when it arrived in one. What is
there is not copied again, so that a transfer that was stopped goes on where it was.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from genbench.addresses import is_address
from genbench.errors import DataError, UsageError
from genbench.records import MOST_BYTES, Record, read_record
from genbench.remote.backend import LAYOUT, BucketBackend
from genbench.remote.buckets import open_bucket
from genbench.remote.records import Records
from genbench.store import Store

Way = Literal["push", "pull"]
_AT_ONCE, _MANIFESTS_AT_ONCE = 4, 16
_TICK_SECONDS = 1.1  # what a server says of an object's time are whole seconds


class Parcel(NamedTuple):
    """Something that one side lacks."""

    way: Way
    key: str  #: of a result; of a record, its file's name
    size_bytes: int
    is_record: bool = False


@dataclass
class Copied:
    """What a transfer did: how many results and records, how many bytes, and what was damaged."""

    results: dict[Way, int] = field(default_factory=lambda: {"push": 0, "pull": 0})
    records: dict[Way, int] = field(default_factory=lambda: {"push": 0, "pull": 0})
    size_bytes: int = 0
    damaged: list[str] = field(default_factory=list)


class Transfer:
    """A folder and a bucket, and what each has that the other lacks.

    Args:
        folder: The store in a folder.
        address: `s3://bucket/prefix`.

    Raises:
        UsageError: The store is no folder, or the address is none of a bucket that is there.
        RemoteError: The server cannot be reached, or refuses.
    """

    def __init__(self, folder: Store, address: str) -> None:
        if is_address(folder.address):
            raise UsageError(
                f"--store {folder.address}: results are copied between a folder and a bucket",
                hint=f"genbench store pull {folder.address} --store DIR; then genbench store push {address} "
                "--store DIR",
            )
        if not is_address(address):
            raise UsageError(
                f"{address}: no address of a bucket",
                hint=f"s3://BUCKET/PREFIX; of folders: cp -r {folder.root}",
            )
        self._folder, self._bucket = folder, open_bucket(address)
        self._bucket.check(LAYOUT)
        # Uploads come from the folder itself, and downloads go there: it needs no second copy.
        self._backend = BucketBackend(folder.root, self._bucket)
        self._records = Records(folder.root, self._bucket)

    def lacking(self, ways: frozenset[Way]) -> Iterator[Parcel]:
        """Yield what is to be copied; of the bucket, only manifests of what is lacking are read."""
        here = {key: _size(manifest) for key, manifest in self._folder.manifests() if manifest is not None}
        there = set(self._backend.keys())
        if "push" in ways:
            for key in sorted(here.keys() - there):
                yield Parcel("push", key, here[key])
        if "pull" in ways:
            wanted = sorted(there - here.keys())
            with ThreadPoolExecutor(_MANIFESTS_AT_ONCE) as pool:
                for key, manifest in zip(wanted, pool.map(self._backend.manifest, wanted), strict=True):
                    yield Parcel("pull", key, _size(manifest))
        yield from self._lacking_records(ways)

    def copy(self, parcels: list[Parcel], told: Callable[[int, int], None]) -> Copied:
        """Copy what is lacking; `told` is called with how many of them, and how many bytes, are done."""
        copied = Copied()
        if any(parcel.way == "push" for parcel in parcels):
            self._backend.check_writable()
        with self._needing(parcels), ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                sent = (one for turn in _turns(parcels) for one in pool.map(self._sent, turn))
                for done, (parcel, problem) in enumerate(sent, 1):
                    if problem:
                        copied.damaged.append(f"{parcel.key[:16]}: {problem}")
                    else:
                        (copied.records if parcel.is_record else copied.results)[parcel.way] += 1
                        copied.size_bytes += parcel.size_bytes
                    told(done, copied.size_bytes)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return copied

    @contextlib.contextmanager
    def _needing(self, parcels: list[Parcel]) -> Iterator[None]:
        """Have `store gc` leave alone what is just coming here."""
        keys = [one.key for one in parcels if one.way == "pull" and not one.is_record]
        if not keys:
            yield
            return
        with self._folder.leases.beating(), self._folder.leases.needing(keys):
            yield

    def _sent(self, parcel: Parcel) -> tuple[Parcel, str]:
        """Copy one thing; return it with what is wrong with it."""
        if parcel.is_record:
            return parcel, self._send_record(parcel)
        if parcel.way == "push":
            if self._folder.open(parcel.key) is None:
                return parcel, "damaged here, and moved aside"
            self._backend.publish(parcel.key)
            return parcel, ""
        found = Store(self._folder.root, elsewhere=self._backend)
        artifact = found.open(parcel.key)
        if artifact is None:
            return parcel, "; ".join(one.reason for one in found.found_damaged) or "gone from the bucket"
        line = {"key": parcel.key, "stage": artifact.document.get("stage"), "family": ""}
        with self._folder.writing():
            self._folder.index.append({**line, "seconds": artifact.run.get("seconds")})
        return parcel, ""

    # ----------------------------------------------------------------------------------------------- records

    def _lacking_records(self, ways: frozenset[Way]) -> Iterator[Parcel]:
        """Yield records, those that are to be pushed from the oldest to the newest."""
        here, there = self._records.here(), self._records.there()
        if "push" in ways:
            states = {name: here[name].stat() for name in here.keys() - there.keys()}
            for name, state in sorted(states.items(), key=lambda one: (one[1].st_mtime_ns, one[0])):
                yield Parcel("push", name, state.st_size, True)
        if "pull" in ways:
            for name in sorted(there.keys() - here.keys()):
                yield Parcel("pull", name, there[name].size_bytes, True)

    def _send_record(self, parcel: Parcel) -> str:
        """Copy a record that can be read."""
        try:
            if parcel.way == "pull":
                found = self._records.bring_one(parcel.key, lambda content: _read(content, parcel.key))
                return "" if found is not None else "gone from the bucket"
            path = self._folder.root / "records" / parcel.key
            read_record(path)
        except DataError as problem:
            return problem.message
        self._bucket.put(f"records/{parcel.key}", path.read_bytes())
        return ""


def _turns(parcels: list[Parcel]) -> Iterator[list[Parcel]]:
    """Yield what may be sent at the same time.

    Of an evaluation's records the newest one counts, and which that is, the server's clock says to everybody:
    of those that are pushed each waits for the older one, until that clock shows another second.
    """
    turns: list[list[Parcel]] = [[]]
    before: Counter[str] = Counter()
    for parcel in parcels:
        number = 0
        if parcel.is_record and parcel.way == "push":
            evaluation = parcel.key.rpartition("-")[0]
            number = before[evaluation]
            before[evaluation] += 1
        if number == len(turns):
            turns.append([])
        turns[number].append(parcel)
    for number, turn in enumerate(turns):
        if number:
            time.sleep(_TICK_SECONDS)
        yield turn


def _read(content: bytes, name: str) -> None:
    """Read a record that is not in a file.

    Raises:
        DataError: It is none.
    """
    if len(content) > MOST_BYTES:
        raise DataError(f"{name}: {len(content):,} bytes, of at most {MOST_BYTES:,}")
    try:
        Record.from_json(content.decode(), name)
    except UnicodeDecodeError as problem:
        raise DataError(f"{name}: no UTF-8 ({problem})") from problem


def _size(manifest: Any) -> int:
    return sum(entry["bytes"] for entry in manifest["files"].values()) if manifest else 0
