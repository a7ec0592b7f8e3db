"""Fractals that `diffusemix` blends in: drawn here from a seed, or read from a folder.

`mandelbrot`: S1's (DALISA-2025/CS7643-final-project, final/diffusemix_core.py): crops of the Mandelbrot set
of 3 / zoom by 3 / zoom, zoom in [0.5, 2), about a centre in [-0.7, 0) + [-0.5, 0.5) i, at 32 x 32 points;
the value is the share of 100 iterations that stay within 2; coloured by one of six of matplotlib's maps
from the least value to the largest, and saved as the 24 x 24 pixels that matplotlib leaves of a square inch
at 32 dots per inch. Departures: seeded, and reduced to 24 x 24 by area rather than by matplotlib's own
resampling.

`ifs`: iterated function systems of random affine contractions, played as a chaos game, the way FractalDB
draws them (arXiv:2101.08515, Sec. 3.1); the density of visits is shown on a log scale. The paper's own set
is a download of unstated origin: where a user has it, `fractals=FOLDER` reads it.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genbench.image_files import open_image

Plane = npt.NDArray[np.float64]
_SIDE_LEAST = 64  # drawn at least this large, then reduced: a fractal of 8 x 8 points is noise
_S1_POINTS, _S1_PIXELS, _S1_STEPS = 32, 24, 100
_S1_MAPS = ("inferno", "magma", "plasma", "viridis", "twilight", "ocean")
_LEAST_FILLED = 0.12  # share of the picture that must not be black
_ORBITS, _ORBIT_STEPS, _FIRST_STEPS = 4096, 48, 12
_TRIES = 100


def draw_fractals(kind: str, count: int, seed: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Draw a set of fractals, `mandelbrot` or `ifs`: `float32 [count, 3, height, width]`, 0-255."""
    import torch
    import torch.nn.functional as F

    side = max(_SIDE_LEAST, height, width)
    planes = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        if kind == "mandelbrot":
            planes.append(_mandelbrot_picture(rng))
        else:
            planes.append(_coloured(_equalised(_filled(rng, side)), rng))
    drawn = torch.from_numpy(np.stack(planes)).float()
    small = F.interpolate(drawn, (height, width), mode="bilinear", antialias=True, align_corners=False)
    reduced: npt.NDArray[np.float32] = (small.clamp(0, 1) * 255).numpy()
    return reduced


def read_fractals(files: Mapping[str, Path], height: int, width: int) -> npt.NDArray[np.float32]:
    """Read a folder's images, resized as Pillow does by default: `float32 [count, 3, height, width]`, 0-255.

    Raises:
        DataError: A file is no image, or is too large; it is named.
    """
    pictures = []
    for name, path in files.items():
        with open_image(path, f"diffusemix: {name} in fractals") as image:
            pictures.append(np.asarray(image.convert("RGB").resize((width, height)), dtype=np.float32))
    return np.stack(pictures).transpose(0, 3, 1, 2)


def _mandelbrot_picture(rng: np.random.Generator) -> Plane:
    """Draw one of S1's pictures: `float64 [3, 24, 24]`, 0-1."""
    from matplotlib import colormaps

    plane = mandelbrot(rng)
    span = plane.max() - plane.min()
    coloured = colormaps[str(rng.choice(_S1_MAPS))]((plane - plane.min()) / (span or 1.0))[:, :, :3]
    return _by_area(_by_area(coloured).transpose(1, 0, 2)).transpose(2, 1, 0)


def _by_area(lines: Plane) -> Plane:
    """Reduce the first axis from 32 to 24 points by area."""
    until = np.concatenate([np.zeros((1, *lines.shape[1:])), lines.cumsum(axis=0)])
    edges = np.arange(_S1_PIXELS + 1) * (_S1_POINTS / _S1_PIXELS)
    whole = np.minimum(edges.astype(np.int64), _S1_POINTS - 1)
    part = (edges - whole)[:, None, None]
    at_edges = until[whole] * (1 - part) + until[whole + 1] * part
    return np.asarray(np.diff(at_edges, axis=0) * (_S1_PIXELS / _S1_POINTS))


def mandelbrot(rng: np.random.Generator) -> Plane:
    """Draw a crop of the Mandelbrot set as S1 does: `float64 [32, 32]`, the share of iterations within 2."""
    zoom = rng.uniform(0.5, 2.0)
    centre = complex(rng.uniform(-0.7, 0.0), rng.uniform(-0.5, 0.5))
    axis = np.linspace(-1.5, 1.5, _S1_POINTS) / zoom
    c = centre + axis[None, :] + 1j * axis[:, None]
    z = np.zeros_like(c)
    within = np.zeros(c.shape)
    for _ in range(_S1_STEPS):
        inside = np.abs(z) <= 2
        z[inside] = z[inside] ** 2 + c[inside]
        within += inside
    return within / _S1_STEPS


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


def _filled(rng: np.random.Generator, side: int) -> Plane:
    """Draw until enough of the picture is filled, as FractalDB does; the fullest, if none is."""
    best = iterated_functions(rng, side)
    for _ in range(_TRIES):
        if (best != 0).mean() >= _LEAST_FILLED:
            break
        again = iterated_functions(rng, side)
        best = max(best, again, key=lambda plane: float((plane != 0).mean()))
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
