"""A store in a bucket: nothing is lost, nothing half is read, and what was typed wrongly is one message."""

import json
import random
import re
import shutil
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bucket_stores import (
    ADDRESS,
    CONTENT,
    DOCUMENT,
    FAULTS,
    KEY,
    at,
    never,
    opened,
    put,
    read,
)
from genbench import addresses, manifests
from genbench.digest import digest
from genbench.errors import Interrupted, StoreError, StoreUnwritableError, UsageError
from genbench.executors import Event
from genbench.planner import make_plan
from genbench.registry import Registry
from genbench.remote import buckets
from genbench.remote.backend import BucketBackend
from genbench.remote.buckets import Bucket, open_bucket
from genbench.remote.leases import BucketLeases
from genbench.remote.objects import RemoteError
from genbench.runner import Observer, RunSummary, run
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench.upkeep import repair
from genbench.worker import RunOptions
from s3_server import Behind, Fault, Front, serving

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
        while is_hit and trouble == "its folder is removed" and path.parent.exists():
            shutil.rmtree(path.parent, ignore_errors=True)  # other files are being fetched into it
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
