"""The classifier of noisy images that `ddpm:guidance=classifier` is guided by, fitted beside the U-Net.

Diffusion Models Beat GANs (arXiv:2105.05233), Sec. 4 and Algorithm 2: with p(y | x_t) from a classifier that
was trained on noisy images,

    eps_hat = eps_theta(x_t, y) - w sqrt(1 - alpha_bar_t) grad_{x_t} log p(y | x_t).

Departures: a plain convolutional network with the noise level as a scale and shift of every layer, where the
paper takes the U-Net's downsampling half with attention pooling.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

_TIME_FEATURES = 32


class NoisyClassifier(nn.Module):
    """Class scores of an image at a noise level.

    Args:
        channels: At full resolution; doubled per level.
        levels: How often the image is halved.
        timesteps: Number of noise levels.
        num_classes: Classes.
    """

    def __init__(self, channels: int, levels: int, timesteps: int, num_classes: int) -> None:
        super().__init__()
        self._timesteps = timesteps
        widths = [channels * 2**level for level in range(levels)]
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            [_Block(before, after) for before, after in zip([channels, *widths], widths, strict=False)]
        )
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return logits: `float32 [n, num_classes]`.

        Args:
            x_t: `float32 [n, 3, H, W]`.
            t: Noise levels: `int64 [n]`.
        """
        time = _time_features(t, self._timesteps).to(x_t.dtype)
        hidden = self.stem(x_t)
        for position, block in enumerate(self.blocks):
            hidden = block(F.avg_pool2d(hidden, 2) if position else hidden, time)
        logits: torch.Tensor = self.head(hidden.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """Two convolutions; the noise level scales and shifts between them."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        groups = math.gcd(8, after)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.norm = nn.GroupNorm(groups, after)
        self.time = nn.Linear(_TIME_FEATURES, 2 * after)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.norm_out = nn.GroupNorm(groups, after)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        hidden = F.silu(self.norm(self.first(x)) * (1 + scale) + shift)
        return F.silu(self.norm_out(self.second(hidden)))


def log_probability_gradient(
    classifier: nn.Module, x_t: torch.Tensor, level: int, labels: torch.Tensor
) -> torch.Tensor:
    """Return grad_{x_t} log p(y | x_t) of each image: `float32 [n, 3, H, W]`."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        x = x_t.clone().requires_grad_()
        logits = classifier(x, torch.full_like(labels.clone(), level))
        chosen = F.log_softmax(logits, dim=1).gather(1, labels.clone()[:, None]).sum()
        return torch.autograd.grad(chosen, x)[0]


def _time_features(t: torch.Tensor, timesteps: int) -> torch.Tensor:
    """Return sines and cosines of t / T: `float32 [n, 32]`."""
    frequencies = torch.exp(torch.linspace(0, math.log(100.0), _TIME_FEATURES // 2, device=t.device))
    angles = (t.float() / timesteps)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
