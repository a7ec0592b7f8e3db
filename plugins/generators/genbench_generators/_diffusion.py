"""What diffusion generators share: noise schedules, per-image noise and pixels.

Noise levels are t = 0 .. T - 1, for the papers' 1 .. T; alpha_bar falls from nearly 1 to nearly 0.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from genbench.images import Labels

Levels = npt.NDArray[np.float64]
_COSINE_OFFSET = 0.008  # s of Nichol and Dhariwal
_COSINE_BETA_LIMIT = 0.999


def linear_betas(steps: int, first: float, last: float) -> Levels:
    """Return beta_1 .. beta_T, evenly spaced: `float64 [T]` (DDPM, arXiv:2006.11239, Sec. 4)."""
    return np.linspace(first, last, steps, dtype=np.float64)


def cosine_betas(steps: int) -> Levels:
    """Return the betas of the cosine schedule: `float64 [T]` (arXiv:2102.09672, Eq. 17).

    alpha_bar(t) = f(t) / f(0), f(t) = cos^2((t / T + s) / (1 + s) * pi / 2), and
    beta_t = 1 - alpha_bar(t) / alpha_bar(t - 1), at most 0.999.
    """
    time = np.arange(steps + 1) / steps
    f = np.cos((time + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2) ** 2
    return np.asarray(np.minimum(1 - f[1:] / f[:-1], _COSINE_BETA_LIMIT), dtype=np.float64)


def alpha_bar_of(betas: Levels) -> Levels:
    """Return alpha_bar_t, the product of 1 - beta up to t: `float64 [T]` (DDPM, Eq. 4)."""
    return np.asarray(np.cumprod(1 - betas), dtype=np.float64)


def to_model(pixels: torch.Tensor) -> torch.Tensor:
    """Scale `uint8`, 0-255, to `float32`, -1 to 1 (DDPM, Sec. 3.3)."""
    return pixels.float() / 127.5 - 1


def to_pixels(x: torch.Tensor) -> torch.Tensor:
    """Clip and round `float32`, -1 to 1, to `uint8`, 0-255."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().byte()


class ImageNoise:
    """Standard normal noise for a batch: one CPU generator per image, so that batches do not matter.

    Args:
        seeds: One seed per image.
        shape: Shape of one image.
        device: Where the noise is wanted.
    """

    def __init__(self, seeds: Sequence[int] | Labels, shape: tuple[int, ...], device: str) -> None:
        self._generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self._shape, self._device = shape, device

    def draw(self) -> torch.Tensor:
        """Return the next noise of every image: `float32 [n, *shape]`."""
        noise = [torch.randn(self._shape, generator=generator) for generator in self._generators]
        return torch.stack(noise).to(self._device)
