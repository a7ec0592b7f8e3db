"""`cnn`: a plain convolutional network, small enough for a CPU; the default reference classifier.

Blocks of 3x3 convolution, batch norm (Ioffe and Szegedy, arXiv:1502.03167), 2x2 max pooling (not in the
last) and ReLU, which commutes with max pooling and comes after it, on a quarter of the numbers; then global
average pooling (Lin et al., arXiv:1312.4400) and one linear layer. It follows no single paper: with widths
32, 64, 128 it has 94,762 parameters at ten classes. The other architectures, `s3` and `s4`, are those of two
source papers: `_plain_cnns.py`.
"""

import torch
from torch import nn

from genbench_classifiers._plain_cnns import s3_cnn, s4_cnn
from genbench_classifiers._shared import BuiltIn, Network, PooledHead, kaiming_init
from genbench_classifiers.configs.cnn import CnnConfig


class Cnn(BuiltIn):
    """Builds a small CNN."""

    config: CnnConfig

    def fresh(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return a network of the configured architecture.

        Raises:
            UsageError: The image is too small for it.
        """
        self.config.check_images(image_shape)
        if self.config.architecture == "s3":
            return s3_cnn(image_shape, num_classes)
        if self.config.architecture == "s4":
            return s4_cnn(image_shape, outputs=1 if num_classes == 2 else num_classes)
        widths = self.config.widths
        return CnnNetwork(image_shape[0], widths, num_classes, self.config.dropout)


class CnnNetwork(Network):
    """Convolution blocks and a pooled head.

    Args:
        channels: Channels of the image.
        widths: Output channels of each block.
        num_classes: Logits.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], num_classes: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for position, width in enumerate(widths):
            before = widths[position - 1] if position else channels
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
            layers += [nn.MaxPool2d(2)] if position < len(widths) - 1 else []
            layers += [nn.ReLU(inplace=True)]
        self.blocks = nn.Sequential(*layers)
        self.head = PooledHead(widths[-1], num_classes, dropout)
        kaiming_init(self)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images `float [n, C, H, W]` to maps `float [n, widths[-1], h, w]`."""
        maps: torch.Tensor = self.blocks(x)
        return maps

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool maps and return logits, or with `pre_logits` the pooled features."""
        logits: torch.Tensor = self.head(x, pre_logits)
        return logits
