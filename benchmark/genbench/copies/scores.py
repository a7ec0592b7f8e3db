"""How much better test explains an image than train does: three scores, each a ratio.

A ratio is what an image of train leaves unexplained of a synthetic image, divided by what an image of test
leaves: 1 where both explain it alike, 1,000 where test explains all of it and train nothing. To be alike is
no evidence, since honest images of a class are; to be much more alike to a test image than to every image
that the generator was given, is. What an image explains is the square of a correlation, which neither
brightness nor contrast change.

* `whole`: the middle window, as it is, turned by 8 degrees, zoomed by 1.15 and 0.87, each mirrored, against
  all windows of the three real images that are most alike: copies that are shifted, turned, mirrored,
  inverted, noisy.
* `pair`: a mixture of two real images, of which one is a test image, against one of two train images: blends.
* `quadrant`: each quarter for itself, the largest of four: images that are pasted together. Not for 8 x 8
  pixels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from genbench.copies.grids import LENGTH, Grids, fine_windows, mirrored, variants, whole_vectors
from genbench.copies.search import (
    FIRSTS,
    Alike,
    Queries,
    Split,
    Top,
    as_pixels,
    best_by_whole,
    most_alike,
    queries,
)
from genbench.counts import COPY_TESTS, Score

SCORES: tuple[Score, ...] = ("whole", "pair", "quadrant")
UNEXPLAINED = 1e-3  #: of what varies: less is not told from nothing
_OF_A_QUADRANT = 0.01  # added to both sides: a quarter of an image is more often alike by chance
_LOWEST_PAIR = min(limit for name, limit in COPY_TESTS if name == "pair")
_SECONDS = 4  # images that are tried as the second of a pair

Rows = npt.NDArray[np.int64]
Ratios = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """What is known of each of n images.

    Attributes:
        ratios: `float64 [n, 3]`, in the order of `SCORES`; 0 where there is no such score.
        test: Rows of the test images that the ratios are about: `int64 [n, 3]`.
        train: Rows of the train images that are most alike, as a whole: `int64 [n]`.
    """

    ratios: Ratios
    test: Rows
    train: Rows


class _Closest(NamedTuple):
    """Correlation with the candidate that is most alike, 0-1: `float64 [n]`, and its row: `int64 [n]`."""

    correlation: torch.Tensor
    row: torch.Tensor


def score(grids: Grids, train: Split, test: Split, skips: Rows | None = None) -> Scores:
    """Score images: `uint8 [n, D, D]`.

    Args:
        grids: Of the images.
        train: What the generator was given.
        test: What it was not.
        skips: Rows of train that are the images themselves, or -1: for real images. `int64 [n]`.
    """
    rows = np.full(len(grids), -1) if skips is None else skips
    made = queries(grids, rows.astype(np.int64), train.device, train.tiles)
    in_train = most_alike(made, train, leave_out=skips is not None)
    in_test = most_alike(made, test, leave_out=False)
    near_train = _closest(grids, in_train.windows, train)
    near_test = _closest(grids, in_test.windows, test)
    whole = _unexplained(near_train.correlation) / _unexplained(near_test.correlation)
    pair, partner = _pairs(made, train, test, (in_train, in_test))
    quadrant, quarter = _quadrants(made, in_train, in_test)
    ratios = torch.stack([whole, pair, quadrant], 1).cpu().numpy()
    found = torch.stack([near_test.row, partner, quarter], 1).cpu().numpy()
    return Scores(ratios, found, near_train.row.cpu().numpy())


def _unexplained(correlation: torch.Tensor) -> torch.Tensor:
    return (1 - correlation.square()).clamp(min=UNEXPLAINED)


# -------------------------------------------------------------------------------------------------- whole


def _closest(grids: Grids, top: Top, split: Split) -> _Closest:
    """Compare candidates closely: every variant of the image with every window of each."""
    step, found = split.tiles.close, []
    for at in range(0, len(grids), step):
        rows = top.row[at : at + step]
        correlations = _correlations(as_pixels(grids[at : at + step], split.device), rows, split)
        correlations.masked_fill_(top.score[at : at + step] < 0, 0.0)  # nobody, or oneself
        best = correlations.max(1)
        found.append((best.values, rows.gather(1, best.indices[:, None])[:, 0]))
    correlation, row = zip(*found, strict=True)
    return _Closest(torch.cat(correlation), torch.cat(row))


def _correlations(pixels: torch.Tensor, rows: torch.Tensor, split: Split) -> torch.Tensor:
    """Return the largest |correlation| of each image with each of k real ones: `float64 [b, k]`."""
    own = variants(pixels)
    real = fine_windows(split.pixels(rows.clamp(min=0).flatten().cpu().numpy()))
    windows = real.vectors.view(*rows.shape, *real.vectors.shape[1:])  # [b, k, d, places]
    products = (own.vectors[:, None] @ windows).abs_()  # [b, k, 10, places]
    products /= own.length[:, None, :, None]
    return (products.amax(2) / real.length.view(*rows.shape, -1)).amax(2)


# --------------------------------------------------------------------------------------------------- pair


class _First(NamedTuple):
    """The first image of a pair, mirrored where that is more alike, and what it does not explain."""

    vector: torch.Tensor  # float64 [n, 64]
    row: torch.Tensor  # int64 [n]
    rest: torch.Tensor  # float64 [n, 64], whole numbers


class _Second(NamedTuple):
    """What a pair leaves unexplained, as a share: `float64 [n]`, and the second image: `int64 [n]`."""

    left: torch.Tensor
    row: torch.Tensor


def _pairs(
    made: Queries, train: Split, test: Split, found: tuple[Alike, Alike]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ratio of the best train pair to the best pair with a test image, and that image.

    Train is tried harder where it matters, by `_more_pairs`: a blend of two train images must not look like
    one with a test image because a pair was missed. A ratio below the lowest limit may be smaller in truth.
    """
    firsts = [_first(made.whole, found[0].whole.row[:, number], train) for number in range(FIRSTS)]
    with_test = [_second(made.whole, first, test, None) for first in firsts]
    first = _first(made.whole, found[1].whole.row[:, 0], test)
    then_train = _second(made.whole, first, train, made.skips)
    best = _best([*with_test, _Second(then_train.left, first.row)])
    pair = _train_pair(made.whole, firsts[0], train, made.skips)
    left = pair.left.clone()
    undecided = (pair.left > _LOWEST_PAIR * best.left).nonzero()[:, 0]
    if len(undecided):
        chosen = [_First(*(part[undecided] for part in one)) for one in firsts[1:]]
        tried = _Second(*(part[undecided] for part in pair))
        left[undecided] = _more_pairs(made.whole[undecided], chosen, train, made.skips[undecided], tried)
    return left / best.left, best.row


def _more_pairs(
    whole: torch.Tensor, firsts: list[_First], train: Split, skips: torch.Tensor, tried: _Second
) -> torch.Tensor:
    """Return what the best pair of train images leaves, given one that was tried.

    Pairs begin with other images that are alike, and once more with the second of the best pair so far.
    """
    pairs = [tried, *(_train_pair(whole, first, train, skips) for first in firsts)]
    again = _first(whole, _best(pairs).row, train)
    return _best([*pairs, _train_pair(whole, again, train, skips)]).left


def _train_pair(whole: torch.Tensor, first: _First, train: Split, skips: torch.Tensor) -> _Second:
    """Find the second of two train images, neither of them the image itself."""
    return _second(whole, first, train, torch.stack([first.row, skips], 1))


def _best(pairs: list[_Second]) -> _Second:
    """Return the pair that leaves least; of equal ones, the first."""
    best = torch.stack([one.left for one in pairs], 1).min(1)
    rows = torch.stack([one.row for one in pairs], 1)
    return _Second(best.values, rows.gather(1, best.indices[:, None])[:, 0])


def _first(whole: torch.Tensor, row: torch.Tensor, split: Split) -> _First:
    vector = _vectors(row, split)
    made = whole.double()
    other = mirrored(vector)
    is_mirrored = (made * other).sum(1) > (made * vector).sum(1)
    vector = torch.where(is_mirrored[:, None], other, vector)
    power = vector.square().sum(1)
    factor = torch.where(power > 0, (made * vector).sum(1) / power, 0.0)
    return _First(vector, row, (made - factor[:, None] * vector).round())


def _second(whole: torch.Tensor, first: _First, split: Split, skips: torch.Tensor | None) -> _Second:
    """Try the images that resemble the rest most, plain and mirrored, as the second image of a pair."""
    tried = torch.from_numpy(best_by_whole(first.rest.float(), split, _SECONDS, skips)).to(whole.device)
    power, rest = whole.double().square().sum(1), first.rest.square().sum(1)
    best = torch.zeros_like(rest)
    row = tried[:, 0].clone()
    for column in tried.T:
        vector = _vectors(column, split)
        explained = torch.maximum(_explains(vector, first), _explains(mirrored(vector), first))
        explained = torch.where(column < 0, 0.0, explained)
        row = torch.where(explained > best, column, row)
        best = torch.maximum(best, explained)
    share = torch.where(power > 0, (rest - best) / power, 1.0)
    return _Second(share.clamp(min=UNEXPLAINED), row)


def _explains(vector: torch.Tensor, first: _First) -> torch.Tensor:
    """Return how much of the rest is explained by what a vector shows beside the first one: `float64 [n]`."""
    power = first.vector.square().sum(1).clamp(min=1)
    beside = (vector * first.vector).sum(1) / power
    product = (first.rest * vector).sum(1) - beside * (first.rest * first.vector).sum(1)
    own = vector.square().sum(1) - beside * (vector * first.vector).sum(1)
    is_like_it = own < UNEXPLAINED * power  # nothing but the first image again
    return torch.where(is_like_it, 0.0, product.clamp(min=0).square() / own.clamp(min=1))


def _vectors(rows: torch.Tensor, split: Split) -> torch.Tensor:
    """Return the whole vectors of some rows, a chunk at a time: `float64 [n, 64]`; of -1, any."""
    wanted, step = rows.clamp(min=0).cpu().numpy(), split.tiles.real
    parts = [wanted[at : at + step] for at in range(0, len(wanted), step)]
    return torch.cat([whole_vectors(split.pixels(part)) for part in parts]).double()


# ----------------------------------------------------------------------------------------------- quadrants


def _quadrants(made: Queries, in_train: Alike, in_test: Alike) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest ratio of the quarters, and its test image; 0 and -1 where there are none."""
    if not in_train.quadrants:
        return made.whole.new_zeros(len(made)).double(), torch.full_like(made.skips, -1)
    ratios = [
        (_unexplained(_correlation(train)) + _OF_A_QUADRANT)
        / (_unexplained(_correlation(test)) + _OF_A_QUADRANT)
        for train, test in zip(in_train.quadrants, in_test.quadrants, strict=True)
    ]
    best = torch.stack(ratios, 1).max(1)
    rows = torch.stack([test.row[:, 0] for test in in_test.quadrants], 1)
    return best.values, rows.gather(1, best.indices[:, None])[:, 0]


def _correlation(top: Top) -> torch.Tensor:
    """Return products of vectors of one length as correlations: `float64 [n]`."""
    return (top.score[:, 0].double().clamp(min=0) / LENGTH**2).clamp(max=1)
