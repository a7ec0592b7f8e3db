"""The real images that are most alike: found in one pass over a split, a chunk in memory at a time.

Scores are whole numbers; of equal ones, the image of the lower row comes first. What is found is therefore
the same for any size of chunks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from genbench.copies.grids import (
    Geometry,
    Grids,
    Halves,
    geometry_of,
    halves,
    mirrored,
    quadrant_vectors,
    whole_vectors,
    window_vectors,
)

CANDIDATES = 3  #: images of a split that are compared closely
FIRSTS = 3  #: images of a split with which pairs begin
_NOBODY = -1.0  # the score of an image that must not be found: every other is 0 or more
_MIDDLE = 4  # of the nine windows
_FLIPPED = (1, 0, 3, 2)  # where a quadrant lies in the mirror image


@dataclass(frozen=True)
class Tiles:
    """How much is in memory at once; no result depends on it.

    Attributes:
        real: Real images whose vectors are held: 4 kB each.
        made: Synthetic images that are compared with them at once.
        part: With so many of them.
        close: Synthetic images whose candidates are compared closely at once: 500 kB each.
    """

    real: int = 2048
    made: int = 128
    part: int = 512
    close: int = 16

    def blocks(self, count: int) -> Iterator[slice]:
        """Yield slices of synthetic images."""
        return (slice(at, min(at + self.made, count)) for at in range(0, count, self.made))


class Top:
    """The best real images for each of n synthetic ones, as they are found.

    Attributes:
        score: `float32 [n, k]`, falling.
        row: Rows of the split: `int64 [n, k]`; -1 where there is none.
    """

    def __init__(self, count: int, k: int, device: str) -> None:
        self.score = torch.full((count, k), _NOBODY, device=device)
        self.row = torch.full((count, k), -1, dtype=torch.int64, device=device)

    def merge(self, made: slice, scores: torch.Tensor, first: int) -> None:
        """Take the scores of real images from `first` on into account: `float32 [b, m]`, which is changed."""
        rising = (scores.amax(1) > self.score[made, -1]).nonzero()[:, 0]
        if not len(rising):
            return
        part = scores[rising]
        best, rows = [], []
        for _ in range(min(self.score.shape[1], part.shape[1])):
            top = part.max(1)  # of equal ones, the first
            best.append(top.values)
            rows.append(top.indices + first)
            part.scatter_(1, top.indices[:, None], _NOBODY)
        score = torch.cat([self.score[made][rising], torch.stack(best, 1)], 1)
        row = torch.cat([self.row[made][rising], torch.stack(rows, 1)], 1)
        order = score.sort(dim=1, descending=True, stable=True).indices[:, : self.score.shape[1]]
        place = rising + made.start
        self.score[place], self.row[place] = score.gather(1, order), row.gather(1, order)


@dataclass(frozen=True)
class Queries:
    """Vectors of the synthetic images.

    Attributes:
        windows: Their middle windows: of `[n, coarse^2]`.
        whole: `float32 [n, 64]`.
        quadrants: `float32 [n, 4, 64]`; of no quadrant where a grid is too small for them.
        skips: Rows of train that each must not be compared with (itself), or -1: `int64 [n]`.
    """

    windows: Halves
    whole: torch.Tensor
    quadrants: torch.Tensor
    skips: torch.Tensor

    def __len__(self) -> int:
        return len(self.whole)


@dataclass(frozen=True)
class Split:
    """A split that is searched.

    Attributes:
        grids: Of its images.
        device: Where to compute.
        tiles: How much at once.
        tick: Called after each chunk, with the number of images in it.
    """

    grids: Grids
    device: str
    tiles: Tiles = Tiles()
    tick: Callable[[int], None] = field(default=lambda _: None)

    def pixels(self, rows: slice | npt.NDArray[np.int64]) -> torch.Tensor:
        """Return some grids: `float32 [n, D, D]`."""
        return as_pixels(self.grids[rows], self.device)

    def chunks(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (first row, pixels) of each chunk."""
        for at in range(0, len(self.grids), self.tiles.real):
            pixels = self.pixels(slice(at, at + self.tiles.real))
            yield at, pixels
            self.tick(len(pixels))


class Alike(NamedTuple):
    """The images of a split that are most alike.

    Attributes:
        windows: By their windows, three each.
        whole: As a whole, three each.
        quadrants: By each of four quadrants, one each: four, or none.
    """

    windows: Top
    whole: Top
    quadrants: tuple[Top, ...]


def as_pixels(grids: Grids, device: str) -> torch.Tensor:
    """Bring grids to where they are compared: `float32 [n, D, D]`, 0-255."""
    return torch.from_numpy(np.array(grids)).to(device).float()


def queries(grids: Grids, skips: npt.NDArray[np.int64], device: str, tiles: Tiles) -> Queries:
    """Compute the vectors of the synthetic images, a chunk at a time."""
    shape, windows, whole, quadrants = geometry_of(grids), [], [], []
    for at in range(0, len(grids), tiles.real):
        pixels = as_pixels(grids[at : at + tiles.real], device)
        windows.append(window_vectors(pixels, shape)[:, _MIDDLE])
        whole.append(whole_vectors(pixels))
        quadrants.append(_quadrants(pixels, shape))
    skip_rows = torch.from_numpy(skips).to(device)
    return Queries(halves(torch.cat(windows)), torch.cat(whole), torch.cat(quadrants), skip_rows)


def most_alike(made: Queries, split: Split, *, leave_out: bool) -> Alike:
    """Search a split.

    Args:
        made: What is looked for.
        split: Where.
        leave_out: Whether rows that `made.skips` names are left out: they are rows of this split.
    """
    shape, count = geometry_of(split.grids), len(made)
    quarters = made.quadrants.shape[1]
    found = Alike(
        Top(count, CANDIDATES, split.device),
        Top(count, FIRSTS, split.device),
        tuple(Top(count, 1, split.device) for _ in range(quarters)),
    )
    skips = made.skips if leave_out else None
    by_whole = halves(made.whole)
    for first, pixels in split.chunks():
        real = halves(window_vectors(pixels, shape).transpose(0, 1).contiguous())
        _search(found.windows, split.tiles, first, skips, _WindowScores(made.windows, real))
        _search(found.whole, split.tiles, first, skips, _PairScores(by_whole, halves(whole_vectors(pixels))))
        corners = _quadrants(pixels, shape)
        for number, top in enumerate(found.quadrants):
            same, flipped = corners[:, number], mirrored(corners[:, _FLIPPED[number]])
            _search(top, split.tiles, first, skips, _PlainScores(made.quadrants[:, number], same, flipped))
    return found


def best_by_whole(
    vectors: torch.Tensor, split: Split, k: int, skips: torch.Tensor | None
) -> npt.NDArray[np.int64]:
    """Return the k images that resemble vectors most, plain or mirrored: `int64 [n, k]`, -1 for none."""
    top = Top(len(vectors), k, split.device)
    for first, pixels in split.chunks():
        scores = _PairScores(halves(vectors), halves(whole_vectors(pixels)))
        _search(top, split.tiles, first, skips, scores)
    found: npt.NDArray[np.int64] = top.row.cpu().numpy()
    return found


def _quadrants(pixels: torch.Tensor, shape: Geometry) -> torch.Tensor:
    return quadrant_vectors(pixels) if shape.has_quadrants else pixels.new_empty(len(pixels), 0, 1)


# ------------------------------------------------------------------------------------------------- scores


class _WindowScores(NamedTuple):
    """Twice |x y|, the largest over nine windows of a real image, plain and mirrored."""

    made: Halves  # [n, d / 2]
    real: Halves  # [9, m, d / 2]

    def __len__(self) -> int:
        return self.real.even.shape[1]

    def of(self, made: slice, real: slice) -> torch.Tensor:
        even, odd = (
            mine[made] @ theirs[:, real].transpose(1, 2)
            for mine, theirs in zip(self.made, self.real, strict=True)
        )
        return even.abs_().add_(odd.abs_()).amax(0)  # max(|a + b|, |a - b|) = |a| + |b|


class _PairScores(NamedTuple):
    """Twice x y, or with the mirror image: no negatives."""

    made: Halves
    real: Halves

    def __len__(self) -> int:
        return len(self.real.even)

    def of(self, made: slice, real: slice) -> torch.Tensor:
        even, odd = (mine[made] @ theirs[real].T for mine, theirs in zip(self.made, self.real, strict=True))
        return even.add_(odd.abs_()).clamp_(min=0)


class _PlainScores(NamedTuple):
    """x y with either of two vectors of a real image."""

    made: torch.Tensor
    same: torch.Tensor
    flipped: torch.Tensor

    def __len__(self) -> int:
        return len(self.same)

    def of(self, made: slice, real: slice) -> torch.Tensor:
        mine = self.made[made]
        return torch.maximum(mine @ self.same[real].T, mine @ self.flipped[real].T).clamp_(min=0)


def _search(
    top: Top,
    tiles: Tiles,
    first: int,
    skips: torch.Tensor | None,
    scores: _WindowScores | _PairScores | _PlainScores,
) -> None:
    """Score a chunk whose first image is row `first`, tile by tile."""
    for made in tiles.blocks(len(top.row)):
        for at in range(0, len(scores), tiles.part):
            part = slice(at, min(at + tiles.part, len(scores)))
            found = scores.of(made, part)
            if skips is not None:
                _leave_out(found, skips[made], first + at)
            top.merge(made, found, first + at)


def _leave_out(scores: torch.Tensor, skips: torch.Tensor, first: int) -> None:
    """Give the rows that each image skips, one or several, the score of nobody."""
    for column in skips.reshape(len(skips), -1).T:
        here = ((column >= first) & (column < first + scores.shape[1])).nonzero()[:, 0]
        scores[here, column[here] - first] = _NOBODY
