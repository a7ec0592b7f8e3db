"""What observers of plugins learn of a run, and that nothing they do comes back into it."""

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genbench import interrupts, telemetry
from genbench.errors import Interrupted, UsageError
from genbench.observers import told
from genbench.plan import Step
from genbench.planner import make_plan
from genbench.records import Record
from genbench.registry import PluginSource, Registry
from genbench.runner import Observer, RunSummary, run
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench.telemetry import RunEnd, RunFacts
from genbench.worker import RunOptions

TOYS = {
    "datasets": ["toy-data"],
    "classifiers": ["toy-net"],
    "reference": "toy-net",
    "seeds": 1,
    "evaluators": ["accuracy", "fid"],
    "preset": "smoke",
    "generators": ["toy"],
}
WATCHING = """
import genbench
heard = []
@genbench.hookimpl
def genbench_run_started(run):
    heard.append(("started", run))
@genbench.hookimpl
def genbench_step_finished(step, run, seconds, stage):
    heard.append(("step", step, run, seconds, stage))
    if step.record is not None:
        step.record.result.tables.clear()  # what it is handed is its own
@genbench.hookimpl
def genbench_run_finished(run, status, reason, records):
    heard.append(("finished", run, status, reason, records))
    for record in records:
        record.result.tables.clear()
"""


def watch(folder: Path, source: str = WATCHING, **entries: Any) -> Any:
    """Run toys with a plugin that watches, in this process; return what it heard, the plan and the rest."""
    toys = Path(__file__).parents[1] / "toy_plugin.py"
    (folder / "watching.py").write_text(source)
    sys.modules.pop("watching", None)
    registry = Registry(PluginSource(files=(str(toys), str(folder / "watching.py")), third_party=False))
    heard = getattr(sys.modules["watching"], "heard", None)  # the inline executor loads plugins once more
    suite, store = (
        make_suite({"name": "toys of all kinds", **TOYS, **entries}, "test"),
        Store(folder / "store"),
    )
    plan = make_plan(resolve_suite(registry, suite, store.fingerprint))
    notices: list[str] = []
    summary = run(plan, store, registry, RunOptions(jobs=0), Observer(notice=notices.append))
    return SimpleNamespace(heard=heard, plan=plan, summary=summary, notices=notices, folder=folder)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run with every kind of step, watched."""
    return watch(tmp_path_factory.mktemp("watched"), generators=["toy:noise=0.5"], filters=["toy-filter"])


def test_a_plugin_hears_of_the_run_and_of_every_step(first: Any) -> None:
    (_, started), *steps, (_, run, status, reason, records) = first.heard
    assert run is started
    assert (status, reason) == ("done", "")
    assert datetime.now(UTC) - timedelta(minutes=5) < started.started < datetime.now(UTC)
    assert (started.suite, started.cells, started.missing) == ("toys of all kinds", 2, len(first.plan.steps))
    assert (started.executor, len(started.id)) == ("inline", 32)
    assert started.store == str(first.folder / "store")

    assert [step.key for _, step, *_ in steps] == list(dict.fromkeys(step.key for _, step, *_ in steps))
    assert {step.key for _, step, *_ in steps} == first.plan.steps.keys()
    for _, step, of, seconds, stage in steps:
        planned: Step = first.plan.steps[step.key]
        assert (step.label, stage, step.stage) == (planned.label, planned.stage, planned.stage)
        assert (step.seed, step.inputs) == (planned.seed, planned.inputs)
        assert of is started
        assert step.seconds == seconds > 0
        assert (step.ended - step.started).total_seconds() == pytest.approx(seconds, abs=1e-5)
        assert step.ended > started.started
        assert (step.status, step.reason, step.device) == ("done", "", "cpu")
        assert step.peak_memory_bytes > 2**20
        assert Path(step.log).is_file()

    # The records of evaluations: copies of what the run published, whatever the plugin did to them.
    evaluated = {step.key: step.record for _, step, *_ in steps if step.record is not None}
    assert evaluated.keys() == first.plan.records.keys() == {record.result.key for record in records}
    assert all(record.result.tables == {} for record in (*records, *evaluated.values()))
    published = {record.result.key: record for record in first.summary.records}
    accuracies = [one for one in published.values() if one.result.evaluator.use == "accuracy"]
    assert len(accuracies) == 2
    assert all(one.result.tables for one in accuracies)
    for key, record in evaluated.items():
        whole = replace(record.result, tables=published[key].result.tables)
        assert (whole, record.run) == (published[key].result, published[key].run)


def test_what_is_cached_is_told_at_the_end_and_is_the_same_without_plugins(first: Any) -> None:
    entries: dict[str, Any] = {"generators": ["toy:noise=0.5"], "filters": ["toy-filter"]}
    again = watch(first.folder, **entries)
    assert [what for what, *_ in again.heard] == ["started", "finished"]
    (_, started), (*_, records) = again.heard
    assert started.missing == 0
    assert started.id != first.heard[0][1].id
    assert len(records) == len(first.summary.records)
    alone = watch(first.folder, source="", **entries)
    digests = [record.result_digest for record in alone.summary.records]
    assert digests == [record.result_digest for record in first.summary.records]


def test_a_plugin_hears_what_failed_and_why(tmp_path: Path) -> None:
    failed = watch(tmp_path, generators=["toy:fault=raise"], evaluators=["accuracy"])
    *steps, (_, _, status, reason, records) = failed.heard[1:]
    (broken,) = [step for _, step, *_ in steps if step.status == "failed"]
    assert (broken.stage, broken.record, broken.device) == ("fit", None, "")
    assert broken.reason == "RuntimeError: the toy broke"
    assert status == "failed"
    assert re.fullmatch(r"fit toy.*, seed 0: RuntimeError: the toy broke \(and 1 more\)", reason)
    assert sorted(record.result.status for record in records) == ["failed", "failed", "ok"]


def test_a_plugin_that_fails_is_a_remark_and_nothing_else(tmp_path: Path) -> None:
    broken = WATCHING.replace('heard.append(("started", run))', "raise SystemExit('no server')")
    done = watch(tmp_path, source=broken, evaluators=["accuracy"])
    assert done.heard == []  # once it failed, it hears nothing more
    assert [one for one in done.notices if "watching" in one] == [
        "plugin 'watching' no longer observes this run: its observer raised SystemExit: no server"
    ]
    assert {record.result.status for record in done.summary.records} == {"ok"}


def ended(*, by: BaseException) -> list[RunEnd]:
    ends: list[RunEnd] = []
    facts = RunFacts("", "", "", datetime.now(UTC), "", 0, "", "", "", "", 0, 0, 0, 0)
    with pytest.raises(type(by)), told(Observer(ended=ends.append), facts, RunSummary()):
        raise by
    return ends


def test_an_error_and_a_signal_end_a_run_too() -> None:
    assert ended(by=UsageError("no images")) == [RunEnd("failed", "UsageError: no images")]
    assert ended(by=interrupts.Stopped()) == [RunEnd("interrupted")]


def test_one_more_signal_cuts_short_what_observers_do_after_the_first() -> None:
    def hang(end: RunEnd) -> None:
        raise interrupts.Stopped  # what the second signal does while they are at it

    facts = RunFacts("", "", "", datetime.now(UTC), "", 0, "", "", "", "", 0, 0, 0, 0)
    with pytest.raises(KeyboardInterrupt), told(Observer(ended=hang), facts, RunSummary()):
        raise interrupts.Stopped


def test_ctrl_c_in_an_observer_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="the same command resumes"):
        watch(tmp_path, source=WATCHING.replace('heard.append(("started", run))', "raise KeyboardInterrupt"))


def test_records_as_trackers_take_them(first: Any) -> None:
    records: Sequence[Record] = first.summary.records
    of = {(one.result.evaluator.use, one.result.generator.use): one for one in records}
    cell, images = of["accuracy", "toy"], of["fid", "toy"]

    found = telemetry.parameters(cell)
    assert (found["generator"], found["generator.noise"], found["seed"]) == ("toy:noise=0.5", 0.5, 0)
    assert (found["classifier.recipe.epochs"], found["mix.mode"], found["subject"]) == (4, "append", "cell")
    assert all(isinstance(value, str | int | float) for value in found.values())
    assert "classifier" not in telemetry.parameters(images)
    assert telemetry.parameters(of["accuracy", "none"])["ratio"] == 0

    numbers = telemetry.numbers(cell)
    assert numbers["top1"] == cell.result.metric("top1").value  # type: ignore[union-attr]
    assert "top1[noisy]" in numbers
    by_stage = [seconds for name, seconds in numbers.items() if name.startswith("seconds.")]
    assert numbers["seconds"] == pytest.approx(sum(by_stage))
    assert len(by_stage) == 4  # fit, sample, filter, train
    assert numbers["peak_memory_bytes"] == max(cost.peak_memory_bytes for cost in cell.run.costs)
    unmeasured = replace(cell, run=replace(cell.run, costs=()))
    assert "seconds" not in telemetry.numbers(unmeasured)

    assert telemetry.title(cell) == "toy:noise=0.5 + toy-filter x1, toy-net on toy-data, seed 0"
    assert telemetry.title(images) == "toy:noise=0.5 + toy-filter x1 (images) on toy-data, seed 0"
    assert telemetry.title(of["accuracy", "none"]) == "real images alone, toy-net on toy-data, seed 0"
    other = replace(cell, result=replace(cell.result, index=0, key="0" * 64))
    assert telemetry.subject(cell) == telemetry.subject(other)
    assert len({telemetry.subject(one) for one in records}) == 3  # two cells and one image set
