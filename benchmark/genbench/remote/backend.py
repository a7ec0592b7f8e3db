"""A store in a bucket, with a folder as its cache: an implementation of `genbench.backends.Backend`.

    layout/1                   how this is laid out
    files/<key>/<sha256>       the files of an artifact, each named by its content
    manifests/<key>.json       its manifest, written last and over no other: with it, the artifact exists
    records/<name>.json        saved records
    leases/  runs/             see `genbench.remote.leases`
    damaged/<key>-<...>.json   manifests of artifacts that failed their check

Files are named by their content, so that two processes that publish the same key never mix theirs: whichever
manifest is created first lists files that are all there. Half an upload is files that no manifest lists.
"""

import contextlib
import re
import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from genbench.backends import Leftover, Manifest, folder_of
from genbench.disk import remove_place
from genbench.errors import StoreError
from genbench.holders import Keeper
from genbench.manifests import MANIFEST, DamagedError, Stamp, is_key, parse_manifest
from genbench.remote.downloads import (
    audit_artifact,
    fetch_artifact,
    file_name,
    has_manifest,
    manifest_name,
    write_cached,
)
from genbench.remote.leases import BucketLeases
from genbench.remote.objects import DeniedError, Found, Listed, Objects, RemoteError, Tag, UnsupportedError
from genbench.remote.records import Records
from genbench.remote.tags import Tags
from genbench.remote.without_leases import WithoutLeases

LAYOUT = 1
ABSENT_SECONDS = 2.0  #: how long what was not there is not looked for again, by a run that waits for it
LEFT_SECONDS = (
    24 * 3600.0
)  #: by the server's clock; files without a manifest that are younger may be an upload
_AT_ONCE, _FILES_AT_ONCE = 16, 4


@dataclass
class BucketBackend:
    """Artifacts in a bucket.

    Args:
        root: The store's folder: a cache of what is in the bucket, and what was not sent yet.
        objects: The bucket.
    """

    root: Path
    objects: Objects
    _leases: Keeper | None = field(default=None, repr=False)
    _remarks: list[str] = field(default_factory=list, repr=False)
    _listing: dict[str, Listed] | None = field(default=None, repr=False)  # inside `listed` alone
    _sure: set[str] = field(default_factory=set, repr=False)  # the folder has just what the bucket has
    _absent: dict[str, float] = field(default_factory=dict, repr=False)
    _records: Records = field(init=False, repr=False)
    _tags: Tags = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._records = Records(self.root, self.objects)
        self._tags = Tags(self.root / "published.jsonl")

    @property
    def address(self) -> str:
        """`s3://bucket/prefix`."""
        return self.objects.address

    # ---------------------------------------------------------------------------------------------- opening

    @property
    def leases(self) -> Keeper:
        """Who is at which step; the server is probed for conditional writes when this is first asked for."""
        if self._leases is None:
            self._leases = self._probed()
        return self._leases

    def _probed(self) -> Keeper:
        try:
            if self._keeps_conditions():
                return BucketLeases(self.objects)
        except DeniedError:  # `check_writable` raises it for those who need to write
            return WithoutLeases()
        self._remarks.append(
            f"{self.address}: this server ignores conditions on writes, so there are no leases: two runs at "
            "once may do the same work. Results stay right"
        )
        return WithoutLeases()

    def check_writable(self) -> None:
        """Write an object, and remove it.

        Raises:
            RemoteError: That is not possible.
        """
        name = f"probe/{secrets.token_hex(8)}"
        self.objects.put(name, b"")
        self.objects.delete([name])

    def remarks(self) -> Sequence[str]:
        """Return what whoever starts a run should know, once."""
        found, self._remarks = self._remarks, []
        return found

    def _keeps_conditions(self) -> bool:
        """Say whether the server keeps the conditions of a write; lay the store out, if nobody did."""
        name = f"probe/{secrets.token_hex(8)}"
        try:
            first = self.objects.create(name, f"1 {name}".encode())
            is_created_once = self.objects.create(name, f"2 {name}".encode()) is None
            second = self.objects.replace(name, f"3 {name}".encode(), first) if first is not None else None
            is_replaced_once = self.objects.replace(name, f"4 {name}".encode(), first or Tag("")) is None
        except UnsupportedError:
            return False
        finally:
            with contextlib.suppress(RemoteError):
                self.objects.delete([name])
        self.objects.put(f"layout/{LAYOUT}", b"")
        return second is not None and is_created_once and is_replaced_once

    # ---------------------------------------------------------------------------------------------- looking

    def has(self, key: str) -> bool:
        """Say whether there is something under this key."""
        if key in self._sure or (self._listing is not None and key in self._listing):
            return True
        return self._found(key) is not None

    def keys(self) -> Iterator[str]:
        """Yield the keys of all artifacts, sorted."""
        yield from sorted(self._listed() if self._listing is None else self._listing)

    def manifest(self, key: str) -> Manifest | None:
        """Return the manifest of an artifact without reading its files; None if missing or damaged."""
        found = self._found(key)
        return self._parsed(key, found.content) if found is not None else None

    def manifests(self) -> Iterator[tuple[str, Manifest | None]]:
        """Yield every key with its manifest, sorted; those that were read before are read from the folder."""
        listing = self._listed()
        keys = sorted(listing)
        self._forget_manifests(listing.keys())
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            contents = pool.map(lambda key: self._kept_manifest(key, listing[key].tag), keys)
            for key, content in zip(keys, contents, strict=True):
                if content is not None:
                    yield key, self._parsed(key, content)

    @contextlib.contextmanager
    def listed(self) -> Iterator[None]:
        """List the bucket once, for the many questions that follow inside."""
        if self._listing is not None:
            yield
            return
        self._listing = self._listed()
        try:
            yield
        finally:
            self._listing = None

    def _listed(self) -> dict[str, Listed]:
        listed = self.objects.list("manifests/")
        found = ((one.name.removeprefix("manifests/").removesuffix(".json"), one) for one in listed)
        return {key: one for key, one in found if is_key(key)}

    def _found(self, key: str) -> Found | None:
        """Read a manifest in the bucket, unless it is known not to be there."""
        if self._listing is not None and key not in self._listing:
            return None
        # A run asks again and again for what another process is at; nothing else may be answered from memory.
        is_awaited = isinstance(self._leases, BucketLeases) and self._leases.is_elsewhere(key)
        if is_awaited and time.monotonic() - self._absent.get(key, float("-inf")) < ABSENT_SECONDS:
            return None
        found = self.objects.get(manifest_name(key))
        if found is None:
            self._absent[key] = time.monotonic()
            self._sure.discard(key)
        return found

    def _parsed(self, key: str, content: bytes) -> Manifest | None:
        with contextlib.suppress(DamagedError):
            return parse_manifest(content, key)
        return None

    def _kept_manifest(self, key: str, tag: Tag) -> bytes | None:
        """Return the content of a manifest, from the folder if that has just this one."""
        place = self.root / "manifests" / key / _file_name(tag)
        with contextlib.suppress(OSError):
            return place.read_bytes()
        found = self.objects.get(manifest_name(key))
        if found is not None:
            with contextlib.suppress(OSError):
                remove_place(place.parent)
                place.parent.mkdir(parents=True)  # not flushed: what is lost is read again
                write_cached(place, found.content)
        return found.content if found is not None else None

    def _forget_manifests(self, keys: Collection[str]) -> None:
        """Remove the manifests in the folder that are of none of these keys."""
        with contextlib.suppress(OSError):
            for place in (self.root / "manifests").iterdir():
                if place.name not in keys:
                    remove_place(place)

    # ----------------------------------------------------------------------------------------------- bringing

    def bring(self, key: str) -> Stamp | None:
        """Have the artifact of a key in the store's folder; None if there is none in the bucket."""
        folder = folder_of(self.root, key)
        if (folder / MANIFEST).is_file() and self._is_same(key):
            return ()
        found = self._found(key)
        if found is None:
            return None
        if has_manifest(folder, found.content):
            self._note(key, found.tag)
            return ()
        try:
            return self._fetch(key, found, folder)
        except DamagedError:
            again = self.objects.get(manifest_name(key))
            if again is None:  # it was taken away while we read it
                return None
            if again.content == found.content and self.withdraw(key, as_damaged=True):
                raise
            return self._fetch_again(key, again, folder)

    def _is_same(self, key: str) -> bool:
        """Say whether the folder has just what the bucket has, as far as was seen."""
        if key in self._sure:
            return True
        listed = self._listing.get(key) if self._listing is not None else None
        if listed is None or not self._tags.has(key, listed.tag):
            return False
        self._sure.add(key)
        return True

    def _fetch(self, key: str, found: Found, folder: Path) -> Stamp:
        stamp = fetch_artifact(self.objects, self.root, key, found, folder)
        self._note(key, found.tag)
        return stamp

    def _fetch_again(self, key: str, found: Found, folder: Path) -> Stamp:
        """Download what arrived damaged, and may be whole in the bucket.

        Raises:
            DamagedError: It is damaged there, and somebody is at it.
            StoreError: It is whole there: what is wrong is wrong here.
        """
        try:
            return self._fetch(key, found, folder)
        except DamagedError as damage:
            if not self._is_whole(key):
                raise
            raise StoreError(
                f"cannot keep a result of {self.address} in {self.root}: {damage}",
                hint="it is whole in the bucket. Is that folder's disk failing, or does something clear it "
                "up? GENBENCH_STORE_CACHE names another place for such folders",
            ) from damage

    # --------------------------------------------------------------------------------------------- publishing

    def is_unsent(self, key: str) -> bool:
        """Say whether the folder has an artifact that the bucket has not."""
        return (folder_of(self.root, key) / MANIFEST).is_file() and not self.has(key)

    def publish(self, key: str) -> str:
        """Upload an artifact: its files, then its manifest unless another one is there by then."""
        folder = folder_of(self.root, key)
        content = (folder / MANIFEST).read_bytes()
        found = self.objects.get(manifest_name(key))
        if found is None:
            wanted = {
                file_name(key, entry["sha256"]): (folder / name, entry["bytes"])
                for name, entry in parse_manifest(content, key)["files"].items()
            }
            was_there = self._upload(key, wanted)
            tag = self._created(key, content)
            if tag is not None:
                if was_there:  # whoever cleaned up may have removed what had no manifest yet
                    self._upload(key, wanted)
                self._note(key, tag)
                return ""
        self._absent.pop(key, None)
        is_equal = found is not None and found.content == content
        self.bring(key)
        return "" if is_equal else f"another process had published this result to {self.address}: it is used"

    def _upload(self, key: str, wanted: Mapping[str, tuple[Path, int]]) -> bool:
        """Upload the files that are not there; say whether any was."""
        there = {one.name: one.size_bytes for one in self.objects.list(f"files/{key}/")}
        missing = {name: path for name, (path, size) in wanted.items() if there.get(name) != size}
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            list(pool.map(self.objects.put, missing.keys(), missing.values()))
        return len(missing) < len(wanted)

    def _created(self, key: str, content: bytes) -> Tag | None:
        """Write a manifest unless there is one."""
        try:
            return self.objects.create(manifest_name(key), content)
        except UnsupportedError:
            return self.objects.put(manifest_name(key), content)

    def withdraw(self, key: str, *, as_damaged: bool = False) -> bool:
        """Remove an artifact from the bucket, its manifest first; left alone while somebody is at it.

        What is called damaged is read once more, since it is removed for everybody: whoever says so may have
        a failing disk, and another process may have published it anew.
        """
        is_ours = self.leases.holds(key)
        if not is_ours and not self.leases.acquire(key):
            return False
        try:
            if as_damaged:
                if self._is_whole(key):
                    return False
                found = self.objects.get(manifest_name(key))
                if found is not None:
                    self.objects.put(f"damaged/{key}-{secrets.token_hex(4)}.json", found.content)
            self.objects.delete([manifest_name(key)])
            self.objects.delete([one.name for one in self.objects.list(f"files/{key}/")])
        finally:
            if not is_ours:
                self.leases.release(key)
        self._sure.discard(key)
        return True

    # ------------------------------------------------------------------------------------------------ upkeep

    def audit(self, key: str) -> bool:
        """Read all of an artifact in the bucket; nothing is kept."""
        audit_artifact(self.objects, self.root, key)
        return True

    def _is_whole(self, key: str) -> bool:
        """Say whether the bucket has an artifact, and it is what its manifest says."""
        try:
            return audit_artifact(self.objects, self.root, key)
        except DamagedError:
            return False

    def leftovers(self) -> Iterator[Leftover]:
        """Yield manifests of damaged results, and files without one that the server has had for a day."""
        listing = self._listed()
        now = self._server_time()
        found: dict[str, list[Listed]] = {}
        for one in self.objects.list("files/"):
            key = one.name.split("/")[1]
            if key not in listing:
                found.setdefault(key, []).append(one)
        for key, files in sorted(found.items()):
            if all((now - one.modified).total_seconds() > LEFT_SECONDS for one in files):
                names = [one.name for one in files]
                yield Leftover(names, sum(one.size_bytes for one in files), key if is_key(key) else "")
        for one in self.objects.list("damaged/"):
            yield Leftover([one.name], one.size_bytes)
        dead = [f"leases/{key}.json" for key, holder in self.leases.all().items() if holder is None]
        if dead:
            yield Leftover(dead, 0)

    def remove(self, names: Sequence[str]) -> None:
        """Remove leftovers, but files whose manifest has come since, and leases that are alive by now."""
        if any(name.startswith("leases/") for name in names) and isinstance(self._leases, BucketLeases):
            self._leases.remove_dead()
            return
        keys = {name.split("/")[1] for name in names if name.startswith("files/")}
        alive = {key for key in keys if self.objects.get(manifest_name(key)) is not None}
        self.objects.delete([name for name in names if name.split("/")[1] not in alive])

    def _server_time(self) -> datetime:
        """Return what the server's clock says."""
        name = f"probe/{secrets.token_hex(8)}"
        self.objects.put(name, b"")
        found = self.objects.get(name)
        self.objects.delete([name])
        if found is None:
            raise StoreError(f"{self.address}: what was written is not there")
        return found.modified

    # ----------------------------------------------------------------------------------------------- records

    def bring_records(self) -> None:
        """Have all saved records in the store's folder."""
        self._records.bring()

    def publish_record(self, path: Path) -> None:
        """Upload a record; one that cannot be sent now is sent when records are next looked at."""
        self._records.publish(path)

    def withdraw_record(self, path: Path) -> None:
        """Remove a record from the bucket."""
        self._records.withdraw(path)

    def _note(self, key: str, tag: Tag) -> None:
        """Remember that the folder has just what the bucket has."""
        self._sure.add(key)
        self._absent.pop(key, None)
        self._tags.note(key, tag)


def _file_name(tag: Tag) -> str:
    return re.sub(r"[^\w-]", "", f"{tag.e_tag}-{tag.version}")[:100] + ".json"
