"""The CNNs of two source papers: convolutions, max pooling, then dense layers on all that is left.

* `s3` stands for the "custom CNN" of the WPI report "Dreaming Data", which does not describe it: ours is
  LeNet-5 (LeCun et al., Proc. IEEE 86(11), 1998) with ReLU, max pooling and colour input, 62,006 parameters
  on 32x32 images of ten classes, a network known to land where the report does (54 % on CIFAR-10).
* `s4` is kyritzb/Synthetic-Data-Classification-Experiment (`main.ipynb`): [3x3 valid convolution, ReLU, max
  pooling, dropout 0.25] with 32, 64 and 128 filters, dense 128, ReLU, dropout 0.5, and one sigmoid unit:
  3,304,769 parameters on 128x128 images. With two classes the unit's output z becomes the logits (0, z):
  softmax and cross-entropy of these are its sigmoid and binary cross-entropy. Otherwise a logit per class:
  3,304,898 parameters for two, 129 more for each further class. Weights start as in Keras (Glorot and
  Bengio, AISTATS 2010, Eq. 16). Departure: Adam's epsilon is torch's, 1e-8 for Keras' 1e-7.
"""

import torch
import torch.nn.functional as F
from torch import nn

from genbench_classifiers._shared import Network, kaiming_init


class PlainCnn(Network):
    """Layers that end in the penultimate features, and a linear layer; one output stands for (0, z).

    Args:
        layers: Images `float [n, C, H, W]` to features `float [n, width]`.
        width: Numbers per feature vector.
        outputs: Outputs of the last layer.
    """

    def __init__(self, layers: nn.Sequential, width: int, outputs: int) -> None:
        super().__init__()
        self.layers = layers
        self.head = nn.Linear(width, outputs)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images `float [n, C, H, W]` to features `float [n, width]`."""
        features: torch.Tensor = self.layers(x)
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Map features to logits, at least two; `pre_logits` returns them as they are."""
        if pre_logits:
            return x
        logits: torch.Tensor = self.head(x)
        return F.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits


def s3_cnn(image_shape: tuple[int, int, int], num_classes: int) -> PlainCnn:
    """Build the network that stands for S3's; images have 16x16 pixels or more."""
    channels, *sides = image_shape
    layers: list[nn.Module] = []
    for before, width in ((channels, 6), (6, 16)):
        layers += [nn.Conv2d(before, width, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        sides = [(side - 4) // 2 for side in sides]
    layers += [nn.Flatten(), nn.Linear(16 * sides[0] * sides[1], 120), nn.ReLU(inplace=True)]
    layers += [nn.Linear(120, 84), nn.ReLU(inplace=True)]
    network = PlainCnn(nn.Sequential(*layers), 84, num_classes)
    kaiming_init(network)
    return network


def s4_cnn(image_shape: tuple[int, int, int], outputs: int) -> PlainCnn:
    """Build S4's network; images have 22x22 pixels or more."""
    channels, *sides = image_shape
    layers: list[nn.Module] = []
    for before, width in ((channels, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, width, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.25)]
        sides = [(side - 2) // 2 for side in sides]
    layers += [nn.Flatten(), nn.Linear(128 * sides[0] * sides[1], 128), nn.ReLU(inplace=True)]
    network = PlainCnn(nn.Sequential(*layers, nn.Dropout(0.5)), 128, outputs)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return network
