"""The samplers: which noise levels are visited, and the step from one to the next.

Every sampler is given the (guided, clipped) noise prediction; none calls the network. Ancestral and DDIM
steps are written out, for any subset of levels; DPM-Solver++ is diffusers' `DPMSolverMultistepScheduler`.
"""

import math
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch

from genbench_generators._diffusion import ImageNoise, Levels, alpha_bar_of
from genbench_generators.configs.ddpm import DdpmConfig

Indices = npt.NDArray[np.int64]
_LOWEST_LOG_SNR = -5.1  # half a log-SNR: where diffusers advises to start on the cosine schedule


class Sampler(ABC):
    """One sampling run; a fresh one for every batch.

    Attributes:
        levels: The noise levels visited, falling: `int64 [n]`.
        alpha_bar: `float64 [T]`.
    """

    def __init__(self, levels: Indices, betas: Levels) -> None:
        self.levels = levels
        self.alpha_bar = alpha_bar_of(betas)

    @abstractmethod
    def step(self, index: int, x_t: torch.Tensor, eps: torch.Tensor, noise: ImageNoise) -> torch.Tensor:
        """Go from level `index` to the next, or from the last to the clean image.

        Args:
            index: Place in `levels`.
            x_t: `float32 [n, 3, H, W]`.
            eps: The predicted noise in x_t: `float32 [n, 3, H, W]`.
            noise: Fresh noise, for samplers that want it.
        """

    def _alpha_bars(self, index: int) -> tuple[float, float]:
        """Return alpha_bar at a level and at the next; 1 after the last."""
        after = float(self.alpha_bar[self.levels[index + 1]]) if index + 1 < len(self.levels) else 1.0
        return float(self.alpha_bar[self.levels[index]]), after


class Ancestral(Sampler):
    """DDPM's Algorithm 2, on all levels or on some (as improved DDPM, arXiv:2102.09672, Sec. 4).

    Args:
        levels: The noise levels visited.
        betas: `float64 [T]`.
        variance: sigma_t^2 = beta-tilde_t (`posterior`) or beta_t (`beta`).
    """

    def __init__(self, levels: Indices, betas: Levels, variance: str) -> None:
        super().__init__(levels, betas)
        self._variance = variance

    def step(self, index: int, x_t: torch.Tensor, eps: torch.Tensor, noise: ImageNoise) -> torch.Tensor:
        """Draw x_{t-1} from p(x_{t-1} | x_t) (Eq. 11; no noise in the last step)."""
        alpha_bar, previous = self._alpha_bars(index)
        alpha = alpha_bar / previous
        beta = 1 - alpha
        mean = (x_t - eps * (beta / math.sqrt(1 - alpha_bar))) / math.sqrt(alpha)
        if index + 1 == len(self.levels):
            return mean
        posterior = (1 - previous) / (1 - alpha_bar) * beta  # Eq. 7
        sigma = math.sqrt(posterior if self._variance == "posterior" else beta)
        return mean + sigma * noise.draw()


class Ddim(Sampler):
    """DDIM with eta = 0 (arXiv:2010.02502, Eq. 12): deterministic given the first noise."""

    def step(self, index: int, x_t: torch.Tensor, eps: torch.Tensor, noise: ImageNoise) -> torch.Tensor:
        """Predict the clean image and go back to the next level along the same noise."""
        alpha_bar, previous = self._alpha_bars(index)
        return math.sqrt(previous) * clean_image(x_t, eps, alpha_bar) + math.sqrt(1 - previous) * eps


class DpmSolver(Sampler):
    """DPM-Solver++ (2M) (arXiv:2211.01095, Algorithm 2), with a first-order step at either end.

    It visits levels evenly spaced in log-SNR, as its authors advise for pixels: on Gaussian data 10 such
    steps keep the spread to 1 %, where evenly spaced levels (diffusers' default) lose a quarter at 20 steps.
    """

    def __init__(self, levels: Indices, betas: Levels, *, stochastic: bool) -> None:
        super().__init__(levels, betas)
        self._stochastic = stochastic
        from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

        self._scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=len(betas),
            trained_betas=betas.tolist(),
            algorithm_type="sde-dpmsolver++" if stochastic else "dpmsolver++",
            solver_order=2,
        )
        self._scheduler.set_timesteps(timesteps=levels.tolist())

    def step(self, index: int, x_t: torch.Tensor, eps: torch.Tensor, noise: ImageNoise) -> torch.Tensor:
        """Take the scheduler's step."""
        level = int(self.levels[index])
        fresh = noise.draw() if self._stochastic else None
        after: torch.Tensor = self._scheduler.step(eps, level, x_t, variance_noise=fresh, return_dict=False)[
            0
        ]
        return after


def make_sampler(config: DdpmConfig, betas: Levels) -> Sampler:
    """Build the configured sampler; it never visits more levels than exist.

    Ancestral sampling and DDIM visit evenly spaced levels, as published.
    """
    if config.sampler in {"dpmpp", "dpmpp-sde"}:
        levels = _log_snr_levels(betas, config.sampling_steps)
        return DpmSolver(levels, betas, stochastic=config.sampler == "dpmpp-sde")
    count = min(config.sampling_steps, len(betas))
    levels = np.linspace(len(betas) - 1, 0, count).round().astype(np.int64)
    if config.sampler == "ddim":
        return Ddim(levels, betas)
    return Ancestral(levels, betas, config.variance)


def clean_image(x_t: torch.Tensor, eps: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    """Predict x_0 from x_t and its noise (DDPM, Eq. 15)."""
    return (x_t - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)


def clipped_noise(x_t: torch.Tensor, eps: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    """Return the noise prediction whose clean image is that of `eps`, clipped to -1 .. 1."""
    x_0 = clean_image(x_t, eps, alpha_bar).clamp(-1, 1)
    return (x_t - math.sqrt(alpha_bar) * x_0) / math.sqrt(1 - alpha_bar)


def _log_snr_levels(betas: Levels, count: int) -> Indices:
    """Return at most `count` falling levels, evenly spaced in log-SNR but for rounding and doubles."""
    alpha_bar = alpha_bar_of(betas)
    half_log_snr = 0.5 * np.log(alpha_bar / (1 - alpha_bar))
    lowest = half_log_snr[half_log_snr >= _LOWEST_LOG_SNR][-1]
    wanted = np.linspace(lowest, half_log_snr[0], count)
    nearest = np.abs(half_log_snr[:, None] - wanted).argmin(axis=0)
    return np.unique(nearest)[::-1].astype(np.int64)
