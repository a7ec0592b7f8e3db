"""What the built-in networks share: timm's two halves, and their initial weights."""

from abc import ABC, abstractmethod

import torch
from torch import nn


class Network(nn.Module, ABC):
    """A network in two halves, named as in timm."""

    @abstractmethod
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images `float [n, C, H, W]` to feature maps, or to features `float [n, D]`."""

    @abstractmethod
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Map what `forward_features` returned to logits `[n, classes]`, or with `pre_logits` to `[n, D]`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images `float [n, C, H, W]` to logits `float [n, classes]`."""
        return self.forward_head(self.forward_features(x))


class PooledHead(nn.Module):
    """Global average pooling, dropout and one linear layer: maps of any height and width."""

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, maps: torch.Tensor, pre_logits: bool) -> torch.Tensor:
        """Map `float [n, channels, h, w]` to logits, or with `pre_logits` to `float [n, channels]`."""
        pooled: torch.Tensor = self.dropout(maps.mean(dim=(2, 3)))
        if pre_logits:
            return pooled
        logits: torch.Tensor = self.linear(pooled)
        return logits


def kaiming_init(network: nn.Module) -> None:
    """Draw weights for ReLU networks from torch's global generator; biases start at 0.

    He et al., arXiv:1502.01852: the backward case (Eq. 14) for convolutions, the forward case (Eq. 10) for
    linear layers. Batch norms keep weight 1 and bias 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
