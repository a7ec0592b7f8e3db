"""The board's statistics against independent references: scipy.stats, textbook examples, plain resampling."""

import base64
import math

import numpy as np
import pytest
from scipy import stats

from genbench.records import pack_bits, unpack_bits
from genbench_leaderboard.statistics import (
    HolmStep,
    Interval,
    PairedTest,
    correlation,
    decide,
    estimate,
    holm,
    image_bootstrap,
    minimum_detectable_effect,
    paired_t,
    ranks,
    unpack_correct,
)

ROW = [94.2, 93.1, 95.0, 94.4, 93.9, 94.8]
BASE = [93.0, 92.8, 93.9, 93.7, 93.6, 93.1]


def test_paired_t_matches_scipy() -> None:
    found, expected = paired_t(ROW, BASE), stats.ttest_rel(ROW, BASE)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
    low, high = expected.confidence_interval(0.95)
    assert found.difference.interval is not None
    assert found.difference.interval.low == pytest.approx(low, rel=1e-12)
    assert found.difference.interval.high == pytest.approx(high, rel=1e-12)
    assert found.difference.sd == pytest.approx(np.std(np.subtract(ROW, BASE), ddof=1), rel=1e-12)
    assert found.correlation == pytest.approx(stats.pearsonr(ROW, BASE).statistic, rel=1e-12)


def test_swapping_sides_turns_the_sign_and_keeps_p() -> None:
    forth, back = paired_t(ROW, BASE), paired_t(BASE, ROW)
    assert back.difference.mean == -forth.difference.mean
    assert back.p == forth.p


def test_pairing_matters() -> None:
    paired, unpaired = paired_t(ROW, BASE), stats.ttest_ind(ROW, BASE)
    assert paired.p is not None
    assert paired.p != pytest.approx(unpaired.pvalue, rel=0.1)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values cannot be paired with 3"):
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
    found = paired_t(row, base)
    assert found.difference.sd == 0
    assert found.p is None


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


@pytest.mark.parametrize(("n", "sds"), [(3, 3.3), (5, 1.7), (10, 1.0)])
def test_minimum_detectable_effect_of_the_protocol(n: int, sds: float) -> None:
    assert round(minimum_detectable_effect(n), 1) == sds


@pytest.mark.parametrize("n", [3, 5, 10, 50])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12, 0.05 / 100])
def test_minimum_detectable_effect_has_the_power_it_says(n: int, alpha: float) -> None:
    shift = minimum_detectable_effect(n, alpha) * math.sqrt(n)
    critical = stats.t.ppf(1 - alpha / 2, n - 1)
    power = stats.nct.sf(critical, n - 1, shift)
    other_tail = stats.nct.cdf(-critical, n - 1, shift)
    assert power + np.nan_to_num(other_tail) == pytest.approx(0.8, abs=1e-8)


def test_minimum_detectable_effect_needs_two_pairs() -> None:
    with pytest.raises(ValueError, match="at least 2 pairs, not 1"):
        minimum_detectable_effect(1)


def test_bootstrap_agrees_with_resampling_images() -> None:
    rng = np.random.default_rng(7)
    n_images, n_seeds = 300, 4
    differences = rng.choice([-4, -1, 0, 0, 0, 1, 2, 4], size=n_images)
    found = image_bootstrap(differences, n_seeds, seed=1, resamples=20_000)
    drawn = rng.integers(0, n_images, size=(20_000, n_images))
    means = 100 * differences[drawn].mean(axis=1) / n_seeds
    low, high = np.percentile(means, [2.5, 97.5])
    tolerance = 0.03 * (high - low)  # both ends are Monte Carlo
    assert (found.low, found.high) == pytest.approx((low, high), abs=tolerance)
    assert found.high - found.low > 4, "points, not fractions"


def test_bootstrap_depends_on_its_seed_alone() -> None:
    differences = np.array([1] * 3000 + [0] * 6000 + [-1] * 2000)
    shuffled = np.random.default_rng(0).permutation(differences)
    assert image_bootstrap(differences, 1, seed=3) == image_bootstrap(shuffled, 1, seed=3)
    assert image_bootstrap(differences, 1, seed=3) != image_bootstrap(differences, 1, seed=4)


def test_bootstrap_of_equal_predictions_is_zero_and_does_not_exclude_it() -> None:
    found = image_bootstrap(np.zeros(50, dtype=np.int64), 5, seed=0)
    assert found == Interval(0.0, 0.0)
    assert not found.excludes_zero


def test_unpacking_agrees_with_records() -> None:
    bits = [bool(value) for value in np.random.default_rng(2).integers(0, 2, size=37)]
    packed = pack_bits(bits)
    assert unpack_correct(base64.b64decode(packed), 37).tolist() == [
        int(bit) for bit in unpack_bits(packed, 37)
    ]


def significant(n: int = 5, sign: int = 1) -> PairedTest:
    return paired_t([sign * (2.0 + 0.01 * i) for i in range(n)], [0.0] * n)


SURE, UNSURE = HolmStep(0.01, 0.05), HolmStep(0.05, 0.05)
ABOVE, ACROSS = Interval(0.5, 3.0), Interval(-0.1, 3.0)


@pytest.mark.parametrize(
    ("planned", "test", "step", "images", "verdict"),
    [
        (5, significant(), SURE, ABOVE, "better"),
        (5, significant(sign=-1), SURE, Interval(-3.0, -0.5), "worse"),
        (5, significant(), UNSURE, ABOVE, "cannot tell"),
        (5, significant(), SURE, ACROSS, "cannot tell"),
        (5, significant(), SURE, None, "cannot tell"),
        (5, paired_t([2.0] * 5, [1.0] * 5), SURE, ABOVE, "cannot tell"),
        (5, significant(), None, ABOVE, "exploratory"),
        (5, significant(4), SURE, ABOVE, "incomplete"),
        (5, None, SURE, None, "incomplete"),
        (4, significant(4), None, ABOVE, "too few seeds"),
        (3, significant(3), None, ABOVE, "too few seeds"),
        (1, significant(1), None, ABOVE, "too few seeds"),
        (3, significant(2), None, ABOVE, "incomplete"),
    ],
)
def test_verdicts(
    planned: int, test: PairedTest | None, step: HolmStep | None, images: Interval | None, verdict: str
) -> None:
    assert decide(planned, test, step, images) == verdict


def scores(mean: float, *noise: float) -> dict[int, float]:
    return {index: mean + value for index, value in enumerate(noise)}


def test_ranks_count_significantly_better_rows_only() -> None:
    noise = (0.0, 1.0, -1.0, 0.5, -0.5)
    best = scores(95, *(value + 0.01 * i for i, value in enumerate(noise)))
    tied = scores(95, *(value - 0.02 * (i % 2) + 0.01 for i, value in enumerate(noise)))
    last = scores(90, *(value + 0.02 * (i % 3) for i, value in enumerate(noise)))
    assert ranks([last, best, tied]) == [3, 1, 1]


def test_ranks_use_pairs_of_the_same_seed() -> None:
    noise = (0.0, 8.0, -8.0, 4.0, -4.0)
    above = scores(91, *(value + 0.01 * i for i, value in enumerate(noise)))
    assert ranks([scores(90, *noise), above]) == [2, 1]
    turned = {index: above[4 - index] for index in above}
    assert ranks([scores(90, *noise), turned]) == [1, 1]


def test_ranks_are_a_holm_family() -> None:
    noise = (0.0, 0.3, -0.3, 0.2, -0.2)
    pair = [scores(90, 0, 0, 0, 0, 0), scores(90.35, *noise)]
    assert stats.ttest_1samp([0.35 + value for value in noise], 0).pvalue == pytest.approx(0.035, abs=0.01)
    assert ranks(pair) == [2, 1]
    others = [scores(90.1, *(value * factor for value in noise)) for factor in (5, -7, 11)]
    assert ranks([*pair, *others]) == [1] * 5
