"""Training images on the device, and batches of them: shifted, mirrored and normalised without a Python loop.

Pixels stay `uint8` in one NHWC tensor with a border of zeros; a batch is one `index_select` whose indices
hold the shift and the mirror, then one multiply and one add in place. What happens to an image depends on
(seed, image, visit) alone, so that paired arms see the same augmentation.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from genbench.images import RESIDENT_SHARE, ImageStatistics, LabelledImages, memory_limit_bytes
from genbench.seeding import counter_bits, derive_seed
from genbench.training.augment import POLICIES, apply_policy
from genbench.training.order import Draw


class Augmentation(NamedTuple):
    """What is done to training images on the fly, real and synthetic alike.

    Attributes:
        level: `off`, `standard` (shift and flip), or one of `POLICIES`, which are applied after `standard`.
        shift_pixels: Largest shift in pixels, in each direction.
        flip: Whether half of the images are mirrored.
    """

    level: str
    shift_pixels: int
    flip: bool


class Batch(NamedTuple):
    """One training batch.

    Attributes:
        images: `float32 [B, 3, H, W]`, normalised, channels last.
        targets: Class of each image: `int64 [B]`.
        other_targets: Class of the patch pasted into each image: `int64 [B]`.
        weight: Share of each image that shows `targets`: `float32 [B]`; None when nothing was pasted.
    """

    images: torch.Tensor
    targets: torch.Tensor
    other_targets: torch.Tensor
    weight: torch.Tensor | None

    def parts(self, size: int) -> "Iterator[Batch]":
        """Yield the batch in parts of at most `size` images."""
        for start in range(0, len(self.targets), size):
            here = slice(start, start + size)
            weight = None if self.weight is None else self.weight[here]
            yield Batch(self.images[here], self.targets[here], self.other_targets[here], weight)


class TrainingData:
    """Real and synthetic images as one numbered set: real rows first.

    Args:
        real: Real images of this arm.
        synthetic: Synthetic images, or None.
        identities: A number per row by which the augmentation stream knows the image: `int64 [rows]`.
        statistics: What pixels are normalised with.
        augmentation: What is done on the fly.
        device: Where the pixels and the batches live.
        seed: Training seed.
    """

    def __init__(
        self,
        real: LabelledImages,
        synthetic: LabelledImages | None,
        *,
        identities: torch.Tensor,
        statistics: ImageStatistics,
        augmentation: Augmentation,
        device: str,
        seed: int,
    ) -> None:
        parts = [part for part in (real, synthetic) if part is not None and len(part)]
        self.real_rows = len(real)
        self.synthetic_rows = len(synthetic) if synthetic is not None else 0
        self.image_shape = real.image_shape
        self._augmentation = augmentation
        self._border = 0 if augmentation.level == "off" else augmentation.shift_pixels
        self._device = device
        self._seeds = {name: derive_seed(seed, "augment", name) for name in ("shift", "flip", "strong")}
        self._labels = torch.from_numpy(np.concatenate([part.labels for part in parts])).to(device)
        self._identities = identities.to(device)
        self._parts = parts
        self._resident = self._all_padded() if self._fits() else None
        _, height, width = self.image_shape
        repeats = height * width
        std = torch.tensor(statistics.std, dtype=torch.float32)
        mean = torch.tensor(statistics.mean, dtype=torch.float32)
        self._scale = (1 / 255 / std).repeat(repeats)[None].to(device)
        self._shift = (-mean / std).repeat(repeats)[None].to(device)
        self._rows_of_pixels = torch.arange(height, device=device)
        self._columns_of_pixels = torch.arange(width, device=device)

    def batch(self, draw: Draw) -> Batch:
        """Return the images of one draw, augmented and normalised."""
        rows = draw.rows.to(self._device, non_blocking=True)
        visits = draw.visits.to(self._device, non_blocking=True)
        identities, targets = self._identities[rows], self._labels[rows]
        pixels = self._gather(draw.rows, rows, identities, visits)
        other, weight = targets, None
        policy = POLICIES.get(self._augmentation.level)
        if policy is not None:
            pixels, pasted, weight = apply_policy(policy, pixels, self._seeds["strong"], identities, visits)
            other = targets if weight is None else targets[pasted]
        flat = pixels.reshape(len(rows), -1).float().mul_(self._scale).add_(self._shift)
        images = flat.view(len(rows), *pixels.shape[1:]).permute(0, 3, 1, 2)
        return Batch(images, targets, other, weight)

    def _gather(
        self, host_rows: torch.Tensor, rows: torch.Tensor, identities: torch.Tensor, visits: torch.Tensor
    ) -> torch.Tensor:
        """Cut the shifted, mirrored window out of each padded image: `uint8 [B, H, W, 3]`."""
        _, height, width = self.image_shape
        source, places = self._resident, rows
        if source is None:
            source, places = self._padded(host_rows), torch.arange(len(rows), device=self._device)
        top, left, mirrored = self._offsets(identities, visits)
        y = self._rows_of_pixels + top[:, None]
        x = torch.where(mirrored[:, None], width - 1 - self._columns_of_pixels, self._columns_of_pixels)
        x = x + left[:, None]
        _, padded_height, padded_width, _ = source.shape
        index = (places[:, None] * padded_height + y)[:, :, None] * padded_width + x[:, None, :]
        return source.view(-1, 3).index_select(0, index.view(-1)).view(len(rows), height, width, 3)

    def _offsets(
        self, identities: torch.Tensor, visits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw each image's shift and mirror from (seed, image, visit)."""
        choices = 2 * self._border + 1
        bits = counter_bits(self._seeds["shift"], identities, visits)
        top, left = bits % choices, (bits // choices) % choices
        if self._augmentation.level == "off" or not self._augmentation.flip:
            return top, left, torch.zeros_like(top, dtype=torch.bool)
        return top, left, (counter_bits(self._seeds["flip"], identities, visits) >> 40) % 2 == 1

    def _fits(self) -> bool:
        _, height, width = self.image_shape
        rows = self.real_rows + self.synthetic_rows
        size = rows * (height + 2 * self._border) * (width + 2 * self._border) * 3
        return size <= resident_limit_bytes(self._device)

    def _all_padded(self) -> torch.Tensor:
        """Bring every image to the device at once: `uint8 [rows, H + 2b, W + 2b, 3]`."""
        chunks = [self._pad(chunk) for part in self._parts for chunk in part.batches(4096)]
        return torch.cat(chunks)

    def _padded(self, rows: torch.Tensor) -> torch.Tensor:
        """Read some rows, from disk if need be: `uint8 [B, H + 2b, W + 2b, 3]`."""
        pixels = torch.empty(len(rows), *self.image_shape, dtype=torch.uint8)
        synthetic = rows >= self.real_rows
        pixels[~synthetic] = self._parts[0].batch(rows[~synthetic])
        if bool(synthetic.any()):
            pixels[synthetic] = self._parts[-1].batch(rows[synthetic] - self.real_rows)
        return self._pad(pixels)

    def _pad(self, pixels: torch.Tensor) -> torch.Tensor:
        border = self._border
        last = pixels.to(self._device).permute(0, 2, 3, 1)
        return torch.nn.functional.pad(last, (0, 0, border, border, border, border)).contiguous()


def resident_limit_bytes(device: str) -> int:
    """Return how large a set may be to be held on the device; larger ones are read batch by batch.

    The batches are the same either way.
    """
    if device.startswith("cuda") and "GENBENCH_RESIDENT_MIB" not in os.environ:
        return int(torch.cuda.get_device_properties(device).total_memory * RESIDENT_SHARE)
    return memory_limit_bytes()
