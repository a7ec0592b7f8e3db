"""`digits`: the embedded dataset, so that the first command works anywhere.

The test half of the UCI "Optical Recognition of Handwritten Digits" set, as scikit-learn ships it: 8x8
pixels, 17 grey levels, scaled here to 0-255 and repeated over three channels. There is no official split;
ours is stratified and drawn from a fixed name.
"""

from typing import Any

import numpy as np
import torch

from genbench.images import RealImages, Subset, TensorImages, stratified_choice, stratified_counts
from genbench.protocols import Dataset, RunContext
from genbench_datasets.configs import DigitsConfig

_GREY_LEVELS = 16


class Digits(Dataset):
    """Handwritten digits, ten classes."""

    def __init__(self, config: DigitsConfig) -> None:
        self._config = config

    def load(self, ctx: RunContext) -> RealImages:
        """Return the images, resized to `size`."""
        from sklearn.datasets import load_digits

        table: Any = load_digits()
        grey = torch.from_numpy(table.images / _GREY_LEVELS).float()[:, None]
        if self._config.size != grey.shape[-1]:
            grey = torch.nn.functional.interpolate(
                grey, size=self._config.size, mode="bilinear", antialias=True
            )
        pixels = (grey * 255).round().clamp(0, 255).byte().repeat(1, 3, 1, 1)
        images = TensorImages(pixels, table.target.astype(np.int64), [str(digit) for digit in range(10)])
        test_counts = stratified_counts(
            images.class_counts(), round(self._config.test_fraction * len(images))
        )
        test, train = stratified_choice(images.labels, test_counts, "digits", "test")
        return RealImages(train=Subset(images, train), test=Subset(images, test))
