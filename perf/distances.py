"""Distances of features against the plain formulas: `python perf/distances.py` (about 4 min on one core).

Targets at 2,048 dimensions: the Fréchet distance to a fixed reference at least 10 times as fast as with
scipy.linalg.sqrtm, to 1e-9 relative; the MMD of 10,000 against 10,000 at least twice as fast as the plain
matrix form, in at most 300 MB.
"""

import subprocess
import sys

import numpy as np
import torch
from _timing import held_bytes, interleaved, ratio, verdict
from scipy.linalg import sqrtm

from genbench_evaluators._frechet import Gaussian, fit_gaussian, frechet_distance, make_reference
from genbench_evaluators._kernels import Kernel, mean_between, mean_within, mmd2

DIMENSIONS, IMAGES, BANDWIDTH = 2048, 10_000, 60.0


def main() -> None:
    """Print every figure; exit with 1 if one is missed."""
    torch.set_num_threads(1)
    if "--memory" in sys.argv:
        print(_held_megabytes())
        return
    reached = [*_frechet(), *_mmd()]
    fresh = [sys.executable, __file__, "--memory"]  # a peak is a process's
    held = float(subprocess.run(fresh, check=True, capture_output=True, text=True).stdout)
    reached.append(verdict("memory of the MMD beyond its features", held, 300, at_least=False, unit="MB"))
    sys.exit(0 if all(reached) else 1)


def _frechet() -> list[bool]:
    """Compare with the matrix square root, on covariances with the fast decay that features have."""
    scale = torch.linspace(0, -3, DIMENSIONS).exp()
    real, made = (_features(4096, seed) * scale + 0.01 * seed for seed in (1, 2))
    reference, other = make_reference(fit_gaussian(real)), fit_gaussian(made)
    found: dict[str, float] = {}

    def ours() -> None:
        found["ours"] = frechet_distance(reference, other)

    def plain() -> None:
        found["plain"] = _with_square_root(reference.gaussian, other)

    seconds = interleaved({"plain": plain, "ours": ours}, 2)
    error = abs(found["ours"] / found["plain"] - 1)
    return [
        verdict(
            "Frechet distance against scipy.linalg.sqrtm",
            ratio(seconds["plain"], seconds["ours"]),
            10,
            at_least=True,
        ),
        verdict("its relative difference (in 1e-9)", error * 1e9, 1, at_least=False, unit=""),
    ]


def _with_square_root(one: Gaussian, other: Gaussian) -> float:
    """The formula as it is written (arXiv:1706.08500, Eq. 6)."""
    root = np.real(sqrtm(one.covariance.numpy() @ other.covariance.numpy()))
    shift = float((one.mean - other.mean).square().sum())
    return shift + float(one.covariance.trace() + other.covariance.trace()) - 2 * float(np.trace(root))


def _mmd() -> list[bool]:
    """Compare with whole matrices in float64."""
    x, y = _features(IMAGES, 1), _features(IMAGES, 2)
    found: dict[str, float] = {}

    def ours() -> None:
        found["ours"] = _chunked(x, y)

    def plain() -> None:
        found["plain"] = _whole(x.double(), y.double())

    seconds = interleaved({"plain": plain, "ours": ours}, 1)
    print(f"     MMD: {found['ours']:.9f} chunked, {found['plain']:.9f} whole")
    return [verdict("MMD, 10,000 x 2,048", ratio(seconds["plain"], seconds["ours"]), 2, at_least=True)]


def _chunked(x: torch.Tensor, y: torch.Tensor) -> float:
    kernel = Kernel("rbf", (BANDWIDTH,))
    return mmd2(mean_within(x, kernel), mean_within(y, kernel), mean_between(x, y, kernel))


def _whole(x: torch.Tensor, y: torch.Tensor) -> float:
    """The estimator as it is written (JMLR 13, 2012, Eq. 3)."""

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.exp(-(torch.cdist(a, b) ** 2) / (2 * BANDWIDTH**2))

    n, m = len(x), len(y)
    own = (kernel(x, x).sum() - n) / (n * (n - 1)) + (kernel(y, y).sum() - m) / (m * (m - 1))
    return float(own - 2 * kernel(x, y).mean())


def _held_megabytes() -> float:
    x, y = _features(IMAGES, 1), _features(IMAGES, 2)
    return held_bytes(lambda: _chunked(x, y)) / 1e6


def _features(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, DIMENSIONS, generator=torch.Generator().manual_seed(seed))


if __name__ == "__main__":
    main()
