"""A store in a bucket: nothing is lost, nothing half is read, and no step ever has two owners."""

import json
import os
import random
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from genbench import addresses, manifests, upkeep
from genbench.digest import digest
from genbench.errors import Interrupted, StoreError, StoreUnwritableError, UsageError
from genbench.executors import Event
from genbench.holders import new_holder, read_holder
from genbench.planner import make_plan
from genbench.registry import Registry
from genbench.remote import buckets, leases
from genbench.remote.backend import BucketBackend
from genbench.remote.buckets import Bucket, open_bucket
from genbench.remote.leases import LEASE_SECONDS, BucketLeases
from genbench.remote.objects import RemoteError, Tag
from genbench.remote.without_leases import WithoutLeases
from genbench.runner import Observer, RunSummary, run
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench.transfers import Copied, Transfer, Way
from genbench.upkeep import find_garbage, remove_garbage, repair
from genbench.worker import RunOptions
from s3_server import Behind, Fault, Front, Memory, moto, serving
from still_clock import Clock

ADDRESS = "s3://bucket/some/prefix"
DOCUMENT = {"stage": "fit", "seed": 1}
KEY = digest(DOCUMENT)
CONTENT = {"weights.bin": b"w" * 100_000, "inner/report.json": b"{}", "empty": b""}


@pytest.fixture(scope="module")
def referee() -> Iterator[Behind]:
    with moto() as found:
        yield found


@pytest.fixture(params=["ours", "moto"])
def front(
    request: pytest.FixtureRequest, referee: Behind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Front]:
    with serving(Memory() if request.param == "ours" else referee) as found:
        at(found, monkeypatch, tmp_path)
        yield found


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Front]:
    with serving(Memory()) as found:
        at(found, monkeypatch, tmp_path)
        yield found


def at(front: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = {"ENDPOINT_URL": front.address, "ALLOW_HTTP": "true", "REGION": "us-east-1"}
    for name, value in {**said, "ACCESS_KEY_ID": "one", "SECRET_ACCESS_KEY": "two"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("GENBENCH_STORE_CACHE", str(tmp_path / "caches"))
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 5.0)


def opened(folder: Path, prefix: str = "") -> Store:
    """Open the store in the bucket, with this folder as its cache; of each test its own."""
    address = f"{ADDRESS}/{prefix or folder.parent.name}"
    return Store(folder, elsewhere=BucketBackend(folder, open_bucket(address)))


def put(store: Store, content: Mapping[str, bytes] = CONTENT, document: Any = DOCUMENT) -> Path:
    def fill(folder: Path) -> Mapping[str, object]:
        for name, part in content.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(part)
        return {"seconds": 1.5}

    return store.put(digest(document), document, fill, family="f").folder


def read(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in CONTENT}


def never(folder: Path) -> Mapping[str, object]:
    raise AssertionError("the step runs again")


# ------------------------------------------------------------------------------------------------ artifacts


def test_what_one_cache_puts_another_opens(front: Front, tmp_path: Path) -> None:
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    assert not second.has(KEY)
    assert second.open(KEY) is None
    put(first)
    assert second.has(KEY)
    assert list(second.finished()) == [KEY]
    assert dict(second.manifests())[KEY] == second.manifest(KEY)
    artifact = second.open(KEY)
    assert artifact is not None
    assert read(artifact.folder) == CONTENT
    assert artifact.document == DOCUMENT
    assert list(second.verify()) == []
    before = len(front.asked)
    with second.listed():
        assert second.open(KEY) is not None
    assert [line.split()[0] for line in front.asked[before:]] == ["GET"]  # one listing
    first.remove(KEY)
    assert opened(tmp_path / "c").open(KEY) is None
    assert [one.name for one in open_bucket(f"{ADDRESS}/{tmp_path.name}").list("files/")] == []


def test_a_download_asks_once_for_each_file_and_hashes_it_once(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened(tmp_path / "a"))
    hashed, file_digest = list[str](), manifests.file_digest
    monkeypatch.setattr(manifests, "file_digest", lambda path: hashed.append(path.name) or file_digest(path))
    store = opened(tmp_path / "b")
    front.asked.clear()
    assert store.open(KEY) is not None
    assert [line.split()[0] for line in front.asked] == ["GET"] * 4
    assert sorted(hashed) == ["empty", "report.json", "weights.bin"]
    (store.folder(KEY) / "weights.bin").write_bytes(b"x" * 100_000)
    assert store.open(KEY) is not None  # it is looked at all the same, and brought again
    assert (store.folder(KEY) / "weights.bin").read_bytes() == CONTENT["weights.bin"]


@pytest.mark.parametrize("size", [0, 99_999, 100_001])
@pytest.mark.parametrize("part", [10_000, 2**20])
def test_a_file_of_another_size_is_damaged(
    ours: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, part: int
) -> None:
    put(opened(tmp_path / "a"))
    bucket = open_bucket(f"{ADDRESS}/{tmp_path.name}")
    (name,) = (one.name for one in bucket.list("files/") if one.size_bytes == 100_000)
    bucket.put(name, b"w" * size)
    monkeypatch.setattr(buckets, "_PART_BYTES", part)
    (damage,) = opened(tmp_path / "b").verify()
    assert damage.reason.startswith("weights.bin: content differs")
    store = opened(tmp_path / "b")
    assert store.open(KEY) is None
    assert [one.reason for one in store.found_damaged] == ["weights.bin: size differs from the manifest"]


@pytest.mark.parametrize("bucket", ["bucket", "versioned"])
def test_what_is_here_is_not_brought_again(
    referee: Behind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bucket: str
) -> None:
    """A server that keeps versions names them when an object is read or written, and not in a listing."""
    status = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    for target, body in ((f"/{bucket}", b""), *[(f"/{bucket}?versioning", status)] * (bucket == "versioned")):
        referee.answer("PUT", target, {}, body)
    address = f"s3://{bucket}/{tmp_path.name}"
    with serving(referee) as front:
        at(front, monkeypatch, tmp_path)
        assert bool(open_bucket(address).put("probe/1", b"").version) == (bucket == "versioned")
        names = ["cell-1-11111111.json", "cell-2-22222222.json"]
        folders = [tmp_path / "maker", tmp_path / "reader"]
        maker, reader = (Store(one, elsewhere=BucketBackend(one, open_bucket(address))) for one in folders)
        put(maker)
        (maker.root / "records").mkdir()
        for name in names:
            (maker.root / "records" / name).write_bytes(b"{}")
            maker.backend.publish_record(maker.root / "records" / name)
        assert reader.open(KEY) is not None
        reader.backend.bring_records()
        assert sorted(path.name for path in (reader.root / "records").iterdir()) == names
        held = BucketLeases(open_bucket(address))
        assert held.acquire(KEY)
        held.heartbeat()
        assert (held.holds(KEY), held.take_lost()) == (True, [])
        held.release(KEY)
        assert held.all() == {}
        for folder in folders:
            again = Store(folder, elsewhere=BucketBackend(folder, open_bucket(address)))
            front.asked.clear()
            with again.listed():
                assert again.open(KEY) is not None
            again.backend.bring_records()
            assert [line.partition("?")[2][:9] for line in front.asked] == ["list-type"] * 2


@pytest.mark.parametrize("conditions", [True, False])
def test_what_a_worker_made_is_seen_at_once_by_the_run_that_claimed_it(
    ours: Front, tmp_path: Path, conditions: bool
) -> None:
    ours.server.conditions = conditions  # type: ignore[attr-defined]
    main, worker, waiting = (opened(tmp_path / name) for name in ("main", "worker", "waiting"))
    assert main.leases.acquire(KEY)
    assert main.open(KEY) is None
    if conditions:  # who waits for it does not ask all the time
        assert not waiting.leases.acquire(KEY)
        before = len(ours.asked)
        assert [waiting.open(KEY) for _ in range(5)] == [None] * 5
        assert len(ours.asked) == before + 1
    put(worker)
    main.leases.release(KEY)
    assert main.has(KEY)


def test_a_large_file_travels_in_parts(referee: Behind, monkeypatch: Any, tmp_path: Path) -> None:
    with serving(referee) as front:
        at(front, monkeypatch, tmp_path)
        large = {**CONTENT, "weights.bin": random.Random(1).randbytes(9 * 2**20)}
        put(opened(tmp_path / "a"), large)
        assert any("partNumber=2" in line for line in front.asked)
        artifact = opened(tmp_path / "b").open(KEY)
        assert artifact is not None
        assert (artifact.folder / "weights.bin").read_bytes() == large["weights.bin"]


def test_nothing_half_is_ever_seen_and_an_upload_goes_on_where_it_stopped(
    ours: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 0.5)
    store = opened(tmp_path / "a")
    ours.faults.append(Fault("lost", "PUT", "manifests/"))
    with pytest.raises(RemoteError, match=r"cannot reach s3://bucket/.*\n  the same command resumes"):
        put(store)
    assert opened(tmp_path / "b").open(KEY) is None
    assert (tmp_path / "a" / "work").exists() is False or list((tmp_path / "a" / "work").iterdir()) == []
    ours.faults.clear()
    ours.asked.clear()
    again = opened(tmp_path / "a")
    assert not again.has(KEY)  # for others it is not there
    made = again.put(KEY, DOCUMENT, never)
    assert read(made.folder) == CONTENT
    assert not [line for line in ours.asked if line.startswith("PUT") and "/files/" in line]
    assert opened(tmp_path / "b").open(KEY) is not None


def test_the_work_of_a_step_that_could_not_be_sent_stays(ours: Front, tmp_path: Path) -> None:
    store = opened(tmp_path / "a")
    checkpoint = store.work_folder(KEY) / "checkpoint"
    checkpoint.write_bytes(b"hours")
    ours.server.denied = "PUT"  # type: ignore[attr-defined]
    with pytest.raises(RemoteError, match=r"the server refuses: PUT .*403 Forbidden"):
        put(store)
    assert checkpoint.read_bytes() == b"hours"
    ours.server.denied = ""  # type: ignore[attr-defined]
    store.put(KEY, DOCUMENT, never)
    assert not checkpoint.exists()


FAULTS = {
    "lost connections": Fault("lost", share=0.25),
    "lost answers": Fault("answer", share=0.25),
    "half uploads and downloads": Fault("half", share=0.25),
    "slow answers": Fault("slow", times=5),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_eight_writers_under_faults_lose_nothing(front: Front, tmp_path: Path, fault: str) -> None:
    """Each writes one key each with another content, and a key of its own: the first one counts."""
    front.faults.append(replace(FAULTS[fault]))
    seen: list[bytes] = []
    stores = [opened(tmp_path / str(number)) for number in range(8)]

    def write(number: int) -> None:
        put(stores[number], {**CONTENT, "weights.bin": bytes([number]) * 5000})
        put(stores[number], document={"writer": number})
        artifact = stores[number].open(KEY)
        assert artifact is not None
        seen.append((artifact.folder / "weights.bin").read_bytes())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert front.hit != []
    front.faults.clear()
    assert len(seen) == 8
    assert len(set(seen)) == 1
    last = opened(tmp_path / "last")
    assert len(list(last.finished())) == 9
    assert list(last.verify()) == []
    told = [note for store in stores for note in store.notes]
    assert len(told) == 7 or fault == "lost answers"
    assert all("another process had published this result to s3://bucket/" in note for note in told)


# --------------------------------------------------------------------------------------------------- damage


def test_a_damaged_file_of_the_bucket_is_a_miss_and_made_again(ours: Front, tmp_path: Path) -> None:
    put(opened(tmp_path / "a"))
    memory = ours.server.objects  # type: ignore[attr-defined]
    (name,) = (name for name, (content, _) in memory.items() if content == CONTENT["weights.bin"])
    memory[name] = b"x" * 100_000, 0.0
    assert [str(one.reason) for one in opened(tmp_path / "b").verify()] == [
        "weights.bin: content differs from the manifest"
    ]
    store = opened(tmp_path / "b")
    assert store.open(KEY) is None
    assert [one.key for one in store.found_damaged] == [KEY]
    assert [name.split("/")[-2] for name in memory if KEY in name] == ["damaged"]
    put(store)
    found = opened(tmp_path / "c").open(KEY)
    assert found is not None
    assert read(found.folder) == CONTENT


def test_a_damaged_cache_is_filled_again(ours: Front, tmp_path: Path) -> None:
    folder = put(opened(tmp_path / "a"))
    (folder / "weights.bin").write_bytes(b"x" * 100_000)
    store = opened(tmp_path / "a")
    found = store.open(KEY)
    assert found is not None
    assert read(found.folder) == CONTENT
    assert store.found_damaged == []


@pytest.mark.parametrize("times", [1, 10])
@pytest.mark.parametrize("trouble", ["its folder is removed", "its disk fails"])
def test_trouble_of_one_reader_takes_nothing_from_the_bucket(
    ours: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, times: int
) -> None:
    put(opened(tmp_path / "a"))
    fetch, left = Bucket.fetch, [times]

    def troubled(bucket: Bucket, name: str, path: Path, size_bytes: int) -> bool:
        is_hit = path.name == "weights.bin" and left[0] > 0
        left[0] -= is_hit
        if is_hit and trouble == "its folder is removed":
            shutil.rmtree(path.parent)
        found = fetch(bucket, name, path, size_bytes)
        if is_hit:
            path.write_bytes(b"x" * 100_000)
        return found

    monkeypatch.setattr(Bucket, "fetch", troubled)
    store = opened(tmp_path / "b")
    if trouble == "its folder is removed":
        with pytest.raises(StoreUnwritableError, match=r"cannot write to the store .*No such file"):
            store.open(KEY)
    elif times > 1:
        with pytest.raises(StoreError, match=r"cannot keep a result of s3.*: weights.bin: content"):
            store.open(KEY)
    else:
        assert store.open(KEY) is not None
    assert store.found_damaged == []
    monkeypatch.undo()
    at(ours, monkeypatch, tmp_path)
    found = opened(tmp_path / "c").open(KEY)
    assert found is not None
    assert read(found.folder) == CONTENT


def test_what_was_published_anew_since_it_was_found_damaged_stays(ours: Front, tmp_path: Path) -> None:
    put(opened(tmp_path / "a"))
    memory = ours.server.objects  # type: ignore[attr-defined]
    (name,) = (name for name, (content, _) in memory.items() if content == CONTENT["weights.bin"])
    memory[name] = b"x", 0.0
    said = repair(opened(tmp_path / "b"))
    store = opened(tmp_path / "b")
    (damage,) = store.verify()
    memory[name] = CONTENT["weights.bin"], 0.0
    assert not store.move_aside(damage.key)
    assert list(said) == []
    memory[name] = b"x", 0.0
    assert opened(tmp_path / "c").leases.acquire(KEY)
    (line,) = repair(store)
    assert re.search("left .* alone, which is whole by now, or being made", line)
    assert store.has(KEY)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside", "manifest.json", "a\\b"])
def test_no_manifest_of_others_writes_outside_its_folder(ours: Front, tmp_path: Path, name: str) -> None:
    put(opened(tmp_path / "a"))
    memory = ours.server.objects  # type: ignore[attr-defined]
    (place,) = (one for one in memory if "/manifests/" in one)
    manifest = json.loads(memory[place][0])
    manifest["files"][name] = manifest["files"].pop("weights.bin")
    manifest["checksum"] = digest({part: value for part, value in manifest.items() if part != "checksum"})
    memory[place] = json.dumps(manifest).encode(), 0.0
    store = opened(tmp_path / "b" / "cache", tmp_path.name)
    assert store.open(KEY) is None
    assert "no name of a file" in store.found_damaged[0].reason
    assert not list(tmp_path.rglob("outside*"))


# --------------------------------------------------------------------------------------------------- leases


def holder_at(folder: Path) -> BucketLeases:
    return BucketLeases(open_bucket(f"{ADDRESS}/{folder.name}"))


def leave_behind(folder: Path, key: str = KEY, **changes: Any) -> None:
    """Write the lease of a process elsewhere, which never beats."""
    other = replace(new_holder("other"), **{"host": "node7", "boot": "another", **changes})
    open_bucket(f"{ADDRESS}/{folder.name}").put(f"leases/{key}.json", leases._content(other))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(leases, "_now", made)
    monkeypatch.setattr(leases, "_awake", made)
    return made


def test_a_lease_excludes_others_until_it_is_given_back(front: Front, tmp_path: Path, clock: Clock) -> None:
    one, two = holder_at(tmp_path), holder_at(tmp_path)
    assert one.acquire(KEY)
    assert one.holds(KEY)
    assert not one.acquire(KEY)
    assert not two.acquire(KEY)
    found = two.holder(KEY)
    assert found is not None
    assert found.pid == os.getpid()
    one.heartbeat()
    clock.now += 10
    assert not two.acquire(KEY)
    two.release(KEY)  # not its own
    one.release(KEY)
    assert not one.holds(KEY)
    clock.now += 10
    assert two.acquire(KEY)
    two.release_all()
    assert two.all() == {}


def test_a_lease_is_stolen_when_it_stood_still_on_the_thiefs_own_clock(
    front: Front, tmp_path: Path, clock: Clock
) -> None:
    thief = holder_at(tmp_path)
    for beat in range(3):
        leave_behind(tmp_path, beat=beat)
        assert not thief.acquire(KEY)
        clock.now += LEASE_SECONDS - 1
    clock.now += 1
    assert not thief.acquire(KEY)  # its last beat was seen now
    clock.now += LEASE_SECONDS + 1
    assert thief.acquire(KEY)
    assert thief.holds(KEY)


def test_the_dead_of_this_machine_give_way_at_once(front: Front, tmp_path: Path) -> None:
    here = new_holder("dead")
    leave_behind(tmp_path, host=here.host, boot=here.boot, started=1)
    assert holder_at(tmp_path).acquire(KEY)


def test_whoever_lost_a_lease_knows_and_gives_nothing_back(
    front: Front, tmp_path: Path, clock: Clock
) -> None:
    robbed = holder_at(tmp_path)
    assert robbed.acquire(KEY)
    leave_behind(tmp_path)
    clock.now += leases.SURE_SECONDS - 1
    assert robbed.holds(KEY)
    clock.now += 1  # nobody may steal as early as this
    assert not robbed.holds(KEY)
    robbed.heartbeat()
    assert (robbed.take_lost(), robbed.take_lost()) == ([KEY], [])
    robbed.release(KEY)
    there = open_bucket(f"{ADDRESS}/{tmp_path.name}").get(f"leases/{KEY}.json")
    assert there is not None
    found = read_holder(there.content)
    assert found is not None
    assert found.token == "other"


def test_a_put_whose_answer_was_lost_is_known_to_be_ours(front: Front, tmp_path: Path) -> None:
    held = holder_at(tmp_path)
    for number in range(3):
        front.faults[:] = [Fault("answer", "PUT", "leases/", times=1)]
        assert held.acquire(f"{number}")
        front.faults[:] = [Fault("answer", "PUT", "leases/", times=1)]
        held.heartbeat()
        assert held.holds(f"{number}")
        front.faults[:] = [Fault("answer", "PUT|POST|DELETE", "", times=2)]
        held.release(f"{number}")
    assert len(front.hit) == 12
    assert held.take_lost() == []
    assert holder_at(tmp_path).all() == {}


def test_a_beat_whose_answer_never_came_is_taken_up_by_the_next(
    ours: Front, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 0.2)
    held = holder_at(tmp_path)
    held.acquire(KEY)
    ours.faults.append(Fault("answer", "PUT", "leases/"))
    held.heartbeat()
    ours.faults.clear()
    held.heartbeat()
    assert held.take_lost() == []
    assert held.holds(KEY)


def test_a_late_heartbeat_leaves_a_lease_alone_that_was_taken_anew(
    ours: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = holder_at(tmp_path)
    assert held.acquire(KEY)
    replace_object, is_first = Bucket.replace, [True]

    def meanwhile(bucket: Bucket, name: str, content: bytes, tag: Tag) -> Tag | None:
        if is_first.pop() if is_first else False:  # the main thread is faster than this heartbeat
            held.release(KEY)
            assert held.acquire(KEY)
        return replace_object(bucket, name, content, tag)

    monkeypatch.setattr(Bucket, "replace", meanwhile)
    held.heartbeat()
    assert held.take_lost() == []
    assert held.holds(KEY)
    held.heartbeat()
    assert held.take_lost() == []
    held.release(KEY)
    assert held.all() == {}


@pytest.mark.parametrize("what", ["its release", "its taking"])
def test_nobody_waits_for_a_lease_that_itself_gave_up(
    ours: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 0.2)
    held = holder_at(tmp_path)
    if what == "its release":
        assert held.acquire(KEY)
        ours.faults.append(Fault("lost", "PUT", "leases/"))
        held.release(KEY)
    else:
        ours.faults.append(Fault("answer", "PUT", "leases/"))
        with pytest.raises(RemoteError):
            held.acquire(KEY)
    ours.faults.clear()
    assert holder_at(tmp_path).holder(KEY) is not None  # it is there, and its process lives
    assert held.holder(KEY) is None
    assert held.acquire(KEY)
    assert not holder_at(tmp_path).acquire(KEY)
    held.release(KEY)
    assert held.all() == {}
    assert held._given_up == set()


@pytest.mark.parametrize("fault", ["", "lost answers", "lost connections", "slow answers"])
def test_of_eight_there_are_never_two_owners(
    front: Front, tmp_path: Path, monkeypatch: Any, fault: str
) -> None:
    """Dead holders, thieves, releases and heartbeats at once; owners count themselves in one place."""
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.0)
    keys = [f"key{number}" for number in range(3)]
    here = new_holder("dead")
    for key in keys:
        leave_behind(tmp_path, key, host=here.host, boot=here.boot, started=1)
    if fault:
        front.faults.append(replace(FAULTS[fault], share=0.15))
    owners: dict[str, int] = dict.fromkeys(keys, 0)
    owned: list[str] = []
    twice: list[str] = []

    def work(number: int) -> None:
        mine, chance = holder_at(tmp_path), random.Random(number)
        for _ in range(6):
            key = chance.choice(keys)
            if not mine.acquire(key):
                continue
            owners[key] += 1
            twice.extend([key] * (owners[key] > 1))
            owned.append(key)
            mine.heartbeat()
            assert mine.take_lost() == []
            owners[key] -= 1
            mine.release(key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert twice == []
    assert set(owned) == set(keys)


def test_a_run_marks_what_it_needs_and_a_dead_one_is_forgotten(ours: Front, tmp_path: Path) -> None:
    mine, other = holder_at(tmp_path), holder_at(tmp_path)
    with mine.needing([KEY, "c"]):
        assert other.needed().keys() == {KEY, "c"}
        (name,) = other.all()
        here = new_holder("dead")
        leave_behind(tmp_path, name, host=here.host, boot=here.boot, started=1)
        last = holder_at(tmp_path)
        assert last.needed() == {}
        assert last.remove_dead() == 1
    assert last.all() == {}


def test_a_server_that_ignores_conditions_is_used_without_leases_and_that_is_said_once(
    ours: Front, tmp_path: Path
) -> None:
    ours.server.conditions = False  # type: ignore[attr-defined]
    store = opened(tmp_path / "a")
    assert isinstance(store.leases, WithoutLeases)
    (remark,) = store.backend.remarks()
    assert "ignores conditions on writes, so there are no leases" in remark
    assert store.backend.remarks() == []
    assert store.leases.acquire(KEY)
    put(store)
    put(opened(tmp_path / "b"), {**CONTENT, "empty": b"!"})
    found = opened(tmp_path / "c").open(KEY)
    assert found is not None


# --------------------------------------------------------------------------------------------------- opening


def test_what_was_typed_wrongly_is_one_message(ours: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(address: str, words: str, code: int) -> None:
        with pytest.raises((UsageError, RemoteError), match=words) as caught:
            addresses.open_store(address, check=True)
        assert caught.value.exit_code == code

    monkeypatch.setattr(buckets, "_OPENING_SECONDS", 0.5)
    refused("ftp://bucket/x", r"genbench knows folders, and s3://, gs://, az://", 2)
    refused("s3://", r"no bucket and prefix\n  --store s3://BUCKET/PREFIX", 2)
    refused("s3://bucket/a/../b", r"no bucket and prefix", 2)
    refused("s3://nobody/x", r"s3://nobody/x: there is no such bucket\n  aws s3 mb s3://nobody", 2)
    ours.server.denied = "GET"  # type: ignore[attr-defined]
    refused(ADDRESS, r"the server refuses: GET http.*: 403 Forbidden", 4)
    ours.server.denied = ""  # type: ignore[attr-defined]
    open_bucket(ADDRESS).put("layout/2", b"")
    refused(ADDRESS, r"a newer genbench keeps its results here, in layout 2", 2)
    with monkeypatch.context() as changed:
        changed.setenv("AWS_ALLOW_HTTP", "")
        refused(ADDRESS, r"by http, which is not encrypted\n  AWS_ALLOW_HTTP=true", 2)
    with monkeypatch.context() as changed:
        changed.delenv("AWS_ACCESS_KEY_ID")
        refused(ADDRESS, r"no credentials were found\n  AWS_ACCESS_KEY_ID and", 2)
        changed.delenv("AWS_SECRET_ACCESS_KEY")
        changed.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
        refused(ADDRESS, r"no credentials were found\n  AWS_ACCESS_KEY_ID and", 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    refused(ADDRESS, r"cannot reach s3://bucket/some/prefix: GET http://127.0.0.1:9/bucket: HTTP error", 4)


def test_credentials_that_are_not_to_be_had_for_a_while_are_no_mistake_of_the_user(
    ours: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Roles of a machine: its own server hands out credentials, and may not answer."""
    from obstore.exceptions import GenericError

    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 1.0)
    with monkeypatch.context() as changed:
        changed.delenv("AWS_ACCESS_KEY_ID")
        changed.delenv("AWS_SECRET_ACCESS_KEY")
        changed.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(RemoteError, match="no credentials were found"):
            open_bucket(ADDRESS).get("layout/1")
    with monkeypatch.context() as changed:
        changed.delenv("AWS_ALLOW_HTTP")
        with pytest.raises(RemoteError, match="by http, which is not encrypted"):
            open_bucket(ADDRESS).get("layout/1")
    hiccups = [
        GenericError("Error performing PUT http://169.254.169.254/latest/api/token in 1s - HTTP error")
    ]
    bucket = open_bucket(ADDRESS)

    def asked(obstore: Any) -> str:
        if hiccups:
            raise hiccups.pop()
        return "answered"

    assert bucket._asked(asked) == "answered"
    with pytest.raises(RemoteError, match="there is no such bucket"):
        open_bucket("s3://nobody/x").get("layout/1")


def test_without_obstore_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"need the package obstore\n  pip install 'genbench\[cloud\]'"):
        addresses.open_store(ADDRESS)


def test_each_server_has_a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENBENCH_STORE_CACHE", str(tmp_path))
    first = addresses.cache_of(ADDRESS)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://minio.example")
    assert addresses.cache_of(ADDRESS) != first
    assert first.parent == tmp_path
    monkeypatch.setenv("GENBENCH_STORE", ADDRESS)
    assert addresses.default_address() == ADDRESS


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
    ours: Front, tmp_path: Path, clock: Clock
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


# ---------------------------------------------------------------------------------------------------- runs


@pytest.mark.slow(reason="runs small cells four times")
def test_a_run_is_the_same_in_a_bucket_and_resumes_from_another_cache(
    ours: Front, tmp_path: Path, registry: Registry, store: Store
) -> None:
    entries = {"datasets": ["toy-data"], "classifiers": ["toy-net"], "reference": "toy-net", "seeds": 1}
    suite = make_suite({**entries, "evaluators": ["accuracy"], "preset": "smoke"}, "test")

    def walk(place: Store, most: int | None = None) -> RunSummary:
        done: list[str] = []

        def stop(_: Any, event: Event) -> None:
            done.extend([event.id] * (event.status == "done"))
            if len(done) == most:
                raise KeyboardInterrupt

        plan = make_plan(resolve_suite(registry, suite, place.fingerprint))
        return run(plan, place, registry, RunOptions(jobs=0), Observer(event=stop))

    in_folder = walk(store)
    assert in_folder.ran >= 3
    # An inline executor opens the store by its address, as workers do.
    address = f"{ADDRESS}/run"
    with pytest.raises(Interrupted):
        walk(addresses.open_store(address), most=2)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as changed:
        changed.setenv("GENBENCH_STORE_CACHE", str(tmp_path / "other-caches"))
        resumed = walk(addresses.open_store(address, check=True))
        assert resumed.ran == in_folder.ran - 2
        again = walk(addresses.open_store(address, check=True))
    assert again.ran == 0
    assert (in_folder.failed, resumed.failed) == ({}, {})
    for one in (resumed, again):
        assert [asdict(record.result) for record in one.records] == [
            asdict(record.result) for record in in_folder.records
        ]
    assert [name for name in ours.server.objects if "/leases/" in name or "/runs/" in name] == []  # type: ignore[attr-defined]
