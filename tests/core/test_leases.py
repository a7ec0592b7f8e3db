"""Leases: a dead process gives way, a living one never does, and no clock that can be set is read."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from genbench import holders, leases, locks
from genbench.errors import UsageError
from genbench.holders import Holder
from genbench.leases import LEASE_SECONDS, Leases
from genbench.store import Store
from still_clock import Clock

KEY = "ab" + "0" * 62


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(leases.time, "monotonic", made)
    monkeypatch.setattr(leases.time, "sleep", lambda seconds: setattr(made, "now", made.now + seconds))
    return made


def write(store: Store, holder: Holder, key: str = KEY) -> None:
    (store.root / "leases").mkdir(parents=True, exist_ok=True)
    (store.root / "leases" / key).write_text(json.dumps(asdict(holder)))


def read(store: Store, key: str = KEY) -> Holder:
    return Holder(**json.loads((store.root / "leases" / key).read_text()))


def us() -> Holder:
    return holders.new_holder("token")


ELSEWHERE: dict[str, Any] = {"host": "node7", "boot": "another"}


def test_a_lease_excludes_others_until_it_is_released(store: Store) -> None:
    other = Store(store.root)
    assert store.leases.acquire(KEY)
    assert not store.leases.acquire(KEY)
    assert not other.leases.acquire(KEY)
    other.leases.release(KEY)  # not its own
    assert not other.leases.acquire(KEY)
    assert read(store).pid == os.getpid()
    store.leases.release(KEY)
    assert other.leases.acquire(KEY)
    other.leases.release_all()
    assert list((store.root / "leases").iterdir()) == []


def test_the_living_are_never_robbed_here_and_the_dead_give_way_at_once(store: Store, clock: Clock) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = holders.started_at(child.pid)
    assert started is not None
    holder = replace(us(), pid=child.pid, started=started)
    write(store, holder)
    assert not store.leases.acquire(KEY)
    clock.now += 10 * LEASE_SECONDS  # stopped, or asleep: it lives
    assert not store.leases.acquire(KEY)
    assert store.leases.holder(KEY) == holder
    assert holder.label == f"PID {child.pid} on this machine"
    child.kill()
    while holders.started_at(child.pid) != -1:  # a zombie, until we wait for it
        pass
    assert store.leases.holder(KEY) is None
    child.communicate()
    assert store.leases.acquire(KEY)


@pytest.mark.parametrize("change", [{"started": 1}, {"pid": 2**22 + 1}, {"pid": 10**30}, {"pid": -5}])
def test_another_process_with_its_number_is_not_the_holder(
    store: Store, clock: Clock, change: dict[str, Any]
) -> None:
    write(store, replace(us(), **change))
    store.leases.acquire(KEY)
    clock.now += LEASE_SECONDS + 1  # impossible numbers are watched like strangers
    assert store.leases.acquire(KEY) or read(store).pid == os.getpid()


@pytest.mark.parametrize("change", [ELSEWHERE, {"space": "pid:[1]", "pid": 1}, {"boot": "before"}])
def test_one_elsewhere_is_dead_when_its_heartbeat_stood_still_on_our_clock(
    store: Store, clock: Clock, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: -(10.0**9))  # clocks that are set do not matter
    holder = replace(us(), **change)
    write(store, holder)
    for beat in range(5):
        clock.now += LEASE_SECONDS - 1
        assert not store.leases.acquire(KEY)
        write(store, replace(holder, beat=beat))
    assert not store.leases.acquire(KEY)
    clock.now += LEASE_SECONDS - 1
    assert not store.leases.acquire(KEY)
    clock.now += 2
    assert store.leases.acquire(KEY)
    assert holder.label == f"PID {holder.pid} on {holder.host}"


@pytest.mark.parametrize("age", [-(10**9), 10**9])
def test_the_time_of_a_lease_file_does_not_matter(store: Store, age: int) -> None:
    store.leases.acquire(KEY)
    then = time.time() - age
    os.utime(store.root / "leases" / KEY, (then, then))
    assert not Store(store.root).leases.acquire(KEY)


def test_a_heartbeat_is_seen_and_notices_that_the_lease_was_taken_over(store: Store) -> None:
    store.leases.acquire(KEY)
    first = read(store)
    store.leases.heartbeat()
    assert read(store) == replace(first, beat=1)
    write(store, replace(first, token="thief"))
    store.leases.heartbeat()
    assert read(store).token == "thief"
    store.leases.release(KEY)
    assert read(store).token == "thief"


def test_heartbeats_come_from_a_thread_and_everything_is_given_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    with store.leases.beating():
        store.leases.acquire(KEY)
        until = time.monotonic() + 10
        while read(store).beat < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert read(store).beat >= 2
    assert list((store.root / "leases").iterdir()) == []


def test_a_heartbeat_that_fails_is_not_the_last_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    beats: list[int] = []

    def beat() -> None:
        beats.append(1)
        raise UsageError("no credentials were found")

    monkeypatch.setattr(store.leases, "heartbeat", beat)
    with store.leases.beating():
        until = time.monotonic() + 10
        while len(beats) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    assert len(beats) >= 3


def steal(root: Path, won: Any, all_tried: Any) -> None:
    if Leases(root).acquire(KEY):
        won.put(os.getpid())
    all_tried.wait()  # alive while the others try


def test_of_many_processes_that_find_a_dead_lease_one_gets_it(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    won = context.Queue()
    for _ in range(5):
        write(store, replace(us(), started=1))
        all_tried = context.Barrier(8, timeout=60)
        thieves = [context.Process(target=steal, args=(store.root, won, all_tried)) for _ in range(8)]
        for thief in thieves:
            thief.start()
        winner = won.get(timeout=30)
        for thief in thieves:
            thief.join()
        assert won.empty()
        assert read(store).pid == winner


def thieve(root: Path, key: str, won: list[bool], all_at_once: threading.Barrier) -> None:
    mine = Leases(root)
    all_at_once.wait()
    won.append(mine.acquire(key))


def test_of_many_threads_that_find_a_dead_lease_one_gets_it(store: Store) -> None:
    for round_number in range(30):
        write(store, replace(us(), started=1), str(round_number))
        won: list[bool] = []
        all_at_once = threading.Barrier(8)

        arguments = (store.root, str(round_number), won, all_at_once)
        threads = [threading.Thread(target=thieve, args=arguments) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False] * 7 + [True]


@pytest.mark.parametrize("there", ["a dead lease", "a dead thief of a dead lease", "nothing"])
def test_where_files_cannot_be_locked_one_thief_wins_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    """All of them have seen that the holder is dead before the first of them acts."""
    monkeypatch.setattr(locks, "_locked", lambda _: True)
    dead = replace(us(), started=1)
    if there != "nothing":
        write(store, dead)
    if there == "a dead thief of a dead lease":
        with Leases(store.root)._claimed(dead):
            (claim,) = (store.root / "leases").glob(".*.claim")
        write(store, replace(us(), started=1, token="thief"), claim.name)
    all_saw = threading.Barrier(8)
    won: list[bool] = []

    class Thief(Leases):
        looks = 0

        def holder(self, key: str) -> Holder | None:
            found = super().holder(key)
            if key == KEY:
                self.looks += 1
                if self.looks == 2:
                    all_saw.wait()
            return found

    threads = [threading.Thread(target=lambda: won.append(Thief(store.root).acquire(KEY))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    assert [path.name for path in (store.root / "leases").iterdir()] == [KEY]
    assert read(store).token not in {"token", "thief"}


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP])
def test_where_files_have_no_second_names_one_of_many_gets_a_lease(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Many file systems that are mounted by FUSE answer ENOSYS."""

    def refuse(path: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    write(store, replace(us(), started=1), "dead")
    for key in (KEY, "dead"):
        won: list[bool] = []
        all_at_once = threading.Barrier(8)
        threads = [
            threading.Thread(target=thieve, args=(store.root, key, won, all_at_once)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False] * 7 + [True]
    (store.root / "draft").write_text("whole")
    assert locks.named_once(store.root / "draft", store.root / "name")
    assert not locks.named_once(store.root / "draft", store.root / "name")
    assert (store.root / "name").read_text() == "whole"


def test_a_lease_that_was_taken_over_is_named_once(store: Store) -> None:
    store.leases.acquire(KEY)
    assert store.leases.holds(KEY)
    write(store, replace(us(), token="thief"))
    assert not store.leases.holds(KEY)
    assert store.leases.take_lost() == []
    store.leases.heartbeat()
    assert (store.leases.take_lost(), store.leases.take_lost()) == ([KEY], [])


def test_a_lock_that_is_never_given_back_stops_nobody(store: Store, clock: Clock) -> None:
    with store.leases.exclusively():
        assert Store(store.root).leases.acquire(KEY)


def test_who_is_elsewhere_is_watched_before_anything_is_removed(store: Store, clock: Clock) -> None:
    write(store, us(), "here")
    store.leases.settle()
    assert clock.now == 1000  # nobody to wait for
    write(store, replace(us(), **ELSEWHERE), "dead")
    write(store, replace(us(), **ELSEWHERE), "alive")
    wait = leases.time.sleep

    def beat(seconds: float) -> None:
        wait(seconds)
        write(store, replace(us(), **ELSEWHERE, beat=int(clock.now)), "alive")

    leases.time.sleep = beat  # type: ignore[assignment] - the fixture undoes it
    store.leases.settle()
    assert {name for name, holder in store.leases.all().items() if holder} == {"here", "alive"}
    assert {path.name for path in store.leases.leftovers()} == {"dead"}


def test_a_run_marks_what_it_needs_and_a_dead_one_is_forgotten(store: Store) -> None:
    with store.leases.needing([KEY, "c"]):
        (name,) = store.leases.all()
        assert Store(store.root).leases.needed().keys() == {KEY, "c"}
        write(store, replace(read(store, name), started=1), name)
        assert Store(store.root).leases.needed() == {}
        assert len(Store(store.root).leases.leftovers()) == 2
    assert list((store.root / "runs").iterdir()) == []
