"""The statistics of the board, as pure functions: protocol rule 7 and nothing else.

Two rows are compared over seeds and test images at once (`crossed.py`); here are the families of comparisons,
what a look at test costs, the verdicts and the ranks, and intervals over seeds alone for what is only
described. Nothing here reads a record or knows a column.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from statistics import quantiles
from typing import Literal, NamedTuple

from scipy.special import stdtr, stdtrit

from genbench_leaderboard.crossed import (
    ALPHA,
    CONFIDENCE,
    SEEDS_FOR_INTERVAL,
    Answers,
    Comparison,
    Interval,
    tested,
)

SEEDS_FOR_VERDICT = 5
#: An unplanned look is held to a quarter of the level of the one before: the errors of all looks together
#: stay below 4/3 of alpha, however many there are.
UNPLANNED_LOOK = 4
_MOST_LOOKS = 20  # after which nothing is left of alpha
#: Share of rows with normal values in which a seed is called outlying.
OUTLYING = 0.01
#: Standard deviations below this share of the values' size are rounding, not spread.
_ROUNDING = 1e-12

Verdict = Literal[
    "better", "worse", "cannot tell", "incomplete", "exploratory", "too few seeds", "reference", "void"
]


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
    half = _quantile(n - 1, (1 + confidence) / 2) * sd / math.sqrt(n)
    return Estimate(mean, n, sd, Interval(mean - half, mean + half))


@cache
def _quantile(df: int, p: float) -> float:
    """Return where Student's t distribution reaches p: a board asks thousands of times for a few."""
    return float(stdtrit(df, p))


def paired_t(row: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Return the two-sided p of Student's paired t-test over seeds; None without spread, or below two pairs.

    It answers for these test images only, and is used where nothing is concluded. `row[i]` and `baseline[i]`
    share their seed index.
    """
    scale = max(map(abs, (*row, *baseline)))
    found = estimate([a - b for a, b in zip(row, baseline, strict=True)])
    if not found.sd or found.sd <= _ROUNDING * scale:
        return None
    return 2 * float(stdtr(found.n - 1, -abs(found.mean) / (found.sd / math.sqrt(found.n))))


def holm(p_values: Sequence[float | None], alpha: float = ALPHA, planned: int = 0) -> list[HolmStep]:
    """Adjust a family of p values by Holm's step-down procedure (Scand. J. Statist. 6, 1979).

    With p sorted upwards, `adjusted(i) = max over j <= i of min(1, (m - j + 1) p(j))`, and p(i) is held to
    `alpha / (m - i + 1)`. None (failed, incomplete, undefined) counts as p = 1 and stays in the family.

    Args:
        p_values: Those that there are.
        alpha: Of the family.
        planned: How many were planned, m, if that is more: those that are missing count as p = 1.
    """
    filled = [1.0 if p is None else p for p in p_values]
    size = max(len(filled), planned)
    steps: list[HolmStep] = [HolmStep(1.0, alpha)] * len(filled)
    running = 0.0
    for position, where in enumerate(sorted(range(len(filled)), key=lambda index: filled[index])):
        remaining = size - position
        running = max(running, min(1.0, remaining * filled[where]))
        steps[where] = HolmStep(running, alpha / remaining)
    return steps


def level_of_look(shares: Sequence[float], unplanned: int, alpha: float = ALPHA) -> float:
    """Return the level that a family is held to at a look at test.

    Planned looks spend alpha as the square of the share of the seeds that is there (Kim and DeMets,
    Biometrika 74, 1987, with rho = 2): `alpha (t_k^2 - t_(k-1)^2)`, which adds up to alpha at the end. An
    unplanned look comes after alpha was spent; every one divides the level by four.

    Args:
        shares: Shares of the confirming seeds that are there at the planned looks so far, this one last.
        unplanned: How many unplanned looks at test there were before, at other numbers of seeds.
        alpha: Of the family, over all looks.
    """
    before = shares[-2] if len(shares) > 1 else 0.0
    return alpha * (shares[-1] ** 2 - before**2) * float(UNPLANNED_LOOK) ** -min(unplanned, _MOST_LOOKS)


def decide(found: Comparison | None, planned: int, step: HolmStep | None, alpha: float = ALPHA) -> Verdict:
    """Return the verdict of rule 7 on a contrast that has one.

    Args:
        found: Row against baseline over the seeds that both have; None where they share none.
        planned: How many seeds were planned, before test was read.
        step: What Holm says; None for a contrast that is not confirmatory.
        alpha: Of the family, at this look.
    """
    if found is None or found.n < planned:
        return "incomplete"
    if planned < SEEDS_FOR_VERDICT:
        return "too few seeds"
    if step is None:
        return "exploratory"
    if step.adjusted_p >= alpha:
        return "cannot tell"
    return "better" if found.mean > 0 else "worse"


def ranks(
    rows: Sequence[Answers], known: Mapping[tuple[int, int], int] | None = None, alpha: float = ALPHA
) -> list[int]:
    """Rank = 1 + the number of rows that are significantly better: rows may share a rank.

    Every pair of rows is compared as a verdict is (`crossed.tested`); all pairs are one Holm family, but for
    those that have a verdict: a rank says nothing else.

    Args:
        rows: What they get right.
        known: By pair of positions, what a verdict says of the first: better (1), worse (-1), or neither (0).
        alpha: Level of the family.
    """
    settled = known or {}
    better = [0] * len(rows)
    for (i, j), sign in settled.items():
        better[j if sign > 0 else i] += sign != 0
    pairs = [
        pair
        for pair in combinations(range(len(rows)), 2)
        if pair not in settled and pair[::-1] not in settled
    ]
    found = [tested(rows[i], rows[j]) for i, j in pairs]
    enough = [one.p if one is not None and one.n >= SEEDS_FOR_VERDICT else None for one in found]
    for (i, j), one, step in zip(pairs, found, holm(enough, alpha), strict=True):
        if one is not None and step.adjusted_p < alpha:
            better[j if one.mean > 0 else i] += 1
    return [1 + count for count in better]


def outlying(values: Sequence[float], error: float, alpha: float = OUTLYING) -> list[int]:
    """Return the positions of values that lie far from the others: seeds that another fate befell.

    The generalized extreme studentized deviate test (Rosner, Technometrics 25, 1983): the farthest value is
    taken away, up to a fifth of all, as long as few rows of normal values would show such a one.
    The values' spread counts as no smaller than the sampling error of one of them: a few seeds that happen to
    agree make no outlier of the next. Fewer than five values show nothing.

    Args:
        values: One per seed.
        error: Standard error of such a value by its test images alone, in the same unit.
        alpha: Share of rows with normal values that may show an outlier.
    """
    n = len(values)
    if n < SEEDS_FOR_VERDICT:
        return []
    left, removed, found = list(range(n)), list[int](), 0
    for i in range(1, n // 5 + 1):
        rest = estimate([values[place] for place in left])
        farthest = max(left, key=lambda place: abs(values[place] - rest.mean))
        deviate = abs(values[farthest] - rest.mean) / max(rest.sd or 0.0, error, _ROUNDING)
        t = float(stdtrit(n - i - 1, 1 - alpha / (2 * (n - i + 1))))
        removed.append(farthest)
        left.remove(farthest)
        if deviate > (n - i) * t / math.sqrt((n - i - 1 + t * t) * (n - i + 1)):
            found = i
    return sorted(removed[:found])


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile, interpolated between values; of one value, it twice.

    >>> quartiles([1, 2, 3, 4, 50]), quartiles([7.0])
    ((2.0, 4.0), (7.0, 7.0))
    """
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high
