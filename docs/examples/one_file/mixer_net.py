"""A classifier in one file: an MLP-Mixer. `genbench run --plugin mixer_net.py -g classical -c mixer`."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn

import genbench
from genbench.errors import UsageError
from genbench.protocols import Classifier, ClassifierConfig, TrainRecipe


class MixerConfig(ClassifierConfig):
    """Options of `mixer`. A preset may set some entries of the recipe: the others keep their defaults."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"width": 16, "depth": 1, "recipe": {"epochs": 1}},
        "paper": {"width": 512, "depth": 8, "recipe": {"epochs": 300, "warmup_fraction": 0.03}},
    }

    patch_pixels: int = Field(default=2, ge=1, le=64, description="side of a patch")
    width: int = Field(default=64, ge=4, le=4096, description="features of a patch")
    depth: int = Field(default=2, ge=1, le=64, description="mixer layers")
    recipe: TrainRecipe = Field(
        default=TrainRecipe(optimizer="adamw", learning_rate=2e-3, weight_decay=0.05, epochs=20),
        description="how it is trained",
    )


class Mixer(Classifier):
    """Tolstikhin et al., "MLP-Mixer", arXiv:2105.01601, with one hidden width for both kinds of layers."""

    config: MixerConfig

    def build(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return the network.

        Raises:
            UsageError: The image is not made of whole patches.
        """
        side, patch = image_shape[1], self.config.patch_pixels
        if side % patch:
            raise UsageError(f"mixer: images of {side} pixels are not made of patches of {patch}")
        return MixerNetwork(self.config, (side // patch) ** 2, num_classes)


class MixerNetwork(nn.Module):
    """`float [n, 3, H, W]` to logits, with timm's two halves."""

    def __init__(self, config: MixerConfig, patches: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, config.width, config.patch_pixels, stride=config.patch_pixels)
        self.layers = nn.Sequential(*(Layer(patches, config.width) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of each patch: `float [n, patches, width]`."""
        features: torch.Tensor = self.norm(self.layers(self.stem(x).flatten(2).transpose(1, 2)))
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return logits, or, with `pre_logits`, the features before the last layer: `float [n, width]`."""
        features = x.mean(dim=1)
        if pre_logits:
            return features
        logits: torch.Tensor = self.head(features)
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.forward_head(self.forward_features(x))


class Layer(nn.Module):
    """Mixes patches, then features, each with a shortcut."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.of_patches = nn.Sequential(
            nn.Linear(patches, 2 * width), nn.GELU(), nn.Linear(2 * width, patches)
        )
        self.of_features = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[n, patches, width]` to the same shape."""
        x = x + self.of_patches(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        result: torch.Tensor = x + self.of_features(self.norms[1](x))
        return result


@genbench.hookimpl
def genbench_classifiers() -> Sequence[genbench.ComponentSpec]:
    """Register `mixer`."""
    return [
        genbench.ComponentSpec(
            name="mixer",
            target="mixer_net:Mixer",
            config="mixer_net:MixerConfig",
            summary="MLP-Mixer",
            paper="arXiv:2105.01601",
        )
    ]
