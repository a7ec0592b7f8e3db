"""A dataset in one file, made from options alone. `--plugin shapes_data.py -d shapes`."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

import genbench
from genbench import seeding
from genbench.images import RealImages, TensorImages
from genbench.protocols import Dataset, DatasetConfig, RunContext

_CLASSES = ("disc", "square", "ring")


class ShapesConfig(DatasetConfig):
    """Options of `shapes`. It reads no file: its options and the spec's version are the data's identity."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"smoke": {"train_images": 300, "test_images": 60}}

    size: int = Field(default=16, ge=8, le=256, description="height and width in pixels")
    train_images: int = Field(
        default=1200, ge=30, description="images of train, val and the reserve together"
    )
    test_images: int = Field(default=600, ge=30, description="images of test, and of the shift `noisy`")
    noise: float = Field(default=0.15, ge=0, le=1, description="standard deviation of the noise, of 0-1")
    augment_flip: bool = Field(default=True, description="a mirrored shape keeps its name")


class Shapes(Dataset):
    """Discs, squares and rings of any place, size and colour, on any ground."""

    def __init__(self, config: ShapesConfig) -> None:
        self._config = config

    def load(self, ctx: RunContext) -> RealImages:
        """Draw train, test, and `noisy`: a test set of its own with twice the noise."""
        config = self._config
        return RealImages(
            train=self._drawn("train", config.train_images, config.noise),
            test=self._drawn("test", config.test_images, config.noise),
            shifts={"noisy": self._drawn("noisy", config.test_images, 2 * config.noise)},
        )

    def _drawn(self, split: str, count: int, noise: float) -> TensorImages:
        """Draw classes in turn; the seed is the split's name, the same in every run and on every machine."""
        rng, size = seeding.generator("shapes", split), self._config.size
        labels = torch.arange(count) % len(_CLASSES)
        radius = size * (0.2 + 0.15 * torch.rand(count, 1, 1, generator=rng))
        place = size * (0.4 + 0.2 * torch.rand(count, 2, 1, 1, generator=rng))
        grid = torch.arange(size) + 0.5
        down, across = (grid[:, None] - place[:, 0]).abs(), (grid - place[:, 1]).abs()
        round_distance, square_distance = (down**2 + across**2).sqrt(), torch.maximum(down, across)
        inside = torch.where(labels[:, None, None] == 1, square_distance, round_distance) <= radius
        hole = (labels[:, None, None] == 2) & (round_distance <= radius / 2)
        shape = (inside & ~hole)[:, None]
        colours = torch.rand(2, count, 3, 1, 1, generator=rng)
        pixels = torch.where(shape, colours[0], colours[1])
        pixels = pixels + noise * torch.randn(pixels.shape, generator=rng)
        return TensorImages((255 * pixels.clamp(0, 1)).byte(), labels.numpy().astype(np.int64), _CLASSES)


@genbench.hookimpl
def genbench_datasets() -> Sequence[genbench.ComponentSpec]:
    """Register `shapes`."""
    return [
        genbench.ComponentSpec(
            name="shapes",
            target="shapes_data:Shapes",
            config="shapes_data:ShapesConfig",
            summary="discs, squares and rings, drawn anew from names",
        )
    ]
