"""Whole processes that are asked to stop, told to stop, and made to wait."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from genbench import interrupts
from genbench.errors import Interrupted
from genbench.interrupts import Stopped, cleaning, heeded, saving
from genbench.leases import Leases
from genbench.registry import Registry
from genbench.runner import Observer, run
from genbench.store import Store
from genbench.worker import RunOptions
from toy_suites import toy_plan

TOY_PLUGIN = Path(__file__).parents[1] / "toy_plugin.py"
#: A fit that takes longer than any test, checkpoints often, and writes down nothing else.
SLOW = "toy:seconds_per_iteration=0.1,fit_iterations=2000"
RUN = [
    *("run", "-d", "toy-data", "-c", "toy-net", "--reference", "toy-net", "--plugin", str(TOY_PLUGIN)),
    *("--seeds", "1", "-g", SLOW, "--jobs", "1", "--checkpoint-every", "0.2", "-e", "accuracy"),
]
# Sleeps where Ctrl-C finds it; its parent may ignore signals, as a shell's `&` makes it do.
HEEDFUL = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "[signal.signal(one, signal.SIG_DFL) for one in (signal.SIGTERM, signal.SIGHUP)]"
)

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def _usual_handlers() -> Iterator[None]:
    """Undo what `nohup`, a shell's `&` or an earlier test left."""
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def is_gone(group: int) -> bool:
    """Say whether no process of a group is left, workers and multiprocessing's own included."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `genbench run` on slow toys, and wait until its fit has a checkpoint."""
    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        call = f"import sys; sys.argv = ['genbench', *{RUN!r}]\nfrom genbench.cli import main; main()"
        code = f"{HEEDFUL}\n{call}"
        environment = {**os.environ, "GENBENCH_STORE": str(tmp_path / "store"), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        until = time.monotonic() + 90
        while not list((tmp_path / "store" / "work").glob("*/checkpoint.json")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.mark.slow(reason="two runs until they are stopped")
@pytest.mark.parametrize(
    ("numbers", "code"),
    [([signal.SIGHUP], 129), ([signal.SIGINT, signal.SIGTERM, *[signal.SIGINT] * 8], 130)],
)
def test_signals_stop_a_run_cleanly(start: Start, tmp_path: Path, numbers: list[int], code: int) -> None:
    process = start()
    (checkpoint,) = (tmp_path / "store" / "work").glob("*/checkpoint.json")
    before = checkpoint.stat().st_mtime_ns
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.03)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert "stopped; the same command resumes" in errors
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert list((tmp_path / "store" / "leases").iterdir()) == []
    assert list((tmp_path / "store" / "runs").iterdir()) == []
    (checkpoint,) = (tmp_path / "store" / "work").glob("*/checkpoint.json")  # given back, or left behind
    if len(numbers) == 1:
        assert checkpoint.stat().st_mtime_ns > before  # written when it was asked to stop
    assert is_gone(process.pid)


# ------------------------------------------------------------------------------------- in this process


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def test_the_first_signal_asks_and_the_second_cuts_short() -> None:
    said = []
    with heeded():
        try:
            send(signal.SIGHUP)
        except Stopped:
            send()  # ignored: the way to `saving` is short
            with saving():
                said.append("saves")
                send()
                said.append("goes on saving")
            with cleaning():
                send()
                said.append("cleans up")
            send()  # ignored: on the way out
            said.append("leaves")
    assert said == ["saves", "cleans up", "leaves"]
    assert interrupts.exit_code() == 129


def test_a_signal_while_cleaning_up_waits_for_the_end() -> None:
    said = []

    def clean_up() -> None:
        with cleaning():
            send()
            said.append("cleans up")
        said.append("goes on")

    with heeded(), pytest.raises(Stopped):
        clean_up()
    assert said == ["cleans up"]


def test_handlers_are_given_back_and_ignored_signals_left_alone() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with heeded():
            with heeded():
                assert signal.getsignal(signal.SIGTERM) is interrupts._take
            assert signal.getsignal(signal.SIGTERM) is interrupts._take
            send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_in_this_process_stops_on_sigterm_and_resumes(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store, seeds=1, evaluators=["accuracy"])
    observer = Observer(event=lambda step, event: send() if step.stage == "train" else None)
    with pytest.raises(Interrupted, match="the same command resumes"):
        run(plan, store, registry, RunOptions(jobs=0), observer)
    assert list((store.root / "leases").iterdir()) == []
    assert list((store.root / "runs").iterdir()) == []
    again = run(plan, store, registry, RunOptions(jobs=0))
    assert 0 < again.ran < len(plan.steps)
    assert again.failed == {}


def test_waiting_is_said_once_of_each_process(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store, seeds=1, evaluators=["accuracy"])
    dataset = next(step for step in plan.steps.values() if step.stage == "dataset")
    other, said = Leases(store.root), []
    other.acquire(dataset.key)

    def note(message: str) -> None:
        said.append(message)
        other.release(dataset.key)

    assert run(plan, store, registry, RunOptions(jobs=0), Observer(notice=note)).failed == {}
    assert said == [f"waiting for PID {os.getpid()} on this machine, which is at: {dataset.label}"]


def test_a_run_marks_what_it_needs_while_it_runs(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store, seeds=1, evaluators=["accuracy"])
    seen: list[set[str]] = []
    watch = Observer(event=lambda step, event: seen.append(set(Leases(store.root).needed())))
    run(plan, store, registry, RunOptions(jobs=0), watch)
    assert seen
    assert all(needed >= set(plan.steps) for needed in seen)
    assert Leases(store.root).needed() == {}
