"""In which order steps are tried: seed by seed, or the longest chain first."""

from typing import Literal

import pytest

from genbench.outlook import order_of_work
from genbench.plan import Plan
from genbench.registry import Registry
from genbench.store import Store
from genbench.walk import Observer, Walk
from genbench.worker import RunOptions
from toy_suites import toy_plan


def trained_in_turn(plan: Plan, workers: int) -> list[int]:
    """Return the seed of each training, in the order in which steps come."""
    ordered = order_of_work(plan, list(plan.steps), workers)
    assert sorted(ordered) == sorted(plan.steps)
    seeds = {cell.train: cell.arm.index for cell in plan.cells}
    return [seeds[key] for key in ordered if key in seeds]


def test_few_workers_finish_seed_by_seed_and_many_begin_with_the_longest_chains(
    registry: Registry, store: Store
) -> None:
    plan = toy_plan(registry, store, seeds=12)
    in_turn = trained_in_turn(plan, 1)
    assert in_turn == sorted(in_turn)
    assert set(in_turn) == set(range(12))
    many = order_of_work(plan, list(plan.steps), 12)
    trained = {cell.train for cell in plan.cells}
    fits = [place for place, key in enumerate(many) if plan.steps[key].stage == "fit"]
    assert len(fits) == 12
    assert min(place for place, key in enumerate(many) if key in trained) > max(fits)


def test_a_seed_is_whole_before_the_next_one_begins(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store, seeds=12)
    ordered = order_of_work(plan, list(plan.steps), 1)
    of_seed = {key: one.arm.index for key, one in plan.records.items() if one.subject != "suite"}
    records = [of_seed[key] for key in ordered if key in of_seed]
    assert records == sorted(records)
    fits = [place for place, key in enumerate(ordered) if plan.steps[key].stage == "fit"]
    first_records = ordered.index(next(key for key in ordered if of_seed.get(key) == 0))
    assert len(fits) == 12
    assert sum(place < first_records for place in fits) == 1  # the other eleven wait for their turn


def test_what_reads_all_records_of_a_suite_comes_last_and_moves_nothing(
    registry: Registry, store: Store
) -> None:
    plan = toy_plan(registry, store, seeds=12, evaluators=["accuracy", "fid", "usefulness"])
    ordered = order_of_work(plan, list(plan.steps), 1)
    over_all = [key for key, one in plan.records.items() if one.subject == "suite"]
    assert over_all
    assert set(ordered[-len(over_all) :]) == set(over_all)
    in_turn = trained_in_turn(plan, 1)
    assert in_turn == sorted(in_turn)


@pytest.mark.parametrize("workers", [1, 12])
def test_the_first_seeds_images_are_judged_before_anything_else_can_be(
    registry: Registry, store: Store, workers: int
) -> None:
    plan = toy_plan(registry, store, seeds=12)
    ordered = order_of_work(plan, list(plan.steps), workers)
    first, others = (
        [
            ordered.index(key)
            for key, one in plan.records.items()
            if one.subject == "image_set" and (one.arm.index == 0) is is_first
        ]
        for is_first in (True, False)
    )
    trained = [ordered.index(cell.train) for cell in plan.cells]
    assert len(first) == 2, "fid and copies"
    assert len(others) == 22
    assert max(first) < min(trained)
    assert min(others) > min(trained), "those of other seeds wait for their turn"


@pytest.mark.parametrize(("vectorize", "fits_before"), [("off", 1), ("on", 12)])
def test_trainings_that_may_share_a_worker_are_made_ready_together(
    registry: Registry, store: Store, vectorize: Literal["on", "off"], fits_before: int
) -> None:
    plan = toy_plan(registry, store, seeds=12)
    walk = Walk(plan, store, registry, Observer(), RunOptions(jobs=1, vectorize=vectorize))
    rank = walk._frontier._rank  # what a walk decides before its first step
    first = min(rank[cell.train] for cell in plan.cells)
    assert sum(rank[key] < first for key, step in plan.steps.items() if step.stage == "fit") == fits_before
