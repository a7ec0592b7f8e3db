"""The index of records: the same boards, few files read, and never believed over the files."""

import hashlib
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from genbench import index_files, indexed
from genbench.digest import digest
from genbench.errors import DataError
from genbench.indexed import indexed_records
from genbench.records import Record, read_records
from genbench_leaderboard.board import build_board
from genbench_leaderboard.tables import render_json, render_markdown

PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "records"
SAMPLE = {"cifar10-cnn": 3, "s4-catsdogs": 12}  # so many records of each: fifteen, of two protocols

Reads = list[Path]


@pytest.fixture(autouse=True)
def _indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of any number of records, however young their files are."""
    monkeypatch.setenv("GENBENCH_INDEX", str(tmp_path / "index"))
    monkeypatch.setattr(indexed, "FEWEST", 1)
    monkeypatch.setattr(indexed, "YOUNG_SECONDS", -1.0)


@cache
def _of_accuracy(suite: str) -> list[Path]:
    """The published records of a suite that say which test images were right."""
    found = sorted((PUBLISHED / suite).glob("cell-*.json"))
    return [one for one in found if json.loads(one.read_text())["result"]["evaluator"]["use"] == "accuracy"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Fifteen published records, in two folders."""
    for name, number in SAMPLE.items():
        (tmp_path / "records" / name).mkdir(parents=True)
        for path in _of_accuracy(name)[:number]:
            shutil.copy2(path, tmp_path / "records" / name)
    return tmp_path / "records"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """The files of records that were read since the list was cleared."""
    found: Reads = []
    real = indexed.read_record

    def noted(file: Path, inside: Path | None = None) -> Record:
        found.append(file)
        return real(file, inside)

    monkeypatch.setattr(indexed, "read_record", noted)
    return found


def _all(folder: Path) -> list[Record]:
    return list(indexed_records([folder]))


def _index(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "index").glob("*.sqlite")
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.json"))


def test_the_published_boards_are_the_same_by_an_index(reads: Reads) -> None:
    """Byte for byte, and the second board reads few files: a suite's intervals, and cells that two runs tell.

    The latter are compared, so that it can say which are not reproducible.
    """
    plain = list(read_records([PUBLISHED]))
    wanted = build_board(plain)
    assert len(_all(PUBLISHED)) == len(reads) == len(plain)
    reads.clear()
    again = _all(PUBLISHED)
    board = build_board(again)
    assert render_markdown(board) == render_markdown(wanted)
    assert render_json(board) == render_json(wanted)
    attempts = Counter(one.result.key[:16] for one in plain)
    subjects = Counter(
        path.name.partition("-")[0] for path in reads if attempts[path.name.split("-")[1]] == 1
    )
    assert subjects.keys() <= {"suite"}
    assert subjects.total() <= 1
    assert [one.result_digest for one in again] == [one.result_digest for one in plain]
    assert [one.run_digest for one in again] == [one.run_digest for one in plain]


def test_a_record_by_an_index_is_the_whole_record(folder: Path, reads: Reads) -> None:
    """What the index does not hold is read from the file when somebody asks, and only then."""
    _all(folder)
    reads.clear()
    found, plain = _all(folder)[-1], list(read_records([folder]))[-1]
    assert found.result.tables.keys() == plain.result.tables.keys()
    assert found.result.answered("test") == plain.result.answered("test") is not None
    assert found.result.answered("no such split") is None
    assert reads == []
    assert found.to_json() == plain.to_json()
    assert set(reads) == {_files(folder)[-1]}


def test_only_changed_files_are_read_again(folder: Path, reads: Reads) -> None:
    _all(folder)
    changed = _files(folder)[::6]
    assert len(changed) == 3
    for path in changed:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    reads.clear()
    assert len(_all(folder)) == 15
    assert reads == changed
    reads.clear()
    _all(folder)
    assert reads == []


def test_a_file_of_the_same_size_and_time_is_found_out(folder: Path) -> None:
    """`utime` sets the time of modification back; that of the change stays."""
    _all(folder)
    path, (before,) = _files(folder)[0], list(indexed_records([_files(folder)[0]]))
    state = path.stat()
    body = json.loads(path.read_text())
    body["run"]["created"] = "2001-01-01" + body["run"]["created"][10:]
    body["run_sha256"] = digest(body["run"])
    text = json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_text(text)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    created = {one.result.key: one.run.created for one in _all(folder)}
    assert created[before.result.key].startswith("2001-01-01")


def test_a_file_that_changed_a_moment_ago_is_read_again(
    folder: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might change once more within one tick of the clock that stamps it."""
    monkeypatch.setattr(indexed, "YOUNG_SECONDS", 3600.0)
    made = _all(folder)
    assert made[-1].result.answered() is not None  # by the file for this process alone
    reads.clear()
    _all(folder)
    assert reads == _files(folder)


def test_a_row_is_believed_for_a_week(folder: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    _all(folder)
    reads.clear()
    monkeypatch.setattr(indexed, "BELIEVED_SECONDS", -1.0)
    _all(folder)
    assert len(reads) == 15


def test_a_record_that_was_edited_or_is_gone_is_no_longer_shown(folder: Path) -> None:
    _all(folder)
    first, second, *_ = _files(folder)
    second.unlink()
    assert len(_all(folder)) == 14
    text = first.read_text()
    first.write_text(text.replace('"index": 0', '"index": 1', 1))
    assert first.read_text() != text
    with pytest.raises(DataError, match="does not match its `result_sha256`"):
        _all(folder)


def _forged(database: sqlite3.Connection) -> None:
    """Raise every top-1 by a point, in every row of the index."""
    for name, own in database.execute("SELECT name, own FROM records").fetchall():
        body = json.loads(own)
        body[9][0][0] = 99.0
        database.execute("UPDATE records SET own = ? WHERE name = ?", (json.dumps(body), name))


def _swapped(database: sqlite3.Connection) -> None:
    """Give every row the parts of another one."""
    (parts,) = database.execute("SELECT parts FROM records").fetchone()
    database.execute("UPDATE records SET parts = ?", (parts,))


def _of_other_parts(database: sqlite3.Connection) -> None:
    database.execute("UPDATE parts SET text = replace(text, '\"version\":1', '\"version\":7')")


def _no_json(database: sqlite3.Connection) -> None:
    database.execute("UPDATE records SET own = '[', parts = 'x'")


@pytest.mark.parametrize("forge", [_forged, _swapped, _of_other_parts, _no_json])
def test_what_is_forged_in_the_index_alone_never_shows(
    folder: Path, tmp_path: Path, forge: Callable[[sqlite3.Connection], None], reads: Reads
) -> None:
    plain = [one.to_json() for one in read_records([folder])]
    _all(folder)
    with sqlite3.connect(_index(tmp_path)) as database:
        forge(database)
        assert database.total_changes
    database.close()
    reads.clear()
    assert [one.to_json() for one in _all(folder)] == plain
    assert reads
    reads.clear()
    _all(folder)
    assert reads == []  # and the index is whole again


def test_a_row_without_a_file_is_forgotten(folder: Path, tmp_path: Path) -> None:
    _all(folder)
    with sqlite3.connect(_index(tmp_path)) as database:
        database.execute(
            "INSERT INTO records SELECT 'cell-forged.json', mark, seen, parts, own, tables, seal "
            "FROM records LIMIT 1"
        )
    database.close()
    assert len(_all(folder)) == 15
    with sqlite3.connect(_index(tmp_path)) as database:
        assert database.execute("SELECT count(*) FROM records").fetchone() == (15,)
    database.close()


def _damages(path: Path) -> Iterator[Callable[[], object]]:
    yield lambda: path.write_bytes(b"no database")
    yield lambda: path.write_bytes(path.read_bytes()[:5000])
    yield lambda: path.write_bytes(path.read_bytes()[:1024] + os.urandom(path.stat().st_size - 1024))
    yield lambda: path.write_bytes(b"")


def test_a_damaged_index_is_made_anew(folder: Path, tmp_path: Path, reads: Reads) -> None:
    plain = [one.result_digest for one in read_records([folder])]
    _all(folder)
    for damage in _damages(_index(tmp_path)):
        damage()
        reads.clear()
        assert [one.result_digest for one in _all(folder)] == plain
        assert reads
        for _ in range(2):  # one that is found to be damaged late is removed, and begun by the next board
            reads.clear()
            _all(folder)
        assert reads == []


def test_an_index_of_other_code_or_schema_is_thrown_away(
    folder: Path, tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    _all(folder)
    monkeypatch.setattr(indexed, "_made_by", lambda: "genbench of tomorrow")
    reads.clear()
    _all(folder)
    assert len(reads) == 15
    _index(tmp_path).unlink()
    with sqlite3.connect(tmp_path / "index" / "x") as database:
        database.execute("CREATE TABLE records (something TEXT)")
    database.close()
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    (tmp_path / "index" / "x").chmod(0o600)
    (tmp_path / "index" / "x").rename(tmp_path / "index" / f"{name}.sqlite")
    reads.clear()
    assert len(_all(folder)) == 15
    _all(folder)
    reads.clear()
    _all(folder)
    assert reads == []


def test_an_index_that_others_can_write_is_not_used(folder: Path, tmp_path: Path, reads: Reads) -> None:
    _all(folder)
    for place, mode in ((_index(tmp_path), 0o666), (tmp_path / "index", 0o777)):
        before = place.stat().st_mode
        place.chmod(mode)
        reads.clear()
        assert len(_all(folder)) == len(reads) == 15
        place.chmod(before)


def test_an_index_beside_records_is_never_looked_at(folder: Path, tmp_path: Path, reads: Reads) -> None:
    _all(folder)
    shutil.copy(_index(tmp_path), folder)
    shutil.copytree(tmp_path / "index", folder / "genbench-index")
    shutil.rmtree(tmp_path / "index")
    reads.clear()
    assert len(_all(folder)) == len(reads) == 15


def test_a_copied_folder_has_an_index_of_its_own(folder: Path, tmp_path: Path, reads: Reads) -> None:
    _all(folder)
    copied = shutil.copytree(folder, tmp_path / "copied")  # with times of modification, as `cp -p`
    reads.clear()
    assert len(_all(copied)) == len(reads) == 15
    folder.rename(tmp_path / "away")
    copied.rename(folder)  # in the place of the one that the index is about
    reads.clear()
    assert len(_all(folder)) == len(reads) == 15


@pytest.mark.parametrize("how", ["off", "file", "locked"])
def test_without_an_index_all_is_the_same(
    folder: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch, reads: Reads
) -> None:
    """Switched off; where no folder can be made; and while another process writes."""
    monkeypatch.setattr(index_files, "_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(indexed, "_HELD_CHARACTERS", 0)  # so that tables are fetched
    plain = [(one.result_digest, one.result.answered()) for one in read_records([folder])]
    other = None
    if how == "off":
        monkeypatch.setenv("GENBENCH_INDEX", "off")
    elif how == "file":
        (tmp_path / "index").write_text("in the way")
    else:
        _all(folder)
        other = sqlite3.connect(_index(tmp_path), isolation_level=None)
        other.execute("DELETE FROM records")
        other.execute("BEGIN EXCLUSIVE")
    for _ in range(2):
        reads.clear()
        assert [(one.result_digest, one.result.answered()) for one in _all(folder)] == plain
        assert set(_files(folder)) <= set(reads)
    if other is not None:
        other.close()
        _all(folder)
        reads.clear()
        _all(folder)
        assert reads == []


def test_large_tables_are_fetched_from_the_index_and_checked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: Reads
) -> None:
    monkeypatch.setattr(indexed, "_HELD_CHARACTERS", 0)
    plain = [one.result.answered() for one in read_records([folder])]
    assert [one.result.answered() for one in _all(folder)] == plain
    reads.clear()
    assert [one.result.answered() for one in _all(folder)] == plain
    assert reads == []
    with sqlite3.connect(_index(tmp_path)) as database:
        database.execute("UPDATE tables SET content = replace(content, '[', '[1,')")
    database.close()
    assert [one.result.answered() for one in _all(folder)] == plain
    assert reads


def test_two_boards_at_once(folder: Path, reads: Reads) -> None:
    """Each reads the half that the other has not written yet; rows of both count afterwards."""
    first, second = indexed_records([folder]), indexed_records([folder])
    pairs = list(zip(first, second, strict=True))
    assert all(left.result_digest == right.result_digest for left, right in pairs)
    reads.clear()
    assert len(_all(folder)) == 15
    assert reads == []


def test_few_records_have_no_index(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexed, "FEWEST", 16)
    assert len(_all(folder)) == 15
    assert not (tmp_path / "index").exists()


def test_indexes_that_nobody_used_for_longest_are_removed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_files, "KEPT", 1)
    _all(folder / "cifar10-cnn")
    old = _index(tmp_path)
    os.utime(old, (1, 1))
    _all(folder / "s4-catsdogs")
    assert not old.exists()
    assert _index(tmp_path).exists()
