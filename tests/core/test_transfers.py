"""Between a folder and a bucket, and cleaning one up: nothing is lost, nothing is read that is not needed."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from bucket_stores import (
    ADDRESS,
    KEY,
    leave_behind,
    opened,
    put,
)
from genbench import upkeep
from genbench.digest import digest
from genbench.errors import UsageError
from genbench.holders import new_holder
from genbench.remote import buckets
from genbench.remote.backend import BucketBackend
from genbench.remote.buckets import Bucket, open_bucket
from genbench.remote.leases import BucketLeases
from genbench.remote.objects import RemoteError
from genbench.store import Store
from genbench.transfers import Copied, Transfer, Way
from genbench.upkeep import find_garbage, remove_garbage
from s3_server import Fault, Front
from still_clock import Clock

# ------------------------------------------------------------------------------------------------ transfers


def test_push_and_pull_copy_whole_results_and_go_on_where_they_stopped(
    ours: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    for number in range(3):
        put(here, document={"number": number})
    (put(here) / "weights.bin").write_bytes(b"damaged")
    record = next((Path(__file__).parents[1] / "records_of_schema_1").rglob("*.json"))
    (tmp_path / "here" / "records").mkdir()
    (tmp_path / "here" / "records" / f"cell-{KEY[:16]}-12345678.json").write_bytes(record.read_bytes())
    (tmp_path / "here" / "records" / f"cell-{KEY[:16]}-87654321.json").write_text("{")

    def transfer(store: Store, *ways: Way) -> Copied:
        told: list[int] = []
        found = Transfer(store, ADDRESS)
        parcels = list(found.lacking(frozenset(ways)))
        copied = found.copy(parcels, lambda done, size: told.append(done))
        assert told == list(range(1, len(parcels) + 1))
        return copied

    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 0.3)
    ours.faults.append(Fault("lost", "PUT", f"manifests/{digest({'number': 2})}"))
    with pytest.raises(RemoteError, match=r"cannot reach s3://bucket/some/prefix: PUT"):
        transfer(here, "push")
    ours.faults.clear()
    put(here, document={"number": 3})
    copied = transfer(here, "push")
    assert copied.records["push"] <= 1
    assert f"{digest({'number': 2})}" in Transfer(there, ADDRESS)._backend._listed()
    assert len(list((tmp_path / "here" / "damaged").iterdir())) == 1  # found by the first of the two
    assert ["not a genbench record" in problem for problem in copied.damaged] == [True]
    copied = transfer(there, "push", "pull")
    assert (copied.results, copied.damaged) == ({"push": 0, "pull": 4}, [])
    assert (
        tmp_path / "there" / "records" / f"cell-{KEY[:16]}-12345678.json"
    ).read_bytes() == record.read_bytes()
    assert sorted(there.finished()) == sorted(digest({"number": number}) for number in range(4))
    assert list(Store(there.root).verify()) == []
    assert list(Transfer(there, ADDRESS).lacking(frozenset({"push", "pull"}))) == []
    with pytest.raises(UsageError, match=r"between a folder and a bucket\n  genbench store pull"):
        Transfer(opened(tmp_path / "cache"), ADDRESS)
    with pytest.raises(UsageError, match="no address of a bucket"):
        Transfer(here, str(tmp_path))


def test_the_newest_record_of_an_evaluation_stays_the_newest_on_its_way(ours: Front, tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    record = next((Path(__file__).parents[1] / "records_of_schema_1").rglob("*.json"))
    (here.root / "records").mkdir(parents=True)
    for age, name in enumerate(["aaaaaaaa", "cccccccc", "bbbbbbbb"]):  # neither in order of time nor of name
        path = here.root / "records" / f"cell-{KEY[:16]}-{name}.json"
        path.write_bytes(record.read_bytes())
        os.utime(path, (1000 - age, 1000 - age))
    open_bucket(ADDRESS).put("records/cell-damaged-00000000.json", b"{")
    damaged: list[str] = []
    for store, way in ((here, "push"), (there, "pull")):
        found = Transfer(store, ADDRESS)
        damaged += found.copy(list(found.lacking(frozenset({way}))), lambda done, size: None).damaged  # type: ignore[arg-type]
    assert [re.sub(":.*", "", line) for line in damaged] == ["cell-damaged-000"]
    assert len(list((there.root / "records").iterdir())) == 3
    cache = Store(tmp_path / "cache", elsewhere=BucketBackend(tmp_path / "cache", open_bucket(ADDRESS)))
    for store in (here, there, cache):
        assert store.record_files()[KEY[:16]].name == f"cell-{KEY[:16]}-aaaaaaaa.json"


def test_a_pull_reads_the_manifests_of_what_it_lacks(ours: Front, tmp_path: Path) -> None:
    maker, here = opened(tmp_path / "a", "some/prefix"), Store(tmp_path / "here")
    for number in range(3):
        put(maker, document={"number": number})
        if number < 2:
            put(here, document={"number": number})
    found = Transfer(here, f"{ADDRESS}/some/prefix")
    ours.asked.clear()
    (parcel,) = found.lacking(frozenset({"push", "pull"}))
    assert (parcel.key, parcel.size_bytes) == (digest({"number": 2}), 100_002)
    assert len([line for line in ours.asked if line.endswith(".json")]) == 1
    assert not (here.root / "manifests").exists()


def test_manifests_are_kept_until_their_results_are_gone(ours: Front, tmp_path: Path) -> None:
    store, other = opened(tmp_path / "a"), opened(tmp_path / "b")
    for number in range(3):
        put(store, document={"number": number})
    keys = [key for key, _ in other.manifests()]
    assert sorted(path.name for path in (other.root / "manifests").iterdir()) == keys
    ours.asked.clear()
    assert [key for key, manifest in other.manifests() if manifest is not None] == keys
    assert len(ours.asked) == 1
    store.remove(keys[0])
    assert [key for key, _ in other.manifests()] == keys[1:]
    assert sorted(path.name for path in (other.root / "manifests").iterdir()) == keys[1:]


def test_cleaning_up_leaves_alone_what_a_pull_is_bringing(
    ours: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened(tmp_path / "a", "some/prefix"))
    folder = Store(tmp_path / "here")
    found = Transfer(folder, f"{ADDRESS}/some/prefix")
    fetch, spared = Bucket.fetch, list[str]()

    def cleaned(bucket: Bucket, name: str, path: Path, size_bytes: int) -> bool:
        other = Store(folder.root)
        garbage = find_garbage(other)
        spared.extend(place.key for place, _ in garbage.spared)
        remove_garbage(other, garbage)
        return fetch(bucket, name, path, size_bytes)

    monkeypatch.setattr(Bucket, "fetch", cleaned)
    parcels = list(found.lacking(frozenset({"pull"})))
    assert found.copy(parcels, lambda done, size: None).damaged == []
    assert set(spared) == {KEY}
    assert folder.open(KEY) is not None
    assert list((folder.root / "leases").iterdir()) == []


def test_upkeep_of_a_bucket_spares_what_is_needed_and_what_may_be_an_upload(
    ours: Front, tmp_path: Path, bucket_clock: Clock
) -> None:
    store = opened(tmp_path / "a")
    for stage in ("fit", "train"):
        put(store, document={"stage": stage})
    objects = ours.server.objects  # type: ignore[attr-defined]
    (prefix,) = {name.split("/manifests/")[0] for name in objects if "/manifests/" in name}
    objects[f"{prefix}/files/{KEY}/{'0' * 64}"] = b"half an upload", time.time()
    objects[f"{prefix}/files/{'1' * 64}/{'0' * 64}"] = b"left", time.time() - 100_000
    here = new_holder("dead")
    leave_behind(tmp_path, host=here.host, boot=here.boot, started=1)
    other = opened(tmp_path / "b")
    needed = digest({"stage": "fit"})
    with other.leases.needing([needed]):
        garbage = find_garbage(store, frozenset({"fit", "train"}))
        assert [place.key for place, _ in garbage.spared] == [needed]
        remove_garbage(store, garbage)
    assert list(opened(tmp_path / "c").finished()) == [needed]
    left = {name.removeprefix(f"{prefix}/").split("/")[0]: name for name in objects}
    assert left.keys() == {"files", "manifests", "layout"}
    assert f"{prefix}/files/{KEY}/{'0' * 64}" in objects
    assert not any("/files/1111" in name for name in objects)


def test_cleaning_up_reads_each_lease_once(ours: Front, tmp_path: Path) -> None:
    store, here = opened(tmp_path / "a"), new_holder("dead")
    assert isinstance(store.leases, BucketLeases)  # it is laid out
    for number in range(4):
        leave_behind(tmp_path, f"key{number}", host=here.host, boot=here.boot, started=1)
    alive = opened(tmp_path / "b")
    assert alive.leases.acquire("alive")
    ours.asked.clear()
    garbage = find_garbage(store)
    (place,) = garbage.places
    assert len(place.names) == 4
    reads = [line for line in ours.asked if line.startswith("GET") and line.endswith(".json")]
    assert len(reads) == 5
    assert remove_garbage(store, garbage) == [place]
    assert store.leases.all().keys() == {"alive"}
    listings = [line for line in ours.asked if line.startswith("GET") and line.endswith("/leases/")]
    assert len(listings) == 6
    reads = [line for line in ours.asked if line.startswith("GET") and line.endswith("alive.json")]
    assert len(reads) == 1
    alive.leases.heartbeat()  # type: ignore[attr-defined]
    seen = store.leases.all()["alive"]
    assert seen is not None
    assert seen.beat == 1


def test_what_a_run_has_come_to_need_while_a_bucket_is_cleaned_up_is_spared(
    ours: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_AT_ONCE", 2)
    store, other = opened(tmp_path / "a"), opened(tmp_path / "b")
    for number in range(4):
        put(store, document={"stage": "fit", "number": number})
    garbage = find_garbage(store, frozenset({"fit"}))
    keys = [place.key for place in garbage.places]
    withdraw = BucketBackend.withdraw

    def slow(backend: BucketBackend, key: str, *, as_damaged: bool = False) -> bool:
        done = withdraw(backend, key, as_damaged=as_damaged)
        assert mine.acquire(other_run) == (key == keys[0])
        return done

    mine, other_run = other.leases, "run-of-another"
    open_bucket(f"{ADDRESS}/{tmp_path.name}").put(f"runs/{other_run}.json", json.dumps(keys).encode())
    monkeypatch.setattr(BucketBackend, "withdraw", slow)
    assert [place.key for place in remove_garbage(store, garbage)] == keys[:2]
    assert list(opened(tmp_path / "c").finished()) == keys[2:]
