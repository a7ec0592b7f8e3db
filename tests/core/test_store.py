"""The store: whole artifacts or none, damage found, leases, and messages for full and read-only disks."""

import errno
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from genbench.errors import StoreError, StoreUnwritableError
from genbench.store import LEASE_SECONDS, Store, collect_garbage

KEY = "ab" + "0" * 62


def put(store: Store, key: str = KEY, content: bytes = b"content") -> None:
    def fill(folder: Path) -> Mapping[str, object]:
        (folder / "data.bin").write_bytes(content)
        return {"seconds": 1.5}

    store.put(key, {"stage": "fit", "seed": 1}, fill, family="f")


def test_an_artifact_reads_back_with_its_document(store: Store) -> None:
    assert not store.has(KEY)
    assert store.open(KEY) is None
    put(store)
    artifact = store.open(KEY)
    assert artifact is not None
    assert (artifact.folder / "data.bin").read_bytes() == b"content"
    assert artifact.document == {"stage": "fit", "seed": 1}
    assert artifact.run["seconds"] == 1.5
    assert list(store.finished()) == [KEY]
    assert next(store.index())["family"] == "f"


def test_a_failing_fill_leaves_nothing(store: Store) -> None:
    def fill(folder: Path) -> Mapping[str, object]:
        (folder / "half").write_text("half")
        raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        store.put(KEY, {}, fill)
    assert not store.has(KEY)
    assert [path for path in (store.root / "artifacts").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("damage", ["flip", "shorten", "remove", "manifest"])
def test_every_damage_is_found_and_is_a_miss(store: Store, damage: str) -> None:
    put(store)
    folder = store.root / "artifacts" / KEY[:2] / KEY
    if damage == "flip":
        (folder / "data.bin").write_bytes(b"c0ntent")
    elif damage == "shorten":
        (folder / "data.bin").write_bytes(b"con")
    elif damage == "remove":
        (folder / "data.bin").unlink()
    else:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["document"]["seed"] = 2
        (folder / "manifest.json").write_text(json.dumps(manifest))
    assert [found.key for found in store.verify()] == [KEY]
    assert store.open(KEY) is None
    assert not store.has(KEY)
    put(store)  # it is made again
    assert store.open(KEY) is not None


def test_damage_after_a_first_good_read_is_found(store: Store) -> None:
    put(store)
    assert store.open(KEY) is not None
    (store.root / "artifacts" / KEY[:2] / KEY / "data.bin").write_bytes(b"CONTENT")
    assert store.open(KEY) is None


def test_the_second_writer_keeps_the_first_artifact(store: Store) -> None:
    put(store, content=b"first")
    put(store, content=b"second")
    artifact = store.open(KEY)
    assert artifact is not None
    assert (artifact.folder / "data.bin").read_bytes() == b"first"


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only")])
def test_a_full_or_read_only_disk_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match=rf"cannot write to the store .*{words}[\s\S]*--store DIR"):
        put(store)


def test_what_a_plugin_cannot_write_elsewhere_is_its_own_failure(store: Store, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "cache" / "weights.bin")
    with pytest.raises(OSError, match=r"weights\.bin") as raised, store.writing():
        raise OSError(errno.ENOSPC, "No space left", elsewhere)
    assert raised.value.filename == elsewhere
    with pytest.raises(StoreUnwritableError), store.writing():
        raise OSError(errno.ENOSPC, "No space left", str(store.root / "artifacts"))


def test_a_store_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to the store .*Not a directory"):
        put(Store(tmp_path / "file" / "store"))


def test_leases_exclude_others_until_they_are_released_or_stale(store: Store) -> None:
    other = Store(store.root)
    assert store.acquire(KEY)
    assert not other.acquire(KEY)
    store.release(KEY)
    assert other.acquire(KEY)
    old = time.time() - LEASE_SECONDS - 1
    os.utime(store.root / "leases" / KEY, (old, old))
    assert store.acquire(KEY)
    os.utime(store.root / "leases" / KEY, (old, old))
    store.heartbeat(KEY)
    assert not other.acquire(KEY)


def test_failures_are_notes_and_never_results(store: Store) -> None:
    store.note_failure(KEY, {"reason": "boom"})
    assert store.failed_keys() == {KEY}
    assert not store.has(KEY)
    put(store)
    assert store.failed_keys() == set()


def test_fingerprints_are_remembered_until_the_file_changes(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"one")
    first = store.fingerprint(file)
    store.keep_fingerprints()
    assert Store(store.root).fingerprint(file) == first
    file.write_bytes(b"two!")
    assert Store(store.root).fingerprint(file) != first


def test_garbage_is_unfinished_damaged_or_named(store: Store) -> None:
    put(store)
    (store.work_folder("c" * 64) / "checkpoint").write_bytes(b"x" * 100)
    freed, places = collect_garbage(store, frozenset(), dry_run=True)
    assert (freed, places) == (100, 1)
    assert store.has(KEY)
    collect_garbage(store, frozenset({"fit"}))
    assert not store.has(KEY)
    assert list((store.root / "work").iterdir()) == []
