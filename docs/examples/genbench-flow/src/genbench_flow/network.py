"""A small U-Net that predicts a velocity: Ronneberger et al., arXiv:1505.04597, with time and class."""

import math

import torch
import torch.nn.functional as F
from torch import nn

_GROUPS = 4


class Block(nn.Module):
    """Two convolutions around a shift and a scale by time and class, with a shortcut."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(_GROUPS, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.norm = nn.GroupNorm(_GROUPS, outputs, affine=False)
        self.condition = nn.Linear(condition, 2 * outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Return `[n, outputs, H, W]`."""
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, dim=1)
        inner = self.norm(self.first(x)) * (1 + scale) + shift
        result: torch.Tensor = self.shortcut(x) + self.second(F.silu(inner))
        return result


class VelocityNetwork(nn.Module):
    """The vector field v_t(x | class) of an image `float [n, 3, H, W]` at time `float [n]` in [0, 1].

    Three levels, each of half the size of the one above, rounded up: any size of at least 4 pixels will do.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        width, self.frequencies = 4 * channels, channels
        self.time = nn.Sequential(nn.Linear(2 * channels, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(num_classes, width)
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        sizes = [channels, 2 * channels, 2 * channels]
        self.down = nn.ModuleList(
            Block(before, after, width) for before, after in zip([channels, *sizes[:-1]], sizes, strict=True)
        )
        self.middle = Block(sizes[-1], sizes[-1], width)
        self.up = nn.ModuleList(
            Block(below + beside, beside, width)
            for below, beside in zip([sizes[-1], *sizes[:0:-1]], sizes[::-1], strict=True)
        )
        self.out = nn.Sequential(
            nn.GroupNorm(_GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, 3, 3, padding=1)
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the velocity: `float [n, 3, H, W]`."""
        condition = F.silu(self.time(self._waves(t)) + self.label(labels))
        x = self.stem(x)
        beside = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.avg_pool2d(x, 2, ceil_mode=True), condition)
            beside.append(x)
        x = self.middle(x, condition)
        for block in self.up:
            same = beside.pop()
            x = block(torch.cat([F.interpolate(x, size=same.shape[2:]), same], dim=1), condition)
        velocity: torch.Tensor = self.out(x)
        return velocity

    def _waves(self, t: torch.Tensor) -> torch.Tensor:
        """Return sines and cosines of a time, from one wave over [0, 1] to 1,000: `float [n, 2 channels]`."""
        exponents = torch.linspace(0, math.log(1000), self.frequencies, device=t.device)
        angles = 2 * math.pi * t[:, None] * exponents.exp()
        return torch.cat([angles.sin(), angles.cos()], dim=1)
