"""Logits and penultimate features of a trained network."""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from genbench.images import ImageStatistics, LabelledImages

BATCH_IMAGES = 256  # fixed: the last bits of a result depend on the batch's shape


class Outputs(NamedTuple):
    """What a network says: logits `float32 [N, classes]` and penultimate features `float32 [N, D]`."""

    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]


class NormalisedNetwork(nn.Module):
    """A network that takes pixels: `uint8 [n, 3, H, W]` to logits `float32 [n, classes]`."""

    def __init__(self, network: nn.Module, statistics: ImageStatistics) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(statistics.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(statistics.std)[:, None, None])

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Bring pixels to what the network was trained on: `float32 [n, 3, H, W]`."""
        scaled = (pixels.float() / 255 - cast("Any", self.mean)) / cast("Any", self.std)
        return cast("torch.Tensor", scaled.to(memory_format=torch.channels_last))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return cast("torch.Tensor", self.network(self.normalise(pixels))).float()

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map pixels `uint8 [n, 3, H, W]` to what timm's `forward_features` maps normalised ones to."""
        return cast("torch.Tensor", cast("Any", self.network).forward_features(self.normalise(pixels)))

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Map what `forward_features` returned to logits, or with `pre_logits` to features `[n, D]`."""
        return cast("torch.Tensor", cast("Any", self.network).forward_head(features, pre_logits=pre_logits))


@torch.inference_mode()
def predict(network: NormalisedNetwork, images: LabelledImages, precision: str, device: str) -> Outputs:
    """Run a network in evaluation mode over a set, in order."""
    return predict_batches(network, images.batches(BATCH_IMAGES), precision, device)


@torch.inference_mode()
def predict_batches(
    network: NormalisedNetwork, batches: Iterable[torch.Tensor], precision: str, device: str
) -> Outputs:
    """Run a network in evaluation mode over batches of pixels, `uint8 [n, 3, H, W]` each, in order."""
    inner = cast("Any", network.network)
    logits, features = [], []
    for pixels in batches:
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=precision == "bf16"):
            maps = inner.forward_features(network.normalise(pixels.to(device)))
            features.append(inner.forward_head(maps, pre_logits=True).float().cpu())
            logits.append(inner.forward_head(maps).float().cpu())
    return Outputs(torch.cat(logits).numpy(), torch.cat(features).numpy())
