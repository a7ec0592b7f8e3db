"""`mlp`: fully connected layers on raw pixels, the classifier that knows nothing of images.

ReLU and, if asked for, dropout (Srivastava et al., JMLR 15, 2014) after every hidden layer; no normalisation.
"""

import torch
from torch import nn

from genbench_classifiers._shared import BuiltIn, Network, kaiming_init
from genbench_classifiers.configs.mlp import MlpConfig


class Mlp(BuiltIn):
    """Builds an MLP."""

    config: MlpConfig

    def fresh(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return a network whose penultimate features are its last hidden layer."""
        channels, height, width = image_shape
        return MlpNetwork(
            channels * height * width, self.config.hidden_widths, num_classes, self.config.dropout
        )


class MlpNetwork(Network):
    """Linear, ReLU and dropout per hidden width, then one linear layer.

    Args:
        inputs: Numbers per image.
        hidden_widths: Width of each hidden layer.
        num_classes: Logits.
        dropout: Share of hidden units dropped in training.
    """

    def __init__(self, inputs: int, hidden_widths: tuple[int, ...], num_classes: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for wide, narrow in zip((inputs, *hidden_widths), hidden_widths, strict=False):
            layers += [nn.Linear(wide, narrow), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear((inputs, *hidden_widths)[-1], num_classes)
        kaiming_init(self)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images `float [n, C, H, W]` to the last hidden layer `float [n, D]`."""
        features: torch.Tensor = self.hidden(x.flatten(1))
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Map features to logits; `pre_logits` returns them as they are."""
        if pre_logits:
            return x
        logits: torch.Tensor = self.head(x)
        return logits
