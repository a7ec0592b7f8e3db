"""The statistics of the board, as pure functions: protocol rule 7 and nothing else.

The unit is the seed: every test is a paired t-test over seeds. The test images enter only through a bootstrap
that a *better* or *worse* must survive as well. Nothing here reads a record or knows a column.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import nctdtr, stdtr, stdtrit

ALPHA = 0.05
CONFIDENCE = 0.95
POWER = 0.80
SEEDS_FOR_INTERVAL = 3
SEEDS_FOR_VERDICT = 5
RESAMPLES = 10_000
#: Standard deviations below this share of the values' size are rounding, not spread.
_ROUNDING = 1e-12

Verdict = Literal["better", "worse", "cannot tell", "incomplete", "exploratory", "too few seeds", "void"]


@dataclass(frozen=True)
class Interval:
    """A two-sided interval."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds; `sd` needs two values, `interval` three."""

    mean: float
    n: int
    sd: float | None
    interval: Interval | None

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval."""
        return (self.interval.high - self.interval.low) / 2 if self.interval else None


@dataclass(frozen=True)
class PairedTest:
    """A paired comparison over seeds.

    Attributes:
        difference: The differences, row minus baseline.
        p: Two-sided; None where it is undefined: fewer than two pairs, or no spread.
        correlation: Pearson's r within pairs; None where one side has no spread.
    """

    difference: Estimate
    p: float | None
    correlation: float | None


class HolmStep(NamedTuple):
    """What Holm's procedure says about one contrast.

    Attributes:
        adjusted_p: Reject where it is below alpha.
        level: The level that this contrast's own p is held to.
    """

    adjusted_p: float
    level: float


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return mean, standard deviation and Student's t interval: `mean ± t(n-1) * sd / sqrt(n)`.

    Fewer than three values get no interval (rule 7). `values` must not be empty.
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Estimate(mean, n, None, None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    if sd <= _ROUNDING * max(abs(value) for value in values):
        sd = 0.0
    if n < SEEDS_FOR_INTERVAL:
        return Estimate(mean, n, sd, None)
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * sd / math.sqrt(n)
    return Estimate(mean, n, sd, Interval(mean - half, mean + half))


def paired_t(row: Sequence[float], baseline: Sequence[float]) -> PairedTest:
    """Student's paired t-test: `t = mean(d) / (sd(d) / sqrt(n))` with n - 1 degrees of freedom, two-sided.

    `row[i]` and `baseline[i]` share their seed index. At zero variance p is None: no test can tell then.
    """
    if len(row) != len(baseline):
        raise ValueError(f"{len(row)} values cannot be paired with {len(baseline)}")
    scale = max(map(abs, (*row, *baseline)))
    difference = estimate([a - b for a, b in zip(row, baseline, strict=True)])
    if difference.sd is not None and difference.sd <= _ROUNDING * scale:
        point = Interval(difference.mean, difference.mean) if difference.interval else None
        difference = replace(difference, sd=0.0, interval=point)
    p = None
    if difference.sd:
        t = difference.mean / (difference.sd / math.sqrt(difference.n))
        p = 2 * float(stdtr(difference.n - 1, -abs(t)))
    return PairedTest(difference, p, correlation(row, baseline))


def correlation(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Pearson's r; None below three pairs (two always give 1 or -1), and where a side has no spread."""
    a, b = estimate(left), estimate(right)
    spread = (a.n - 1) * (a.sd or 0.0) * (b.sd or 0.0)  # 0 as well where it is too small for a float
    if a.n < 3 or not spread:
        return None
    products = math.fsum((x - a.mean) * (y - b.mean) for x, y in zip(left, right, strict=True))
    return max(-1.0, min(1.0, products / spread))


def holm(p_values: Sequence[float | None], alpha: float = ALPHA) -> list[HolmStep]:
    """Adjust a family of p values by Holm's step-down procedure (Scand. J. Statist. 6, 1979).

    With p sorted upwards, `adjusted(i) = max over j <= i of min(1, (m - j + 1) p(j))`, and p(i) is held to
    `alpha / (m - i + 1)`. None (failed, incomplete, undefined) counts as p = 1 and stays in the family.
    """
    filled = [1.0 if p is None else p for p in p_values]
    steps: list[HolmStep] = [HolmStep(1.0, alpha)] * len(filled)
    running = 0.0
    for position, where in enumerate(sorted(range(len(filled)), key=lambda index: filled[index])):
        remaining = len(filled) - position
        running = max(running, min(1.0, remaining * filled[where]))
        steps[where] = HolmStep(running, alpha / remaining)
    return steps


def image_bootstrap(
    summed_differences: npt.NDArray[np.int64],
    n_seeds: int,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile interval of the accuracy difference under resampling of test images, in points.

    With d_j the seed-averaged difference of correctness of image j, the statistic is the mean of d over
    images drawn with replacement (Efron and Tibshirani 1993, chapter 13). d_j takes at most `2 n_seeds + 1`
    values, so drawing multinomial counts of these values is the same distribution as drawing images.

    Args:
        summed_differences: Per test image, the number of seeds in which the row is right minus the number in
            which the baseline is: `int64 [N]`, from -n_seeds to n_seeds.
        n_seeds: How many seeds were summed.
        seed: Seed of the resampling; the caller derives it from names.
        resamples: How many bootstrap samples.
        confidence: Coverage of the interval.
    """
    values, counts = np.unique(summed_differences, return_counts=True)
    n_images = int(counts.sum())
    draws = np.random.default_rng(seed).multinomial(n_images, counts / n_images, size=resamples)
    points = 100.0 * (draws @ values) / (n_images * n_seeds)
    tail = (1 - confidence) / 2
    low, high = np.quantile(points, [tail, 1 - tail])
    return Interval(float(low), float(high))


@lru_cache(maxsize=4096)
def minimum_detectable_effect(n: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the mean difference, in SDs of the paired differences, that a paired t-test would find.

    Solves `P(|T| > t(n-1, 1 - alpha/2)) = power` for T noncentral t with n - 1 degrees of freedom and
    noncentrality `effect * sqrt(n)` (Cohen 1988, chapter 2), by bisection. 3.3 at n = 3, 1.7 at 5, 1.0 at 10.
    """
    if n < 2:
        raise ValueError(f"a paired t-test needs at least 2 pairs, not {n}")
    critical = float(stdtrit(n - 1, 1 - alpha / 2))

    def found(effect: float) -> float:
        shift = effect * math.sqrt(n)
        wrong_side = float(nctdtr(n - 1, shift, -critical))  # nan where it is too small to be computed
        return 1 - float(nctdtr(n - 1, shift, critical)) + (0.0 if math.isnan(wrong_side) else wrong_side)

    low, high = 0.0, 1.0
    while found(high) < power:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle) < power else (low, middle)
    return high


def decide(planned: int, test: PairedTest | None, step: HolmStep | None, images: Interval | None) -> Verdict:
    """Return the verdict of rule 7.

    Args:
        planned: How many seeds were planned, before test was read.
        test: Row against baseline over the seeds that both have; None where they share none.
        step: What Holm says; None for a contrast that is not confirmatory.
        images: The image bootstrap; None where no per-image results exist, which can never confirm anything.
    """
    if test is None or test.difference.n < planned:
        return "incomplete"
    if planned < SEEDS_FOR_VERDICT:
        return "too few seeds"
    if step is None:
        return "exploratory"
    if test.p is None or images is None or step.adjusted_p >= ALPHA or not images.excludes_zero:
        return "cannot tell"
    return "better" if test.difference.mean > 0 else "worse"


def ranks(rows: Sequence[Mapping[int, float]]) -> list[int]:
    """Rank = 1 + the number of rows that are significantly better: rows may share a rank.

    Every pair of rows is a paired t-test over shared seed indices; all pairs are one Holm family.

    Args:
        rows: Per row, the score of each seed index; larger is better.
    """
    pairs = list(combinations(range(len(rows)), 2))
    tests = [_compare(rows[i], rows[j]) for i, j in pairs]
    better = [0] * len(rows)
    for (i, j), test, step in zip(
        pairs, tests, holm([test.p if test else None for test in tests]), strict=True
    ):
        if test and step.adjusted_p < ALPHA:
            better[j if test.difference.mean > 0 else i] += 1
    return [1 + count for count in better]


def _compare(left: Mapping[int, float], right: Mapping[int, float]) -> PairedTest | None:
    shared = sorted(left.keys() & right.keys())
    if len(shared) < SEEDS_FOR_VERDICT:
        return None
    return paired_t([left[index] for index in shared], [right[index] for index in shared])


def unpack_correct(packed: bytes, count: int) -> npt.NDArray[Any]:
    """Return packed booleans, first value in the highest bit, as `int64 [count]` of 0 and 1."""
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count).astype(np.int64)
