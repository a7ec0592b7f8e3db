"""Fractals that `diffusemix` blends in: drawn here from a seed, none is downloaded.

`mandelbrot`: crops of the Mandelbrot set at its boundary, coloured by the smooth escape time. `ifs`: iterated
function systems of random affine contractions, played as a chaos game, the way FractalDB draws them
(arXiv:2101.08515, Sec. 3.1); the density of visits is shown on a log scale. The paper's own set is a download
of unstated origin.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float64]
_SIDE_LEAST = 64  # drawn at least this large, then reduced: a fractal of 8 x 8 points is noise
_ESCAPE_STEPS = 96
_LEAST_FILLED = 0.12  # share of the picture that must not be black
_ORBITS, _ORBIT_STEPS, _FIRST_STEPS = 4096, 48, 12
_TRIES = 100


def draw_fractals(kind: str, count: int, seed: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Draw a set of fractals: `float32 [count, 3, height, width]`, 0-255."""
    import torch
    import torch.nn.functional as F

    side = max(_SIDE_LEAST, height, width)
    planes = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        plane = _filled(mandelbrot if kind == "mandelbrot" else iterated_functions, rng, side)
        planes.append(_coloured(_equalised(plane), rng))
    drawn = torch.from_numpy(np.stack(planes)).float()
    small = F.interpolate(drawn, (height, width), mode="bilinear", antialias=True, align_corners=False)
    reduced: npt.NDArray[np.float32] = (small.clamp(0, 1) * 255).numpy()
    return reduced


def mandelbrot(rng: np.random.Generator, side: int) -> Plane:
    """Draw a crop at the boundary of the Mandelbrot set: `float64 [side, side]`, 0 inside.

    The value is the smooth iteration count n + 1 - log2(log |z_n|) of z <- z^2 + c.
    """
    angle = rng.uniform(0, 2 * math.pi)
    centre = (
        np.exp(1j * angle) / 2 - np.exp(2j * angle) / 4
    )  # on the main cardioid, the boundary's largest part
    span = 10 ** rng.uniform(-1.6, 0.0)
    axis = np.linspace(-span / 2, span / 2, side)
    c = centre + axis[None, :] + 1j * axis[:, None]
    z = np.zeros_like(c)
    smooth = np.zeros(c.shape)
    inside = np.ones(c.shape, dtype=bool)
    for step in range(_ESCAPE_STEPS):
        z[inside] = z[inside] ** 2 + c[inside]
        escaped = inside & (np.abs(z) > 16)
        smooth[escaped] = step + 1 - np.log2(np.log(np.abs(z[escaped])))
        inside &= ~escaped
    return np.where(inside, 0.0, smooth)


def iterated_functions(rng: np.random.Generator, side: int) -> Plane:
    """Draw the attractor of random affine contractions: `float64 [side, side]`, log(1 + visits).

    Many orbits of x <- A_k x + b_k are followed; k is drawn by |det A_k|, as in FractalDB.
    """
    functions = int(rng.integers(2, 7))
    matrices = rng.uniform(-1, 1, (functions, 2, 2))
    norms = np.linalg.norm(matrices, ord=2, axis=(1, 2))
    matrices *= (rng.uniform(0.4, 0.9, functions) / np.maximum(norms, 1e-9))[:, None, None]  # contractions
    offsets = rng.uniform(-1, 1, (functions, 2))
    weights = np.abs(np.linalg.det(matrices)) + 1e-3
    points = rng.uniform(-1, 1, (_ORBITS, 2))
    visited = []
    for step in range(_ORBIT_STEPS):
        which = rng.choice(functions, _ORBITS, p=weights / weights.sum())
        points = np.einsum("nij,nj->ni", matrices[which], points) + offsets[which]
        if step >= _FIRST_STEPS:
            visited.append(points)
    places = np.concatenate(visited)
    low, high = np.quantile(places, [0.005, 0.995], axis=0)
    cells = ((places - low) / np.maximum(high - low, 1e-9) * side).astype(np.int64)
    inside = ((cells >= 0) & (cells < side)).all(axis=1)
    flat = cells[inside, 0] * side + cells[inside, 1]
    return np.log1p(np.bincount(flat, minlength=side * side).reshape(side, side).astype(np.float64))


def _filled(draw: Callable[[np.random.Generator, int], Plane], rng: np.random.Generator, side: int) -> Plane:
    """Draw until enough of the picture is filled, as FractalDB does; the fullest, if none is."""
    best = draw(rng, side)
    for _ in range(_TRIES):
        if (best != 0).mean() >= _LEAST_FILLED:
            break
        best = max(best, draw(rng, side), key=lambda plane: float((plane != 0).mean()))
    return best


def _equalised(plane: Plane) -> Plane:
    """Replace what is not 0 by its rank, 0-1: a few extreme points must not leave the rest black."""
    ranked = np.zeros_like(plane)
    shown = plane != 0
    values, place = np.unique(plane[shown], return_inverse=True)
    ranked[shown] = (place + 1) / max(len(values), 1)
    return ranked


def _coloured(plane: Plane, rng: np.random.Generator) -> Plane:
    """Colour a plane by a cosine palette of random phase: `float64 [3, side, side]`, 0-1, black at 0."""
    phase = rng.uniform(0, 1, (3, 1, 1))
    turns = rng.uniform(0.5, 1.5, (3, 1, 1))
    coloured: Plane = (0.5 + 0.5 * np.cos(2 * math.pi * (turns * plane + phase))) * np.minimum(1, 8 * plane)
    return coloured
