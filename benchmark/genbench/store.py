"""Content-addressed artifacts: crash-safe, verified on every read, shared between processes and machines.

    artifacts/<2>/<key>/   files + manifest.json: the artifact exists when its manifest does
    work/<key>/            checkpoints and scratch of a step that is not done
    rooms/<key>/           home of the process that runs a plugin's code for a step
    records/*.json         what was measured, by evaluation; composed anew from artifacts when needed
    logs/<key>.log         what the last attempt said
    index_of_runs/*.json   where the folders of runs are (`genbench.runs`); may be lost
    damaged/               artifacts that failed their check, set aside

Beside these lie caches (`genbench.caches`: index.jsonl, fingerprints.json, failures, boards) and the marks of
processes at work (`genbench.leases`). `genbench.upkeep` cleans up.

A crash or a power failure at any point leaves either the whole artifact or none: it is written to a temporary
folder beside its place, flushed with every folder that names it, and renamed.

Where a store is in a bucket, its folder is a cache of that: see `genbench.backends` and `genbench.remote`.
"""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

from genbench.backends import Backend, FolderBackend, folder_of
from genbench.caches import Boards, Failures, Fingerprints, Index
from genbench.digest import digest
from genbench.disk import (
    make_folder,
    move_folder,
    probe,
    set_aside,
    sync_folder,
    write_atomically,
    writing_store,
)
from genbench.errors import GenbenchError, Interrupted, PluginError, StoreError
from genbench.holders import Keeper
from genbench.image_files import image_problem
from genbench.manifests import (
    MANIFEST,
    DamagedError,
    Stamp,
    check_files,
    read_manifest,
    stamp_of,
    write_manifest,
)
from genbench.records import Record


@dataclass(frozen=True)
class Artifact:
    """A finished, verified step result.

    Attributes:
        folder: Where its files are. Read only.
        document: The key document of the step that made it.
        run: What the attempt took: seconds, device, versions; not part of the identity.
        files: Size and digest of every file, by its name in the folder.
    """

    folder: Path
    document: Mapping[str, Any]
    run: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]

    def read_json(self, name: str) -> Any:
        """Read one of its files as JSON."""
        return loads((self.folder / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Damage:
    """An artifact that does not hold what its manifest says."""

    key: str
    reason: str


@dataclass
class Store:
    """Artifacts by key, under one folder, and what is remembered of them.

    Args:
        root: The folder; made when first written to.
        partial: Whether artifacts may lack files that their manifest lists: those of a submission do.
        found_damaged: Artifacts that `open` found damaged and moved aside.
        notes: What people should know of artifacts that were put here; for the log of whoever did.
        elsewhere: Where others see what is stored; None is this folder itself.
        backend: As above, the folder included.
    """

    root: Path
    partial: bool = False
    found_damaged: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    elsewhere: Backend | None = None
    backend: Backend = field(init=False)
    index: Index = field(init=False)
    failures: Failures = field(init=False)
    boards: Boards = field(init=False)
    fingerprints: Fingerprints = field(init=False)
    _verified: dict[str, Stamp] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.index, self.failures, self.boards = Index(self.root), Failures(self.root), Boards(self.root)
        self.fingerprints = Fingerprints(self.root)
        self.backend = self.elsewhere or FolderBackend(self.root)

    @property
    def address(self) -> str:
        """What `open_store` opens it by, in any process: its folder or its URL."""
        return self.backend.address

    @property
    def leases(self) -> Keeper:
        """Who is at which step."""
        return self.backend.leases

    # ------------------------------------------------------------------------------------------ reading

    def has(self, key: str) -> bool:
        """Say whether there is something under this key; whether it can be used, `open` tells."""
        return self.backend.has(key)

    def listed(self) -> AbstractContextManager[None]:
        """Look once what is there, for the many questions inside; what comes meanwhile is missed."""
        return self.backend.listed()

    def open(self, key: str) -> Artifact | None:
        """Return an artifact that is what its key says, every file as its manifest lists it, or None.

        A damaged artifact is a miss: it is moved aside, so that the step is run again.

        Raises:
            StoreError: It cannot be read, though it may be whole; or it is damaged and cannot be moved.
        """
        try:
            if not self._brought(key):
                return None
        except DamagedError as damage:
            self.found_damaged.append(Damage(key, str(damage)))
            return None
        try:
            return self._artifact(key)
        except DamagedError as damage:
            if not self._is_here(key):  # somebody removed it meanwhile
                return None
            self._aside(key)
            with contextlib.suppress(DamagedError):
                if self._brought(key):  # this folder is a cache
                    return self._artifact(key)
            self.found_damaged.append(Damage(key, str(damage)))
        return None

    def manifest(self, key: str) -> Mapping[str, Any] | None:
        """Return the manifest of an artifact without reading its files; None if missing or damaged."""
        return self.backend.manifest(key)

    def manifests(self) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
        """Yield the key of every artifact with its manifest, sorted; None where that is damaged."""
        return self.backend.manifests()

    def finished(self) -> Iterator[str]:
        """Yield the keys of all artifacts, sorted."""
        return self.backend.keys()

    def verify(self) -> Iterator[Damage]:
        """Yield every artifact that is damaged, after reading all of them.

        Raises:
            StoreError: One cannot be read, though it may be whole.
        """
        self._verified.clear()
        for key in self.finished():
            try:
                is_read = self.backend.audit(key)
            except DamagedError as problem:
                yield Damage(key, str(problem))
                continue
            try:
                if not is_read:
                    self._checked(key)
            except DamagedError as problem:
                if os.path.lexists(self.folder(key) / MANIFEST):  # nobody removed it meanwhile
                    yield Damage(key, str(problem))

    def fingerprint(self, path: Path) -> str:
        """Return the SHA-256 of a file outside the store; remembered for a while."""
        return self.fingerprints.of(path)

    def image_problem(self, path: Path) -> str:
        """Say what is wrong with an image file outside the store, or nothing; remembered as its digest is."""
        return self.fingerprints.problem(path, image_problem)

    # ------------------------------------------------------------------------------------------ writing

    def folder(self, key: str) -> Path:
        """Return where an artifact is, if it is there."""
        return folder_of(self.root, key)

    def work_folder(self, key: str) -> Path:
        """Return the folder for checkpoints and scratch of an unfinished step."""
        return self._made(self.root / "work" / key)

    @contextlib.contextmanager
    def room_folder(self, key: str) -> Iterator[Path]:
        """Make the folder for whatever a step's libraries write in its room; removed when it is left."""
        folder = self._made(self.root / "rooms" / key)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def log_path(self, key: str) -> Path:
        """Return the path of a step's log."""
        return self._made(self.root / "logs") / f"{key}.log"

    def writing(self) -> AbstractContextManager[None]:
        """Turn a full, read-only or failing disk into one message; for the harness's own writing alone."""
        return writing_store(self.root)

    def put(
        self,
        key: str,
        document: Mapping[str, Any],
        fill: Callable[[Path], Mapping[str, Any]],
        family: str = "",
    ) -> Artifact:
        """Make an artifact: `fill(folder)` writes its files and returns the `run` part of the manifest.

        Whoever comes second keeps the first artifact: equal keys mean equal content.

        Raises:
            StoreUnwritableError: The disk is full, read-only or failing.
            Exception: Whatever `fill` raises, if the store can still be written: it is the plugin's own.
        """
        if digest(document) != key:
            raise StoreError(f"a step has the key {key[:16]}, which is not that of its document")
        unsent = self._published_late(key)
        if unsent is not None:
            return unsent
        final = self.folder(key)
        temporary = final.with_name(f".{key}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        with self.writing():
            make_folder(final.parent)
            temporary.mkdir()
        try:
            run = self._filled(fill, temporary)
            with self.writing():
                files = write_manifest(temporary, key, document, run)
                self._move_into_place(temporary, final)
        except Interrupted:
            raise
        except Exception:
            # Another process, which took the step over, may have finished it and cleared its scratch away.
            finished = self.open(key)
            if finished is None:
                raise
            return finished
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        with self.writing():
            self.index.append(
                {
                    "key": key,
                    "stage": document.get("stage"),
                    "family": family,
                    "seconds": run.get("seconds"),
                }
            )
            self.failures.forget(key)
        with contextlib.suppress(DamagedError):
            self._verified[key] = stamp_of(final)
        artifact = self._published(key) or Artifact(final, document, run, files)
        with self.writing():
            shutil.rmtree(self.root / "work" / key, ignore_errors=True)
        return artifact

    def _published(self, key: str) -> Artifact | None:
        """Let others see an artifact; return the one that counts, if it is not this one."""
        note = self.backend.publish(key)
        if not note:
            return None
        self.notes.append(note)
        return self.open(key)

    def _published_late(self, key: str) -> Artifact | None:
        """Publish what an earlier attempt made, and could not send; None if there is nothing of that kind."""
        if not self.backend.is_unsent(key):
            return None
        try:
            self._checked(key)
        except DamagedError:
            self._aside(key)
            return None
        self._published(key)
        with self.writing():
            shutil.rmtree(self.root / "work" / key, ignore_errors=True)
        return self.open(key)

    def remove(self, key: str) -> None:
        """Remove an artifact and what is left of its work."""
        self.backend.withdraw(key)
        with self.writing():
            self._verified.pop(key, None)
            set_aside(self.folder(key), self.folder(key).with_name(f".{key}.removed.tmp"))
            shutil.rmtree(self.root / "work" / key, ignore_errors=True)

    def move_aside(self, key: str) -> bool:
        """Move a damaged artifact out of the way, so that its step is run again.

        False if it stays in a bucket: it is whole by now, or somebody is at it.
        """
        if not self.backend.withdraw(key, as_damaged=True):
            return False
        self._aside(key)
        return True

    def _aside(self, key: str) -> None:
        with self.writing():
            aside = make_folder(self.root / "damaged")
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                self.folder(key).rename(aside / f"{key}-{time.time_ns()}")
                sync_folder(self.folder(key).parent)

    # ------------------------------------------------------------------------------------------ records

    def record_files(self) -> dict[str, Path]:
        """Return the saved record of every evaluation, by the first 16 digits of its key; the newest wins."""
        self.backend.bring_records()
        found: dict[str, Path] = {}
        folder = self.root / "records"
        names = f"*-{'?' * 16}-{'?' * 8}.json"
        for path in sorted(folder.glob(names), key=lambda file: file.lstat().st_mtime_ns):
            found[path.stem.split("-")[-2]] = path
        return found

    def save_record(self, record: Record) -> Path:
        """Write a record, which is the newest of its evaluation from now on; return where it is."""
        about = record.result
        path = self.root / "records" / f"{about.subject}-{about.key[:16]}-{record.result_digest[:8]}.json"
        with self.writing():
            make_folder(path.parent)
            write_atomically(path, record.to_json().encode())
        self.backend.publish_record(path)
        return path

    def is_current(self, record: Path, key: str) -> bool:
        """Say whether a saved record is no older than the artifact that it tells of."""
        try:
            made = (self.folder(key) / MANIFEST).stat().st_mtime_ns
            return record.stat().st_mtime_ns >= made
        except OSError:
            return False

    # ------------------------------------------------------------------------------------------ private

    def _is_here(self, key: str) -> bool:
        return (self.folder(key) / MANIFEST).is_file()

    def _brought(self, key: str) -> bool:
        """Have an artifact here, if there is one; what was checked on its way is not checked again."""
        stamp = self.backend.bring(key)
        if stamp:
            self._verified[key] = stamp
        return stamp is not None

    def _made(self, folder: Path) -> Path:
        with self.writing():
            return make_folder(folder)

    def _artifact(self, key: str) -> Artifact:
        manifest = self._checked(key)
        return Artifact(self.folder(key), manifest["document"], manifest["run"], manifest["files"])

    def _checked(self, key: str) -> Mapping[str, Any]:
        """Return the manifest of an artifact that holds what it says.

        Contents are hashed, unless this process did so before and nothing in the folder changed since.
        """
        folder = self.folder(key)
        stamp = stamp_of(folder)
        manifest = read_manifest(folder, key)
        if self._verified.get(key) != stamp:
            check_files(folder, manifest, partial=self.partial)
            self._verified[key] = stamp
        return manifest

    def _filled(self, fill: Callable[[Path], Mapping[str, Any]], folder: Path) -> dict[str, Any]:
        """Let a step write its files; what it raises is its own, unless the store has become unwritable."""
        try:
            run = dict(fill(folder))
        except GenbenchError:
            raise
        except Exception:
            with self.writing():
                probe(folder.parent)
            raise
        if not folder.is_dir():
            raise PluginError("the step removed the folder that its files belong in")
        return run

    def _move_into_place(self, temporary: Path, final: Path) -> None:
        if (
            not move_folder(temporary, final) and self.open(final.name) is None
        ):  # remains of something: no artifact
            set_aside(final, temporary.with_name(f"{temporary.name}.remains.tmp"))
            temporary.rename(final)
        sync_folder(final.parent)
