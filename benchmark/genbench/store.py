"""Content-addressed artifacts on disk: crash-safe, verified on every read, shared between processes.

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
"""

import contextlib
import errno
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

from genbench.caches import Boards, Failures, Fingerprints, Index
from genbench.digest import digest
from genbench.disk import make_folder, probe, sync_folder, write_atomically, writing_store
from genbench.errors import GenbenchError, Interrupted, PluginError, StoreError, UsageError
from genbench.image_files import image_problem
from genbench.leases import Leases
from genbench.manifests import (
    MANIFEST,
    DamagedError,
    Stamp,
    check_files,
    is_key,
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
    """

    root: Path
    partial: bool = False
    found_damaged: list[Damage] = field(default_factory=list)
    index: Index = field(init=False)
    failures: Failures = field(init=False)
    boards: Boards = field(init=False)
    fingerprints: Fingerprints = field(init=False)
    leases: Leases = field(init=False)
    _verified: dict[str, Stamp] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.index, self.failures, self.boards = Index(self.root), Failures(self.root), Boards(self.root)
        self.fingerprints, self.leases = Fingerprints(self.root), Leases(self.root)

    # ------------------------------------------------------------------------------------------ reading

    def has(self, key: str) -> bool:
        """Say whether there is something under this key; whether it can be used, `open` tells."""
        return (self.folder(key) / MANIFEST).is_file()

    def open(self, key: str) -> Artifact | None:
        """Return an artifact that is what its key says, every file as its manifest lists it, or None.

        A damaged artifact is a miss: it is moved aside, so that the step is run again.

        Raises:
            StoreError: It cannot be read, though it may be whole; or it is damaged and cannot be moved.
        """
        if not self.has(key):
            return None
        try:
            manifest = self._checked(key)
        except DamagedError as damage:
            if self.has(key):  # nobody removed it meanwhile
                self.found_damaged.append(Damage(key, str(damage)))
                self.move_aside(key)
            return None
        return Artifact(self.folder(key), manifest["document"], manifest["run"], manifest["files"])

    def manifest(self, key: str) -> Mapping[str, Any] | None:
        """Return the manifest of an artifact without reading its files; None if missing or damaged."""
        with contextlib.suppress(DamagedError, StoreError):
            return read_manifest(self.folder(key), key)
        return None

    def finished(self) -> Iterator[str]:
        """Yield the keys of all artifacts, sorted."""
        for manifest in sorted((self.root / "artifacts").glob(f"??/*/{MANIFEST}")):
            key = manifest.parent.name
            if is_key(key) and manifest.parent == self.folder(key):
                yield key

    def verify(self) -> Iterator[Damage]:
        """Yield every artifact that is damaged, after reading all of them.

        Raises:
            StoreError: One cannot be read, though it may be whole.
        """
        self._verified.clear()
        for key in self.finished():
            try:
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
        return self.root / "artifacts" / key[:2] / key

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
            shutil.rmtree(self.root / "work" / key, ignore_errors=True)
        with contextlib.suppress(DamagedError):
            self._verified[key] = stamp_of(final)
        return Artifact(final, document, run, files)

    def remove(self, key: str) -> None:
        """Remove an artifact and what is left of its work."""
        with self.writing():
            self._verified.pop(key, None)
            self._set_aside(self.folder(key), self.folder(key).with_name(f".{key}.removed.tmp"))
            shutil.rmtree(self.root / "work" / key, ignore_errors=True)

    def move_aside(self, key: str) -> None:
        """Move a damaged artifact out of the way, so that its step is run again."""
        with self.writing():
            aside = make_folder(self.root / "damaged")
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                self.folder(key).rename(aside / f"{key}-{time.time_ns()}")
                sync_folder(self.folder(key).parent)

    # ------------------------------------------------------------------------------------------ records

    def record_files(self) -> dict[str, Path]:
        """Return the saved record of every evaluation, by the first 16 digits of its key; the newest wins."""
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
        return path

    def is_current(self, record: Path, key: str) -> bool:
        """Say whether a saved record is no older than the artifact that it tells of."""
        try:
            made = (self.folder(key) / MANIFEST).stat().st_mtime_ns
            return record.stat().st_mtime_ns >= made
        except OSError:
            return False

    # ------------------------------------------------------------------------------------------ private

    def _made(self, folder: Path) -> Path:
        with self.writing():
            return make_folder(folder)

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
        try:
            temporary.rename(final)
        except OSError as problem:
            if problem.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise
            if self.open(final.name) is None:  # the remains of something: no artifact
                self._set_aside(final, temporary.with_name(f"{temporary.name}.remains.tmp"))
                temporary.rename(final)
        sync_folder(final.parent)

    def _set_aside(self, place: Path, aside: Path) -> None:
        """Remove a folder in one step, as others see it: half of it must not look like an artifact."""
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            place.rename(aside)
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.unlink()


def default_root() -> Path:
    """Return the store's folder: `GENBENCH_STORE`, else `genbench` in the user's cache folder.

    Raises:
        UsageError: The user has no home folder.
    """
    named = os.environ.get("GENBENCH_STORE")
    try:
        if named:
            return Path(named).expanduser()
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache) / "genbench"
    except RuntimeError as problem:
        raise UsageError(
            f"no folder for the store: {problem}", hint="name one with --store DIR or GENBENCH_STORE"
        ) from problem
