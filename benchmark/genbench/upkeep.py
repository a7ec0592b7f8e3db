"""Cleaning a store up, and mending it: `genbench store gc` and `genbench store verify --repair`.

Neither touches what a living process is at, or what a living run still needs.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from genbench.attempts import key_of
from genbench.disk import make_folder, remove_place
from genbench.errors import DataError
from genbench.holders import Holder
from genbench.manifests import MANIFEST, is_key
from genbench.metrics import Subject
from genbench.records import Record, read_record
from genbench.store import Store

_AT_ONCE = 32  # places, of which it is asked again who needs them
UNFINISHED, DAMAGED, LEFTOVER = "unfinished work", "damaged results", "leftovers of a crash"


@dataclass(frozen=True)
class Place:
    """Something that can be removed.

    Attributes:
        kind: In the words of the command's output.
        path: A file or a folder.
        size_bytes: Of everything in it.
        key: Of the step that it belongs to, or empty.
        names: Of objects in the bucket, where the store is in one.
        is_result: Whether it is a whole result, wherever it is kept.
        is_mark: Whether it says what a process is at, which by now may be another process.
    """

    kind: str
    path: Path
    size_bytes: int
    key: str = ""
    names: tuple[str, ...] = ()
    is_result: bool = False
    is_mark: bool = False


@dataclass(frozen=True)
class Garbage:
    """What a store could do without.

    Attributes:
        places: What nobody needs.
        spared: What a living process needs, with that process.
    """

    places: list[Place] = field(default_factory=list)
    spared: list[tuple[Place, Holder]] = field(default_factory=list)


def find_garbage(store: Store, stages: frozenset[str] = frozenset()) -> Garbage:
    """Find unfinished work, damaged results, leftovers of crashes, and results of the named stages.

    Records, logs and everything else stay. A process on another machine is watched for up to a minute, to see
    whether it lives.
    """
    store.leases.settle()
    needed = store.leases.needed()
    garbage = Garbage()
    for place in _places(store, stages, needed):
        if place.key in needed:
            garbage.spared.append((place, needed[place.key]))
        else:
            garbage.places.append(place)
    return garbage


def remove_garbage(store: Store, garbage: Garbage) -> list[Place]:
    """Remove what was found, but what a run has come to need since; return what was removed."""
    removed = []
    for first in range(0, len(garbage.places), _AT_ONCE):
        removed += _removed(store, garbage.places[first : first + _AT_ONCE])
    return removed


def _removed(store: Store, places: Sequence[Place]) -> list[Place]:
    """Remove what nobody needs now; few places at a time, since removing them may take minutes."""
    unneeded, aside = [], []
    # A run takes this lock for its mark before it looks what is there: it finds all of a result, or none.
    with store.writing(), store.leases.exclusively():
        needed = store.leases.needed()
        marks = set(store.leases.leftovers() if any(place.is_mark for place in places) else ())
        for place in places:
            if place.key not in needed and (not place.is_mark or place.path in marks):
                aside += _out_of_sight(place.path)
                unneeded.append(place)
    for path in aside:
        with store.writing():
            remove_place(path)
    removed = []
    for place in unneeded:
        if not place.is_result or store.backend.withdraw(place.key):
            store.backend.remove(place.names)
            removed.append(place)
    return removed


def repair(store: Store) -> Iterator[str]:
    """Mend what can be mended, and say each thing that was done.

    Damaged results are moved aside, so that the next run that needs them makes them again; caches that cannot
    be read are written anew; what a crash left is removed.
    """
    for damage in store.verify():
        if store.move_aside(damage.key):
            yield f"moved aside {damage.key[:16]}: {damage.reason}"
        else:
            yield f"left {damage.key[:16]} alone, which is whole by now, or being made: {damage.reason}"
    for path, found in saved_records(store):
        if isinstance(found, str):
            with store.writing():
                path.rename(make_folder(store.root / "damaged") / f"{path.name}-{time.time_ns()}")
            store.backend.withdraw_record(path)
            yield f"moved aside records/{path.name}: {found}"
    store.leases.settle()
    needed = store.leases.needed()
    leftovers = Garbage([place for place in _leftovers(store, needed) if place.key not in needed])
    count = len(remove_garbage(store, leftovers))
    if count:
        yield f"removed {count} leftovers of a crash"
    for name in store.fingerprints.check():
        yield f"forgot a wrong digest of {name}"
    store.fingerprints.keep()
    for dropped, what in (
        (store.index.rewrite(), "damaged lines of index.jsonl"),
        (store.failures.tidy(), "notes of failures that cannot be read"),
        (store.boards.tidy(), "rendered boards that cannot be read"),
    ):
        if dropped:
            yield f"dropped {dropped} {what}"


def saved_records(store: Store) -> Iterator[tuple[Path, Record | str]]:
    """Yield every saved record, or why it cannot be read, in order of path."""
    store.backend.bring_records()
    names = tuple(f"{subject}-" for subject in get_args(Subject))
    for path in sorted((store.root / "records").glob("*.json")):
        if not path.name.startswith(names):
            continue
        if path.is_dir():
            yield path, "it is a folder"
            continue
        try:
            yield path, read_record(path)
        except DataError as problem:
            yield path, problem.message


def _places(store: Store, stages: frozenset[str], needed: Collection[str]) -> Iterator[Place]:
    for path in sorted((store.root / "work").glob("*")):
        yield _place(UNFINISHED, path, key_of(path))
    for path in sorted((store.root / "damaged").glob("*")):
        yield _place(DAMAGED, path)
    yield from _leftovers(store, needed)
    for one in store.backend.leftovers():
        path = store.root / "nowhere" / one.key  # it is in the bucket alone
        yield Place(LEFTOVER, path, one.size_bytes, one.key, tuple(one.names))
    for key, manifest in store.manifests():
        if manifest is None:
            yield replace(_place(DAMAGED, store.folder(key), key), is_result=True)
        elif manifest["document"].get("stage") in stages:
            size = sum(entry["bytes"] for entry in manifest["files"].values())
            kind = f"results of stage {manifest['document']['stage']}"
            yield Place(kind, store.folder(key), size, key, is_result=True)


def _leftovers(store: Store, needed: Collection[str]) -> Iterator[Place]:
    """Yield temporary files, homes of rooms, artifacts without a manifest, and marks of dead processes."""
    artifacts = store.root / "artifacts"
    for path in sorted(artifacts.glob("??/*")):
        if path.name.startswith("."):
            yield _place(LEFTOVER, path, path.name[1:].partition(".")[0])
        elif not (path / MANIFEST).exists() or path != store.folder(path.name):
            yield _place(LEFTOVER, path, path.name)
    for path in sorted((store.root / "rooms").glob("*")):
        yield _place(LEFTOVER, path, path.name)
    if not needed:  # else it may be a file that is just being written
        for folder in ("records", "boards", "failures", "."):
            for path in sorted((store.root / folder).glob(".*.tmp")):
                yield _place(LEFTOVER, path)
    for path in store.leases.leftovers():
        yield replace(_place(LEFTOVER, path, path.name), is_mark=True)


def _place(kind: str, path: Path, key: str = "") -> Place:
    return Place(kind, path, sum(_sizes(path)), key if is_key(key) else "")


def _sizes(path: Path) -> Iterator[int]:
    """Yield the sizes of a file, or of all files in a folder, as far as no other process removes them."""
    if path.is_symlink() or not path.is_dir():
        files: Iterable[str] = [os.fspath(path)]
    else:
        files = (os.path.join(folder, one) for folder, _, names in os.walk(path) for one in names)
    for file in files:
        with contextlib.suppress(OSError):
            yield os.lstat(file).st_size


def _out_of_sight(path: Path) -> list[Path]:
    """Remove a file; rename a folder, of which half could be taken for the whole; return what is left."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return []
    aside = path.with_name(f".{path.name.strip('.')}.removed.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        path.rename(aside)
    return [aside]
