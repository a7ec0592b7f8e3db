"""The squared maximum mean discrepancy, in chunks.

Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012: the unbiased estimator of Lemma 6, Eq. 3. It may
be negative. Products are float32, sums float64, and of two symmetric halves one is computed.
"""

from dataclasses import dataclass
from typing import Literal

import torch

CHUNK_ROWS = 1024


@dataclass(frozen=True)
class Kernel:
    """A kernel k(x, y).

    Attributes:
        kind: `rbf`, the mean over `bandwidths` of exp(-|x - y|^2 / (2 sigma^2)); or `polynomial`,
            (scale x . y + offset)^degree.
        bandwidths: Each a sigma.
        degree: Degree of the polynomial.
        scale: Scale of the polynomial.
        offset: Offset of the polynomial.
    """

    kind: Literal["rbf", "polynomial"]
    bandwidths: tuple[float, ...] = (1.0,)
    degree: int = 3
    scale: float = 1.0
    offset: float = 1.0

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return k(x_i, y_j) of `float [n, D]` and `float [m, D]`: `float [n, m]`."""
        if self.kind == "polynomial":
            return (x @ y.T).mul_(self.scale).add_(self.offset).pow_(self.degree)
        squares = _squared_distances(x, y)
        if len(self.bandwidths) == 1:
            return squares.mul_(-1 / (2 * self.bandwidths[0] ** 2)).exp_()
        terms = [squares.mul(-1 / (2 * one**2)).exp_() for one in self.bandwidths]
        return torch.stack(terms).mean(dim=0)


def mean_within(x: torch.Tensor, kernel: Kernel, chunk_rows: int = CHUNK_ROWS) -> float:
    """Return the mean of k(x_i, x_j) over i != j: the first and second sum of Eq. 3.

    Args:
        x: `float [n, D]`, n >= 2.
        kernel: k.
        chunk_rows: Rows per block; the result does not depend on it but for rounding.
    """
    blocks = torch.split(x, chunk_rows)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for row, left in enumerate(blocks):
        own = kernel(left, left).double()
        total += own.sum() - own.diagonal().sum()
        for right in blocks[row + 1 :]:
            total += 2 * kernel(left, right).sum(dtype=torch.float64)
    return float(total) / (len(x) * (len(x) - 1))


def mean_between(x: torch.Tensor, y: torch.Tensor, kernel: Kernel, chunk_rows: int = CHUNK_ROWS) -> float:
    """Return the mean of k(x_i, y_j) over all pairs: the third sum of Eq. 3."""
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for left in torch.split(x, chunk_rows):
        for right in torch.split(y, chunk_rows):
            total += kernel(left, right).sum(dtype=torch.float64)
    return float(total) / (len(x) * len(y))


def permutation_p(
    x: torch.Tensor, y: torch.Tensor, kernel: Kernel, rounds: int, rng: torch.Generator
) -> float:
    """Return (1 + hits) / (1 + rounds); a hit is a random split of x and y with a larger squared MMD.

    Gretton et al., Sec. 5 (the permutation form of the test). `float [n, D]` each, of one size n; the matrix
    of 2 n x 2 n kernels is held in memory.
    """
    n = len(x)
    together = torch.cat([x, y])
    matrix = kernel(together, together).double()
    matrix.fill_diagonal_(0)
    splits = torch.zeros(2 * n, rounds + 1, dtype=torch.float64, device=x.device)
    splits[:n, 0] = 1
    for turn in range(1, rounds + 1):
        splits[torch.randperm(2 * n, generator=rng)[:n].to(x.device), turn] = 1
    inside = matrix @ splits
    first = (splits * inside).sum(dim=0)  # pairs within the first part, within the second, and across
    second = ((1 - splits) * (matrix.sum(dim=1)[:, None] - inside)).sum(dim=0)
    across = ((1 - splits) * inside).sum(dim=0)
    values = (first + second) / (n * (n - 1)) - 2 * across / n**2
    hits = int((values[1:] >= values[0] * (1 - 1e-12)).sum())
    return (1 + hits) / (1 + rounds)


def mmd2(within_x: float, within_y: float, between: float) -> float:
    """Put the three means of Eq. 3 together."""
    return within_x + within_y - 2 * between


def median_distance(x: torch.Tensor) -> float:
    """Return the median Euclidean distance over all pairs of rows of `float [n, D]` (Sec. 8), n >= 2."""
    rows, columns = torch.triu_indices(len(x), len(x), offset=1)
    squares = _squared_distances(x, x)[rows, columns]
    return float(squares.median().double().sqrt())


def _squared_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return |x_i - y_j|^2 in the dtype of the rows: `float [n, m]`.

    Rows should be centred near 0: |x|^2 + |y|^2 - 2 x y cancels badly far from it.
    """
    norms = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
    return norms.addmm_(x, y.T, alpha=-2).clamp_(min=0)
