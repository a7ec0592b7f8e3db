"""Where indexes are: SQLite files that only this user can write, each about one folder of files.

An index is nobody's result. Whatever is damaged, foreign or of other code is removed and begun anew, without
a word; where there can be none, callers do without.
"""

import contextlib
import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from genbench.disk import remove_place

VARIABLE = "GENBENCH_INDEX"
KEPT = 20  #: indexes, those used last
_WAIT_SECONDS = 10.0  # for another process that writes
#: What SQLite says of a file that is as it should be, but cannot be used now.
_UNAVAILABLE = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR),
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH),
    }
)


def index_folder() -> Path | None:
    """Return where indexes are: `$GENBENCH_INDEX`, else one of the user's caches; None if it is `off`."""
    named = os.environ.get(VARIABLE, "")
    if named:
        return None if named == "off" else Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genbench-index"


def index_file(folder: Path, about: Path) -> Path:
    """Return the file of the index of a folder (resolved)."""
    return folder / f"{hashlib.sha256(os.fsencode(about)).hexdigest()[:32]}.sqlite"


def open_index(file: Path, schema: str, made: str) -> sqlite3.Connection | None:
    """Open an index, empty if there was none of use; None where there can be none.

    Args:
        file: In a folder that is made if it is missing.
        schema: Statements that make the tables where they are missing.
        made: Names the code that wrote the rows; those of any other are thrown away.
    """
    for _ in range(2):  # what is there, or what takes its place
        try:
            _make_private(file)
            database = sqlite3.connect(file, timeout=_WAIT_SECONDS, isolation_level=None)
        except (OSError, sqlite3.Error):
            return None
        try:
            if _is_made_by(database, schema, made):
                return database
        except sqlite3.Error as problem:
            if not is_damage(problem):
                database.close()
                return None
        database.close()
        with contextlib.suppress(OSError):
            remove_place(file)
    return None


def open_temporary(schema: str) -> sqlite3.Connection:
    """Return a database in a file that vanishes with this process."""
    database = sqlite3.connect("", isolation_level=None)
    _prepare(database, schema)
    return database


def forget_oldest(folder: Path) -> None:
    """Remove the indexes that nobody used for longest."""
    with contextlib.suppress(OSError):
        newest = sorted(folder.glob("*.sqlite"), key=lambda one: -one.stat().st_mtime_ns)
        for old in newest[KEPT:]:
            remove_place(old)


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Write all of it or nothing, while no other process writes."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def is_damage(problem: sqlite3.Error) -> bool:
    """Say whether a file is damaged, or no index at all; else it only cannot be used at present."""
    code = getattr(problem, "sqlite_errorcode", None)
    return code is None or code & 0xFF not in _UNAVAILABLE


def checksum(*texts: str) -> bytes:
    """Return 16 bytes that another list of texts does not have by accident."""
    whole = "\0".join([str(len(text)) + " " + text for text in texts])
    return hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_made_by(database: sqlite3.Connection, schema: str, made: str) -> bool:
    _prepare(database, schema)
    found = database.execute("SELECT made FROM about").fetchall()
    if not found:
        with transaction(database):
            database.execute("INSERT INTO about VALUES (?)", (made,))
    return all(one == (made,) for one in found)


def _prepare(database: sqlite3.Connection, schema: str) -> None:
    database.execute("PRAGMA synchronous = OFF")  # every row has a checksum, and is lost without harm
    database.executescript(f"CREATE TABLE IF NOT EXISTS about (made TEXT);{schema}")


def _make_private(file: Path) -> None:
    """Make the file of an index that only this user can write.

    Raises:
        OSError: It cannot be, or something that others can write is in its place.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists():
        with contextlib.suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    for place, is_right in ((file.parent, stat.S_ISDIR), (file, stat.S_ISREG)):
        state = place.lstat()
        writable = state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not is_right(state.st_mode) or writable or state.st_uid != os.getuid():
            raise PermissionError(f"others can write {place}")
