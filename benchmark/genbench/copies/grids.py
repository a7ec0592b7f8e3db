"""Images as small grids of grey, and what is compared of a grid: vectors of whole numbers.

A correlation of two vectors is a sum of products. Its last bits depend on the order of summation, which
depends on the size of a batch, the number of threads and the device, unless the products are whole numbers
whose sums a float holds exactly: vectors are therefore rounded to whole numbers of length `LENGTH`.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Grids = npt.NDArray[np.uint8]  #: `uint8 [N, D, D]`: grey, area-reduced; in memory or mapped from a file

SMALL, LARGE = 8, 32  #: sides of a grid: images of up to 8 pixels become the one, all others the other
#: Length of a vector of whole numbers. |x y| summed over a mirrored and a plain half is below 2 LENGTH^2, and
#: float32 holds whole numbers up to 2^24; a rounding error of 1/2 in 2,880 moves a correlation by 1e-4.
LENGTH = 2880
FLAT = (
    2  #: grey levels: what varies by less than this standard deviation shows nothing, and resembles nothing
)
_LUMA = (299, 587, 114)  # of red, green and blue in grey, in thousandths (ITU-R BT.601)
_EIGHTHS = 8  # bilinear weights are rounded to eighths of a pixel in each direction
#: How the middle of an image is changed before it is looked for: (degrees, zoom); each also mirrored.
_CHANGES = ((0, 1.0), (8, 1.0), (-8, 1.0), (0, 1.15), (0, 0.87))


@dataclass(frozen=True)
class Geometry:
    """What is cut out of a grid.

    Attributes:
        side: Of the grid.
        block: Pixels of a block, in each direction, whose sum is one number of a coarse window.
        first: Where the first block lies.
        coarse: Numbers of a coarse window, in each direction.
        step: Between the numbers of a fine window, in pixels; they are sums of step x step pixels.
        fine: Numbers of a fine window, in each direction.
    """

    side: int
    block: int
    first: int
    coarse: int
    step: int
    fine: int

    @property
    def has_quadrants(self) -> bool:
        """Whether a quarter of the image shows enough to be looked for."""
        return self.side == LARGE

    @property
    def margin(self) -> int:
        """Pixels around the middle window."""
        return self.side // 8


#: Windows are three quarters of an image: at 9 places where candidates are looked for, at 9 (8 x 8) or 81
#: (32 x 32) where they are compared.
_GEOMETRIES = {
    SMALL: Geometry(SMALL, block=1, first=0, coarse=6, step=1, fine=6),
    LARGE: Geometry(LARGE, block=3, first=1, coarse=8, step=2, fine=12),
}


def geometry_of(grids: Grids) -> Geometry:
    """Return what is cut out of grids of this size."""
    return _GEOMETRIES[grids.shape[1]]


def as_grids(batch: torch.Tensor) -> Grids:
    """Bring images to grids: `uint8 [n, 3, H, W]` to `uint8 [n, D, D]`, D being 8 or 32.

    Grey by BT.601, then every pixel of the grid is the mean of the area that it covers, whatever H and W are:
    an image that is not square is squeezed, one between 8 and 32 pixels enlarged.
    """
    height, width = batch.shape[2:]
    side = SMALL if max(height, width) <= SMALL else LARGE
    red, green, blue = (batch[:, channel].float() for channel in range(3))
    grey = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue  # whole numbers below 2^24
    share = float(sum(_LUMA))
    if (height, width) != (side, side):
        grey = _areas(height, side) @ grey.double() @ _areas(width, side).T
        share *= height * width
    rounded: Grids = (grey / share).round().to(torch.uint8).numpy()
    return rounded


@cache
def _areas(length: int, side: int) -> torch.Tensor:
    """How much of each pixel lies in each part, in 1/side of a pixel: `float64 [side, length]`."""
    ends = torch.arange(1, side + 1)[:, None] * length
    pixels = torch.arange(1, length + 1) * side
    overlap = torch.minimum(ends, pixels) - torch.maximum(ends - length, pixels - side)
    return overlap.clamp(min=0).double()


# ------------------------------------------------------------------------------------------------- vectors


class Halves(NamedTuple):
    """Vectors of images, in a form in which an image and its mirror image are compared at once.

    With a row's left half l and its mirrored right half r, `even` is l + r and `odd` l - r. For two vectors,
    even even' + odd odd' is twice their product, and even even' - odd odd' twice that with the mirror image.

    Attributes:
        even: `float32 [..., d / 2]`, whole numbers.
        odd: Likewise.
    """

    even: torch.Tensor
    odd: torch.Tensor


def halves(vectors: torch.Tensor) -> Halves:
    """Split square vectors `[..., d]`, d even, into even and odd halves."""
    side = math.isqrt(vectors.shape[-1])
    square = vectors.reshape(*vectors.shape[:-1], side, side)
    left, right = square[..., : side // 2], square.flip(-1)[..., : side // 2]
    return Halves((left + right).flatten(-2), (left - right).flatten(-2))


def mirrored(vectors: torch.Tensor) -> torch.Tensor:
    """Mirror square vectors: `[..., d]`."""
    side = math.isqrt(vectors.shape[-1])
    return vectors.reshape(*vectors.shape[:-1], side, side).flip(-1).flatten(-2)


def whole_numbers(vectors: torch.Tensor, grey: int) -> torch.Tensor:
    """Take the mean off vectors and bring them to `LENGTH`, in whole numbers; flat ones become 0.

    Args:
        vectors: `float32 [..., d]`, whole numbers, d x d x the largest of them below 2^24.
        grey: What one grey level is in them.
    """
    count = vectors.shape[-1]
    centred = count * vectors - vectors.sum(-1, keepdim=True)
    power = centred.double().square_().sum(-1, keepdim=True)
    factor = torch.where(power < count**3 * (FLAT * grey) ** 2, 0.0, LENGTH / power.sqrt())
    return (centred * factor.float()).round_()


def window_vectors(pixels: torch.Tensor, shape: Geometry) -> torch.Tensor:
    """Return the coarse windows at 9 places, the fifth in the middle: `float32 [n, D, D]` to `[n, 9, d]`."""
    blocks = block_sums(pixels[:, shape.first :, shape.first :], shape.block)
    windows = functional.unfold(blocks[:, None], shape.coarse).transpose(1, 2)
    return whole_numbers(windows.contiguous(), shape.block**2)


def whole_vectors(pixels: torch.Tensor) -> torch.Tensor:
    """Return each image as a whole, in 8 x 8 parts: `float32 [n, D, D]` to `[n, 64]`."""
    block = pixels.shape[-1] // SMALL
    return whole_numbers(block_sums(pixels, block).flatten(1), block**2)


def quadrant_vectors(pixels: torch.Tensor) -> torch.Tensor:
    """Return each quarter, in 8 x 8 parts: `float32 [n, 32, 32]` to `[n, 4, 64]`, row by row."""
    parts = block_sums(pixels, 2)
    corners = parts.view(len(parts), 2, SMALL, 2, SMALL).transpose(2, 3)
    return whole_numbers(corners.flatten(1, 2).flatten(2), 4)


def block_sums(pixels: torch.Tensor, block: int, stride: int | None = None) -> torch.Tensor:
    """Sum block x block pixels, exactly: `[n, h, w]` to `[n, h', w']`."""
    summed = functional.avg_pool2d(pixels[:, None], block, stride or block, divisor_override=1)
    return summed[:, 0]


# ------------------------------------------------------------------------------------ for a close comparison


class Centred(NamedTuple):
    """Vectors whose mean was taken off, in whole numbers.

    Attributes:
        vectors: `float64 [..., d]`, or `[n, d, places]`.
        length: Of each: `float64 [...]`; infinite for flat ones, which therefore correlate with nothing.
    """

    vectors: torch.Tensor
    length: torch.Tensor


def variants(pixels: torch.Tensor) -> Centred:
    """Return the middle window as it is, turned and zoomed, plain and mirrored: `[n, 10, fine^2]`."""
    side = pixels.shape[-1]
    changed = _changes(side).to(pixels.device)
    vectors = (pixels.flatten(1) @ changed.T).view(len(pixels), 2 * len(_CHANGES), -1).double()
    count = vectors.shape[-1]
    centred = count * vectors - vectors.sum(-1, keepdim=True)
    grey = count * _EIGHTHS**2 * _GEOMETRIES[side].step ** 2
    return Centred(centred, _length(centred.square().sum(-1), count, grey))


def fine_windows(pixels: torch.Tensor) -> Centred:
    """Return the fine windows of images at all places: `float32 [n, D, D]` to `[n, fine^2, places]`.

    Their mean is not taken off, and need not be: a product with a vector whose sum is 0 does not know it.
    """
    shape = _GEOMETRIES[pixels.shape[-1]]
    sums = block_sums(pixels, shape.step, 1)
    windows = functional.unfold(sums[:, None], shape.fine, dilation=shape.step).double()
    count = shape.fine**2
    power = (count * windows.square().sum(1) - windows.sum(1).square()) / count
    return Centred(windows, _length(power, count, shape.step**2))


def _length(power: torch.Tensor, count: int, grey: int) -> torch.Tensor:
    """Return the length of vectors by the sum of their squares, infinite where they are flat."""
    return torch.where(power < count * (FLAT * grey) ** 2, torch.inf, power.sqrt())


@cache
def _changes(side: int) -> torch.Tensor:
    """Return what `variants` multiplies with: `float32 [10 fine^2, side^2]`, whole numbers.

    Each row makes one number of a changed and cut image: a sum of step x step pixels, each of which is
    interpolated between four, with weights in 64ths. Beyond the border, the border goes on.
    """
    shape = _GEOMETRIES[side]
    inner = np.arange(side - 2 * shape.margin) + shape.margin
    rows: list[npt.NDArray[Any]] = []
    for degrees, zoom in _CHANGES:
        changed = _resampled(side, degrees, zoom)  # [side, side, side^2]
        for mirror in (False, True):
            there = changed[:, ::-1] if mirror else changed
            middle = there[np.ix_(inner, inner)]
            parts = middle.reshape(shape.fine, shape.step, shape.fine, shape.step, side * side)
            rows.append(parts.sum(axis=(1, 3)).reshape(-1, side * side))
    return torch.from_numpy(np.concatenate(rows).astype(np.float32))


def _resampled(side: int, degrees: float, zoom: float) -> npt.NDArray[np.int64]:
    """Return what each pixel of a changed image is made of, in 64ths: `int64 [side, side, side^2]`."""
    turn = math.radians(degrees)
    cosine, sine = math.cos(turn) / zoom, math.sin(turn) / zoom
    middle = (side - 1) / 2
    rows, columns = np.mgrid[:side, :side] - middle
    wanted = (cosine * rows - sine * columns, cosine * columns + sine * rows)
    eighths = [np.rint(np.clip(one + middle, 0, side - 1) * _EIGHTHS).astype(np.int64) for one in wanted]
    weights = np.zeros((side, side, side * side), dtype=np.int64)
    at = tuple(np.indices((side, side)))
    for below in (0, 1):
        for beside in (0, 1):
            (row, row_part), (column, column_part) = (np.divmod(one, _EIGHTHS) for one in eighths)
            share = (row_part if below else _EIGHTHS - row_part) * (
                column_part if beside else _EIGHTHS - column_part
            )
            place = np.minimum(row + below, side - 1) * side + np.minimum(column + beside, side - 1)
            np.add.at(weights, (*at, place), share)
    return weights
