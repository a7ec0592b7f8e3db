"""Records of schema 1: all of them stay readable, and say in fields what their names said."""

import copy
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genbench.digest import digest
from genbench.errors import DataError
from genbench.metrics import Metric, average, shown_range
from genbench.planner import make_plan
from genbench.records import Record, read_records
from genbench.registry import Registry
from genbench.runner import run
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench.upgrades import metric_of_schema_1
from genbench.worker import RunOptions
from genbench_leaderboard.board import build_board
from genbench_leaderboard.tables import render_json, render_markdown

OLD = Path(__file__).parents[1] / "records_of_schema_1"
PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "records"
FILES = sorted(OLD.rglob("*.json"))

#: What a metric says of itself besides its value, its n and its note.
Facts = dict[Any, tuple[Any, ...]]


def facts(metrics: Iterable[Metric]) -> Facts:
    """Return what each metric says of itself, by identity; bounds that depend on n are left out."""
    return {
        one.identity: (one.average, one.higher_is_better, one.tolerance, one.n is None) for one in metrics
    }


def test_the_records_of_schema_1_are_there_as_they_were_published() -> None:
    assert len(FILES) == 85
    assert {json.loads(file.read_text())["schema_version"] for file in FILES} == {1}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_record_of_schema_1_reads(file: Path) -> None:
    old, text = json.loads(file.read_text())["result"], file.read_text()
    record = Record.from_json(text, file.name)
    result = record.result
    assert [metric.value for metric in result.metrics] == [metric["value"] for metric in old["metrics"]]
    assert [metric.note for metric in result.metrics] == [metric["note"] for metric in old["metrics"]]
    assert (result.key, result.index, result.status) == (old["key"], old["index"], old["status"])
    assert result.tables == old["tables"]
    assert result.generator.identity == {
        name: old["generator"][name] for name in ("use", "version", "config")
    } | ({"fingerprint": old["generator"]["fingerprint"]} if old["generator"].get("fingerprint") else {})
    again = record.to_json()
    assert json.loads(again)["schema_version"] == 2
    assert Record.from_json(again) == record


def test_an_edited_record_of_schema_1_is_refused() -> None:
    text = FILES[0].read_text()
    edited = text.replace('"index": ', '"index": 1', 1)
    assert edited != text
    with pytest.raises(DataError, match=r"old\.json: `result` does not match its `result_sha256`"):
        Record.from_json(edited, "old.json")


def test_the_board_of_schema_1_is_the_board_of_the_published_records() -> None:
    suite = "cifar10-cnn"  # the others were run again since
    old, new = (build_board(list(read_records([folder / suite]))) for folder in (OLD, PUBLISHED))
    assert old.cells > 0
    assert render_markdown(old) == render_markdown(new)
    written = [json.loads(render_json(board)) for board in (old, new)]
    for row in (row for board in written for group in board["groups"] for row in group["rows"]):
        assert len(row.pop("results")) == row["top1"]["n"]  # digests of the files, which say more now
    assert written[0] == written[1]


def test_rows_of_schema_1_keep_the_numbers_they_were_published_with() -> None:
    """Those of s4-catsdogs with three seeds, as the board had them until they were run again."""
    page = render_markdown(build_board(list(read_records([OLD / "s4-catsdogs"]))))
    rows = [" ".join(line.split()) for line in page.splitlines() if line.startswith(("| real", "| style"))]
    assert "| real images alone | 67.63 ±7.78 | baseline | 5.7 min |" in rows
    assert "| style transfer (AdaIN) | 63.91 ±2.47 | -3.72 ±7.72 | 19.4 min |" in rows


# -------------------------------------------------------------------------- the fields that evaluators write


@pytest.fixture(scope="module")
def written(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Facts]:
    """What every evaluator writes today, by its name, from one small run."""
    evaluators = [
        "accuracy", "train_accuracy", "fid:per_class=true,extrapolate=true", "kid", "vendi",
        "mmd:permutations=9", "precision_recall", "inception_score:judge=toy-net",
        "label_fidelity:judge=toy-net", "memorization:extractor=pixels", "features", "activation_mmd",
        "adversarial:images=8,steps=2", "ood_accuracy", "usefulness:fewest_rows=3", "effective_robustness",
    ]  # fmt: skip
    entries = {
        "datasets": ["toy-data:images=600"], "classifiers": ["toy-net"], "reference": "toy-net", "seeds": 2,
        "generators": ["toy", "toy:noise=0.3", "toy:noise=0.6"], "evaluators": evaluators, "preset": "smoke",
    }  # fmt: skip
    store = Store(tmp_path_factory.mktemp("upgrades"))
    plan = make_plan(resolve_suite(registry, make_suite(entries, "test"), store.fingerprint))
    summary = run(plan, store, registry, RunOptions(jobs=0))
    assert summary.failed == {}
    found: dict[str, Facts] = {}
    for record in summary.records:
        found.setdefault(record.result.evaluator.use, {}).update(facts(record.result.metrics))
    return found


def test_published_records_have_the_fields_that_todays_evaluators_write(written: dict[str, Facts]) -> None:
    seen = set()
    for record in read_records([OLD]):
        evaluator, found = record.result.evaluator.use, facts(record.result.metrics)
        known = {
            name: fact for name, fact in found.items() if name.name != "top5"
        }  # toys have too few classes
        if evaluator == "train_accuracy":  # schema 1 did not say how many images train has
            known = {name: (*fact[:-1], written[evaluator][name][-1]) for name, fact in known.items()}
        assert known.items() <= written[evaluator].items()
        seen.add(evaluator)
    assert seen == {"accuracy", "train_accuracy", "fid", "mmd"}


def test_top5_is_read_like_top1() -> None:
    found = [metric for record in read_records([OLD]) for metric in record.result.metrics]
    assert {(one.split, one.n is None, one.label) for one in found if one.name == "top5"} == {
        ("test", False, "top5"),
        ("val", False, "val_top5"),
    }


#: Names of schema 1: evaluator, subject, name; and the label that says the same today.
NAMES = [
    ("accuracy", "cell", "top1", "top1"),
    ("accuracy", "cell", "val_top1", "val_top1"),
    ("accuracy", "cell", "top1[noisy]", "top1[noisy]"),
    ("accuracy", "cell", "balanced_accuracy[noisy]", "balanced_accuracy[noisy]"),
    ("accuracy", "cell", "val_balanced_accuracy", "val_balanced_accuracy"),
    ("accuracy", "cell", "log_loss[noisy]", "log_loss[noisy]"),
    ("accuracy", "cell", "val_macro_f1", "val_macro_f1"),
    ("accuracy", "cell", "brier", "brier"),
    ("accuracy", "cell", "calibration_error", "calibration_error"),
    ("train_accuracy", "cell", "train_top1", "train_top1"),
    ("train_accuracy", "cell", "generalisation_gap", "generalisation_gap"),
    ("ood_accuracy", "cell", "ood_top1[noisy]", "ood_top1[noisy]"),
    ("ood_accuracy", "cell", "gap[noisy]", "gap[noisy,test]"),
    ("features", "cell", "cka[none]", "cka[none]"),
    ("features", "cell", "cka_null[none]", "cka_floor[none]"),
    ("features", "cell", "pca_variance_2d", "pca_variance_2d"),
    ("activation_mmd", "cell", "activation_mmd2[none]", "activation_mmd2[none]"),
    ("activation_mmd", "cell", "activation_mmd2_null[none]", "activation_mmd2_floor[none]"),
    ("adversarial", "cell", "attacked_top1[clean,n=8]", "attacked_top1[clean]"),
    (
        "adversarial",
        "cell",
        "attacked_top1[pgd_linf,eps=8/255,n=8]",
        "attacked_top1[pgd_linf,eps=8/255]",
    ),
    ("adversarial", "cell", "attacked_top1[pgd_l2,eps=0.5,n=8]", "attacked_top1[pgd_l2,eps=0.5]"),
    ("adversarial", "cell", "attack_violations", "attack_violations"),
    ("fid", "image_set", "fid[reference,n=1079,train]", "fid[reference,train]"),
    ("fid", "image_set", "fid[reference,n=269,val]", "fid[reference,val]"),
    ("fid", "image_set", "fid_floor[reference,n=269,val]", "fid_floor[reference,val]"),
    ("fid", "image_set", "fid_infinity[reference,train]", "fid_infinity[reference,train]"),
    ("fid", "image_set", "mean_class_fid[reference,train]", "mean_class_fid[reference,train]"),
    ("kid", "image_set", "kid[reference,n=1079,train]", "kid[reference,train]"),
    ("kid", "image_set", "kid_floor[reference,n=269,val]", "kid_floor[reference,val]"),
    ("mmd", "image_set", "mmd2[reference,n=269,val]", "mmd2[reference,val]"),
    ("mmd", "image_set", "mmd2_floor[reference,n=269,val]", "mmd2_floor[reference,val]"),
    ("mmd", "image_set", "mmd2_p[reference,n=269,val]", "mmd2_p[reference,val]"),
    *(
        (
            "precision_recall",
            "image_set",
            f"{name}{old}[reference,n=269,k={k}]",
            f"{name}{new}[reference,k={k},train]",
        )
        for name, k in (("precision", 3), ("recall", 3), ("density", 5), ("coverage", 5))
        for old, new in (("", ""), ("_real", "_floor"))
    ),
    ("vendi", "image_set", "vendi[reference,n=269]", "vendi[reference]"),
    ("vendi", "image_set", "vendi_real[reference,n=269]", "vendi_floor[reference]"),
    ("inception_score", "image_set", "inception_score[toy-net,n=269]", "inception_score[toy-net]"),
    ("inception_score", "image_set", "inception_score_real[toy-net,n=269]", "inception_score_floor[toy-net]"),
    ("label_fidelity", "image_set", "label_fidelity[toy-net,n=269]", "label_fidelity[toy-net]"),
    ("label_fidelity", "image_set", "label_fidelity_real[toy-net,n=269]", "label_fidelity_floor[toy-net]"),
    ("memorization", "image_set", "copies_of_train[pixels,n=269]", "copies[pixels,train]"),
    ("memorization", "image_set", "copies_of_test[pixels,n=269]", "copies[pixels,test]"),
    ("memorization", "image_set", "test_images_copied[pixels,n=269]", "images_copied[pixels,synthetic]"),
    ("memorization", "image_set", "dataset_duplicates[val,n=269]", "dataset_duplicates[val,train]"),
    ("memorization", "image_set", "dataset_duplicates[test,n=269]", "dataset_duplicates[train]"),
    ("effective_robustness", "suite", "effective_robustness[noisy]", "effective_robustness[noisy]"),
]  # fmt: skip


def upgraded(name: str, subject: str, **fields: Any) -> Metric:
    return Metric(**metric_of_schema_1({"name": name, "value": None, **fields}, subject, {}))


@pytest.mark.parametrize(("evaluator", "subject", "name", "label"), NAMES, ids=[one[2] for one in NAMES])
def test_a_name_of_schema_1_becomes_the_fields_that_its_evaluator_writes_today(
    written: dict[str, Facts], evaluator: str, subject: str, name: str, label: str
) -> None:
    today = {identity: fact for identity, fact in written[evaluator].items() if identity.label == label}
    assert len(today) == 1, sorted(identity.label for identity in written[evaluator])
    (identity, fact), *_ = today.items()
    found = upgraded(name, subject, unit=identity.unit, higher_is_better=fact[1], tolerance=fact[2])
    assert found.label == label
    assert found.identity == identity
    assert found.average == fact[0]
    if "n=" in name:
        assert f"n={found.n}" in name
        assert fact[3] is False


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("spearman[fid[reference,n=5,train]][toy-net]", "spearman[fid[reference,train],toy-net]"),
        (
            "spearman[precision[reference,n=5,k=3]][toy-net]",
            "spearman[precision[reference,k=3,train],toy-net]",
        ),
    ],
)
def test_a_correlation_of_schema_1_is_that_of_a_classifier(name: str, label: str) -> None:
    """Since version 2 of `usefulness` there is one over all classifiers, which has another name."""
    assert upgraded(name, "suite").label == label


@pytest.mark.parametrize(
    ("name", "subject", "fields"),
    [
        ("gap[cifar10.1-v6]", "cell", {"name": "gap", "split": "cifar10.1-v6", "against": "test"}),
        ("top1[fog-3]", "cell", {"name": "top1", "split": "fog-3"}),
        ("val_top5", "cell", {"name": "top5", "split": "val"}),
        ("mean_computed_top1", "cell", {"name": "mean_computed_top1", "split": ""}),
        ("mean_logit", "cell", {"name": "mean_logit", "split": "test"}),
        ("my_score[a,b]", "cell", {"name": "my_score", "split": "test", "qualifiers": ("a", "b")}),
        ("my_score[a,b]", "image_set", {"name": "my_score", "extractor": "a", "qualifiers": ("b",)}),
        (
            "my_score[dino,n=7,train]",
            "image_set",
            {"name": "my_score", "extractor": "dino", "n": 7, "against": "train"},
        ),
        ("my_score[]", "suite", {"name": "my_score"}),
        ("MyScore", "cell", {"name": "myscore", "split": "test"}),
        (
            "effective_robustness[fog-3][ddpm, standard, cnn]",
            "suite",
            {
                "name": "effective_robustness",
                "split": "fog-3",
                "qualifiers": ("ddpm, standard, cnn",),
                "average": "none",
            },
        ),
    ],
)
def test_names_that_no_toy_writes(name: str, subject: str, fields: dict[str, Any]) -> None:
    assert upgraded(name, subject) == Metric(**{"value": None, **fields})


def test_n_of_a_cell_comes_from_its_counts() -> None:
    tables = {"test": {"n": 359}, "val": {"n": 269}, "fog-3": {"n": 10}}
    sizes = {
        name: metric_of_schema_1({"name": name, "value": 1.0}, "cell", tables).get("n")
        for name in ("top1", "val_top1", "top1[fog-3]", "train_top1", "attacked_top1[clean,n=8]")
    }
    assert sizes == {
        "top1": 359, "val_top1": 269, "top1[fog-3]": 10, "train_top1": None, "attacked_top1[clean,n=8]": 8,
    }  # fmt: skip


def test_old_and_new_metrics_are_averaged_together() -> None:
    old = upgraded("fid[reference,n=1079,train]", "image_set", higher_is_better=False)
    new = Metric(
        "fid", 3.0, higher_is_better=False, split="synthetic", against="train", extractor="reference", n=411
    )
    (found,) = average({0: [Metric(**{**vars(old), "value": 1.0})], 1: [new]})
    assert (found.value, found.seeds, shown_range(found.n)) == (2.0, 2, "411-1079")


# ------------------------------------------------------------------------------------- damage of any kind


BODIES = [json.loads(FILES[place].read_text()) for place in (0, 45, 60)]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**48))
def test_any_edit_of_a_record_of_schema_1_reads_or_is_refused(seed: int) -> None:
    rng = random.Random(seed)
    body = copy.deepcopy(rng.choice(BODIES))
    part: Any = body[rng.choice(["result", "run"])]
    while True:
        name = rng.choice(list(part) if isinstance(part, dict) else range(len(part)))
        if not isinstance(part[name], dict | list) or not part[name] or rng.random() < 0.3:
            break
        part = part[name]
    part[name] = rng.choice([None, True, -1, 2**70, 0.5, "", "x", "a[b", [], {}, [1], {"x": 1}, ["x", None]])
    text = json.dumps({**body, "result_sha256": digest(body["result"])})
    try:
        record = Record.from_json(text, "odd.json")
    except DataError as problem:
        message = problem.message
    else:
        message, again = "odd.json: ", Record.from_json(record.to_json())
        assert again == record
    assert message.startswith("odd.json: ")
    assert len(message.splitlines()) == 1
