"""Leases in a bucket: no step ever has two owners, and nobody waits for ever."""

import os
import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bucket_stores import (
    ADDRESS,
    CONTENT,
    FAULTS,
    KEY,
    holder_at,
    leave_behind,
    opened,
    put,
)
from genbench.holders import new_holder, read_holder
from genbench.remote import buckets, leases
from genbench.remote.buckets import Bucket, open_bucket
from genbench.remote.leases import LEASE_SECONDS
from genbench.remote.objects import RemoteError, Tag
from genbench.remote.without_leases import WithoutLeases
from s3_server import Fault, Front
from still_clock import Clock


def test_a_lease_excludes_others_until_it_is_given_back(
    front: Front, tmp_path: Path, bucket_clock: Clock
) -> None:
    one, two = holder_at(tmp_path), holder_at(tmp_path)
    assert one.acquire(KEY)
    assert one.holds(KEY)
    assert not one.acquire(KEY)
    assert not two.acquire(KEY)
    found = two.holder(KEY)
    assert found is not None
    assert found.pid == os.getpid()
    one.heartbeat()
    bucket_clock.now += 10
    assert not two.acquire(KEY)
    two.release(KEY)  # not its own
    one.release(KEY)
    assert not one.holds(KEY)
    bucket_clock.now += 10
    assert two.acquire(KEY)
    two.release_all()
    assert two.all() == {}


def test_a_lease_is_stolen_when_it_stood_still_on_the_thiefs_own_clock(
    front: Front, tmp_path: Path, bucket_clock: Clock
) -> None:
    thief = holder_at(tmp_path)
    for beat in range(3):
        leave_behind(tmp_path, beat=beat)
        assert not thief.acquire(KEY)
        bucket_clock.now += LEASE_SECONDS - 1
    bucket_clock.now += 1
    assert not thief.acquire(KEY)  # its last beat was seen now
    bucket_clock.now += LEASE_SECONDS + 1
    assert thief.acquire(KEY)
    assert thief.holds(KEY)


def test_the_dead_of_this_machine_give_way_at_once(front: Front, tmp_path: Path) -> None:
    here = new_holder("dead")
    leave_behind(tmp_path, host=here.host, boot=here.boot, started=1)
    assert holder_at(tmp_path).acquire(KEY)


def test_whoever_lost_a_lease_knows_and_gives_nothing_back(
    front: Front, tmp_path: Path, bucket_clock: Clock
) -> None:
    robbed = holder_at(tmp_path)
    assert robbed.acquire(KEY)
    leave_behind(tmp_path)
    bucket_clock.now += leases.SURE_SECONDS - 1
    assert robbed.holds(KEY)
    bucket_clock.now += 1  # nobody may steal as early as this
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
