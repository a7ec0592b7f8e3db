"""Content-addressed artifacts on disk: crash-safe, verified on every read, shared between processes.

    <root>/artifacts/<2>/<key>/   files + manifest.json: the artifact exists when its manifest does
    <root>/work/<key>/            checkpoints and scratch of a step that is not done
    <root>/rooms/<key>/           home of the process that runs a plugin's code for a step
    <root>/failures/<key>.json    why the last attempt failed (a note for people; never a cached result)
    <root>/logs/<key>.log         what the last attempt said
    <root>/index.jsonl            one line per artifact: key, stage, family, seconds
    <root>/records/*.json         what was measured, by evaluation; composed anew from artifacts when needed
    <root>/boards/<key>.json      rendered boards, the newest ones
    <root>/leases/<key>           which process is at a step
    <root>/damaged/               artifacts that failed their check, set aside
    <root>/fingerprints.json      digests of files outside, by path, size and time

A crash at any point leaves either the whole artifact or none: it is written to a temporary folder beside its
place, flushed, and renamed. Duplicate work is avoided by a lease; correctness never depends on it.
"""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genbench.digest import canonical_json, digest, file_digest
from genbench.errors import GenbenchError, StoreUnwritableError
from genbench.records import Record

MANIFEST = "manifest.json"
_UNWRITABLE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
)
KEPT_BOARDS = 50  #: rendered boards: each is made again from its records in seconds
LEASE_SECONDS = 60.0  #: a lease whose heartbeat is older belongs to a dead process


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
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Damage:
    """An artifact that does not hold what its manifest says."""

    key: str
    reason: str


@dataclass
class Store:
    """Artifacts by key, under one folder.

    Args:
        root: The folder; made when first written to.
        found_damaged: Artifacts that `open` found damaged and moved aside.
    """

    root: Path
    found_damaged: list[Damage] = field(default_factory=list)
    _verified: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    _fingerprints: dict[str, str] = field(default_factory=dict, repr=False)
    _fingerprints_grew: bool = field(default=False, repr=False)

    # ------------------------------------------------------------------------------------------ reading

    def has(self, key: str) -> bool:
        """Say whether the artifact exists, without verifying its content."""
        return (self._folder(key) / MANIFEST).is_file()

    def open(self, key: str) -> Artifact | None:
        """Return an artifact whose every file matches its manifest, or None.

        A damaged artifact is a miss: it is moved aside, so that the step is run again.
        """
        folder = self._folder(key)
        if not (folder / MANIFEST).is_file():
            return None
        reason = self._damage(key)
        if reason:
            self.found_damaged.append(Damage(key, reason))
            self._move_aside(key)
            return None
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return Artifact(folder, manifest["document"], manifest["run"], manifest["files"])

    def manifest(self, key: str) -> Mapping[str, Any] | None:
        """Return the manifest of an artifact without reading its files; None if missing or unreadable."""
        try:
            manifest = json.loads((self._folder(key) / MANIFEST).read_text(encoding="utf-8"))
            return manifest if _checksum(manifest) == manifest.get("checksum") else None
        except (OSError, ValueError, AttributeError, GenbenchError):
            return None

    def finished(self) -> Iterator[str]:
        """Yield the keys of all artifacts, sorted."""
        for manifest in sorted((self.root / "artifacts").glob(f"??/*/{MANIFEST}")):
            yield manifest.parent.name

    def index(self) -> Iterator[Mapping[str, Any]]:
        """Yield a line for every artifact that was ever finished here, removed ones included."""
        try:
            lines = (self.root / "index.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError:
            return
        for line in lines:
            with contextlib.suppress(ValueError):  # a line that a crash cut short
                yield json.loads(line)

    def fingerprint(self, path: Path) -> str:
        """Return a file's SHA-256, remembered by inode, size and time of change."""
        state = path.stat()
        mark = f"{state.st_dev}:{state.st_ino}:{state.st_size}:{state.st_mtime_ns}"
        if not self._fingerprints:
            with contextlib.suppress(OSError, ValueError):
                self._fingerprints.update(json.loads((self.root / "fingerprints.json").read_text("utf-8")))
        if mark not in self._fingerprints:
            self._fingerprints[mark] = file_digest(path)
            self._fingerprints_grew = True
        return self._fingerprints[mark]

    def keep_fingerprints(self) -> None:
        """Write the remembered digests, if there are new ones; a read-only store does without."""
        if self._fingerprints_grew:
            with contextlib.suppress(OSError):
                self.root.mkdir(parents=True, exist_ok=True)
                write_atomically(self.root / "fingerprints.json", canonical_json(self._fingerprints).encode())
            self._fingerprints_grew = False

    def verify(self) -> Iterator[Damage]:
        """Yield every artifact that is damaged, after reading all of them."""
        self._verified.clear()
        for key in self.finished():
            reason = self._damage(key)
            if reason:
                yield Damage(key, reason)

    # ------------------------------------------------------------------------------------------ writing

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

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a full or read-only disk into a message that says so."""
        try:
            yield
        except OSError as problem:
            # A plugin works inside, too: what it cannot write elsewhere is its own failure.
            own = problem.filename is None or Path(str(problem.filename)).is_relative_to(self.root)
            if own and problem.errno in _UNWRITABLE:
                raise StoreUnwritableError(
                    f"cannot write to the store {self.root}: {problem.strerror}",
                    hint="name another folder with --store DIR, or free space with `genbench store gc`; "
                    "finished work is kept",
                ) from problem
            raise

    def put(
        self,
        key: str,
        document: Mapping[str, Any],
        fill: Callable[[Path], Mapping[str, Any]],
        family: str = "",
    ) -> Artifact:
        """Make an artifact: `fill(folder)` writes its files and returns the `run` part of the manifest.

        Whoever comes second keeps the first artifact: equal keys mean equal content.
        """
        with self.writing():
            final = self._folder(key)
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary = final.with_name(f".{key}.{os.getpid()}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            try:
                run = dict(fill(temporary))
                files = _write_manifest(temporary, key, document, run)
                _move_into_place(temporary, final)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            line = {
                "key": key,
                "stage": document.get("stage"),
                "family": family,
                "seconds": run.get("seconds"),
            }
            self._append_index(line)
            self.forget_failure(key)
            shutil.rmtree(self.root / "work" / key, ignore_errors=True)
        self._verified[key] = _stamp(final)
        return Artifact(final, document, run, files)

    def remove(self, key: str) -> int:
        """Remove an artifact and what is left of its work; return the bytes freed."""
        freed = 0
        for folder in (self._folder(key), self.root / "work" / key):
            freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            shutil.rmtree(folder, ignore_errors=True)
        self._verified.pop(key, None)
        return freed

    # ------------------------------------------------------------------------------------------ records

    def record_files(self) -> dict[str, Path]:
        """Return the saved record of every evaluation, by the first 16 digits of its key; the newest wins."""
        found: dict[str, Path] = {}
        folder = self.root / "records"
        names = f"*-{'?' * 16}-{'?' * 8}.json"
        for path in sorted(folder.glob(names), key=lambda file: file.stat().st_mtime_ns):
            found[path.stem.split("-")[-2]] = path
        return found

    def save_record(self, record: Record) -> Path:
        """Write a record, which is the newest of its evaluation from now on; return where it is."""
        about = record.result
        path = self.root / "records" / f"{about.subject}-{about.key[:16]}-{record.result_digest[:8]}.json"
        with self.writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, record.to_json().encode())
        return path

    def is_current(self, record: Path, key: str) -> bool:
        """Say whether a saved record is no older than the artifact that it tells of."""
        try:
            made = (self._folder(key) / MANIFEST).stat().st_mtime_ns
            return record.stat().st_mtime_ns >= made
        except OSError:
            return False

    def rendering(self, key: str) -> dict[str, str] | None:
        """Return a board that was rendered before, by suffix, or None; `key` names records and code."""
        with contextlib.suppress(OSError, ValueError):
            content = json.loads((self.root / "boards" / f"{key}.json").read_text(encoding="utf-8"))
            if content["sha256"] == digest(content["board"]):
                return dict(content["board"])
        return None

    def keep_rendering(self, key: str, board: Mapping[str, str]) -> None:
        """Keep a rendered board, and the `KEPT_BOARDS` newest of all."""
        with self.writing():
            folder = self._made(self.root / "boards")
            content = {"sha256": digest(dict(board)), "board": dict(board)}
            write_atomically(folder / f"{key}.json", canonical_json(content).encode())
            with contextlib.suppress(FileNotFoundError):  # another run tidies up, too
                for old in sorted(folder.glob("*.json"), key=lambda one: -one.stat().st_mtime_ns)[
                    KEPT_BOARDS:
                ]:
                    old.unlink(missing_ok=True)

    # ----------------------------------------------------------------------------------------- failures

    def note_failure(self, key: str, failure: Mapping[str, Any]) -> None:
        """Remember why a step failed, for `plan`, `why` and `retry`. Never read as a result."""
        with self.writing():
            path = self._made(self.root / "failures") / f"{key}.json"
            path.write_text(json.dumps(dict(failure), indent=1, sort_keys=True), encoding="utf-8")

    def failure(self, key: str) -> Mapping[str, Any] | None:
        """Return why the last attempt failed, or None."""
        try:
            failure: Mapping[str, Any] = json.loads(
                (self.root / "failures" / f"{key}.json").read_text("utf-8")
            )
        except (OSError, ValueError):
            return None
        return failure

    def failed_keys(self) -> set[str]:
        """Return the keys of all steps whose last attempt failed."""
        folder = self.root / "failures"
        return {path.stem for path in folder.glob("*.json")} if folder.is_dir() else set()

    def forget_failure(self, key: str) -> None:
        """Forget a failure, so that the step is tried again."""
        (self.root / "failures" / f"{key}.json").unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------- leases

    def acquire(self, key: str) -> bool:
        """Take the lease of a step, unless another living process holds it."""
        path = self._made(self.root / "leases") / key
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEASE_SECONDS:
                path.unlink(missing_ok=True)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True

    def heartbeat(self, key: str) -> None:
        """Say that the holder of a lease is alive."""
        with contextlib.suppress(OSError):
            os.utime(self.root / "leases" / key)

    def release(self, key: str) -> None:
        """Give a lease back."""
        (self.root / "leases" / key).unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------ private

    def _folder(self, key: str) -> Path:
        return self.root / "artifacts" / key[:2] / key

    def _made(self, folder: Path) -> Path:
        with self.writing():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _append_index(self, line: Mapping[str, Any]) -> None:
        descriptor = os.open(self.root / "index.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        try:
            os.write(
                descriptor, (canonical_json(line) + "\n").encode()
            )  # one write: appends do not interleave
        finally:
            os.close(descriptor)

    def _damage(self, key: str) -> str:
        """Return what is wrong with an artifact, or an empty string.

        Contents are hashed, unless this process did so before and no file's time or size changed since.
        """
        folder = self._folder(key)
        try:
            stamp = _stamp(folder)
            if self._verified.get(key) == stamp:
                return ""
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if _checksum(manifest) != manifest.get("checksum"):
                return "manifest.json does not match its checksum"
            for name, entry in manifest["files"].items():
                if (folder / name).stat().st_size != entry["bytes"]:
                    return f"{name}: size differs from the manifest"
                if file_digest(folder / name) != entry["sha256"]:
                    return f"{name}: content differs from the manifest"
        except (OSError, ValueError, KeyError, TypeError, AttributeError, GenbenchError) as problem:
            return f"cannot be read: {problem!r}"
        self._verified[key] = stamp
        return ""

    def _move_aside(self, key: str) -> None:
        with self.writing():
            aside = self._made(self.root / "damaged") / f"{key}-{time.time_ns()}"
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                self._folder(key).rename(aside)


def default_root() -> Path:
    """Return the store's folder: `GENBENCH_STORE`, else `genbench` in the user's cache folder."""
    named = os.environ.get("GENBENCH_STORE")
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "genbench"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _stamp(folder: Path) -> tuple[int, ...]:
    states = [path.stat() for path in sorted(folder.rglob("*"))]
    return tuple(number for state in states for number in (state.st_mtime_ns, state.st_size, state.st_ino))


def _checksum(manifest: Mapping[str, Any]) -> str:
    return digest({name: value for name, value in manifest.items() if name != "checksum"})


def _write_manifest(
    folder: Path, key: str, document: Mapping[str, Any], run: Mapping[str, Any]
) -> Mapping[str, Mapping[str, Any]]:
    """Write the manifest, last of all files; return what it says of the others."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
            name = path.relative_to(folder).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    manifest = {"key": key, "document": document, "files": files, "run": run}
    text = json.dumps({**manifest, "checksum": _checksum(manifest)}, indent=1, sort_keys=True)
    write_atomically(folder / MANIFEST, text.encode())
    return files


def _move_into_place(temporary: Path, final: Path) -> None:
    try:
        temporary.rename(final)
    except OSError as problem:
        if problem.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        if not (final / MANIFEST).is_file():  # the remains of something: an artifact without a manifest
            shutil.rmtree(final)
            temporary.rename(final)


def collect_garbage(store: Store, stages: frozenset[str], *, dry_run: bool = False) -> tuple[int, int]:
    """Remove what no run needs: unfinished work, damaged results, and results of the named stages.

    Records, logs and everything else stay. Returns (bytes freed, places removed).
    """
    places = [*(store.root / "work").glob("*"), *(store.root / "damaged").glob("*")]
    places += (store.root / "artifacts").glob("??/.*.tmp")
    for key in store.finished():
        manifest = store.manifest(key)
        if manifest is None or manifest["document"].get("stage") in stages:
            places.append(store.root / "artifacts" / key[:2] / key)
    freed = sum(file.stat().st_size for place in places for file in place.rglob("*") if file.is_file())
    if not dry_run:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
    return freed, len(places)
