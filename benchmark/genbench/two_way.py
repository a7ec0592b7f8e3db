"""Mean squares of a two-way layout, seeds x test images, and the variance of its mean (protocol rule 7).

d[s, j] says how two rows differ in seed s on test image j: for accuracies -1, 0 or 1 (`leaderboard:
crossed.py`), for a combination of several rows any number (the evaluator `exchange_rate`).
Seeds and images are crossed, so the mean of d has two variances: another n seeds would give another mean, and
so would another N images. A test over seeds alone answers for these images only, a test over images alone for
these networks only. Here both are estimated from the mean squares of the two-way layout (Cornfield and Tukey,
Ann. Math. Statist. 27, 1956), and degrees of freedom from Satterthwaite's formula (Biometrics 2, 1946):

    MS_S = N sum_s (m_s - g)^2 / (n - 1)         m_s: mean of seed s;  g: mean of all
    MS_I = n sum_j (m_j - g)^2 / (N - 1)         m_j: mean of image j
    MS_E = (sum d^2 - n N g^2 - (n - 1) MS_S - (N - 1) MS_I) / ((n - 1) (N - 1))
    I    = max(MS_I - MS_E, 0)
    V    = (MS_S + I) / (n N)                    the variance of g
    A    = max(MS_S, MS_E) (n - 1) / (n - 3)
    df   = (A + I)^2 / (A^2 / (n - 1) + [I > 0] (MS_I^2 / (N - 1) + MS_E^2 / ((n - 1) (N - 1)))), >= n - 1

MS_S has few degrees of freedom and may come out too small by luck, which lowers V and raises df at once. So
A, not MS_S, decides how many degrees of freedom there are: at least MS_E, below which MS_S never lies in
expectation, times the mean of (n - 1) / chi^2 with n - 1 degrees of freedom. V keeps MS_S. Without the
factor, boards of eight rows err in up to 8.5 % at n = 5, with it in 5 %; intervals are up to 6 % wider. At
n = 3 and below, df is n - 1. `perf/operating_characteristics.py` shows what that does to errors, coverage
and power.
"""

import math
from dataclasses import dataclass

from scipy.special import chdtri

#: How sure a guarded effect is of its variance: each mean square is taken at its one-sided 85 % limit. It is
#: then found with 80 % power in nearly 80 % of boards, or more (docs/operating-characteristics.md).
GUARD = 0.85


@dataclass(frozen=True)
class MeanSquares:
    """The two-way layout of d: `n` seeds, `images` test images; means are shares, from -1 to 1."""

    n: int
    images: int
    mean: float
    seed: float
    image: float
    rest: float

    @classmethod
    def of_sums(
        cls, n: int, images: int, total: int, squares: int, seed_squares: int, image_squares: int
    ) -> "MeanSquares":
        """Return the mean squares of whole numbers d, by sums that are whole numbers, too.

        So what is 0 comes out as 0: a variance of rounding would make any difference significant.

        Args:
            n: Seeds.
            images: Test images.
            total: Sum of d.
            squares: Sum of d^2.
            seed_squares: Sum over seeds of the square of the sum over images.
            image_squares: Sum over images of the square of the sum over seeds.
        """
        size = n * images
        of_all = size * squares - total * total
        of_seeds = n * seed_squares - total * total
        of_images = images * image_squares - total * total
        left = max(of_all - of_seeds - of_images, 0)
        least, others = max(n - 1, 1), max(images - 1, 1)
        return cls(
            n,
            images,
            total / size,
            of_seeds / (size * least),
            of_images / (size * others),
            left / (size * least * others),
        )

    @property
    def image_variance(self) -> float:
        """I: what the images add to the mean square of their means; n times the variance between images."""
        return max(self.image - self.rest, 0.0)

    @property
    def variance(self) -> float:
        """V: the variance of the mean over new seeds and new images."""
        return (self.seed + self.image_variance) / (self.n * self.images)

    def degrees_of_freedom(self, seed: float | None = None) -> float:
        """Return Satterthwaite's degrees of freedom, at least n - 1.

        Args:
            seed: Stands in for A, the larger of MS_S and MS_E.
        """
        least = self.n - 1
        if seed is None and self.n <= 3:
            return least
        a = max(self.seed, self.rest) * least / (self.n - 3) if seed is None else seed
        i = self.image_variance
        below = a * a / least
        if i > 0:
            others = self.images - 1
            below += self.image**2 / others + self.rest**2 / (least * others)
        return max(least, (a + i) ** 2 / below) if below else least

    @property
    def guarded(self) -> tuple[float, float]:
        """Return a variance that the true one rarely exceeds, with its degrees of freedom."""
        least, others = self.n - 1, self.images - 1
        a = max(self.seed, self.rest)
        more_seed = a * (least / float(chdtri(least, GUARD)) - 1)
        more_image = self.image * (others / float(chdtri(others, GUARD)) - 1) if others else 0.0
        above = self.seed + self.image_variance + math.hypot(more_seed, more_image)
        return above / (self.n * self.images), self.degrees_of_freedom(a + more_seed)

    def at(self, n: int, images: int) -> "MeanSquares":
        """Return what other numbers of seeds and images would be expected to give.

        MS_S = N var_S + var_E and MS_I = n var_I + var_E: each grows with the number on the other side.
        """
        between_seeds = max(self.seed - self.rest, 0.0) / self.images
        between_images = self.image_variance / self.n
        seed, image = images * between_seeds + self.rest, n * between_images + self.rest
        return MeanSquares(n, images, self.mean, seed, image, self.rest)
