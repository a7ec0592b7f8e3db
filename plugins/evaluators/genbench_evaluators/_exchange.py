"""How many real images a synthetic one is worth: the arithmetic of `exchange_rate`, which says what it means.

Symbols: n real training images, k synthetic ones, r the rate, e an error (share of wrong test answers).

    curve           log e(n) is linear in log n between measured sizes: piecewise a power law e = b n^-c,
                    which learning curves follow (arXiv:1712.00409, arXiv:1909.12673). It is defined between
                    the smallest and the largest measured size, and nowhere else.
    one cell        D(r) = log e(n, k) - log e(n + r k): 0 at the rate; positive where r is too high.
    several cells   T(r) = sum_c s_c(r) D_c(r), s_c = k_c / (n_c + r k_c), over the cells for which
                    n_c + r k_c is on the curve. It is 0 at the rate of all, by least squares for a power law.
                    It jumps where a cell leaves the curve, and the rate may be there.
    off the curve   beyond its last size, a rate says that a cell is no worse than that size, and below its
                    first, no better than that: D at this end, of the other sign, contradicts the rate.
    interval        the r for which D(r), or T(r), is not significantly other than 0: at a given r both are
                    linear in log errors of cells, so that their variance is known (`_crossed.py`). This is
                    Fieller's way (J. R. Stat. Soc. B 16, 1954); it needs no resampling of few seeds, and says
                    where there is no bound.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from genbench_evaluators._crossed import CrossedCells, Tested

_POINTS = 16  # at which each stretch of the curve is tried, per cell
_JUMP = 2e-9  # share of a size by which a cell is past an end of the curve; _INSIDE is not yet
_INSIDE = 1e-9
_REFINED = 2  # times that a root is looked for beside the one before; T is smooth between points
_ALPHA = 0.05
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """A cell of a row: real and synthetic training images; without synthetic ones a point of the curve."""

    generator: str
    real: int
    ratio: float = 0.0
    synthetic: int = 0


@dataclass(frozen=True)
class Rate:
    """A rate with its 95 % interval; it ends where the measured sizes end.

    Attributes:
        value: None where it is beyond the measured sizes, or where it cannot be told.
        low: None: no bound from below within the measured sizes.
        high: None: no bound from above.
    """

    value: float | None
    low: float | None
    high: float | None

    def excludes(self, rate: float) -> bool:
        """Say whether a rate lies outside of the interval."""
        return (self.low is not None and rate < self.low) or (self.high is not None and rate > self.high)

    def times(self, factor: float, start: float) -> "Rate":
        """Return `start` and `factor` times it: how many real images, of a rate."""
        parts = (None if one is None else start + factor * one for one in (self.value, self.low, self.high))
        return Rate(*parts)


@dataclass(frozen=True)
class Predicted:
    """A cell that was left out, predicted from the rate of the others.

    Attributes:
        rate: Of the others.
        accuracy: What it predicts, 0 to 1.
        error: Prediction minus measurement.
        half_width: Of the 95 % interval of this difference; None without one.
    """

    rate: float
    accuracy: float
    error: float
    half_width: float | None

    @property
    def is_inside(self) -> bool | None:
        """Whether the difference is within its interval."""
        return None if self.half_width is None else abs(self.error) <= self.half_width


@dataclass(frozen=True)
class Constancy:
    """Whether one rate explains all cells.

    Attributes:
        p: Holm's, the smaller of those of two trends and of single cells, doubled; None for a single cell.
        trends: What the rate does as the ratio, or the training set, grows: p, and whether it falls.
        beyond: Cells, by position, that the rate puts beyond the last size of the curve: T is without them.
        below: Those that it puts below the first.
    """

    p: float | None
    trends: dict[str, tuple[float, bool]]
    beyond: tuple[int, ...] = ()
    below: tuple[int, ...] = ()

    @property
    def is_rejected(self) -> bool:
        """Whether one rate does not explain the cells."""
        return self.p is not None and self.p < _ALPHA


class Exchange:
    """The rates of one generator.

    Args:
        crossed: The errors of the points of the curve and of the generator's cells.
        curve: The points of the curve, by their number of images upwards; two at least.
        cells: The generator's.
    """

    def __init__(self, crossed: CrossedCells, curve: Sequence[Cell], cells: Sequence[Cell]) -> None:
        self._crossed, self.cells = crossed, list(cells)
        at = [crossed.cells.index(one) for one in curve]
        self._curve_n = np.array([one.real for one in curve], dtype=np.float64)
        self._log_n = np.log(self._curve_n)
        self._log_e = crossed.log_errors[at]
        self._units = np.stack([crossed.unit(one) for one in curve])
        self._own = np.stack([crossed.unit(one) for one in cells])
        self._n = np.array([one.real for one in cells], dtype=np.float64)
        self._k = np.array([one.synthetic for one in cells], dtype=np.float64)

    def estimate(self) -> float | None:
        """Return the rate of all cells without its interval."""
        every = np.arange(len(self.cells))
        return self._best(self._solved(every)[1], every)

    def rate(self, chosen: Sequence[int] | None = None) -> Rate:
        """Return the rate of some cells, by position; of all by default."""
        columns = np.arange(len(self.cells)) if chosen is None else np.asarray(chosen)
        rates, roots = self._solved(columns)
        totals = self._total(rates, columns)
        scores, weights = self._scores(rates, columns), self._weights(rates, columns)
        halves = self._crossed.half_widths(np.einsum("rc,rcw->rw", scores, weights))
        value = self._best(roots, columns)
        if np.isnan(halves).all():
            return Rate(value, None, None)
        low, high = _not_excluded(rates, totals, np.nan_to_num(halves), value)
        return Rate(value, *(None if one is None else self._snapped(one, columns) for one in (low, high)))

    def constancy(self, pooled: Rate) -> Constancy:
        """Ask whether the cells agree with one rate, that of all, or with a bound of it.

        Where the rate is an end of the curve for some cell, it stands for both sides of the jump there.
        """
        bound = pooled.low if pooled.high is None else pooled.high
        if pooled.value is not None:
            sides = [one for one in self._sides(pooled.value) if len(self._on_curve(one))]
            return max(map(self._agreement, sides), key=lambda one: -1.0 if one.p is None else one.p)
        if bound is None or (pooled.low is not None and pooled.high is not None) or len(self.cells) < 2:
            return Constancy(None, {})
        every = np.arange(len(self.cells))
        weights = self._weights(np.array([bound]), every)[0]
        above = pooled.high is None
        single = [self._one_sided(one, is_above=above) for one in weights]
        return Constancy(min(1.0, len(single) * min(single)), {})

    def _agreement(self, rate: float) -> Constancy:
        """Hold trends and cells against a rate for which some cell is on the curve."""
        columns, every = self._on_curve(rate), np.arange(len(self.cells))
        sizes = self._sizes(np.array([rate]), every)[0]
        off = np.setdiff1d(every, columns)
        beyond = tuple(int(one) for one in off if sizes[one] > self._curve_n[-1])
        below = tuple(int(one) for one in off if one not in beyond)
        if len(every) < 2:
            return Constancy(None, {}, beyond, below)
        residuals = self._residuals(rate, every)
        trends: dict[str, tuple[float, bool]] = {}
        for name, values in (
            ("ratio", [self.cells[one].ratio for one in columns]),
            ("training set", [self.cells[one].real for one in columns]),
        ):
            if len(set(values)) > 1:
                scale = np.log(values) - np.log(values).mean()
                found = self._crossed.test(scale @ residuals[columns])
                trends[name] = (found.p, found.value > 0)
        single = [self._crossed.test(residuals[one]).p for one in columns]
        single += [self._one_sided(residuals[one], is_above=one in beyond) for one in off]
        smallest = [len(ps) * min(ps) for ps in (single, [p for p, _ in trends.values()]) if ps]
        return Constancy(min(1.0, 2 * min(smallest)), trends, beyond, below)

    def _one_sided(self, weights: Floats, *, is_above: bool) -> float:
        """Return p of a D that must not be above 0, or not below it; 1 where nothing can be told."""
        found = self._crossed.test(weights)
        if math.isnan(found.half_width):
            return 1.0
        return found.p / 2 if (found.value > 0) == is_above else 1 - found.p / 2

    def without(self, left_out: int) -> Predicted | None:
        """Predict a cell from the rate of the others; None where that is not on the curve."""
        others = [one for one in range(len(self.cells)) if one != left_out]
        if not others:
            return None
        columns = np.asarray(others)
        rate = self._best(self._solved(columns)[1], columns)
        if rate is None or left_out not in self._on_curve(rate):
            return None
        used = self._on_curve(rate)
        residuals = self._residuals(rate, used, left_out)
        found: Tested = self._crossed.test(residuals[list(used).index(left_out)])
        # The weights linearise the difference; its value is taken at the rate itself.
        difference = float(self._differences(np.array([rate]), np.array([left_out]))[0, 0])
        measured = float(np.exp(self._own[left_out] @ self._crossed.log_errors))
        error = measured - measured * math.exp(-difference)
        half = None if math.isnan(found.half_width) else measured * found.half_width
        return Predicted(rate, 1 - measured + error, error, half)

    def accuracy(self, position: int) -> tuple[float, float | None]:
        """Return the accuracy of a cell, 0 to 1, and half of its interval."""
        return accuracy_of(self._crossed, self.cells[position])

    # ------------------------------------------------------------------------------------------ inside

    def _tried(self, columns: npt.NDArray[np.intp]) -> Floats:
        """Return rates at which every cell meets every stretch of the curve often, upwards.

        Beside each rate at which a cell leaves the curve stands one at which it has left.
        """
        stretches = [np.geomspace(one, two, _POINTS, endpoint=False) for one, two in pairwise(self._curve_n)]
        sizes = np.concatenate([*stretches, self._curve_n[-1:], self._past()])
        rates = np.unique(((sizes[:, None] - self._n[columns]) / self._k[columns]).ravel())
        return np.asarray(rates[self._scores(rates, columns).any(axis=1)], dtype=np.float64)

    def _past(self) -> Floats:
        """Return sizes just past the two ends of the curve."""
        return np.asarray(self._curve_n[[0, -1]] * (1 - _JUMP, 1 + _JUMP), dtype=np.float64)

    def _snapped(self, rate: float, columns: npt.NDArray[np.intp]) -> float:
        """Return a rate, or the one beside it at which a cell is at an end of the curve."""
        for column in columns:
            for end in self._curve_n[[0, -1]]:
                if abs(self._n[column] + rate * self._k[column] - end) <= 2 * _JUMP * end:
                    return float((end - self._n[column]) / self._k[column])
        return rate

    def _sides(self, rate: float) -> list[float]:
        """Return a rate, and what is beside it where a cell leaves the curve there."""
        past = ((self._past()[:, None] - self._n) / self._k).ravel()
        scale = 2 * _JUMP * self._curve_n[-1] / self._k.min()
        return [rate, *(float(one) for one in past if abs(one - rate) <= scale)]

    def _solved(self, columns: npt.NDArray[np.intp]) -> tuple[Floats, list[float]]:
        """Return rates to look at, upwards, and those at which T is 0, which are nearly among them."""
        rates = self._tried(columns)
        for _ in range(_REFINED):
            rates = np.union1d(rates, _roots(rates, self._total(rates, columns)))
        return rates, _roots(rates, self._total(rates, columns))

    def _total(self, rates: Floats, columns: npt.NDArray[np.intp]) -> Floats:
        """Return T at some rates: `float64 [rates]`."""
        scored = self._scores(rates, columns) * self._differences(rates, columns)
        return np.asarray(scored.sum(axis=1), dtype=np.float64)

    def _sizes(self, rates: Floats, columns: npt.NDArray[np.intp]) -> Floats:
        return self._n[columns] + rates[:, None] * self._k[columns]

    def _scores(self, rates: Floats, columns: npt.NDArray[np.intp]) -> Floats:
        """Return s, 0 for cells that are not on the curve: `float64 [rates, columns]`."""
        sizes = self._sizes(rates, columns)
        first, last = self._curve_n[[0, -1]] * (1 - _INSIDE, 1 + _INSIDE)
        inside = (sizes >= first) & (sizes <= last)
        return np.where(inside, self._k[columns] / np.maximum(sizes, first), 0.0)

    def _differences(self, rates: Floats, columns: npt.NDArray[np.intp]) -> Floats:
        """Return D: `float64 [rates, columns]`."""
        sizes = np.log(np.maximum(self._sizes(rates, columns), 1e-9))
        own = self._own[columns] @ self._crossed.log_errors
        return np.asarray(own - np.interp(sizes, self._log_n, self._log_e), dtype=np.float64)

    def _weights(self, rates: Floats, columns: npt.NDArray[np.intp]) -> Floats:
        """Return the weights of D: `float64 [rates, columns, cells]`."""
        sizes = np.log(np.maximum(self._sizes(rates, columns), 1e-9))
        left, share = self._stretch(sizes)
        ends = self._units[left] * (1 - share)[..., None] + self._units[left + 1] * share[..., None]
        return np.asarray(self._own[columns] - ends, dtype=np.float64)

    def _stretch(self, log_sizes: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
        """Return the stretch of the curve that sizes lie on, and how far along it they are, 0 to 1."""
        left = np.clip(np.searchsorted(self._log_n, log_sizes) - 1, 0, len(self._log_n) - 2)
        share = (log_sizes - self._log_n[left]) / (self._log_n[left + 1] - self._log_n[left])
        return left, np.clip(share, 0, 1)

    def _on_curve(self, rate: float) -> npt.NDArray[np.intp]:
        every = np.arange(len(self.cells))
        return np.flatnonzero(self._scores(np.array([rate]), every)[0])

    def _residuals(self, rate: float, columns: npt.NDArray[np.intp], left_out: int = -1) -> Floats:
        """Return the weights of D_c at a rate that was estimated from these cells, but for `left_out`.

        A change of the estimate follows from T = 0: dr = - sum_b s_b dD_b / sum_b s_b q_b, with q = dD / dr.
        """
        at = np.array([rate])
        scores = np.where(columns == left_out, 0.0, self._scores(at, columns)[0])
        sizes = np.clip(self._sizes(at, columns), self._curve_n[0], self._curve_n[-1])
        left, _ = self._stretch(np.log(sizes))
        slopes = np.diff(self._log_e) / np.diff(self._log_n)
        moved = -slopes[left[0]] * self._k[columns] / sizes[0]
        weights = self._weights(at, columns)[0]
        total = float(scores @ moved)
        drawn = scores @ weights / total if total else np.zeros(weights.shape[1])
        return np.asarray(weights - np.outer(moved, drawn), dtype=np.float64)

    def _best(self, roots: Sequence[float], columns: npt.NDArray[np.intp]) -> float | None:
        """Return the root for which most cells are on the curve; of several the middle one."""
        if not roots:
            return None
        counts = [int((self._scores(np.array([one]), columns) > 0).sum()) for one in roots]
        best = [one for one, count in zip(roots, counts, strict=True) if count == max(counts)]
        return self._snapped(best[(len(best) - 1) // 2], columns)


def accuracy_of(crossed: CrossedCells, cell: Cell) -> tuple[float, float | None]:
    """Return the accuracy of a cell, 0 to 1, and half of its 95 % interval; None without one."""
    unit = crossed.unit(cell)
    error, half = float(crossed.errors @ unit), crossed.test(unit).half_width
    return 1 - error, None if math.isnan(half) else error * half


def _roots(rates: Floats, totals: Floats) -> list[float]:
    """Return where T is 0 on its way up, T taken as linear between neighbours."""
    found = [float(rate) for rate in rates[totals == 0]]
    for at in np.flatnonzero((totals[:-1] < 0) & (totals[1:] > 0)):
        share = totals[at] / (totals[at] - totals[at + 1])
        found.append(float(rates[at] + share * (rates[at + 1] - rates[at])))
    return sorted(found)


def _not_excluded(
    rates: Floats, totals: Floats, halves: Floats, value: float | None
) -> tuple[float | None, float | None]:
    """Return the hull of the rates at which T is not significant; without any, the bound that is left.

    Where T jumps over 0, and is significant on either side, that is the rate, and the hull is it alone.
    """
    margin = np.abs(totals) - halves
    inside = np.flatnonzero(margin <= 1e-12)
    if not len(inside) and value is not None:
        return value, value
    if not len(inside):
        return (None, float(rates[0])) if totals[0] > 0 else (float(rates[-1]), None)
    ends: list[float | None] = []
    for end, beyond in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        if not 0 <= beyond < len(rates):
            ends.append(None)
            continue
        span = margin[beyond] - margin[end]
        share = -margin[end] / span if span > 0 else 0.0
        ends.append(float(rates[end] + share * (rates[beyond] - rates[end])))
    return ends[0], ends[1]
