"""The squared maximum mean discrepancy with a Gaussian kernel, in chunks.

Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012: the unbiased estimator of Lemma 6, Eq. 3. It may
be negative. Products are float32, sums float64, and of two symmetric halves one is computed.
"""

import torch

CHUNK_ROWS = 1024


def rbf_within(x: torch.Tensor, bandwidth: float, chunk_rows: int = CHUNK_ROWS) -> float:
    """Return the mean of k(x_i, x_j) over i != j: the first and second sum of Eq. 3.

    Args:
        x: `float [n, D]`, n >= 2.
        bandwidth: sigma of the kernel.
        chunk_rows: Rows per block; the result does not depend on it but for rounding.
    """
    blocks = torch.split(x, chunk_rows)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for row, left in enumerate(blocks):
        own = _kernel(left, left, bandwidth)
        total += own.sum() - own.diagonal().sum()
        for right in blocks[row + 1 :]:
            total += 2 * _kernel(left, right, bandwidth).sum()
    return float(total) / (len(x) * (len(x) - 1))


def rbf_between(x: torch.Tensor, y: torch.Tensor, bandwidth: float, chunk_rows: int = CHUNK_ROWS) -> float:
    """Return the mean of k(x_i, y_j) over all pairs: the third sum of Eq. 3."""
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for left in torch.split(x, chunk_rows):
        for right in torch.split(y, chunk_rows):
            total += _kernel(left, right, bandwidth).sum()
    return float(total) / (len(x) * len(y))


def mmd2(within_x: float, within_y: float, between: float) -> float:
    """Put the three means of Eq. 3 together."""
    return within_x + within_y - 2 * between


def median_distance(x: torch.Tensor) -> float:
    """Return the median Euclidean distance over all pairs of rows of `float [n, D]` (Sec. 8), n >= 2."""
    rows, columns = torch.triu_indices(len(x), len(x), offset=1)
    squares = _squared_distances(x, x)[rows, columns]
    return float(squares.median().double().sqrt())


def _kernel(x: torch.Tensor, y: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """Return exp(-|x_i - y_j|^2 / (2 sigma^2)): `float64 [n, m]`."""
    return _squared_distances(x, y).mul_(-1 / (2 * bandwidth**2)).exp_().double()


def _squared_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return |x_i - y_j|^2 in the dtype of the rows: `float [n, m]`.

    Rows should be centred near 0: |x|^2 + |y|^2 - 2 x y cancels badly far from it.
    """
    norms = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
    return norms.addmm_(x, y.T, alpha=-2).clamp_(min=0)
