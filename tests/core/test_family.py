"""What a suite declares before test is read, and how records remember it."""

from collections.abc import Callable
from typing import Any

import pytest

from genbench.errors import UsageError
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.records import Declaration
from genbench.registry import Registry
from genbench.roles import Role, RowKind, roles_of
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite


@pytest.mark.parametrize(
    ("rows", "roles"),
    [
        (["none standard", "ddpm standard"], ["baseline", "contender"]),
        (["none standard", "none strong", "ddpm standard"], ["baseline", "control", "contender"]),
        (["none standard", "none strong", "none off"], ["baseline", "contender", "diagnostic"]),
        (["none shear_zoom", "ddpm shear_zoom"], ["baseline", "contender"]),
        (["none standard", "classical standard", "copies standard"], ["baseline", "contender", "control"]),
        (["none standard", "classical standard", "ddpm standard"], ["baseline", "control", "contender"]),
        (["none standard", "real_extra standard"], ["baseline", "control"]),
        (["none standard", "none standard 2", "ddpm standard", "ddpm standard 2"],
         ["baseline", "diagnostic", "contender", "diagnostic"]),
        (["none standard 2", "ddpm standard 2"], ["baseline", "contender"]),
    ],
)  # fmt: skip
def test_roles(rows: list[str], roles: list[Role]) -> None:
    kinds = []
    for text in rows:
        generator, augment, *scale = text.split()
        kinds.append(RowKind(generator, augment, scale=float(scale[0]) if scale else 1.0))
    assert roles_of(kinds) == roles


@pytest.fixture
def make_plan_of(registry: Registry, store: Store) -> Callable[..., Plan]:
    """Plan a suite; keyword arguments are its entries."""

    def make(**entries: Any) -> Plan:
        suite = make_suite({"classifiers": ["toy-net"], "reference": "toy-net", **entries}, "test")
        return make_plan(resolve_suite(registry, suite, store.fingerprint))

    return make


def declaration(plan: Plan) -> Declaration:
    assert plan.declared is not None
    return plan.declared.declaration


ARMS: dict[str, Any] = {"generators": ["classical", "copies", "toy"]}
MIXES = [{"ratio": 1.0, "augment": name} for name in ("standard", "strong")]


def test_the_families_of_arms_b_to_f(make_plan_of: Callable[..., Plan]) -> None:
    found = declaration(make_plan_of(**ARMS, mixes=MIXES, seeds=5))
    assert found.helps == 2, "toy, under both augmentations"
    assert found.adds == 2, "toy against frozen copies, and against strong augmentation"
    twice = declaration(make_plan_of(**ARMS, mixes=MIXES, seeds=5, classifiers=["toy-net", "cnn"]))
    assert (twice.helps, twice.adds) == (4, 4)
    alone = declaration(make_plan_of(generators=["toy"], seeds=5))
    assert (alone.helps, alone.adds) == (1, 0)


def test_configurations_count_unless_other_seeds_choose(make_plan_of: Callable[..., Plan]) -> None:
    ratios = [{"ratio": ratio} for ratio in (0.5, 1.0, 2.0)]
    assert declaration(make_plan_of(generators=["toy"], mixes=ratios, seeds=8)).helps == 3
    chosen = declaration(make_plan_of(generators=["toy"], mixes=ratios, seeds=8, choosing_seeds=3))
    assert (chosen.helps, chosen.choosing_seeds) == (1, 3)


def test_the_digest_is_of_what_is_compared(make_plan_of: Callable[..., Plan]) -> None:
    usual = declaration(make_plan_of(**ARMS, seeds=5))
    turned = {**ARMS, "generators": ARMS["generators"][::-1]}
    assert declaration(make_plan_of(**turned, seeds=5, name="other")).family == usual.family
    for changes in (
        {"seeds": 6},
        {"seeds": 5, "base_seed": 1},
        {"seeds": 5, "looks": [3]},
        {"seeds": 5, "choosing_seeds": 1},
        {"seeds": 5, "generators": ["toy"]},
        {"seeds": 5, "mixes": [{"ratio": 2.0}]},
        {"seeds": 5, "classifiers": ["cnn"]},
    ):
        assert declaration(make_plan_of(**{**ARMS, **changes})).family != usual.family, changes


def test_a_look_plans_its_seeds_and_the_same_family(make_plan_of: Callable[..., Plan]) -> None:
    plans = [make_plan_of(generators=["toy"], seeds=6, looks=[2, 4], look=look) for look in (2, 4, None)]
    assert [max(cell.arm.index for cell in plan.cells) + 1 for plan in plans] == [2, 4, 6]
    assert [declaration(plan).look for plan in plans] == [2, 4, 6]
    assert len({declaration(plan).family for plan in plans}) == 1
    assert set(plans[0].steps) <= set(plans[2].steps) | {
        key for key, step in plans[0].steps.items() if step.stage == "evaluate"
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seeds": 5, "looks": [5]}, r"choosing_seeds \(0\), looks \[5\] and seeds \(5\) must go upwards"),
        ({"seeds": 5, "looks": [4, 2]}, "must go upwards"),
        ({"seeds": 5, "choosing_seeds": 5}, "must go upwards"),
        ({"seeds": 5, "look": 3}, r"look 3 was not planned: this suite plans \[5\]"),
    ],
)
def test_seeds_that_make_no_sense_are_refused(
    make_plan_of: Callable[..., Plan], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        make_plan_of(generators=["toy"], **changes)


def test_records_remember_every_look(run_cells: Callable[..., Any]) -> None:
    plan, first = run_cells(generators=["toy"], seeds=1)
    _, again = run_cells(generators=["toy"], seeds=1)
    assert [one.to_json() for one in first.records] == [one.to_json() for one in again.records]
    family = declaration(plan)
    for record in first.records:
        (declared,) = record.run.declared
        assert (declared.family, declared.look, declared.helps) == (family.family, 1, 1)
    roles = {one.result.generator.use: one.run.declared[0].role for one in first.records if one.result.mix}
    assert roles == {"none": "baseline", "toy": "contender"}
    grown_plan, grown = run_cells(generators=["toy"], seeds=2)
    looks = {
        one.result.index: [at.look for at in one.run.declared] for one in grown.records if one.result.mix
    }
    assert looks == {0: [1, 2], 1: [2]}, "the second run knows that test had been read after one seed"
    assert grown.records[0].run.declared[-1].family == declaration(grown_plan).family
