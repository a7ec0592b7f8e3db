"""Composing records: what is taken from a saved one, what is composed anew, and what cannot be a record."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from genbench import compose
from genbench.artifacts import read_evaluation
from genbench.errors import DataError
from genbench.executors import Event, Task, inline
from genbench.plan import Plan
from genbench.protocols import Evaluation
from genbench.records import Record, Subject
from genbench.registry import Registry
from genbench.runner import RunSummary, run
from genbench.store import Artifact, Store
from genbench.worker import RunOptions
from toy_suites import toy_plan

Run = Callable[..., tuple[Plan, list[Record]]]


@pytest.fixture(name="rerun")
def _rerun(registry: Registry, store: Store) -> Run:
    def rerun(**entries: Any) -> tuple[Plan, list[Record]]:
        plan = toy_plan(registry, store, **entries)
        return plan, run(plan, store, registry, RunOptions(jobs=0, command="again")).records

    return rerun


def save_another(store: Store, record: Record, *, older: bool) -> None:
    """Replace a saved record by one that can be told apart, before or after its artifact was made."""
    path = store.save_record(replace(record, run=replace(record.run, command="saved")))
    made = (store.root / "artifacts" / record.result.key[:2] / record.result.key).stat().st_mtime_ns
    os.utime(path, ns=(made, made + (-1 if older else 10**10) * 10**9))


@pytest.mark.parametrize(("older", "command"), [(False, "saved"), (True, "again")])
def test_a_record_that_is_older_than_its_artifact_is_composed_anew(
    rerun: Run, store: Store, older: bool, command: str
) -> None:
    _, first = rerun()
    save_another(store, first[0], older=older)
    _, again = rerun()
    assert [record.result for record in again] == [record.result for record in first]
    assert again[0].run.command == command


def test_a_larger_plan_keeps_what_only_removed_artifacts_could_tell(rerun: Run, store: Store) -> None:
    plan, first = rerun(seeds=1)
    before = {record.result.key: record for record in first}
    for key, step in plan.steps.items():
        if step.stage in {"fit", "train", "sample"}:
            store.remove(key)
    _, found = rerun(seeds=2)
    after = {record.result.key: record for record in found}
    for key, record in before.items():
        assert record.result.ledger.real or record.result.subject == "image_set"
        assert after[key].result == replace(record.result, planned_indices=2)
        assert after[key].run.costs == record.run.costs


def test_every_component_of_a_cell_names_its_code_once(rerun: Run) -> None:
    _, records = rerun(seeds=1)
    (cell,) = [one for one in records if one.result.subject == "cell" and one.result.generator.use != "none"]
    names = [(code.kind, code.name) for code in cell.run.plugins]
    assert len(names) == len(set(names))
    assert set(names) >= {("dataset", "toy-data"), ("generator", "toy"), ("evaluator", "accuracy")}


def test_what_cannot_be_a_record_fails_alone(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy_plan(registry, store, seeds=1)
    refused = next(iter(plan.records))

    def read(artifact: Artifact, subject: Subject) -> Evaluation:
        if artifact.folder.name == refused:
            raise DataError("its table is upside down")
        return read_evaluation(artifact, subject)

    monkeypatch.setattr(compose, "read_evaluation", read)
    records = run(plan, store, registry, RunOptions(jobs=0)).records
    failed = {one.result.key: one.result.reason for one in records if one.result.status == "failed"}
    assert failed.keys() == {refused}
    assert "it makes no valid record: its table is upside down" in failed[refused]
    assert len(records) == len(plan.records)


def test_a_step_that_somebody_stopped_is_a_failure_that_resumes(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy_plan(registry, store, seeds=1)
    stopped = next(key for key, step in plan.steps.items() if step.stage == "train")
    perform = inline.carry_out_task

    def run_or_stop(work: Any, task: Task, *others: Any, **options: Any) -> Event:
        if task.id == stopped:
            others[1](Event(task.id, "started"))
            return Event(task.id, "interrupted")
        return perform(work, task, *others, **options)

    with monkeypatch.context() as patched:
        patched.setattr(inline, "carry_out_task", run_or_stop)
        summary: RunSummary = run(plan, store, registry, RunOptions(jobs=0))
    assert summary.failed == {stopped: "its worker was told to stop; the same command resumes it"}
    again = run(toy_plan(registry, store, seeds=1), store, registry, RunOptions(jobs=0))
    assert not again.failed
    assert {record.result.status for record in again.records} == {"ok"}
