"""Small runs for trials: a child process that is forked, may be harmed, and says how it ended.

The plan has 9 steps of toys, and takes half a second in a process that has imported everything. Every trial
compares what was published in the end with what one undisturbed run publishes.
"""

import contextlib
import functools
import os
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from faults.campaign import Size
from faults.operations import watch
from genbench import cli
from genbench.plan import Plan
from genbench.records import read_records
from genbench.registry import PluginSource, Registry
from genbench.runner import run
from genbench.store import Store
from genbench.worker import RunOptions
from genbench_leaderboard.board import build_board
from genbench_leaderboard.tables import render_markdown
from toy_suites import toy_plan

TOY_PLUGIN = Path(__file__).parents[1] / "toy_plugin.py"
_SUITE = {
    "datasets": ["toy-data:images=36,size=4"],
    "classifiers": ["toy-net:recipe.epochs=1"],
    "generators": ["toy:fit_iterations=4"],
    "reference": "toy-net",
    "evaluators": ["toy-eval"],
    "seeds": 1,
}
STEPS = 11  #: that the plan has
TRACEBACKS = ("Traceback (most recent call last)", "--- Logging error ---", "Exception ignored in")

Prepare = Callable[[], None]


class Place(NamedTuple):
    """One of the file operations of a run: its number, or a share of all of them."""

    share: float
    known: int = 0

    @property
    def number(self) -> int:
        """Which one, counted from 1."""
        return self.known or 1 + int(self.share * operations())

    def __str__(self) -> str:
        return str(self.known) if self.known else f"at {self.share:.0%}"


def places(size: Size, count: int, seed: int) -> list[Place]:
    """Return every file operation of a run, or a few of which nothing has to be known yet."""
    if size == "long":
        return [Place(0, number) for number in range(1, operations() + 1)]
    chance = random.Random(seed)
    return [Place((part + chance.random()) / count) for part in range(count)]


class Ended(NamedTuple):
    """How a child ended: its exit code (negative: the signal), and what it wrote."""

    code: int
    said: str

    @property
    def ran(self) -> int:
        """How many steps it finished."""
        return sum(line.startswith("[") and line.endswith(" s") for line in self.said.splitlines())


@functools.cache
def plan() -> Plan:
    """The plan that every trial runs; it was run here once, so that children have all that it imports."""
    torch.set_num_threads(1)
    registry = Registry(PluginSource(files=(str(TOY_PLUGIN),)))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        made = toy_plan(registry, store, **_SUITE)
        render_markdown(build_board(run(made, store, registry, RunOptions(jobs=0)).records))
    return made


@functools.cache
def arguments() -> tuple[str, ...]:
    """The plan as a command line has it."""
    entries = {"-d": "datasets", "-c": "classifiers", "-g": "generators", "-e": "evaluators"}
    words = [word for option, name in entries.items() for word in (option, _SUITE[name][0])]  # type: ignore[index]
    return (*words, "--reference", "toy-net", "--seeds", "1", "--plugin", str(TOY_PLUGIN))


def run_in_child(folder: Path, prepare: Prepare = lambda: None, jobs: int = 0, out: str = "out") -> Ended:
    """Run the plan with the store `folder/store` to its end, or to that of the child."""
    return ended(started(folder, prepare, jobs, out), folder / f"{out}.log")


def started(folder: Path, prepare: Prepare = lambda: None, jobs: int = 0, out: str = "out") -> int:
    """Start that, in a group of its own; return the number of the process."""
    words = ("run", *arguments(), "--jobs", str(jobs), "-o", str(folder / out))
    return started_command(folder, words, folder / f"{out}.log", prepare)


def command_in_child(folder: Path, *words: str) -> Ended:
    """Run another command on the store of a trial."""
    log = folder / f"command-{'-'.join(words[:2])}.log"
    return ended(started_command(folder, words, log), log)


def started_command(folder: Path, words: tuple[str, ...], log: Path, prepare: Prepare = lambda: None) -> int:
    """Start `genbench WORDS` in a child."""
    plan()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, which sees pytest's threads
        child = os.fork()
    if child:
        return child
    code = 70  # never seen: a child always ends below
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
        os.environ.update(GENBENCH_STORE=str(folder / "store"), OMP_NUM_THREADS="1")
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115 - for the child's life
        sys.argv = ["genbench", *words]
        prepare()
        cli.main()
    except SystemExit as ending:
        code = int(ending.code or 0)
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
        code = 71
    finally:
        os._exit(code)


def ended(child: int, log: Path) -> Ended:
    """Wait for a child."""
    _, status = os.waitpid(child, 0)
    said = log.read_text(errors="replace") if log.exists() else ""
    return Ended(os.waitstatus_to_exitcode(status), said)


def published(folder: Path, out: str = "out") -> Mapping[str, str]:
    """Return the digest of every published result by what it is about; all are whole and none failed."""
    found = {}
    for record in read_records([folder / out]):
        assert record.result.status == "ok", record.result.reason
        found[f"{record.result.generator.label} {record.result.evaluator.use}"] = record.result_digest
    return found


def finished() -> Path:
    """The folder of an undisturbed run."""
    return Path(_finished().name)


@functools.cache
def _finished() -> tempfile.TemporaryDirectory[str]:
    kept = tempfile.TemporaryDirectory(prefix="genbench-finished-")
    end = run_in_child(Path(kept.name))
    assert end.code == 0, end.said
    assert end.ran == len(plan().steps) == STEPS
    return kept


@functools.cache
def operations() -> int:
    """Count the file operations of an undisturbed run."""
    with tempfile.TemporaryDirectory(prefix="genbench-counted-") as folder:
        counted = Path(folder) / "operations"
        descriptor = os.open(counted, os.O_WRONLY | os.O_CREAT)
        write = os.write  # before it is watched itself
        end = run_in_child(Path(folder), lambda: watch(lambda *about: write(descriptor, b".") and None))
        os.close(descriptor)
        assert end.code == 0, end.said
        return counted.stat().st_size


@functools.cache
def expected() -> Mapping[str, str]:
    """What an undisturbed run publishes."""
    found = published(finished())
    assert len(found) == 3  # two cells, and what the check for copies says
    return found


def check_no_traceback(end: Ended) -> None:
    """Whatever happened, it was said in a message."""
    for words in TRACEBACKS:
        assert words not in end.said, end.said[-2000:]


def check_resumes(folder: Path) -> None:
    """The same command finishes the run: equal results, nothing that was done again, and no damage."""
    store = Store(folder / "store")
    done = sum(store.manifest(key) is not None for key in store.finished())
    end = run_in_child(folder, out="resumed")
    check_no_traceback(end)
    assert end.code == 0, end.said[-2000:]
    assert "FAILED" not in end.said, end.said
    assert "a damaged result" not in end.said, end.said
    assert "waiting for" not in end.said, end.said
    assert end.ran <= len(plan().steps) - done, f"{end.ran} steps ran again, {done} were done"
    check_whole(folder, "resumed")


def check_whole(folder: Path, out: str) -> None:
    """Everything is published as it should be, and nothing in the store is damaged or forgotten."""
    store = Store(folder / "store")
    assert published(folder, out) == expected()
    assert list(store.verify()) == []
    assert store.leases.all() == {}
