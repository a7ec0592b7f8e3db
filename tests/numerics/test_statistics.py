"""The board's statistics against independent references: scipy.stats, and examples by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from genbench_leaderboard.crossed import Answers, Comparison, compare, correlation
from genbench_leaderboard.statistics import (
    HolmStep,
    decide,
    estimate,
    holm,
    level_of_look,
    outlying,
    paired_t,
    ranks,
)

ROW = [94.2, 93.1, 95.0, 94.4, 93.9, 94.8]
BASE = [93.0, 92.8, 93.9, 93.7, 93.6, 93.1]


def test_paired_t_matches_scipy() -> None:
    assert paired_t(ROW, BASE) == pytest.approx(stats.ttest_rel(ROW, BASE).pvalue, rel=1e-12)
    assert paired_t(BASE, ROW) == paired_t(ROW, BASE)


def test_pairing_matters() -> None:
    assert paired_t(ROW, BASE) != pytest.approx(stats.ttest_ind(ROW, BASE).pvalue, rel=0.1)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer than argument 1"):
        paired_t([1.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("n", "has_sd", "has_interval"), [(1, False, False), (2, True, False), (3, True, True)]
)
def test_few_seeds_have_no_interval(n: int, has_sd: bool, has_interval: bool) -> None:
    found = estimate(ROW[:n])
    assert found.mean == pytest.approx(np.mean(ROW[:n]))
    assert (found.sd is not None) is has_sd
    assert (found.interval is not None) is has_interval
    assert (found.half_width is not None) is has_interval


def test_interval_matches_scipy() -> None:
    found = estimate(ROW, confidence=0.9)
    low, high = stats.t.interval(0.9, len(ROW) - 1, np.mean(ROW), stats.sem(ROW))
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), rel=1e-12)


def test_zero_variance_has_no_p_even_after_rounding() -> None:
    base = [100 * right / 360 for right in (311, 322, 335, 301, 317)]
    row = [100 * (right + 12) / 360 for right in (311, 322, 335, 301, 317)]
    assert np.std(np.subtract(row, base)) > 0, "the example must be one that rounding spoils"
    assert paired_t(row, base) is None


def test_correlation_needs_three_pairs_and_spread() -> None:
    assert correlation([1.0, 2.0], [2.0, 4.0]) is None
    assert correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert correlation([1.0, 2.0, 3.0], [6.0, 4.0, 2.0]) == pytest.approx(-1)


def test_holm_by_hand() -> None:
    # Sorted: .005 x4 = .02, .01 x3 = .03, .03 x2 = .06, .04 x1 = .04 -> raised to .06.
    steps = holm([0.01, 0.04, 0.03, 0.005])
    assert [step.adjusted_p for step in steps] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [step.level for step in steps] == pytest.approx([0.05 / 3, 0.05, 0.05 / 2, 0.05 / 4])


def test_holm_counts_a_failure_as_one_and_keeps_it_in_the_family() -> None:
    assert holm([0.02])[0].adjusted_p == pytest.approx(0.02)
    with_failures = holm([0.02, None, None])
    assert [step.adjusted_p for step in with_failures] == pytest.approx([0.06, 1.0, 1.0])
    assert with_failures == holm([0.02, 1.0, 1.0])


def test_holm_never_exceeds_one_and_takes_an_empty_family() -> None:
    assert [step.adjusted_p for step in holm([0.6, 0.7])] == [1.0, 1.0]
    assert holm([]) == []


def test_holm_counts_what_was_planned_and_is_missing() -> None:
    assert holm([0.01, 0.04], planned=4) == holm([0.01, 0.04, None, None])[:2]
    assert holm([0.01, 0.04], planned=1) == holm([0.01, 0.04]), "what is there counts, whatever was planned"


# ------------------------------------------------------------------------------------------ looks at test


def test_planned_looks_spend_the_levels_of_the_review() -> None:
    shares = [0.25, 0.5, 1.0]
    levels = [level_of_look(shares[: look + 1], 0) for look in range(3)]
    assert levels == pytest.approx([0.003125, 0.009375, 0.0375])
    assert sum(levels) == pytest.approx(0.05)


def test_an_unplanned_look_costs() -> None:
    levels = [level_of_look([1.0], unplanned) for unplanned in range(20)]
    assert levels[:3] == pytest.approx([0.05, 0.0125, 0.003125])
    assert sum(levels) < 0.05 * 4 / 3 + 1e-12


# ---------------------------------------------------------------------------------------------- verdicts

SURE, UNSURE = HolmStep(0.01, 0.05), HolmStep(0.05, 0.05)


def answers(shares: list[float], images: int = 2000) -> Answers:
    """Networks for which images have one order of difficulty: the easier ones are right."""
    ease = (np.arange(images) + 0.5) / images
    return Answers({index: np.packbits(ease < share) for index, share in enumerate(shares)}, images)


def found(n: int = 5, sign: int = 1) -> Comparison:
    base = [0.7, 0.71, 0.69, 0.7, 0.72][:n]
    compared = compare(answers([share + 0.1 for share in base]), answers(base))
    assert compared is not None
    return replace(compared, mean=sign * compared.mean)


@pytest.mark.parametrize(
    ("planned", "compared", "step", "verdict"),
    [
        (5, found(), SURE, "better"),
        (5, found(sign=-1), SURE, "worse"),
        (5, found(), UNSURE, "cannot tell"),
        (5, found(), None, "exploratory"),
        (5, found(4), SURE, "incomplete"),
        (5, None, SURE, "incomplete"),
        (4, found(4), None, "too few seeds"),
        (3, found(3), None, "too few seeds"),
        (1, found(1), None, "too few seeds"),
        (3, found(2), None, "incomplete"),
    ],
)
def test_verdicts(planned: int, compared: Comparison | None, step: HolmStep | None, verdict: str) -> None:
    assert decide(compared, planned, step) == verdict


def test_a_verdict_is_held_to_the_level_of_its_look() -> None:
    assert decide(found(), 5, HolmStep(0.01, 0.003), alpha=0.003) == "cannot tell"


# ------------------------------------------------------------------------------------------------- ranks


def noisy(share: float, spread: float = 0.004, n: int = 6, images: int = 3000) -> Answers:
    rng = np.random.default_rng(int(1e6 * share))
    ease = np.random.default_rng(0).random(images)
    packed = {
        index: np.packbits(ease + rng.normal(0, 0.02, images) < share + rng.normal(0, spread))
        for index in range(n)
    }
    return Answers(packed, images)


def test_ranks_count_significantly_better_rows_only() -> None:
    assert ranks([noisy(0.6), noisy(0.9), noisy(0.9001)]) == [3, 1, 1]


def test_ranks_use_pairs_of_the_same_seed() -> None:
    shares = [0.70, 0.78, 0.62, 0.74, 0.66]
    gains = [0.02, 0.022, 0.018, 0.021, 0.019]
    above = answers([share + gain for share, gain in zip(shares, gains, strict=True)])
    assert ranks([answers(shares), above]) == [2, 1]
    turned = Answers({index: above.packed[4 - index] for index in above.packed}, above.images)
    assert ranks([answers(shares), turned]) == [1, 1]


def test_ranks_are_a_holm_family() -> None:
    low, high = noisy(0.7, 0.01), noisy(0.706, 0.01)
    alone = compare(high, low)
    assert alone is not None
    assert alone.p is not None
    assert 0.05 / 10 < alone.p < 0.05
    assert ranks([low, high]) == [2, 1]
    others = [noisy(0.71 + 0.001 * k, 0.02) for k in range(3)]
    assert ranks([low, high, *others])[:2] == [1, 1]


# --------------------------------------------------------------------------------------------- odd seeds


def test_a_collapsed_seed_stands_apart() -> None:
    assert outlying([61.0, 61.2, 60.9, 61.1, 58.0], error=0.3) == [4]
    assert outlying([61.0, 61.2, 60.9, 61.1, 61.4], error=0.0) == []
    assert outlying([61.0, 61.0, 61.0, 61.0, 61.5], error=0.3) == [], "agreement by luck is no yardstick"
    assert outlying([61.0, 10.0, 61.1], error=0.3) == [], "three seeds show nothing"
    pair = [61.0 + 0.1 * k for k in range(18)]
    assert outlying([*pair[:9], 50.0, *pair[9:], 50.5], error=0.3) == [9, 19], "one hides not the other"


def test_outliers_of_rosner() -> None:
    # The example of the NIST/SEMATECH e-Handbook, 1.3.5.17.3: three outliers of 54 at 5 %.
    values = [
        -0.25, 0.68, 0.94, 1.15, 1.20, 1.26, 1.26, 1.34, 1.38, 1.43, 1.49, 1.49, 1.55, 1.56, 1.58, 1.65, 1.69,
        1.70, 1.76, 1.77, 1.81, 1.91, 1.94, 1.96, 1.99, 2.06, 2.09, 2.10, 2.14, 2.15, 2.23, 2.24, 2.26, 2.35,
        2.37, 2.40, 2.47, 2.54, 2.62, 2.64, 2.90, 2.92, 2.92, 2.93, 3.21, 3.26, 3.30, 3.59, 3.68, 4.30, 4.64,
        5.34, 5.42, 6.01,
    ]  # fmt: skip
    assert [values[place] for place in outlying(values, 0.0, alpha=0.05)] == [5.34, 5.42, 6.01]


def test_normal_seeds_rarely_stand_apart() -> None:
    rng = np.random.default_rng(0)
    for n in (5, 10, 20):
        rows = rng.normal(60, 0.3, (2000, n))
        assert np.mean([bool(outlying(list(row), 0.0)) for row in rows]) == pytest.approx(0.01, abs=0.008)
