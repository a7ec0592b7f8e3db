"""Inference over new seeds and new test images at once (protocol rule 7). Nothing here reads a record.

Two rows are compared by `d[s, j]`, the difference of their correctness in seed s on test image j: -1, 0 or 1.
`genbench.two_way` has the mean squares of such a layout, and what variance and degrees of freedom follow from
them; here they are taken of packed bits. `perf/operating_characteristics.py` shows what that does to errors,
coverage and power.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, nctdtr, nctdtrinc, ndtri, stdtr, stdtrit

from genbench.two_way import MeanSquares

ALPHA = 0.05
CONFIDENCE = 0.95
POWER = 0.80
SEEDS_FOR_INTERVAL = 3
#: From here on the t distribution is the normal one to four digits, and its noncentral form slow to compute.
_MANY_DF = 1e5

_FAR = 1e3  #: critical values from which on the noncentral t distribution is slow, and goes by chi^2 alone
_CLOSE, _MOST_SECANTS = 1e-9, 30  #: relative; two or three are usual

_LEAST_LEVEL = 1e-7  #: what is held to less, as after many unplanned looks, has no level left

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Interval:
    """A two-sided interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two rows, compared on the seeds and test images that both have. Differences are in points.

    Attributes:
        mean: Row minus the other.
        n: Seeds.
        images: Test images.
        standard_error: Of the mean, over new seeds and new images; None below two seeds.
        degrees_of_freedom: Of the t distribution that p and interval come from.
        p: Two-sided, unadjusted; None below two seeds. Without any spread it is 1: nothing can be told.
        interval: 95 %; None below three seeds.
        correlation: Pearson's r between the accuracies of the two rows over seeds; None without spread.
        squares: The mean squares; None below two seeds.
    """

    mean: float
    n: int
    images: int
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    p: float | None = None
    interval: Interval | None = None
    correlation: float | None = None
    squares: MeanSquares | None = None

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval."""
        return (self.interval.high - self.interval.low) / 2 if self.interval else None

    def detectable(self, alpha: float) -> float | None:
        """Return the true effect, in points, that a test at level alpha would find with 80 % power.

        None below two seeds, and at levels so small that no effect is worth naming.
        """
        if self.squares is None or alpha < _LEAST_LEVEL:
            return None
        return effect(self.squares.variance, self.squares.degrees_of_freedom(), alpha)

    def guarded(self, alpha: float) -> float | None:
        """Return the same, safe against a variance that was estimated too small."""
        if self.squares is None or alpha < _LEAST_LEVEL:
            return None
        return effect(*self.squares.guarded, alpha)


class Tested(NamedTuple):
    """Mean difference as a share, number of seeds, and p as in `Comparison`."""

    mean: float
    n: int
    p: float | None


class Answers:
    """Which test images the networks of a row get right.

    Args:
        packed: Per seed index, one bit per image, the first in the highest bit: `uint8 [ceil(images / 8)]`.
        images: How many images.
    """

    def __init__(self, packed: Mapping[int, Bits], images: int) -> None:
        self.packed, self.images = dict(packed), images
        self._stacks: dict[tuple[int, ...], Bits] = {}
        self._sums: dict[tuple[int, ...], npt.NDArray[np.unsignedinteger[Any]]] = {}

    @property
    def indices(self) -> frozenset[int]:
        """Seed indices."""
        return frozenset(self.packed)

    @cached_property
    def right(self) -> dict[int, int]:
        """How many images each seed gets right."""
        return {index: _ones(bits) for index, bits in self.packed.items()}

    @property
    def shares(self) -> dict[int, float]:
        """Accuracy of each seed, 0 to 1."""
        return {index: right / self.images for index, right in self.right.items()}

    def kept(self, keep: npt.NDArray[np.bool_]) -> "Answers":
        """Return the answers on some of the images: `bool [images]`. The others count as not there."""
        mask = np.packbits(keep)
        return Answers({index: bits & mask for index, bits in self.packed.items()}, int(keep.sum()))

    def all_right(self) -> "Answers":
        """Return the answers of networks that are right on every image, of the same seeds."""
        one = np.packbits(np.ones(self.images, dtype=np.uint8))
        return Answers(dict.fromkeys(self.packed, one), self.images)

    def stack(self, indices: tuple[int, ...]) -> Bits:
        """Return the bits of some seeds: `uint8 [len(indices), ceil(images / 8)]`."""
        if indices not in self._stacks:
            self._stacks[indices] = np.stack([self.packed[index] for index in indices])
        return self._stacks[indices]

    def image_sums(self, indices: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Return how many of some seeds are right on each image.

        Returns:
            `int64 [8 ceil(images / 8)]`, padded with 0.
        """
        if indices not in self._sums:  # kept as small as they go: a board has thousands
            kind = np.min_scalar_type(len(indices))
            self._sums[indices] = np.unpackbits(self.stack(indices), axis=1).sum(axis=0, dtype=kind)
        return self._sums[indices].astype(np.int64)


def compare(row: Answers, other: Answers, indices: Sequence[int] | None = None) -> Comparison | None:
    """Compare two rows on the seeds they share; None where they share none.

    Args:
        row: The row.
        other: What it is compared with; measured on the same images.
        indices: Only these seeds.

    Raises:
        ValueError: They were measured on different numbers of images, or on none.
    """
    if row.images != other.images or not row.images:
        raise ValueError(f"{row.images} images cannot be paired with {other.images}")
    shared = row.indices & other.indices
    seeds = tuple(sorted(shared if indices is None else shared.intersection(indices)))
    if not seeds:
        return None
    squares = mean_squares(row, other, seeds)
    mean, n = 100 * squares.mean, squares.n
    own, base = row.shares, other.shares
    related = correlation([own[one] for one in seeds], [base[one] for one in seeds])
    if n < 2:
        return Comparison(mean, n, row.images)
    error, df, p = math.sqrt(squares.variance), squares.degrees_of_freedom(), p_value(squares)
    half = 100 * error * float(stdtrit(df, (1 + CONFIDENCE) / 2))
    # Without any spread there is no interval: one of no width would exclude everything else.
    interval = Interval(mean - half, mean + half) if n >= SEEDS_FOR_INTERVAL and error else None
    return Comparison(mean, n, row.images, 100 * error, df, p, interval, related, squares)


def tested(row: Answers, other: Answers) -> Tested | None:
    """Compare two rows as `compare` does, as far as a rank needs it; None where they share no seed."""
    seeds = tuple(sorted(row.indices & other.indices))
    if not seeds:
        return None
    squares = mean_squares(row, other, seeds)
    return Tested(squares.mean, squares.n, p_value(squares) if squares.n > 1 else None)


def mean_squares(row: Answers, other: Answers, seeds: tuple[int, ...]) -> MeanSquares:
    """Return the mean squares of d over some seeds, from packed bits: d itself is never laid out.

    With one seed, only the mean means anything.
    """
    n, images = len(seeds), row.images
    by_seed = [row.right[one] - other.right[one] for one in seeds]
    by_image = row.image_sums(seeds) - other.image_sums(seeds)
    return MeanSquares.of_sums(
        n,
        images,
        total=sum(by_seed),
        squares=_ones(
            row.stack(seeds) ^ other.stack(seeds)
        ),  # d^2 is 1 where exactly one of the two is right
        seed_squares=sum(one * one for one in by_seed),
        image_squares=int(by_image @ by_image),
    )


def p_value(squares: MeanSquares) -> float:
    """Return the two-sided p of a mean of 0; 1 without any spread: nothing can be told then."""
    error = math.sqrt(squares.variance)
    return 2 * float(stdtr(squares.degrees_of_freedom(), -abs(squares.mean) / error)) if error else 1.0


def effect(variance: float, df: float, alpha: float, power: float = POWER) -> float:
    """Return the effect, in points, that a two-sided t test at level alpha finds with a given power.

    Solves `P(|T| > t(df, 1 - alpha/2)) = power` for T noncentral t (Cohen 1988, chapter 2).
    """
    return 100 * math.sqrt(variance) * _noncentrality(df, alpha, power) if variance else 0.0


def _noncentrality(df: float, alpha: float, power: float) -> float:
    if df > _MANY_DF:
        return float(ndtri(power) - ndtri(alpha / 2))  # the wrong side is never found at these levels
    critical = -float(stdtrit(df, alpha / 2))
    if (
        critical > _FAR
    ):  # beside it the normal part is nothing: T > critical where chi^2 < df (shift / critical)^2
        return critical * math.sqrt(float(chdtri(df, 1 - power)) / df)

    def lacking(shift: float) -> float:
        wrong_side = float(nctdtr(df, shift, -critical))  # nan where it is too small to be computed
        found = 1 - float(nctdtr(df, shift, critical)) + (0.0 if math.isnan(wrong_side) else wrong_side)
        return found - power

    # The inverse for the right side alone is within 1 % of the root, often within 1e-6: secants do the rest.
    # (Importing scipy.optimize for its root finders would take longer than a board of a thousand records.)
    here = float(nctdtrinc(df, 1 - power, critical))
    before, step = lacking(here), 1e-4 * here
    for _ in range(_MOST_SECANTS):
        here, now = here + step, lacking(here + step)
        if now == before or abs(step) <= _CLOSE * here:
            break
        before, step = now, -now * step / (now - before)
    return here


def correlation(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Return Pearson's r; None below three pairs (two always give 1 or -1), or without spread on a side."""
    a, b = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if len(a) < 3:
        return None
    # Values that are all the same have means that differ from them by rounding.
    rounding = len(left) * np.finfo(np.float64).eps * max(float(np.abs(a).max()), float(np.abs(b).max()))
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    if min(float(np.abs(a).max()), float(np.abs(b).max())) <= rounding or not spread:
        return None
    return max(-1.0, min(1.0, float(a @ b) / spread))


def _ones(bits: Bits) -> int:
    return int.from_bytes(bits.tobytes(), "big").bit_count()
