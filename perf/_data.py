"""Random images in the shape of CIFAR-10, as the engine takes them."""

import numpy as np
import torch

from genbench.images import TensorImages, statistics
from genbench.training import TrainingData
from genbench.training.data import Augmentation


def make_images(count: int) -> TensorImages:
    """Draw `count` images of ten classes."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return TensorImages(torch.from_numpy(pixels), rng.integers(0, 10, count), [str(n) for n in range(10)])


def make_data(
    images: TensorImages, device: str = "cpu", seed: int = 1, level: str = "standard"
) -> TrainingData:
    """Bring images to the device, with the standard augmentation of CIFAR-10, or one of `POLICIES`."""
    return TrainingData(
        images,
        None,
        identities=torch.arange(len(images)),
        statistics=statistics(images),
        augmentation=Augmentation(level, 4, True),
        device=device,
        seed=seed,
    )
