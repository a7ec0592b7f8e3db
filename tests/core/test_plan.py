"""Plans: shared steps once, keys that depend on what matters and on nothing else."""

import random
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genbench.cli._named import row_name, with_images
from genbench.digest import digest, file_digest
from genbench.documents import TrainDocument
from genbench.errors import ProtocolError, UsageError
from genbench.plan import Plan, check_comparable
from genbench.planner import make_plan
from genbench.registry import Registry
from genbench.request import read_suite
from genbench.spec import resolve_suite
from genbench.suite import load_suite, make_suite
from genbench.verification.layout import suite_text

TOYS = {"datasets": ["toy-data"], "classifiers": ["toy-net"], "generators": ["toy"], "reference": "toy-net"}


def plan_of(registry: Registry, **entries: Any) -> Plan:
    suite = make_suite({**TOYS, "evaluators": ["accuracy", "fid"], "seeds": 2, **entries}, "test")
    return make_plan(resolve_suite(registry, suite, file_digest))


def stages(plan: Plan) -> list[str]:
    return [step.stage for step in plan.steps.values()]


def test_none_is_always_added_and_shared_steps_appear_once(registry: Registry) -> None:
    plan = plan_of(registry, classifiers=["toy-net", "toy-net:dropout=0.5"])
    assert len(plan.cells) == 2 * 2 * 2  # classifiers x (none, toy) x seeds
    assert stages(plan).count("dataset") == 1
    assert (
        stages(plan).count("fit") == stages(plan).count("sample") == 2
    )  # one per seed, for both classifiers
    assert stages(plan).count("train") == 8 + 1  # and the reference
    # Two sampled sets, train and val, fid's summaries, and what the check for copies knows of the dataset.
    assert stages(plan).count("embed") == 2 + 2 + 2 + 1


def test_equal_labels_of_different_components_are_told_apart(registry: Registry) -> None:
    """Two stocks of the same file name, as `folder:a/train.npz` and `folder:b/train.npz` are."""
    entries = {"generators": ["toy", "toy:noise=0.5", "copies"], "evaluators": ["accuracy"], "seeds": 2}
    suite = make_suite({**TOYS, **entries}, "test")
    resolved = resolve_suite(registry, suite, file_digest)
    usual = make_plan(resolved)
    assert all("#" not in cell.name and not cell.marks for cell in usual.cells)
    alike = tuple(replace(one, label="stock") if one.name == "toy" else one for one in resolved.generators)
    plan = make_plan(replace(resolved, generators=alike))
    assert [cell.steps for cell in plan.cells] == [cell.steps for cell in usual.cells]
    one, two = (f"#{digest(generator.identity)[:4]}" for generator in alike if generator.label == "stock")
    rows = list(dict.fromkeys(cell.name.rpartition("/")[0] for cell in plan.cells))
    assert rows == [  # a baseline and another generator are called as ever
        "toy-data/none/standard/toy-net",
        f"toy-data/stock{one}/x1-standard/toy-net",
        f"toy-data/stock{two}/x1-standard/toy-net",
        "toy-data/copies/x1-standard/toy-net",
    ]
    second = plan.find_cell(f"toy-data/stock{two}/x1-standard/toy-net/1")
    assert second.arm.generator is alike[2]
    assert row_name(second) == f"stock {two}, +1.0x standard"  # as the board has it
    assert [cell.arm.generator for cell in with_images(plan.cells)] == list(alike[1:])


def test_every_step_comes_after_its_inputs(registry: Registry) -> None:
    plan = plan_of(registry, filters=["none", "toy-filter"])
    seen: set[str] = set()
    for key, step in plan.steps.items():
        assert set(step.inputs.values()) <= seen, step.label
        seen.add(key)


def test_order_and_company_change_no_key(registry: Registry) -> None:
    pool = {
        "generators": ["toy", "toy:noise=0.5", "classical"],
        "classifiers": ["toy-net", "toy-net:dropout=0.5"],
        "filters": ["none", "toy-filter"],
    }
    small = plan_of(registry)
    wanted = {cell.name: cell.steps for cell in small.cells}
    for seed in range(50):
        rng = random.Random(seed)
        entries = {name: rng.sample(values, rng.randint(1, len(values))) for name, values in pool.items()}
        entries["generators"] = rng.sample(["toy", *entries["generators"]], 1 + len(entries["generators"]))
        entries["classifiers"] = [*entries["classifiers"], "toy-net"]
        entries["filters"] = [*entries["filters"], "none"]
        superset = plan_of(registry, name=f"other-{seed}", **entries)
        found = {cell.name: cell.steps for cell in superset.cells}
        assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("entries", "changed"),
    [
        ({"base_seed": 1}, {"fit", "sample", "train", "predict", "evaluate"}),
        ({"generators": ["toy:noise=0.7"]}, {"sample", "train", "predict", "evaluate", "embed"}),
        (
            {"generators": ["toy:fit_iterations=9"]},
            {"fit", "sample", "train", "predict", "evaluate", "embed"},
        ),
        ({"mixes": [{"augment": "off"}]}, {"train", "predict", "evaluate"}),
        ({"mixes": [{"ratio": 2.0}]}, {"sample", "train", "predict", "evaluate", "embed"}),
        (
            {"datasets": ["toy-data:limit_train=30"]},
            {"dataset", "fit", "sample", "train"},
        ),
        ({"name": "renamed"}, set()),
    ],
)
def test_each_entry_changes_the_keys_of_its_stages(
    registry: Registry, entries: dict[str, Any], changed: set[str]
) -> None:
    before, after = plan_of(registry), plan_of(registry, **entries)
    new = {after.steps[key].stage for key in after.steps.keys() - before.steps.keys()}
    assert changed <= new
    if not changed:
        assert before.steps.keys() == after.steps.keys()
    if "fit" not in changed and changed:
        assert "fit" not in new


def test_paired_arms_share_their_seed_and_differ_in_data_alone(registry: Registry) -> None:
    plan = plan_of(registry)
    documents = [step.work for step in plan.steps.values() if isinstance(step.work, TrainDocument)]
    arms = [document for document in documents if document.inputs.sample]
    baselines = {document.seed: document for document in documents if not document.inputs.sample}
    assert len(arms) == 2
    for arm in arms:
        check_comparable(arm, baselines[arm.seed])
    other = replace(arms[0], component={**arms[0].component, "version": 2})
    with pytest.raises(
        ProtocolError, match=r"must share everything but their data: component.version is 2, not 1"
    ):
        check_comparable(other, baselines[arms[0].seed])


def test_train_seeds_know_neither_generator_nor_filter_nor_mix(registry: Registry) -> None:
    plan = plan_of(
        registry, generators=["toy", "classical"], filters=["none", "toy-filter"], mixes=[{}, {"ratio": 0.5}]
    )
    by_index: dict[int, set[int]] = {}
    for record in plan.records.values():
        if record.subject == "cell":
            by_index.setdefault(record.arm.index, set()).add(plan.steps[record.train].document["seed"])
    assert [len(seeds) for seeds in by_index.values()] == [1, 1]


def test_a_version_makes_steps_stale_not_new(registry: Registry) -> None:
    plan = plan_of(registry)
    fit = next(step for step in plan.steps.values() if step.stage == "fit")
    sample = next(step for step in plan.steps.values() if step.stage == "sample")
    assert plan.family(fit.key) != plan.family(sample.key)
    assert fit.document["component"]["version"] == 1


def test_the_reference_classifier_has_one_fixed_seed(registry: Registry) -> None:
    references = [
        [
            step.document["seed"]
            for step in plan.steps.values()
            if "reference" in step.label and step.stage == "train"
        ]
        for plan in (plan_of(registry), plan_of(registry, base_seed=7))
    ]
    assert references[0] == references[1]
    assert len(references[0]) == 1


def test_cells_have_unique_names(registry: Registry) -> None:
    plan = plan_of(registry, mixes=[{}, {"ratio": 0.5}, {"augment": "strong"}, {"budget_scale": 2.0}])
    names = [cell.name for cell in plan.cells]
    assert len(set(names)) == len(names) == 2 * (4 + 3)  # toy has four mixes, none has no ratio
    assert "toy-data/toy/x0.5-standard/toy-net/1" in names


def test_a_ratio_of_0_is_the_baseline_whatever_the_generator(registry: Registry) -> None:
    found = plan_of(registry, generators=["toy", "classical"], mixes=[{"ratio": 0.0}, {"ratio": 1.0}])
    expected = plan_of(registry, generators=["toy", "classical"])
    assert [cell.name for cell in found.cells] == [cell.name for cell in expected.cells]
    assert found.steps.keys() == expected.steps.keys()
    assert [cell.arm.is_baseline for cell in found.cells].count(True) == 2  # one arm, two seeds


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"mixes": [{"ratio": 0.0}]}, "ratio of 0 asks for no synthetic images, and toy would not be used"),
        ({"generators": [], "filters": ["toy-filter"]}, "nothing to filter for toy-filter: name a generator"),
        ({"preset": "papr"}, "no component of this suite has a preset 'papr'. Did you mean paper?"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    registry: Registry, entries: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        plan_of(registry, **entries)


def test_a_suite_of_a_million_cells_is_refused_at_once(registry: Registry) -> None:
    mixes = [{"ratio": round(0.01 * step, 2), "augment": "off"} for step in range(1, 1000)]
    started = time.process_time()
    with pytest.raises(
        UsageError,
        match="this suite has 1,000,000 cells: 1 dataset x 1 classifier x 1,000 arms x 1,000 seeds; "
        "at most 100,000 are planned at once",
    ) as raised:
        plan_of(registry, mixes=mixes, seeds=1000)
    assert raised.value.hint
    assert time.process_time() - started < 5


def test_of_baseline_datasets_real_images_alone_are_run(registry: Registry) -> None:
    more = ["toy-data:limit_train=20", "toy-data:limit_train=40", "toy-data:limit_train=80"]
    entries = {"datasets": more[1:2], "baseline_datasets": more, "evaluators": ["accuracy", "toy-suite"]}
    plan, alone = plan_of(registry, **entries), plan_of(registry, **{**entries, "baseline_datasets": []})
    rows = {cell.name.rpartition("/")[0] for cell in plan.cells}
    assert rows == {
        "toy-data:limit_train=20/none/standard/toy-net",
        "toy-data:limit_train=40/none/standard/toy-net",
        "toy-data:limit_train=40/toy/x1-standard/toy-net",
        "toy-data:limit_train=80/none/standard/toy-net",
    }
    assert plan.declared is not None
    assert alone.declared is not None
    assert plan.declared.declaration == alone.declared.declaration, "they have no verdict"
    assert alone.steps.keys() < plan.steps.keys(), (
        "what else is run keeps its keys, the suite's evaluation too"
    )
    assert [one.subject for one in plan.records.values()].count("suite") == 1


def test_nothing_on_baseline_datasets_is_a_contender(registry: Registry) -> None:
    """Its contrasts would be of a family that does not count them."""
    plain, cutmix = {"ratio": 0.0}, {"ratio": 0.0, "augment": "cutmix"}
    further = ["toy-data:limit_train=20"]

    def run_there(mixes: list[dict[str, Any]]) -> dict[str, str]:
        plan = plan_of(registry, baseline_datasets=further, mixes=mixes)
        records = [one for one in plan.records.values() if one.arm.dataset.label == further[0]]
        assert plan.declared is not None
        declared = plan.declared
        return {
            one.arm.mix.augment: declared.of(one.arm.generator, one.arm.filter, one.arm.mix).role
            for one in records
            if one.arm.mix is not None
        }

    augmentations = [plain, cutmix, {"ratio": 0.0, "augment": "off"}]
    no_generator = {"generators": [], "mixes": augmentations}
    assert plan_of(registry, **no_generator).declared.declaration.helps == 1  # type: ignore[union-attr]
    plan = plan_of(registry, baseline_datasets=further, **no_generator)
    rows = {cell.name.rpartition("/")[0] for cell in plan.cells if further[0] in cell.name}
    assert rows == {"toy-data:limit_train=20/none/standard/toy-net"}
    assert run_there([{"ratio": 1.0}, cutmix]) == {"standard": "baseline"}, "no row is held against cutmix"
    assert run_there([{"ratio": 1.0}, {"ratio": 1.0, "augment": "cutmix"}]) == {
        "standard": "baseline",
        "cutmix": "control",
    }


def test_rows_beside_the_cross_product(registry: Registry, tmp_path: Path) -> None:
    generators = ["toy", "toy:noise=0.5"]
    beside = {"generators": ["toy"], "filters": ["toy-filter"], "mixes": [{"ratio": 2.0}]}
    plain, plan = (plan_of(registry, generators=generators, rows=rows) for rows in ([], [beside]))
    assert {cell.name.rpartition("/")[0] for cell in plan.cells} - {
        cell.name.rpartition("/")[0] for cell in plain.cells
    } == {"toy-data/toy+toy-filter/x2-standard/toy-net"}
    assert plain.steps.keys() < plan.steps.keys()
    assert plain.declared is not None
    assert plan.declared is not None
    assert (plain.declared.declaration.helps, plan.declared.declaration.helps) == (2, 3), (
        "what is beside the cross product has a verdict, too, and its share of alpha"
    )

    file = tmp_path / "suite.toml"
    suite = make_suite({"classifiers": ["toy-net"], "rows": [beside]}, "test")
    file.write_text(suite_text(suite))
    assert load_suite(file) == suite
    assert read_suite(str(file), {"generators": ("toy",)}).rows == (), "what is typed replaces them"
    assert read_suite(str(file), {}).rows == suite.rows


def test_a_suite_evaluator_may_span_the_datasets(registry: Registry) -> None:
    entries = {
        "datasets": ["toy-data", "toy-data:limit_train=40"],
        "baseline_datasets": ["toy-data:limit_train=20"],
    }
    plan = plan_of(registry, **entries, evaluators=["accuracy", "toy-suite", "exchange_rate"])
    found = [one for one in plan.records.values() if one.subject == "suite"]
    read = {one.evaluator.name: [] for one in found}
    for one in found:
        read[one.evaluator.name].append((one.arm.dataset.label, len(plan.steps[one.key].inputs)))
    assert read["toy-suite"][0][0] == "toy-data"
    assert read["toy-suite"][1][0] == "toy-data:limit_train=40"
    (whole,) = read["exchange_rate"]
    assert whole == ("all 3 datasets", 2 * read["toy-suite"][0][1] + 2)
    (one,) = [
        record.arm.dataset.label
        for record in plan_of(registry, evaluators=["accuracy", "exchange_rate"]).records.values()
        if record.subject == "suite"
    ]
    assert one == "toy-data"
