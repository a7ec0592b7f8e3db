"""The runner: order, reuse, estimates and what it says."""

from typing import Any

from genbench.executors import Event
from genbench.outlook import estimate_seconds, survey
from genbench.plan import Plan, Step
from genbench.planner import make_plan
from genbench.registry import Registry
from genbench.runner import Observer, run
from genbench.spec import make_suite, resolve_suite
from genbench.store import Store
from genbench.worker import RunOptions


def toy_plan(registry: Registry, store: Store, **entries: Any) -> Plan:
    toys = {
        "datasets": ["toy-data"],
        "classifiers": ["toy-net"],
        "generators": ["toy"],
        "reference": "toy-net",
    }
    suite = make_suite({**toys, "evaluators": ["accuracy", "fid"], "seeds": 2, **entries}, "test")
    return make_plan(resolve_suite(registry, suite, store.fingerprint))


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


def test_estimates_come_from_the_same_kind_of_work(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store)
    assert estimate_seconds(plan, list(plan.steps), store) == (0.0, len(plan.steps))
    run_and_watch(plan, store, registry)
    wider = toy_plan(registry, store, seeds=4)
    todo = [key for key, state in survey(wider, store).items() if state == "new"]
    seconds, unknown = estimate_seconds(wider, todo, store)
    assert unknown == 0
    assert 0 < seconds < 60
