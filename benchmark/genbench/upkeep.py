"""Cleaning a store up, and mending it: `genbench store gc` and `genbench store verify --repair`.

Neither touches what a living process is at, or what a living run still needs.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from genbench.attempts import key_of
from genbench.disk import make_folder, remove_place
from genbench.errors import DataError
from genbench.leases import Holder
from genbench.manifests import MANIFEST, is_key
from genbench.metrics import Subject
from genbench.records import Record, read_record
from genbench.store import Store

UNFINISHED, DAMAGED, LEFTOVER = "unfinished work", "damaged results", "leftovers of a crash"


@dataclass(frozen=True)
class Place:
    """Something that can be removed.

    Attributes:
        kind: In the words of the command's output.
        path: A file or a folder.
        size_bytes: Of everything in it.
        key: Of the step that it belongs to, or empty.
    """

    kind: str
    path: Path
    size_bytes: int
    key: str = ""


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
    for place in _places(store, stages):
        if place.key in needed:
            garbage.spared.append((place, needed[place.key]))
        else:
            garbage.places.append(place)
    return garbage


def remove_garbage(store: Store, garbage: Garbage) -> list[Place]:
    """Remove what was found, but what a run has come to need since; return what was removed."""
    removed, aside = [], []
    # A run takes this lock for its mark before it looks what is there: it finds all of a result, or none.
    with store.writing(), store.leases.exclusively():
        needed = store.leases.needed()
        for place in garbage.places:
            if place.key not in needed:
                aside.append(_out_of_sight(place.path))
                removed.append(place)
    for path in aside:
        with store.writing():
            remove_place(path)
    return removed


def repair(store: Store) -> Iterator[str]:
    """Mend what can be mended, and say each thing that was done.

    Damaged results are moved aside, so that the next run that needs them makes them again; caches that cannot
    be read are written anew; what a crash left is removed.
    """
    for damage in store.verify():
        store.move_aside(damage.key)
        yield f"moved aside {damage.key[:16]}: {damage.reason}"
    for path, found in saved_records(store):
        if isinstance(found, str):
            with store.writing():
                path.rename(make_folder(store.root / "damaged") / f"{path.name}-{time.time_ns()}")
            yield f"moved aside records/{path.name}: {found}"
    store.leases.settle()
    needed = store.leases.needed()
    leftovers = Garbage([place for place in _leftovers(store) if place.key not in needed])
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


def _places(store: Store, stages: frozenset[str]) -> Iterator[Place]:
    for path in sorted((store.root / "work").glob("*")):
        yield _place(UNFINISHED, path, key_of(path))
    for path in sorted((store.root / "damaged").glob("*")):
        yield _place(DAMAGED, path)
    yield from _leftovers(store)
    for key in store.finished():
        manifest: Mapping[str, object] | None = store.manifest(key)
        if manifest is None:
            yield _place(DAMAGED, store.folder(key), key)
            continue
        document = manifest["document"]
        stage = document.get("stage") if isinstance(document, dict) else ""
        if stage in stages:
            yield _place(f"results of stage {stage}", store.folder(key), key)


def _leftovers(store: Store) -> Iterator[Place]:
    """Yield temporary files, homes of rooms, artifacts without a manifest, and marks of dead processes."""
    artifacts = store.root / "artifacts"
    for path in sorted(artifacts.glob("??/*")):
        if path.name.startswith("."):
            yield _place(LEFTOVER, path, path.name[1:].partition(".")[0])
        elif not (path / MANIFEST).exists() or path != store.folder(path.name):
            yield _place(LEFTOVER, path, path.name)
    for path in sorted((store.root / "rooms").glob("*")):
        yield _place(LEFTOVER, path, path.name)
    if not store.leases.needed():  # else it may be a file that is just being written
        for folder in ("records", "boards", "failures", "."):
            for path in sorted((store.root / folder).glob(".*.tmp")):
                yield _place(LEFTOVER, path)
    for path in store.leases.leftovers():
        yield _place(LEFTOVER, path)


def _place(kind: str, path: Path, key: str = "") -> Place:
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    size = 0
    for file in files:
        if file.is_symlink() or not file.is_dir():
            try:
                size += file.lstat().st_size
            except OSError:  # a process that finished removed it
                continue
    return Place(kind, path, size, key if is_key(key) else "")


def _out_of_sight(path: Path) -> Path:
    """Rename a folder so that half of it, while it is removed, cannot be taken for the whole."""
    if not path.is_dir() or path.is_symlink():
        return path
    aside = path.with_name(f".{path.name.strip('.')}.removed.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        return path.rename(aside)
    except FileNotFoundError:  # another process was faster
        return aside
