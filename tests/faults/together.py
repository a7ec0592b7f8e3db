"""Several processes on one store, whatever happens to one of them, and to the clocks."""

import functools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path

from faults import runs
from faults.campaign import Size, Trial
from genbench import holders, leases
from genbench.store import Store

_LONG = 15


def trials(size: Size) -> Iterator[Trial]:
    """Two to six runs at once, with one killed, leases to steal, upkeep meanwhile, and clocks that jump."""
    for name, trial in _KINDS.items():
        for number in range(_LONG if size == "long" else 1):
            yield Trial(f"{name}, {2 + number % 5} runs, {number}", functools.partial(trial, number))


def side_by_side(number: int, folder: Path) -> None:
    """All publish the same, and no step is done twice."""
    _check(folder, _start(folder, number))
    assert _steps_done(folder) == len(runs.plan().steps)


def one_is_killed(number: int, folder: Path) -> None:
    """The others go on at once."""
    children = _start(folder, number)
    time.sleep(random.Random(number).uniform(0.05, 1.0))
    os.killpg(children[0], signal.SIGKILL)
    began = time.monotonic()
    _check(folder, children, killed=1)
    assert time.monotonic() - began < leases.LEASE_SECONDS / 2, "they waited for the dead"


def dead_leases(number: int, folder: Path) -> None:
    """Every step has a lease of a process that is dead: each is taken over by one run."""
    dead = replace(holders.new_holder("gone"), started=1)
    (folder / "store" / "leases").mkdir(parents=True)
    for key in runs.plan().steps:
        (folder / "store" / "leases" / key).write_text(dumps(asdict(dead)))
    _check(folder, _start(folder, number))
    assert _steps_done(folder) == len(runs.plan().steps)


def leases_are_stolen(number: int, folder: Path) -> None:
    """Somebody takes leases away from living runs: work is done twice at worst."""
    children = _start(folder, number)
    chance, until = random.Random(number), time.monotonic() + 1.5
    while time.monotonic() < until:
        for lease in sorted((folder / "store" / "leases").glob("[!.]*")):
            if chance.random() < 0.3:
                lease.unlink(missing_ok=True)
        time.sleep(0.01)
    _check(folder, children)


def upkeep_meanwhile(number: int, folder: Path) -> None:
    """`gc`, with stages, and `verify --repair` take nothing that a run needs."""
    children = _start(folder, number)
    stages = [
        word for stage in ("fit", "sample", "train", "predict", "evaluate") for word in ("--stage", stage)
    ]
    while any(_is_running(child) for child in children):
        for words in (("store", "gc", *stages), ("store", "verify", "--repair")):
            end = runs.command_in_child(folder, *words)
            assert end.code == 0, end.said
            runs.check_no_traceback(end)
            assert "moved aside" not in end.said, end.said
    _check(folder, children, is_whole=False)


def clocks_jump(number: int, folder: Path) -> None:
    """Every process has another idea of the time, which is set while it runs."""

    def prepare() -> None:
        chance, real = random.Random(os.getpid()), time.time

        def now() -> float:
            return real() + chance.uniform(-1, 1) * 10**9

        time.time = now
        time.time_ns = lambda: int(now() * 10**9)

    _check(folder, _start(folder, number, prepare))
    assert _steps_done(folder) == len(runs.plan().steps)


_KINDS: dict[str, Callable[[int, Path], None]] = {
    "side by side": side_by_side,
    "one is killed": one_is_killed,
    "dead leases": dead_leases,
    "leases are stolen": leases_are_stolen,
    "upkeep meanwhile": upkeep_meanwhile,
    "clocks jump": clocks_jump,
}


def _start(folder: Path, number: int, prepare: runs.Prepare = lambda: None) -> list[int]:
    return [runs.started(folder, prepare, out=f"out{one}") for one in range(2 + number % 5)]


def _check(folder: Path, children: list[int], killed: int = 0, *, is_whole: bool = True) -> None:
    """All runs but the killed ones publish what one alone publishes."""
    for number, child in enumerate(children):
        end = runs.ended(child, folder / f"out{number}.log")
        runs.check_no_traceback(end)
        if number < killed:
            continue
        assert end.code == 0, end.said[-2000:]
        assert "FAILED" not in end.said, end.said
        assert "a damaged result" not in end.said, end.said
        assert runs.published(folder, f"out{number}") == runs.expected()
    store = Store(folder / "store")
    assert list(store.verify()) == []
    if is_whole:
        assert len(list(store.finished())) == len(runs.plan().steps)


def _steps_done(folder: Path) -> int:
    return sum(1 for _ in Store(folder / "store").index.lines())


def _is_running(child: int) -> bool:
    """Say whether a child runs; one that ended is waited for later."""
    return holders.started_at(child) not in {None, -1}
