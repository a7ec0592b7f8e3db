"""`resnet32`: the CIFAR ResNet of He et al., "Deep Residual Learning", arXiv:1512.03385, Sec. 4.2.

One 3x3 convolution, three stages of n basic blocks with 16, 32 and 64 channels, global average pooling and
one linear layer: 6n + 2 weighted layers. Departures: global pooling takes maps of any size, so that images
from 4x4 pixels work, and the linear layer starts from arXiv:1502.01852, too.
"""

import re
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

from genbench_classifiers._checkpoints import Tensors
from genbench_classifiers._shared import BuiltIn, Network, PooledHead, kaiming_init
from genbench_classifiers.configs.resnet32 import ResNet32Config

_WIDTHS = (16, 32, 64)


class ResNet32(BuiltIn):
    """Builds a CIFAR ResNet of the configured depth."""

    config: ResNet32Config

    def fresh(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return a network with 64 penultimate features.

        Raises:
            UsageError: The image is smaller than 4x4 pixels.
        """
        self.config.check_images(image_shape)
        return ResNetNetwork(image_shape[0], self.config.depth, self.config.shortcut, num_classes)

    def renamed(self, tensors: Tensors) -> Tensors:
        """Map the names of akamaster/pytorch_resnet_cifar10 and chenyaofo/pytorch-cifar-models to ours."""
        return renamed(tensors, self.config.depth)

    def advice(self, tensors: Tensors) -> str:
        """Say which depth and shortcut the names look like."""
        blocks = {match[0] for name in tensors if (match := re.search(r"layer1\.\d+\.", name))}
        depth = 6 * len(blocks) + 2
        projected = any(re.search(r"(downsample|shortcut)\.0\.weight", name) for name in tensors)
        found = {"depth": depth, "shortcut": "B" if projected else "A"}
        told = [f"{name}={value}" for name, value in found.items() if value != getattr(self.config, name)]
        known = get_args(type(self.config).model_fields["depth"].annotation)
        return f"it looks like resnet32:{','.join(told)}" if told and depth in known else ""


def renamed(tensors: Tensors, depth: int) -> dict[str, torch.Tensor]:
    """Map torchvision's names for a ResNet to ours: three numbered stages are one row of blocks."""
    blocks = (depth - 2) // 6

    def block(match: re.Match[str]) -> str:
        return f"blocks.{(int(match[1]) - 1) * blocks + int(match[2])}."

    found = {}
    for name, value in tensors.items():
        new = re.sub(r"^layer([1-3])\.(\d+)\.", block, name)
        new = re.sub(r"^conv1\.", "stem.", new)
        new = re.sub(r"^bn1\.", "norm.", new)
        new = re.sub(r"\.bn([12])\.", r".norm\1.", new)
        new = re.sub(r"\.downsample\.", ".shortcut.", new)
        found[re.sub(r"^(fc|linear|classifier)\.", "head.linear.", new)] = value
    return found


class ResNetNetwork(Network):
    """The network.

    Args:
        channels: Channels of the image.
        depth: Weighted layers, 6n + 2.
        shortcut: `A` or `B`: see `ZeroPaddedShortcut` and `ProjectionShortcut`.
        num_classes: Logits.
    """

    def __init__(self, channels: int, depth: int, shortcut: Literal["A", "B"], num_classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = _WIDTHS[0]
        for width in _WIDTHS:
            for _ in range((depth - 2) // 6):
                blocks.append(BasicBlock(before, width, shortcut))
                before = width
        self.stem = nn.Conv2d(channels, _WIDTHS[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(_WIDTHS[0])
        self.blocks = nn.Sequential(*blocks)
        self.head = PooledHead(_WIDTHS[-1], num_classes)
        kaiming_init(self)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images `float [n, C, H, W]` to maps `float [n, 64, H / 4, W / 4]`, rounded up."""
        maps: torch.Tensor = self.blocks(F.relu(self.norm(self.stem(x)), inplace=True))
        return maps

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool maps and return logits, or with `pre_logits` the pooled features `float [n, 64]`."""
        logits: torch.Tensor = self.head(x, pre_logits)
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (Fig. 2); halves the image where the width changes."""

    def __init__(self, before: int, width: int, shortcut: Literal["A", "B"]) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if before != width:
            change = ZeroPaddedShortcut if shortcut == "A" else ProjectionShortcut
            self.shortcut = change(before, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return relu(F(x) + shortcut(x)) (Eq. 1 and 2)."""
        residual = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(residual)) + self.shortcut(x), inplace=True)


class ZeroPaddedShortcut(nn.Module):
    """Option A: every second pixel, new channels zero, no parameters."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        added = width - before
        self._padding = (0, 0, 0, 0, added // 2, added - added // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `float [n, before, h, w]` to `float [n, width, h / 2, w / 2]`, rounded up."""
        return F.pad(x[:, :, ::2, ::2], self._padding)


class ProjectionShortcut(nn.Sequential):
    """Option B: a 1x1 convolution of stride 2 and batch norm."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__(nn.Conv2d(before, width, 1, stride=2, bias=False), nn.BatchNorm2d(width))
