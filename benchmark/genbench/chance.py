"""How likely chance is: two formulas that evaluator and board need, without waiting for scipy."""

import math
from functools import lru_cache

_HALVINGS = 60  # of [0, 1]: until a float64 knows no narrower interval


@lru_cache(maxsize=65_536)  # a millisecond each; image sets of a board share a few numbers of real images
def largest_share(found: int, n: int, confidence: float = 0.95) -> float:
    """Return the largest share that still explains `found` of `n`: Clopper and Pearson's upper bound.

    Biometrika 26:404-413, 1934: the share under which `found` or fewer have a chance of 1 - `confidence`.

    >>> round(largest_share(0, 1000), 6)  # 1 - 0.05 ** (1 / 1000)
    0.002991
    """
    if found >= n:
        return 1.0
    low, high = found / n, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_most(found, n, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def poisson_tail(found: int, expected: float) -> float:
    """Return how likely `found` or more are where `expected` are expected: P(Poisson(expected) >= found).

    >>> round(poisson_tail(1, 0.5), 6)  # 1 - exp(-0.5)
    0.393469
    """
    if found <= 0:
        return 1.0
    if not expected:
        return 0.0
    if found <= expected:
        return max(0.0, 1 - math.fsum(_poisson(k, expected) for k in range(found)))
    total, k, term = 0.0, found, _poisson(found, expected)
    while term > total * 1e-17:  # terms fall, and none of what is left would change the sum
        total, k = total + term, k + 1
        term *= expected / k
    return min(1.0, total)


def _poisson(k: int, expected: float) -> float:
    return math.exp(k * math.log(expected) - expected - math.lgamma(k + 1))


def _at_most(found: int, n: int, share: float) -> float:
    """Return P(Binomial(n, share) <= found)."""
    if share >= 1:
        return 0.0
    odds = math.log(share) - math.log1p(-share) if share > 0 else -math.inf
    first = n * math.log1p(-share)
    if math.isinf(odds):
        return 1.0
    whole = math.lgamma(n + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * odds + first)
        for k in range(found + 1)
    )
