"""Many cells on the same seeds and test images: the error of each, and intervals for what combines several.

The same seeds and the same test images occur in every cell, so that a combination of cells has the two-way
layout of `genbench.two_way`: d[s, j] = sum_c v_c x_c[s, j], with x = 1 where cell c is wrong. Its sums of
squares are quadratic forms in v, whose matrices are computed once for all combinations.
"""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from genbench.two_way import MeanSquares

FEWEST_SEEDS = 3  #: for an interval (protocol rule 7)
_CONFIDENCE = 0.95
_ROUNDING = 1e-12  # share of its parts below which a variance is rounding, not spread

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint8]


class Tested(NamedTuple):
    """A combination of log errors.

    Attributes:
        value: Its estimate.
        half_width: Of the 95 % interval over new seeds and new test images; NaN where there is none.
        p: Two-sided, for a true value of 0; 1 where nothing can be told.
    """

    value: float
    half_width: float
    p: float


class CrossedCells:
    """The errors of cells on the seeds that all of them have.

    Args:
        wrong: Per cell and seed index, 1 for each test image that the network gets wrong: `uint8 [images]`.

    Attributes:
        cells: In the order of all vectors of weights.
        seeds: How many they share.
        images: How many test images.
        errors: Share of wrong answers of each cell, 0 to 1: `float64 [cells]`. Where nothing is wrong, half
            an answer counts as wrong: a logarithm is taken of it.
        log_errors: Their natural logarithms.
    """

    def __init__(self, wrong: Mapping[Hashable, Mapping[int, Bits]]) -> None:
        self.cells = list(wrong)
        shared = sorted(set.intersection(*(set(by_seed) for by_seed in wrong.values())))
        stacked = [np.stack([wrong[cell][seed] for cell in self.cells]) for seed in shared]
        self.seeds, self.images = len(shared), stacked[0].shape[1] if stacked else 0
        if not self.images:
            raise ValueError("the cells share no seed")
        of_seeds = np.stack([one.mean(axis=1) for one in stacked], axis=1)
        of_images = np.mean(stacked, axis=0, dtype=np.float64)
        means = of_seeds.mean(axis=1, keepdims=True)
        size, n, images = self.seeds * self.images, self.seeds, self.images
        centred = (one.astype(np.float64) - means for one in stacked)
        total = np.sum([one @ one.T for one in centred], axis=0)
        by_seed = images * (of_seeds - means) @ (of_seeds - means).T
        by_image = n * (of_images - means) @ (of_images - means).T
        self._seed = by_seed / max(n - 1, 1)
        self._image = by_image / max(images - 1, 1)
        self._rest = (total - by_seed - by_image) / (max(n - 1, 1) * max(images - 1, 1))
        self.errors: Floats = np.maximum(means[:, 0], 0.5 / size)
        self.log_errors: Floats = np.log(self.errors)

    def unit(self, cell: Hashable) -> Floats:
        """Return the weights of one cell alone."""
        weights = np.zeros(len(self.cells))
        weights[self.cells.index(cell)] = 1.0
        return weights

    def half_widths(self, weights: Floats) -> Floats:
        """Return half of the 95 % intervals of combinations of log errors; NaN where there is none.

        Args:
            weights: `float64 [n, cells]`.
        """
        errors, df = self._spread(weights)
        return np.asarray(stdtrit(df, (1 + _CONFIDENCE) / 2) * errors, dtype=np.float64)

    def test(self, weights: Floats) -> Tested:
        """Estimate a combination of log errors, weights `float64 [cells]`, and hold it against 0."""
        value = float(weights @ self.log_errors)
        errors, df = self._spread(weights[None])
        if np.isnan(errors[0]):
            return Tested(value, float("nan"), 1.0)
        half = float(stdtrit(df[0], (1 + _CONFIDENCE) / 2) * errors[0])
        return Tested(value, half, 2 * float(stdtr(df[0], -abs(value) / errors[0])))

    def _spread(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return standard errors, NaN without an interval, and degrees of freedom: `float64 [n]` each.

        A small change of an error moves its logarithm by that change over the error.
        """
        v = weights / self.errors
        scale = (np.abs(v) @ np.sqrt(np.abs(np.diag(self._image)))) ** 2
        parts = []
        for matrix in (self._seed, self._image, self._rest):
            part = ((v @ matrix) * v).sum(axis=1)
            parts.append(np.where(part > _ROUNDING * scale, part, 0.0))
        found = [
            MeanSquares(self.seeds, self.images, 0.0, *map(float, squares))
            for squares in zip(*parts, strict=True)
        ]
        variances = np.array([one.variance for one in found])
        has_interval = (variances > 0) & (self.seeds >= FEWEST_SEEDS)
        df = np.array([one.degrees_of_freedom() for one in found])
        return np.where(has_interval, np.sqrt(variances), np.nan), df
