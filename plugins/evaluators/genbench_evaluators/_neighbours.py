"""Nearest neighbours in features, block by block: exact, in float32, in bounded memory."""

from typing import NamedTuple

import torch

_ROWS = 1024


class Nearest(NamedTuple):
    """The nearest neighbour of each row.

    Attributes:
        distance: Euclidean: `float32 [n]`.
        row: Row of the other set: `int64 [n]`.
    """

    distance: torch.Tensor
    row: torch.Tensor


def nearest(x: torch.Tensor, y: torch.Tensor) -> Nearest:
    """Return each row of x's nearest row of y: `float [n, D]` and `float [m, D]`."""
    found = [_distances(block, y).min(dim=1) for block in torch.split(x, _ROWS)]
    return Nearest(torch.cat([one.values for one in found]), torch.cat([one.indices for one in found]))


def radii(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return each row's distance to its k-th nearest other row: `float32 [n]`, n > k."""
    # the nearest is the row itself
    return torch.cat([_distances(block, x).kthvalue(k + 1, dim=1).values for block in torch.split(x, _ROWS)])


def inside(x: torch.Tensor, centres: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Return in how many balls each row of x lies: `int64 [n]`."""
    counts = [(_distances(block, centres) <= radius).sum(dim=1) for block in torch.split(x, _ROWS)]
    return torch.cat(counts)


def _distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist" if x.shape[1] <= 32 else
                       "use_mm_for_euclid_dist_if_necessary")  # fmt: skip
