"""What diffusion generators share: noise schedules, per-image noise, pixels, and what editors ask of them.

Noise levels are t = 0 .. T - 1, for the papers' 1 .. T; alpha_bar falls from nearly 1 to nearly 0.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from genbench.images import Labels
from genbench.protocols import RunContext

Levels = npt.NDArray[np.float64]
_COSINE_OFFSET = 0.008  # s of Nichol and Dhariwal
_COSINE_BETA_LIMIT = 0.999


class Denoiser(ABC):
    """A fitted diffusion generator that can also start from an image instead of from noise."""

    @abstractmethod
    def denoise(
        self, start: torch.Tensor, labels: Labels, seeds: Labels, start_fraction: float, ctx: RunContext
    ) -> Iterator[torch.Tensor]:
        """Add noise to images, remove it again under their labels, and yield the results in order.

        Args:
            start: Images to start from: `uint8 [n, 3, H, W]`, 0-255, on the CPU.
            labels: Class of each: `int64 [n]`.
            seeds: One seed per image: `int64 [n]`; image i depends on row i of the three alone.
            start_fraction: How far to go into the forward process, in (0, 1]: the first noise level is the
                highest one visited below `start_fraction` of all.
            ctx: The device.

        Yields:
            `uint8 [<= n, 3, H, W]`, 0-255, on the CPU.
        """


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
