"""What a store remembers beside its artifacts, to be quick or to tell people: any of it may be lost or wrong.

What is here is never a result. A file of a wrong shape is ignored, and replaced when it is written next.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genbench.digest import canonical_json, digest, file_digest
from genbench.disk import make_folder, read_regular, remove_place, write_atomically, writing_store
from genbench.errors import GenbenchError
from genbench.manifests import is_key

KEPT_BOARDS = 50  #: rendered boards: each is made again from its records in seconds
BELIEVED_SECONDS = 7 * 24 * 3600.0  #: how long a remembered digest of a file spares reading it
LOOKED = 1  #: raised when `genbench.image_files.image_problem` finds other problems than before
BOARD_FORMS = frozenset({"txt", "md", "csv", "json"})
_MOST_BYTES = 256 * 2**20  # of a file that is read here
_GARBLED = (OSError, ValueError, RecursionError, GenbenchError)


def read_json(path: Path) -> Any:
    """Read JSON that anybody may have written; None if it cannot be read as such."""
    try:
        return json.loads(read_regular(path, _MOST_BYTES, links=False))
    except (OSError, ValueError, RecursionError):
        return None


def _replace(path: Path, content: bytes) -> None:
    """Write a file, whatever is in its place."""
    make_folder(path.parent)
    if path.is_dir():
        remove_place(path)
    write_atomically(path, content)


# --------------------------------------------------------------------------------------------------- index


@dataclass(frozen=True)
class Index:
    """`index.jsonl`: a line for every artifact that was ever finished here, removed ones included."""

    root: Path

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """Yield key, stage, family and seconds (a number or None) of each; other lines are skipped."""
        for text in self.texts():
            line = _index_line(text)
            if line is not None:
                yield line

    def texts(self) -> list[str]:
        """Return the lines as they are, damaged ones included."""
        try:
            return read_regular(self._path, _MOST_BYTES, links=False).decode(errors="replace").splitlines()
        except (OSError, ValueError):
            return []

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line in one write: those of several processes do not interleave."""
        text = canonical_json(line) + "\n"
        if self._path.is_dir():
            remove_place(self._path)
        descriptor = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # a crash left half a line
            os.write(descriptor, (("\n" if is_cut else "") + text).encode())
        finally:
            os.close(descriptor)

    def rewrite(self) -> int:
        """Drop the lines that are none; return how many they were."""
        good = [canonical_json(line) for line in self.lines()]
        dropped = len(self.texts()) - len(good)
        if dropped:
            with writing_store(self.root):
                _replace(self._path, "".join(f"{line}\n" for line in good).encode())
        return dropped

    @property
    def _path(self) -> Path:
        return self.root / "index.jsonl"


def _index_line(text: str) -> Mapping[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not is_key(str(line.get("key"))):
        return None
    seconds = line.get("seconds")
    is_number = isinstance(seconds, int | float) and math.isfinite(seconds)
    return {
        "key": str(line["key"]),
        "stage": str(line.get("stage")),
        "family": str(line.get("family")),
        "seconds": seconds if is_number else None,
    }


# -------------------------------------------------------------------------------------------- fingerprints


@dataclass
class Fingerprints:
    """`fingerprints.json`: SHA-256 of files outside the store, by inode, size and times of change.

    A remembered digest is believed for a week, and until the file changes; then the file is read again, so
    that a wrong one, whoever wrote it, does not stay. `check` reads all files at once.
    """

    root: Path
    now: Callable[[], float] = time.time
    _known: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    _is_loaded: bool = False
    _grew: bool = False

    def of(self, path: Path) -> str:
        """Return a file's SHA-256."""
        self._load()
        mark = _mark(path)
        entry = self._known.get(mark)
        if entry is None or not 0 <= self.now() - entry["read"] <= BELIEVED_SECONDS:
            entry = {"sha256": file_digest(path), "path": str(path.absolute()), "read": self.now()}
            self._known[mark] = entry
            self._grew = True
        return str(entry["sha256"])

    def problem(self, path: Path, look: Callable[[Path], str]) -> str:
        """Return what `look` says of a file: asked once, and remembered with the file's digest.

        A file that cannot be read has no digest, and is looked at each time.
        """
        try:
            self.of(path)
        except (OSError, GenbenchError):
            return look(path)
        entry = self._known[_mark(path)]
        known = entry.get("looked")
        if not isinstance(known, list) or len(known) != 2 or known[0] != LOOKED:
            known = entry["looked"] = [LOOKED, look(path)]
            self._grew = True
        return str(known[1])

    def keep(self) -> None:
        """Write what was learned, if anything; a store that cannot be written does without."""
        if self._grew:
            with contextlib.suppress(OSError):
                _replace(self._path, canonical_json(self._known).encode())
            self._grew = False

    def check(self) -> Iterator[str]:
        """Read every remembered file again; yield the paths whose digest was wrong, which `keep` mends."""
        self._load()
        for mark, entry in list(self._known.items()):
            path = Path(entry["path"])
            try:
                if _mark(path) != mark:
                    del self._known[mark]  # of a file that changed since, or is gone
                    self._grew = True
                elif file_digest(path) != entry["sha256"]:
                    del self._known[mark]
                    self._grew = True
                    yield entry["path"]
            except OSError:
                continue

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        content = read_json(self._path)
        for mark, entry in content.items() if isinstance(content, dict) else ():
            if _is_fingerprint(entry):
                self._known[mark] = entry

    @property
    def _path(self) -> Path:
        return self.root / "fingerprints.json"


def _mark(path: Path) -> str:
    """Name the present content of a file without reading it: `utime` cannot set the second time."""
    state = path.stat()
    return f"{state.st_dev}:{state.st_ino}:{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}"


def _is_fingerprint(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and is_key(str(entry.get("sha256")))
        and isinstance(entry.get("path"), str)
        and isinstance(entry.get("read"), int | float)
    )


# ------------------------------------------------------------------------------------------------ failures


@dataclass(frozen=True)
class Failures:
    """`failures/KEY.json`: why the last attempt at a step failed. Notes for people, never results."""

    root: Path

    def note(self, key: str, failure: Mapping[str, Any]) -> None:
        """Remember why a step failed: `label`, `reason`, `log`, and whatever else is of use."""
        with writing_store(self.root):
            content = json.dumps(dict(failure), indent=1, sort_keys=True)
            _replace(self._folder / f"{key}.json", content.encode())

    def find(self, key: str) -> Mapping[str, Any] | None:
        """Return why the last attempt failed, or None; `label`, `reason` and `log` are texts."""
        failure = read_json(self._folder / f"{key}.json")
        if not isinstance(failure, dict):
            return None
        if not all(isinstance(failure.get(name), str) for name in ("label", "reason", "log")):
            return None
        return failure

    def keys(self) -> set[str]:
        """Return the keys of all steps whose last attempt failed."""
        return {path.stem for path in self._folder.glob("*.json") if is_key(path.stem)}

    def forget(self, key: str) -> None:
        """Forget a failure, so that the step is tried again."""
        with writing_store(self.root):
            remove_place(self._folder / f"{key}.json")

    def tidy(self) -> int:
        """Remove the notes that cannot be read; return how many they were."""
        garbled = [key for key in self.keys() if self.find(key) is None]
        for key in garbled:
            self.forget(key)
        return len(garbled)

    @property
    def _folder(self) -> Path:
        return self.root / "failures"


# -------------------------------------------------------------------------------------------------- boards


@dataclass(frozen=True)
class Boards:
    """`boards/KEY.json`: rendered boards, the newest ones; a key names records and code."""

    root: Path

    def find(self, key: str) -> dict[str, str] | None:
        """Return a board that was rendered before, by suffix, or None."""
        content = read_json(self._folder / f"{key}.json")
        with contextlib.suppress(KeyError, TypeError, *_GARBLED):
            board = content["board"]
            if content["sha256"] == digest({"key": key, "board": board}) and _is_board(board):
                return dict(board)
        return None

    def keep(self, key: str, board: Mapping[str, str]) -> None:
        """Keep a rendered board, if that is possible, and the `KEPT_BOARDS` newest of all."""
        content = {"sha256": digest({"key": key, "board": dict(board)}), "board": dict(board)}
        with contextlib.suppress(OSError):  # a full disk; or another run, which tidies up, too
            _replace(self._folder / f"{key}.json", canonical_json(content).encode())
            newest = sorted(self._folder.glob("*.json"), key=lambda one: -one.lstat().st_mtime_ns)
            for old in newest[KEPT_BOARDS:]:
                remove_place(old)

    def tidy(self) -> int:
        """Remove the boards that cannot be read; return how many they were."""
        garbled = [path for path in self._folder.glob("*.json") if self.find(path.stem) is None]
        with writing_store(self.root):
            for path in garbled:
                remove_place(path)
        return len(garbled)

    @property
    def _folder(self) -> Path:
        return self.root / "boards"


def _is_board(board: Any) -> bool:
    return (
        isinstance(board, dict)
        and board.keys() == BOARD_FORMS
        and all(isinstance(v, str) for v in board.values())
    )
