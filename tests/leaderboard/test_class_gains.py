"""Gains per class: against scipy's paired t-test and Holm's rule by hand."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from genbench.metrics import Metric
from genbench.recipe import Mix
from genbench.records import Component, Protocol, Record, Result, Run, pack_bits
from genbench_leaderboard.classes import class_gains
from genbench_leaderboard.groups import Entry

CLASSES = {"cat": 200, "dog": 100, "owl": 50, "empty": 0}


def entry(right: dict[str, list[int]]) -> Entry:
    """Fabricate a row from right answers per class and seed."""
    made = Entry("key", Component("g"), Component("none"), {"ratio": 1.0})
    total = sum(CLASSES.values())
    for index in range(len(right["cat"])):
        counts = [
            {"class": name, "n": n, "correct": right[name][index] if n else 0} for name, n in CLASSES.items()
        ]
        correct = sum(values[index] for values in right.values())
        bits = pack_bits([place < correct for place in range(total)])
        result = Result(
            subject="cell", status="ok", classifier=Component("cnn"), index=index, key="", planned_indices=5,
            dataset=Component("digits"), generator=Component("g"), filter=Component("none"),
            protocol=Protocol(), evaluator=Component("accuracy"), ratio=1.0, mix=Mix(),
            metrics=(Metric("top1", 100 * correct / total, "%", split="test"),),
            tables={"test": {"n": total, "correct_bits": bits, "per_class": counts}},
        )  # fmt: skip
        made.measured[index] = Record(result, Run("", ""))
    return made


BASE = {"cat": [150, 152, 149, 151, 150], "dog": [70, 71, 72, 70, 69], "owl": [40, 40, 40, 40, 40]}
MADE = {"cat": [160, 163, 158, 162, 161], "dog": [71, 70, 73, 70, 68], "owl": [40, 40, 40, 40, 40]}


def test_each_class_has_its_paired_difference_and_a_p_adjusted_over_classes() -> None:
    gains = {gain.name: gain for gain in class_gains(entry(MADE), entry(BASE))}
    assert list(gains) == ["cat", "dog", "owl"]  # a class without test images has no recall
    raw = {}
    for name in ("cat", "dog"):
        row, base = (100 * np.array(side[name]) / CLASSES[name] for side in (MADE, BASE))
        assert gains[name].difference.mean == pytest.approx((row - base).mean())
        raw[name] = float(ttest_rel(row, base).pvalue)
    assert gains["cat"].adjusted_p == pytest.approx(3 * raw["cat"])  # Holm: the smallest of three
    assert gains["dog"].adjusted_p == pytest.approx(min(1.0, 2 * raw["dog"]))
    assert gains["owl"].adjusted_p is None  # no spread, no test
    assert gains["owl"].difference.mean == 0
    assert gains["cat"].images == 200


def test_two_seeds_have_no_p_and_no_interval() -> None:
    short = [entry({name: values[:2] for name, values in side.items()}) for side in (MADE, BASE)]
    gains = class_gains(*short)
    assert [gain.adjusted_p for gain in gains] == [None, None, None]
    assert gains[0].difference.interval is None
    assert gains[0].difference.mean == pytest.approx(5.25)


def test_only_seeds_that_both_have_are_compared() -> None:
    base = entry(BASE)
    del base.measured[0]
    assert class_gains(entry(MADE), base)[0].difference.n == 4
    assert class_gains(entry(MADE), None) == ()
    assert class_gains(base, base) == ()
