"""Nearest neighbours in features and pixels, block by block of both sets: exact, float32, bounded memory."""

import math
from typing import NamedTuple

import torch

from genbench.images import LabelledImages

_ROWS, _COLUMNS = 1024, 8192  # 32 MiB of distances at a time
_HELD_BYTES = 256 << 20  # of pixels, as bytes, that are looked for in one pass over real images
_FLOAT_BYTES = 32 << 20  # of pixels, as floats, on either side of a comparison


class Nearest(NamedTuple):
    """The nearest neighbour of each row.

    Attributes:
        distance: Euclidean: `float32 [n]`.
        row: Row of the other set: `int64 [n]`.
    """

    distance: torch.Tensor
    row: torch.Tensor


def nearest(x: torch.Tensor, y: torch.Tensor) -> Nearest:
    """Return each row of x's nearest row of y, the first of equals: `float [n, D]` and `float [m, D]`."""
    found = [_nearest(block, y) for block in torch.split(x, _ROWS)]
    return Nearest(torch.cat([one.distance for one in found]), torch.cat([one.row for one in found]))


def nearest_pixels(wanted: LabelledImages, real: LabelledImages) -> Nearest:
    """Return each image's nearest real one by raw pixels, 0-1; real images are read batch by batch."""
    numbers = math.prod(wanted.image_shape)
    step = min(_ROWS, max(1, _FLOAT_BYTES // (4 * numbers)))
    found = [
        _nearest_of_block(block, real, step) for block in wanted.batches(max(step, _HELD_BYTES // numbers))
    ]
    none = (torch.empty(0), torch.empty(0, dtype=torch.int64))  # of no image
    return Nearest(*(torch.cat(parts) for parts in zip(none, *found, strict=True)))


def _nearest_of_block(wanted: torch.Tensor, real: LabelledImages, step: int) -> Nearest:
    distance = torch.full((len(wanted),), torch.inf)
    row = torch.zeros(len(wanted), dtype=torch.int64)
    first = 0
    for batch in real.batches(step):
        theirs = _as_floats(batch)
        for at in range(0, len(wanted), step):
            here = slice(at, at + step)
            found = _distances(_as_floats(wanted[here]), theirs).min(dim=1)
            is_nearer = found.values < distance[here]
            distance[here] = torch.where(is_nearer, found.values, distance[here])
            row[here] = torch.where(is_nearer, found.indices + first, row[here])
        first += len(batch)
    return Nearest(distance, row)


def _as_floats(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.flatten(1).float() / 255


def radii(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return each row's distance to its k-th nearest other row: `float32 [n]`, n > k."""
    # the nearest is the row itself
    return torch.cat([_smallest(block, x, k + 1)[:, -1] for block in torch.split(x, _ROWS)])


def inside(x: torch.Tensor, centres: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Return in how many balls each row of x lies: `int64 [n]`."""
    found = []
    for block in torch.split(x, _ROWS):
        counts = torch.zeros(len(block), dtype=torch.int64, device=x.device)
        for others, sizes in zip(torch.split(centres, _COLUMNS), torch.split(radius, _COLUMNS), strict=True):
            counts += (_distances(block, others) <= sizes).sum(dim=1)
        found.append(counts)
    return torch.cat(found)


def _nearest(x: torch.Tensor, y: torch.Tensor) -> Nearest:
    """Search y a block at a time; the nearest so far gives way to a nearer one alone."""
    distance = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
    row = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for number, others in enumerate(torch.split(y, _COLUMNS)):
        here = _distances(x, others).min(dim=1)
        row = torch.where(here.values < distance, here.indices + number * _COLUMNS, row)
        distance = torch.minimum(distance, here.values)
    return Nearest(distance, row)


def _smallest(x: torch.Tensor, y: torch.Tensor, k: int) -> torch.Tensor:
    """Return each row's k smallest distances to rows of y, in order: `float [n, k]`, m >= k."""
    found = x.new_empty(len(x), 0)
    for others in torch.split(y, _COLUMNS):
        both = torch.cat([found, _distances(x, others)], dim=1)
        found = both.topk(min(k, both.shape[1]), dim=1, largest=False).values  # sorted: `topk` is by default
    return found


def _distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist" if x.shape[1] <= 32 else
                       "use_mm_for_euclid_dist_if_necessary")  # fmt: skip
