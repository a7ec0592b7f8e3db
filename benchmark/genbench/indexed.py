"""Many records, read once: an index beside the user's other caches, never believed over the files.

`indexed_records` yields what `read_records` yields. Folders with at least `FEWEST` records have an index, one
SQLite file each (`genbench.index_files`): what boards read of a record (`genbench.compact`), and the mark of
its file. docs/design/record-index.md says why it is where it is. A row counts only

* in a folder and a file that belong to this user and that nobody else can write: never one found beside
  records;
* where device, inode, size and both times of change of the file are those it had when it was read. The second
  time (ctime) cannot be set by `utime` or `cp -p`, so that a file of the same size and time is found out,
  too. A file younger than `YOUNG_SECONDS` is read again next time: it might change within one tick of the
  clock;
* for a week: a wrong one, whoever wrote it, does not stay;
* where its seal, a checksum over everything in it, is right, and where the same code and libraries wrote it.

Whatever else is found there is silently read from the files again, and replaced. Where nothing can be
written, a temporary file that only this process sees takes what is large, so that memory is the same.
"""

import contextlib
import gc
import json
import math
import os
import platform
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from genbench.caches import BELIEVED_SECONDS
from genbench.compact import Compact, Part, Restorer, compacted, read_json
from genbench.errors import DataError
from genbench.index_files import (
    checksum,
    forget_oldest,
    index_file,
    index_folder,
    is_damage,
    open_index,
    open_temporary,
    transaction,
)
from genbench.records import Record, check_amount, files_of, read_record
from genbench.registry import package_digest

FEWEST = 1_000  #: records of a folder: fewer are read in a second or two
YOUNG_SECONDS = 2.0  #: the coarsest time of change that file systems keep (FAT)
_BATCH = 500  # records that are written together
_HELD_CHARACTERS = 3_000  # of a record's tables: 10,000 test images have 1,700
_SCHEMA = """
CREATE TABLE IF NOT EXISTS parts (place INTEGER PRIMARY KEY, seal BLOB UNIQUE, kind TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS records
    (name TEXT PRIMARY KEY, mark TEXT, seen REAL, parts TEXT, own TEXT, tables TEXT, seal BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tables (name TEXT PRIMARY KEY, content TEXT, seal BLOB) WITHOUT ROWID;
"""
_PUT_PART = """
INSERT INTO parts (seal, kind, text) VALUES (?, ?, ?)
    ON CONFLICT (seal) DO UPDATE SET kind = excluded.kind, text = excluded.text
"""


def indexed_records(paths: Iterable[Path]) -> Iterator[Record]:
    """Yield the records of files and folders in order of path, as `read_records` does; of many, by an index.

    Tables and curves of a record of a large folder are read from its file when somebody asks for them.

    Raises:
        DataError: As `read_records`.
    """
    files: dict[Path, Path | None] = {}
    known: dict[Path, Record] = {}
    indexed: dict[Path, tuple[_Index, str]] = {}
    shared: dict[Part, Any] = {}
    indexes: list[_Index] = []
    for path in paths:
        own = {file: inside for file, inside in files_of([path]).items() if file not in files}
        files |= own
        if len(own) >= FEWEST:
            index = _Index(path.resolve(), shared)
            above = len(os.fspath(path / "x")) - 1
            names = {os.fspath(file)[above:]: file for file in own}
            with collector_paused():
                known |= {names[name]: record for name, record in index.known(names).items()}
            indexed |= {file: (index, name) for name, file in names.items()}
            indexes.append(index)
    check_amount(files)
    for file in sorted(files, key=lambda one: one.parts):
        if file in known:
            yield known.pop(file)
        elif file in indexed:
            index, name = indexed[file]
            yield index.read(name, file)
        else:
            yield read_record(file, inside=files[file])
    for index in indexes:
        index.finish()


class _Index:
    """The index of a folder; `genbench.compact.Fetcher` of its records.

    Args:
        root: The folder, resolved.
        shared: Parts of records of other indexes.
    """

    def __init__(self, root: Path, shared: dict[Part, Any]) -> None:
        folder = index_folder()
        self._root, self._made = root, _made_by()
        self._file = index_file(folder, root) if folder is not None else None
        self._kept = open_index(self._file, _SCHEMA, self._made) if self._file is not None else None
        self._spare: sqlite3.Connection | None = None  # tables that cannot be kept
        self._restorer = Restorer(self, shared)
        self._pending: dict[str, tuple[str, Compact]] = {}  # with the mark; empty where a file is too young
        self._gone: list[str] = []
        self._parts: dict[int, tuple[bytes, Part]] = {}
        self._places: dict[bytes, int] = {}
        self._seals: dict[Part, bytes] = {}

    # ------------------------------------------------------------------------------------- what is known

    def known(self, names: Mapping[str, Path]) -> dict[str, Record]:
        """Return the records of files that are as they were, by name: the path below the root."""
        found: dict[str, Record] = {}
        if self._kept is None:
            return found
        try:
            self._load_parts(self._kept)
            rows = self._kept.execute("SELECT name, mark, seen, parts, own, tables, seal FROM records")
            for name, mark, *row in rows:
                if name not in names:
                    self._gone.append(name)
                elif mark and mark == _mark(names[name]):
                    with contextlib.suppress(LookupError, TypeError, ValueError):  # damaged: read again
                        found[name] = self._record(name, mark, *row)
        except sqlite3.Error as problem:
            self._give_up(problem)
        return found

    def _record(
        self, name: str, mark: str, seen: float, parts: str, own: str, tables: str | None, seal: bytes
    ) -> Record:
        """Return the record of a row.

        Raises:
            ValueError: Its seal is wrong, or it is too old; so do others, where it is damaged.
        """
        pieces = [self._parts[place] for place in read_json(parts)]
        right = self._seal_of_row(name, mark, seen, own, tables, [one for one, _ in pieces])
        if seal != right or not 0 <= time.time() - seen <= BELIEVED_SECONDS:
            raise ValueError("not to be believed")
        return self._restorer.restored([self._restorer.part(one) for _, one in pieces], own, name, tables)

    def _load_parts(self, database: sqlite3.Connection) -> None:
        for place, seal, kind, text in database.execute("SELECT place, seal, kind, text FROM parts"):
            if seal == self._seal_of_part((kind, text)):
                self._parts[place] = (seal, (kind, text))
                self._places[seal] = place

    # --------------------------------------------------------------------------------------- what is new

    def read(self, name: str, file: Path) -> Record:
        """Read a file; what others share with it is held once, and the next board need not read it."""
        before = _mark(file)
        record = read_record(file, inside=self._root)
        is_settled = before == _mark(file) and _age(file) >= YOUNG_SECONDS
        compact = compacted(record)
        self._pending[name] = (before if is_settled else "", compact)
        if len(self._pending) >= _BATCH:
            self._write()
        parts = [self._restorer.part(one) for one in compact.parts]
        return self._restorer.restored(parts, compact.own, name, _held(compact))

    def finish(self) -> None:
        """Keep what was read; forget files that are gone, and the indexes that nobody used for longest."""
        self._write()
        if self._kept is None or self._file is None:
            return
        try:
            for table in ("records", "tables"):
                gone = ((name,) for name in self._gone)
                self._kept.executemany(f"DELETE FROM {table} WHERE name = ?", gone)
        except sqlite3.Error as problem:
            self._give_up(problem)
        with contextlib.suppress(OSError):
            os.utime(self._file)
        forget_oldest(self._file.parent)

    def _write(self) -> None:
        """Write what is pending: kept, if the file is settled and the index can be written; else for now."""
        pending, self._pending = self._pending, {}
        settled = {name: one for name, one in pending.items() if one[0]}
        if settled and self._kept is not None:
            try:
                with transaction(self._kept):
                    self._insert(self._kept, settled)
            except sqlite3.Error as problem:
                self._give_up(problem)
        rest = pending if self._kept is None else pending.keys() - settled.keys()
        if rest:
            self._spare = self._spare or open_temporary(_SCHEMA)
            self._insert_tables(self._spare, {name: pending[name] for name in rest})

    def _insert(self, database: sqlite3.Connection, rows: Mapping[str, tuple[str, Compact]]) -> None:
        now = time.time()
        for part in {part for _, one in rows.values() for part in one.parts}:
            seal = self._seal_of_part(part)
            if seal not in self._places:  # another process may have added the same part, or it is damaged
                database.execute(_PUT_PART, (seal, *part))
                found = database.execute("SELECT place FROM parts WHERE seal = ?", (seal,)).fetchone()
                self._places[seal] = found[0]
        for name, (mark, one) in rows.items():
            seals = [self._seal_of_part(part) for part in one.parts]
            places = json.dumps([self._places[seal] for seal in seals])
            tables = _held(one)
            seal = self._seal_of_row(name, mark, now, one.own, tables, seals)
            row = (name, mark, now, places, one.own, tables, seal)
            database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        self._insert_tables(database, rows)

    def _insert_tables(self, database: sqlite3.Connection, rows: Mapping[str, tuple[str, Compact]]) -> None:
        """Insert the tables of records that are too large to be held in memory."""
        large = (
            (name, one.tables, self._seal_of_tables(name, one.result_digest, one.tables))
            for name, (_, one) in rows.items()
            if _held(one) is None
        )
        database.executemany("INSERT OR REPLACE INTO tables VALUES (?, ?, ?)", large)

    def _give_up(self, problem: sqlite3.Error) -> None:
        """Do without the index; if it is damaged, remove it, so that the next board begins another."""
        if self._kept is not None and self._file is not None:
            self._kept.close()
            self._kept = None
            if is_damage(problem):
                self._file.unlink(missing_ok=True)

    # ----------------------------------------------------------------------------- what is asked for later

    def tables(self, place: str, result_digest: str) -> str:
        """Return what comparisons read of a record's tables (`Compact.tables`)."""
        if place in self._pending:
            return self._pending[place][1].tables
        for database in filter(None, (self._spare, self._kept)):
            with contextlib.suppress(sqlite3.Error, TypeError):
                row = database.execute("SELECT content, seal FROM tables WHERE name = ?", (place,)).fetchone()
                if row is not None and row[1] == self._seal_of_tables(place, result_digest, row[0]):
                    return str(row[0])
        return compacted(self.whole(place, result_digest)).tables

    def whole(self, place: str, result_digest: str) -> Record:
        """Read a record's file.

        Raises:
            DataError: It cannot be read, or holds another result by now.
        """
        file = self._root / place
        record = read_record(file, inside=self._root)
        if record.result_digest != result_digest:
            raise DataError(f"{file} changed while it was read", hint="run the same command again")
        return record

    # ------------------------------------------------------------------------------------------------ seals

    def _seal_of_part(self, part: Part) -> bytes:
        if part not in self._seals:
            self._seals[part] = checksum(self._made, *part)
        return self._seals[part]

    def _seal_of_row(
        self, name: str, mark: str, seen: float, own: str, tables: str | None, parts: list[bytes]
    ) -> bytes:
        return checksum(self._made, name, mark, repr(seen), own, repr(tables), b"".join(parts).hex())

    def _seal_of_tables(self, name: str, result_digest: str, content: str) -> bytes:
        return checksum(self._made, name, result_digest, content)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python's collector of cyclic garbage from looking through millions of objects that all live on."""
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_collecting:
            gc.enable()


def _held(compact: Compact) -> str | None:
    """Return tables that are small enough to be held for every record of a board; None for others."""
    return compact.tables if len(compact.tables) <= _HELD_CHARACTERS else None


def _made_by() -> str:
    """Name the code that reads records: rows of any other are not believed."""
    return " ".join((package_digest("genbench"), pydantic.VERSION, platform.python_version()))


def _mark(file: Path) -> str:
    """Name the present content of a file without reading it; empty for what is no regular file."""
    try:
        state = os.lstat(file)
    except OSError:
        return ""
    if not stat.S_ISREG(state.st_mode):
        return ""  # a link: what it leads to may change
    return f"{state.st_dev}:{state.st_ino}:{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}"


def _age(file: Path) -> float:
    """Return for how many seconds a file has been as it is; less where its time lies ahead, or it is gone."""
    try:
        state = os.lstat(file)
    except OSError:
        return -math.inf
    return time.time() - max(state.st_mtime, state.st_ctime)
