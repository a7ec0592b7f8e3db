"""Distances between all rows of two sets, a block of rows at a time.

Squares are expanded, |a - b|^2 = |a|^2 + |b|^2 - 2 a.b, in float64: exact for pixels, whose sums of squares
are integers far below 2^53, and good to about 1e-15 of the largest norm for features.
"""

from collections.abc import Iterator

import torch

_BLOCK_ENTRIES = 1 << 23  # 64 MiB of float64 distances at a time


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return |a_i - b_j|^2 of `float64 [n, D]` and `float64 [m, D]`: `float64 [n, m]`."""
    squares = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    return torch.addmm(squares, a, b.T, alpha=-2).clamp_(min=0)


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yield slices of rows whose distances to `columns` others fit in memory."""
    size = max(1, _BLOCK_ENTRIES // max(columns, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def neighbour_distances(queries: torch.Tensor, others: torch.Tensor, k: int) -> torch.Tensor:
    """Return the distance of each query to its k-th nearest of the others: `float64 [n]`.

    Args:
        queries: `float64 [n, D]`.
        others: `float64 [m, D]`, m >= k.
        k: 1 is the nearest.
    """
    found = [
        squared_distances(queries[block], others).kthvalue(k, dim=1).values.sqrt()
        for block in row_blocks(len(queries), len(others))
    ]
    return torch.cat(found) if found else queries.new_empty(0)


def leave_one_out_distances(points: torch.Tensor, k: int) -> torch.Tensor:
    """Return the distance of each point to its k-th nearest of the other points: `float64 [n]`, n > k.

    Two equal points are at distance 0 of each other: only the point itself is left out.
    """
    found = []
    for block in row_blocks(len(points), len(points)):
        squares = squared_distances(points[block], points)
        rows = torch.arange(len(squares), device=points.device)
        squares[rows, rows + block.start] = torch.inf
        found.append(squares.kthvalue(k, dim=1).values.sqrt())
    return torch.cat(found)
