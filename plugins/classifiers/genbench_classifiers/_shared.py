"""What the built-in networks share: timm's two halves, and their initial weights."""

from abc import ABC, abstractmethod

import torch
from torch import nn

from genbench.protocols import Classifier
from genbench.training import head_parameters
from genbench_classifiers._checkpoints import Tensors, load_checkpoint
from genbench_classifiers.configs._weights import Statistics, WeightsConfig


class BuiltIn(Classifier):
    """A classifier whose network may start from a checkpoint."""

    config: WeightsConfig

    @abstractmethod
    def fresh(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return a network with fresh weights; otherwise like `build`."""

    def build(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return a network with fresh weights, or with those of the configured checkpoint.

        Raises:
            UsageError: The images do not suit it.
            DataError: The checkpoint cannot be read, or is of another network.
        """
        network = self.fresh(num_classes, image_shape)
        for path in self.config.source_files().values():
            head = head_parameters(network, image_shape) if self.config.fresh_head else frozenset[str]()
            name = type(self.config).__name__.removesuffix("Config").lower()
            load_checkpoint(network, path, f"this {name}", self.renamed, head, self.advice)
        return network

    def normalisation(self) -> Statistics | None:
        """Return what the options say that the weights expect; None is what train has."""
        return self.config.statistics

    def renamed(self, tensors: Tensors) -> Tensors:
        """Map names of other implementations of the same architecture to those of the network."""
        return tensors

    def advice(self, tensors: Tensors) -> str:
        """Say which options of this classifier a checkpoint that does not fit looks like."""
        return ""


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
