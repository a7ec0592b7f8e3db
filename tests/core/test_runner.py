"""The runner: order, reuse, estimates and what it says."""

from typing import Any

import pytest

from genbench.errors import StoreError
from genbench.executors import Event
from genbench.metrics import Metric
from genbench.outlook import survey
from genbench.plan import Plan, Step
from genbench.records import Record
from genbench.registry import Registry
from genbench.runner import Observer, RunSummary, run
from genbench.store import Store
from genbench.worker import RunOptions
from toy_suites import toy_plan


def run_and_watch(plan: Plan, store: Store, registry: Registry) -> list[str]:
    ran: list[str] = []

    def note(step: Step, event: Event) -> None:
        if event.status == "done":
            ran.append(step.key)

    assert run(plan, store, registry, RunOptions(jobs=0), Observer(event=note)).failed == {}
    return ran


def test_long_chains_start_first_and_inputs_come_before_their_users(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store)
    ran = run_and_watch(plan, store, registry)
    assert sorted(ran) == sorted(plan.steps)
    stages = [plan.steps[key].stage for key in ran]
    assert stages[:3] == ["dataset", "fit", "fit"]  # then everything that hangs on a fit, then the baselines
    place = {key: position for position, key in enumerate(ran)}
    for key, step in plan.steps.items():
        assert all(place[needed] < place[key] for needed in step.inputs.values())


def test_what_is_stored_is_not_run_again_and_cleaned_up_inputs_stay_away(
    registry: Registry, store: Store
) -> None:
    plan = toy_plan(registry, store)
    first = run(plan, store, registry, RunOptions(jobs=0)).records
    assert run_and_watch(plan, store, registry) == []
    for key, step in plan.steps.items():
        if step.stage in {"fit", "train", "embed", "sample"}:
            store.remove(key)
    evaluations = {key for key in plan.records if plan.steps[key].stage == "evaluate"}
    assert evaluations <= set(store.finished())
    again = run(plan, store, registry, RunOptions(jobs=0))
    assert again.ran == 0  # every evaluation is there: nothing is needed
    assert again.records == first  # ledgers and costs included


def test_only_what_a_new_cell_needs_is_run(registry: Registry, store: Store) -> None:
    run_and_watch(toy_plan(registry, store), store, registry)
    wider = toy_plan(registry, store, seeds=3)
    states = survey(wider, store)
    ran = run_and_watch(wider, store, registry)
    assert {key for key, state in states.items() if state == "new"} == set(ran)
    assert all("seed 2" in wider.steps[key].label or "/2" in wider.steps[key].label for key in ran)


# ------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_store_that_cannot_be_written_ends_the_run_as_such(
    registry: Registry, store: Store, jobs: int
) -> None:
    """No other step would fare better: the error of a worker arrives as the type that it was raised as."""
    plan = toy_plan(registry, store)
    store.root.mkdir()
    (store.root / "artifacts").write_text("a file where a folder should be")
    events: list[str] = []

    def note(step: Step, event: Event) -> None:
        events.append(event.status)

    with pytest.raises(StoreError, match=f"cannot write to the store {store.root}") as raised:
        run(plan, store, registry, RunOptions(jobs=jobs), Observer(event=note))
    assert "--store DIR" in raised.value.hint
    assert [status for status in events if status not in {"started", "progress"}] == ["failed"]
    assert list((store.root / "leases").iterdir()) == []


def with_suite_evaluator(
    registry: Registry, store: Store, fault: str, options: RunOptions
) -> tuple[Plan, RunSummary]:
    evaluator = f"toy-suite:fault={fault}" if fault else "toy-suite"
    plan = toy_plan(registry, store, seeds=1, evaluators=["accuracy", evaluator])
    return plan, run(plan, store, registry, options)


def of_suite(summary: RunSummary) -> Record:
    (found,) = [record for record in summary.records if record.result.subject == "suite"]
    return found


SUITE_FAULTS = {
    "exit": "SystemExit: 7",
    "raise": "RuntimeError: the toy broke",
    "kill": "its process was killed by SIGKILL (often: out of memory)",
    "hang": "no end within 15 s (--step-timeout)",
}


@pytest.mark.slow(reason="four runs with a worker, one of them until its time limit")
def test_a_fault_of_a_suite_evaluator_is_one_failed_step(registry: Registry, store: Store) -> None:
    run(toy_plan(registry, store, seeds=1), store, registry, RunOptions(jobs=0))  # the cells, once for all
    for fault, reason in SUITE_FAULTS.items():
        options = RunOptions(jobs=1, step_timeout_seconds=15)
        plan, summary = with_suite_evaluator(registry, store, fault, options)
        assert list(summary.failed.values()) == [reason]
        cells = [record for record in summary.records if record.result.subject == "cell"]
        assert [record.result.status for record in cells] == ["ok", "ok"]
        failed = of_suite(summary)
        label = plan.steps[failed.result.key].label
        assert (failed.result.status, failed.result.reason) == ("failed", f"{label}: {reason}")
        assert reason in (store.root / failed.run.log).read_text()
        assert store.failures.find(failed.result.key)
    assert len(store.failures.keys()) == len(SUITE_FAULTS)
    _, again = with_suite_evaluator(registry, store, "", RunOptions(jobs=0))
    assert again.ran == 1  # the evaluation of the suite alone
    (metric,) = of_suite(again).result.metrics
    assert metric == Metric("records", 3, average="none")  # and the check for copies


def test_an_exit_in_this_process_is_one_failed_step_too(registry: Registry, store: Store) -> None:
    _, summary = with_suite_evaluator(registry, store, "exit", RunOptions(jobs=0))
    assert list(summary.failed.values()) == ["SystemExit: 7"]
    assert [record.result.status for record in summary.records] == ["ok", "ok", "ok", "failed"]


def test_a_suite_is_evaluated_without_the_cells_that_failed(registry: Registry, store: Store) -> None:
    entries: dict[str, Any] = {
        "generators": ["toy", "toy:fault=raise"],
        "evaluators": ["accuracy", "toy-suite"],
        "seeds": 1,
    }
    plan = toy_plan(registry, store, **entries)
    (planned,) = [key for key, record in plan.records.items() if record.subject == "suite"]
    summary = run(plan, store, registry, RunOptions(jobs=0))
    assert list(summary.failed.values()) == ["RuntimeError: the toy broke"]
    found = of_suite(summary).result
    assert (found.status, found.metrics[0].value) == ("ok", 3)  # two cells, one check for copies
    assert found.key != planned  # what is found of fewer cells is another result
    failed = [one.result.evaluator.use for one in summary.records if one.result.status == "failed"]
    assert sorted(failed) == ["accuracy", "copies"]  # of the generator that broke
    again = run(toy_plan(registry, store, **entries), store, registry, RunOptions(jobs=0))
    assert again.ran == 0
    assert of_suite(again).result == found


def test_a_suite_whose_cells_all_failed_is_not_evaluated(registry: Registry, store: Store) -> None:
    broken = "toy-net:recipe.learning_rate=1e30"
    entries: dict[str, Any] = {
        "classifiers": [broken],
        "generators": [],  # an image set has a record, whatever becomes of trainings: its check for copies
        "evaluators": ["accuracy", "toy-suite"],
        "seeds": 2,
    }
    summary = run(toy_plan(registry, store, **entries), store, registry, RunOptions(jobs=0))
    assert len(summary.failed) == 2
    assert all("diverged" in reason for reason in summary.failed.values())
    subjects = [one.result.subject for one in summary.records]
    assert subjects == ["cell", "cell", "suite"]
    assert "diverged" in summary.records[-1].result.reason
