"""Executors: the kit that all pass, what it finds, and what an engine is built with."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genbench.errors import UsageError
from genbench.executors import Needs, Setup, Task
from genbench.executors.config import ProcessesConfig
from genbench.executors.making import engine_named
from genbench.executors.probe import TARGET
from genbench.registry import PluginSource, Registry
from genbench.testing import checks_of, executor_checks, make_subject, outcomes
from genbench.testing.suites import ExecutorConformance

WRONG_EXECUTORS = Path(__file__).parents[1] / "wrong_executors.py"
WRONG = [
    ("ends twice", "tasks_end_once", "['started', 'done', 'done']"),
    ("never begins", "tasks_end_once", "['done'], not started and done"),
    ("no host", "tasks_end_once", "on which `host`"),
    ("no progress", "progress_is_passed_on", "none arrived"),
    ("parts bundles", "bundles_are_announced", "a bundle of 3 was announced as one of 1"),
    ("fails bundles", "one_failure_is_one_task", "['done', 'failed', 'failed']"),
    ("all alike", "failures_have_their_kind", "a failure of kind 'user' arrives as 'error'"),
    ("no classes", "failures_have_their_kind", "a UsageError arrives without its class"),
    ("drops what is odd", "odd_exceptions_arrive", "OddError arrives as lost: cannot pickle"),
    ("cuts payloads", "large_payloads_arrive", "of 8,388,608 bytes came 3"),
    ("never cancels", "queued_tasks_can_be_cancelled", "a cancelled task is done, not failed"),
    ("cancels bundles", "running_tasks_can_be_cancelled", "a task was cancelled, and another is failed"),
    ("cancels for ever", "cancelled_tasks_can_be_submitted_again", "is submitted again is failed"),
    ("one thread", "workers_have_their_environment", "OMP_NUM_THREADS is 1.0, not the setup's 3"),
    ("calls a loss an error", "a_lost_worker_is_one_failed_task", "of kind 'error', not 'lost'"),
    ("loses bundles", "a_lost_worker_is_one_failed_task", "the rest of its bundle is failed"),
    ("never retries", "lost_tasks_are_begun_again", "`retried` was told 0 times"),
    ("retries in silence", "lost_tasks_are_begun_again", "`retried` was told 0 times"),
    ("retries for ever", "a_lost_worker_is_one_failed_task", "is done, not failed"),
    ("waits for ever", "late_tasks_are_ended", "longer than 1.5 s is done"),
    ("never cancels what runs", "running_tasks_can_be_cancelled", "a cancelled task is done"),
    ("stops at once", "stopping_saves_work", "is not `interrupted`"),
    ("leaves workers", "closing_ends_what_runs", "is still at a task"),
]


@pytest.fixture(scope="module")
def wrong() -> Registry:
    return Registry(PluginSource(files=(str(WRONG_EXECUTORS),), third_party=False))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Engines of this machine need no patience."""
    monkeypatch.setattr(executor_checks, "LATE_SECONDS", 4.0)
    monkeypatch.setattr(executor_checks, "CLOSING_SECONDS", 0.5)
    yield
    for executor in sys.modules["wrong_executors"].LEFT:
        executor.close()


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")  # of a process that has threads
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("fault", "check", "message"), [("", "", ""), *WRONG])
def test_a_wrong_executor_is_found_by_exactly_its_check(
    wrong: Registry, tmp_path: Path, fault: str, check: str, message: str
) -> None:
    subject = make_subject(wrong, "executor", f"bench:fault={fault}" if fault else "bench", tmp_path)
    found = {
        one.check.__name__: one.message
        for one in outcomes(subject, checks_of(subject))
        if one.status == "FAIL"
    }
    assert list(found) == ([check] if fault else []), found
    assert message in found.get(check, "")


def test_every_check_of_executors_finds_something() -> None:
    asked = {check.__name__ for check in executor_checks.ALL}
    assert asked == {check for _, check, _ in WRONG}


class TestInline(ExecutorConformance):
    component = "inline"


@pytest.mark.slow(reason="starts some twenty workers")
class TestProcesses(ExecutorConformance):
    component = "processes"


# --------------------------------------------------------------------------------------------------- memory


@pytest.fixture
def bench(wrong: Registry) -> Iterator[Any]:
    """Build processes that start at once, with options of their setup."""
    made: list[Any] = []
    forked = sys.modules["wrong_executors"].forked

    def make(memory_gib: float, **fields: Any) -> executor_checks.Watched:
        made.append(forked(memory_gib, Setup(TARGET, {"greeting": ""}, **fields)))
        return executor_checks.Watched(made[-1])

    yield make
    for one in made:
        one.close()


def big(name: str, machine_gib: float, gpu_gib: float = 0.0) -> Task:
    task = executor_checks.task(name, seconds=0.3)
    return replace(task, needs=Needs(1, 1, int(machine_gib * 2**30), int(gpu_gib * 2**30)))


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_what_does_not_fit_waits_and_says_for_what_while_others_pass_it(bench: Any) -> None:
    watched = bench(24.0, jobs=3)
    ended = watched.finish([big("first", 20)], [big("second", 20)], [big("small", 2)], [big("huge", 99)])
    assert {one.status for one in ended.values()} == {"done"}  # the huge one once it was alone
    order = [event.id for event in watched.events if event.status == "started"]
    assert order.index("small") < order.index("second")
    notes = {event.note for event in watched.of("second", "queued")}
    assert notes
    for note in notes:
        assert note.startswith("waits for memory: about 20.0 GiB, where running steps take about 2")
        assert note.endswith("of 24.0 GiB")
    assert order[-1] == "huge"
    large = [one.id for one in watched.events if one.id in {"first", "second"} and one.status != "queued"]
    assert large == ["first", "first", "second", "second"]


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_small_steps_share_a_gpu_and_large_ones_do_not(bench: Any) -> None:
    gpus = [{"CUDA_VISIBLE_DEVICES": name} for name in ("0", "1")]
    setup = {"jobs": 4, "environments": gpus, "gpu_memory_bytes": (16 * 2**30, 16 * 2**30)}
    watched = bench(100.0, **setup)
    watched.finish(*([big(name, 1, 6)] for name in "abcd"))
    assert not any(watched.of(name, "queued") for name in "abcd")  # two on each
    large = bench(100.0, **setup)
    large.finish(*([big(name, 1, 10)] for name in "abcd"))
    notes = {event.note for event in large.events if event.status == "queued"}
    assert notes == {"waits for GPU memory: about 10.0 GiB, where running steps take about 10.0 of 14.4 GiB"}
    running = most = 0
    for event in large.events:
        running += (event.status == "started") - event.is_final
        most = max(most, running)
    assert most == 2  # one on each


def test_an_executor_is_named_with_its_options(wrong: Registry) -> None:
    assert engine_named(wrong, "processes:memory_gib=8").config == ProcessesConfig(memory_gib=8)
    assert engine_named(wrong, "processes:8").config == ProcessesConfig(memory_gib=8)
    with pytest.raises(UsageError, match=r"unknown executor 'proceses'. Did you mean processes\?"):
        engine_named(wrong, "proceses")
    with pytest.raises(UsageError, match=r"executor 'processes'.*memory_gb.*Did you mean memory_gib"):
        engine_named(wrong, "processes:memory_gb=8")
    with pytest.raises(UsageError, match="memory_gib"):
        engine_named(wrong, "processes:memory_gib=-1")
