"""Inference over seeds and images, against the definitions written out, scipy.stats, and known worlds."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special, stats

from genbench.two_way import MeanSquares
from genbench_leaderboard.crossed import (
    Answers,
    Comparison,
    compare,
    correlation,
    effect,
    mean_squares,
)

Right = npt.NDArray[np.bool_]


def answers(right: Right) -> Answers:
    return Answers({seed: np.packbits(row) for seed, row in enumerate(right)}, right.shape[1])


def world(n: int, images: int, seed: int = 0) -> tuple[Right, Right]:
    """Two rows with difficult and easy images, and good and bad seeds."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=images)
    own = 0.3 * rng.normal(size=images)
    base = ease + rng.normal(size=(n, images)) + 0.2 * rng.normal(size=(n, 1)) > -0.5
    row = ease + own + rng.normal(size=(n, images)) + 0.2 * rng.normal(size=(n, 1)) > -0.7
    return row, base


def compared(row: Right, base: Right) -> Comparison:
    found = compare(answers(row), answers(base))
    assert found is not None
    return found


@pytest.mark.parametrize(("n", "images"), [(5, 400), (2, 9), (20, 1001), (3, 17)])
def test_mean_squares_are_those_of_the_two_way_layout(n: int, images: int) -> None:
    row, base = world(n, images)
    d = row.astype(float) - base.astype(float)
    found = mean_squares(answers(row), answers(base), tuple(range(n)))
    g, by_seed, by_image = d.mean(), d.mean(axis=1), d.mean(axis=0)
    rest = (
        d - by_seed[:, None] - by_image[None, :] + g
    )  # the residuals themselves, not the difference of sums
    assert found.mean == pytest.approx(g, abs=1e-15)
    assert found.seed == pytest.approx(images * np.square(by_seed - g).sum() / (n - 1), rel=1e-10)
    assert found.image == pytest.approx(n * np.square(by_image - g).sum() / (images - 1), rel=1e-10)
    assert found.rest == pytest.approx(np.square(rest).sum() / ((n - 1) * (images - 1)), rel=1e-10)


def test_p_and_interval_come_from_one_t_distribution() -> None:
    found = compared(*world(8, 700))
    assert found.squares is not None
    assert found.interval is not None
    assert found.standard_error == pytest.approx(100 * math.sqrt(found.squares.variance))
    t = stats.t(found.degrees_of_freedom)
    assert found.p == pytest.approx(2 * t.sf(abs(found.mean) / found.standard_error), rel=1e-10)
    half = t.ppf(0.975) * found.standard_error
    assert (found.interval.low, found.interval.high) == pytest.approx((found.mean - half, found.mean + half))


def test_degrees_of_freedom_by_hand() -> None:
    # n = 5, N = 11; A = 2 * 4 / 2 = 4, I = 9 - 1 = 8: 12^2 / (16/4 + 81/10 + 1/40) = 11.9
    squares = MeanSquares(5, 11, 0.1, seed=2.0, image=9.0, rest=1.0)
    assert squares.degrees_of_freedom() == pytest.approx(144 / (16 / 4 + 81 / 10 + 1 / 40))
    # Seeds that agree by luck are not more certain than what is left over says: A = 2 MS_E.
    lucky = MeanSquares(5, 11, 0.1, seed=0.0, image=9.0, rest=1.0)
    assert lucky.degrees_of_freedom() == pytest.approx(100 / (4 / 4 + 81 / 10 + 1 / 40))
    assert MeanSquares(5, 11, 0.1, seed=2.0, image=0.5, rest=1.0).degrees_of_freedom() == 4, "no image effect"
    assert MeanSquares(3, 11, 0.1, seed=2.0, image=9.0, rest=1.0).degrees_of_freedom() == 2, "too few seeds"


def test_without_image_effects_it_is_nearly_a_t_test_over_seeds() -> None:
    rng = np.random.default_rng(5)
    ease = rng.random(2000)

    def arm(shift: float) -> Right:  # large seed effects, and the same images are difficult for both rows
        return ease < 0.7 + shift + 0.03 * rng.normal(size=(6, 1))

    row, base = arm(0.02), arm(0.0)
    expected = stats.ttest_rel(row.mean(axis=1), base.mean(axis=1))
    found = compared(row, base)
    assert found.p == pytest.approx(expected.pvalue, rel=0.05)
    low, high = expected.confidence_interval(0.95)
    assert found.half_width == pytest.approx(100 * (high - low) / 2, rel=0.05)


def test_luck_with_images_is_no_gain() -> None:
    # Every seed wins the same 60 images and loses the same 40: seeds alone would be sure.
    row, base = np.ones((10, 400), bool), np.ones((10, 400), bool)
    base[:, :60], row[:, 60:100] = False, False
    row[0, 399] = False  # one seed differs, so that a test over seeds exists at all
    seeds_alone = stats.ttest_rel(row.mean(axis=1), base.mean(axis=1)).pvalue
    found = compared(row, base)
    assert seeds_alone < 1e-9
    assert found.p is not None
    images_alone = stats.ttest_1samp(row.mean(axis=0) - base.mean(axis=0), 0).pvalue
    assert found.p == pytest.approx(images_alone, rel=0.05)


def test_more_seeds_cannot_lower_what_images_leave_open() -> None:
    squares = compared(*world(8, 1000, seed=2)).squares
    assert squares is not None
    assert squares.seed > squares.rest, "or seeds would differ less than they must"
    floor = squares.image_variance / (squares.n * squares.images)
    variances = [squares.at(n, 1000).variance for n in (8, 20, 1000, 10**6)]
    assert variances == sorted(variances, reverse=True)
    assert variances[0] == pytest.approx(squares.variance)
    assert variances[-1] == pytest.approx(floor, rel=1e-3)
    assert squares.at(8, 10**7).variance < squares.variance


@pytest.mark.parametrize("images", [200, 449, 1000, 10_000])
@pytest.mark.parametrize("n", [5, 6, 7])
@pytest.mark.parametrize("gained", [1, 2, 3, 8])
def test_what_is_zero_is_not_made_up_by_rounding(images: int, n: int, gained: int) -> None:
    """Every seed gains the same number of images, each others: nothing differs but by chance."""
    row, base = np.zeros((2, n, images), bool)
    for seed in range(n):
        row[seed, gained * seed : gained * (seed + 1)] = True
    found = compared(row, base)
    assert found.squares is not None
    assert (found.squares.seed, found.p, found.interval) == (0.0, 1.0, None)


def test_no_spread_tells_nothing() -> None:
    ones, zeros = np.ones((5, 30), bool), np.zeros((5, 30), bool)
    found = compared(ones, zeros)
    assert (found.mean, found.p, found.standard_error) == (100.0, 1.0, 0.0)
    assert found.detectable(0.05) == 0
    assert compared(zeros, zeros).p == 1


@pytest.mark.parametrize(
    ("n", "has_p", "has_interval"), [(1, False, False), (2, True, False), (3, True, True)]
)
def test_few_seeds_have_no_interval(n: int, has_p: bool, has_interval: bool) -> None:
    found = compared(*world(n, 200))
    assert (found.p is not None, found.interval is not None) == (has_p, has_interval)


def test_rows_share_seeds_and_images() -> None:
    row, base = world(6, 300)
    whole, some = answers(row), Answers({s: np.packbits(base[s]) for s in (1, 3, 4)}, 300)
    found = compare(whole, some)
    assert found is not None
    assert found == compared(row[[1, 3, 4]], base[[1, 3, 4]])
    assert compare(whole, some, indices=[0, 1, 3]) == compared(row[[1, 3]], base[[1, 3]])
    assert compare(whole, Answers({9: np.packbits(base[0])}, 300)) is None
    with pytest.raises(ValueError, match="300 images cannot be paired with 200"):
        compare(whole, answers(base[:, :200]))


def test_images_that_are_left_out_count_as_not_there() -> None:
    row, base = world(6, 301)
    keep = np.random.default_rng(0).random(301) < 0.6
    found = compare(answers(row).kept(keep), answers(base).kept(keep))
    assert found is not None
    expected = compared(row[:, keep], base[:, keep])
    assert (found.images, found.mean, found.p) == (
        expected.images, pytest.approx(expected.mean), pytest.approx(expected.p),
    )  # fmt: skip


def test_all_right_is_right_everywhere() -> None:
    _, base = world(5, 77)
    found = compare(answers(base).all_right(), answers(base))
    assert found is not None
    assert found.mean == pytest.approx(100 * (1 - base.mean()))


# ----------------------------------------------------------------------------------- effects that are found


@pytest.mark.parametrize("df", [2, 4.7, 19, 3000, 2e5])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12, 0.05 / 100])
def test_an_effect_is_found_with_the_power_it_says(df: float, alpha: float) -> None:
    shift = effect(1.0, df, alpha) / 100
    critical = stats.t.ppf(1 - alpha / 2, df)
    power = stats.nct.sf(critical, df, shift) if df < 1e5 else stats.norm.sf(critical - shift)
    assert power == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize("df", [1.5, 4, 30, 9e4])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 1e-3, 1e-5])
@pytest.mark.parametrize("power", [0.6, 0.8, 0.9])
def test_an_effect_is_a_root_at_any_level(df: float, alpha: float, power: float) -> None:
    """Both sides count: at large levels the wrong one is found, too."""
    shift = effect(1.0, df, alpha, power) / 100
    critical = -special.stdtrit(df, alpha / 2)
    wrong = np.nan_to_num(special.nctdtr(df, shift, -critical))
    assert 1 - special.nctdtr(df, shift, critical) + wrong == pytest.approx(power, abs=1e-6)


@pytest.mark.parametrize("df", [1, 1.5, 4])
def test_a_far_effect_continues_the_near_ones(df: float) -> None:
    """Beyond `_FAR` the noncentral t cannot be computed in time: two seeds after many looks get there."""
    alphas = [2 * special.stdtr(df, -critical) for critical in (0.999e3, 1.001e3)]
    near, far = (effect(1.0, df, float(alpha)) for alpha in alphas)
    assert far / near == pytest.approx(1.001 / 0.999, rel=1e-5)
    assert far != near


def test_a_guarded_effect_is_larger() -> None:
    found = compared(*world(5, 400))
    plain, guarded = found.detectable(0.05), found.guarded(0.05)
    assert plain is not None
    assert guarded is not None
    assert 1.05 < guarded / plain < 4
    squares = found.squares
    assert squares is not None
    a, quantile = max(squares.seed, squares.rest), stats.chi2.ppf
    h = a * (4 / quantile(0.15, 4) - 1)
    k = squares.image * (399 / quantile(0.15, 399) - 1)
    above = (squares.seed + squares.image_variance + math.hypot(h, k)) / (5 * 400)
    assert squares.guarded == pytest.approx((above, squares.degrees_of_freedom(a + h)))


def test_correlation_needs_three_pairs_and_spread() -> None:
    assert correlation([1.0, 2.0], [2.0, 4.0]) is None
    assert correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert correlation([0.1 + 0.2, 0.3, 0.3], [1.0, 2.0, 3.0]) is None, "that spread is rounding"
    assert correlation([1.0, 2.0, 3.0], [6.0, 4.0, 2.0]) == pytest.approx(-1)
    left, right = np.random.default_rng(1).normal(size=(2, 30))
    assert correlation(left, right) == pytest.approx(stats.pearsonr(left, right).statistic)
