"""Training images on the device, and batches of them: shifted, mirrored and normalised without a Python loop.

Pixels stay `uint8` in one NHWC tensor with a border of zeros; a batch is one `index_select` whose indices
hold the shift and the mirror, then one multiply and one add in place. What happens to an image depends on
(seed, image, visit) alone, so that paired arms see the same augmentation.
"""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from genbench.images import RESIDENT_SHARE, ImageStatistics, LabelledImages, memory_limit_bytes
from genbench.seeding import counter_bits, derive_seed
from genbench.training.augment import POLICIES, apply_policy, draw_for_policy
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


class Drawn(NamedTuple):
    """Drawn images and what is done to each, on the device: `[B]`, or `[steps, B]` of consecutive steps.

    Attributes:
        host_rows: Row of each image, in host memory: `int64`.
        rows: The same on the device.
        identities: Number by which the augmentation knows the image: `int64`.
        visits: How often it was drawn before: `int64`.
        targets: Its class: `int64`.
        top: Row of the padded image where its window begins: `int64`; `left`: its column.
        mirrored: Whether it is mirrored: `bool`.
        policy: What the policy of `augment` does to it: `float32 [rows, B]`, or `[steps, rows, B]`.
    """

    host_rows: torch.Tensor
    rows: torch.Tensor
    identities: torch.Tensor
    visits: torch.Tensor
    targets: torch.Tensor
    top: torch.Tensor
    left: torch.Tensor
    mirrored: torch.Tensor
    policy: torch.Tensor

    def at(self, place: int) -> "Drawn":
        """Return one of several steps."""
        return Drawn(*(part[place] for part in self))

    def select(self, place: torch.Tensor) -> "Drawn":
        """Return one of several steps, whose number lies on the device: `int64 [1]`."""
        return Drawn(*(part.index_select(0, place)[0] for part in self))

    def resident(self) -> "Drawn":
        """Return the same without host memory: resident images are found by `rows` alone."""
        return self._replace(host_rows=self.rows)


class Batch(NamedTuple):
    """One training batch, or with another dimension in front of all, those of several trainings.

    Attributes:
        images: `float32 [B, 3, H, W]`, normalised, channels last.
        targets: Class of each image: `int64 [B]`.
        other_targets: Class of the image mixed into each, by CutMix or mixup: `int64 [B]`.
        weight: Share of each image that shows `targets`: `float32 [B]`; None when nothing was mixed in.
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
        self._policy = POLICIES.get(augmentation.level)
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

    @property
    def resident_bytes(self) -> int:
        """How much of the device's memory the images hold; 0 if they are read batch by batch."""
        return 0 if self._resident is None else self._resident.nbytes

    def batch(self, draw: Draw) -> Batch:
        """Return the images of one draw, augmented and normalised."""
        return self.make(self.prepare(draw))

    def prepare(self, draw: Draw) -> Drawn:
        """Settle what is done to each drawn image, for one step or many: the only copy to the device."""
        rows = draw.rows.to(self._device, non_blocking=True)
        visits = draw.visits.to(self._device, non_blocking=True)
        identities = self._identities[rows]
        offsets = self._offsets(identities, visits)
        policy = self._policy_draws(identities, visits)
        return Drawn(draw.rows, rows, identities, visits, self._labels[rows], *offsets, policy)

    def make(self, drawn: Drawn) -> Batch:
        """Return the batch of one step."""
        pixels = self._gather(drawn)
        other, weight = drawn.targets, None
        if self._policy is not None:
            pixels, pasted, weight = apply_policy(self._policy, pixels, drawn.policy)
            other = other if weight is None else other[pasted]
        return Batch(self._normalised(pixels), drawn.targets, other, weight)

    def _gather(self, drawn: Drawn) -> torch.Tensor:
        """Cut the shifted, mirrored window out of each padded image: `uint8 [B, H, W, 3]`."""
        source, places = self._resident, drawn.rows
        if source is None:
            places = torch.arange(len(drawn.rows), device=self._device)
            source = self._padded(drawn.host_rows)
        index = self._windows(places, drawn)
        return source.view(-1, 3).index_select(0, index.view(-1)).view(*index.shape, 3)

    def _windows(self, places: torch.Tensor, drawn: Drawn) -> torch.Tensor:
        """Number the pixels of each image's window in the padded images: `int64 [..., B, H, W]`."""
        _, height, width = self.image_shape
        y = self._rows_of_pixels + drawn.top[..., None]
        mirrored = drawn.mirrored[..., None]
        x = torch.where(mirrored, width - 1 - self._columns_of_pixels, self._columns_of_pixels)
        x = x + drawn.left[..., None]
        lines = places[..., None] * (height + 2 * self._border) + y
        return lines[..., None] * (width + 2 * self._border) + x[..., None, :]

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scale and shift pixels: `uint8 [..., H, W, 3]` to `float32 [..., 3, H, W]`."""
        flat = pixels.view(-1, self._scale.numel()).float().mul_(self._scale).add_(self._shift)
        return flat.view(pixels.shape).movedim(-1, -3)

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

    def _policy_draws(self, identities: torch.Tensor, visits: torch.Tensor) -> torch.Tensor:
        """Settle what the policy does; without one, nothing: `float32 [..., 0, B]`."""
        if self._policy is not None:
            _, height, width = self.image_shape
            return draw_for_policy(self._policy, self._seeds["strong"], identities, visits, height, width)
        return torch.empty(*identities.shape[:-1], 0, identities.shape[-1], device=identities.device)

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


class StackedData:
    """The images of several trainings that differ in seed and synthetic images, drawn side by side.

    Args:
        parts: Of the same image size and augmentation.

    Attributes:
        resident: Whether the images of all lie on the device.
    """

    def __init__(self, parts: Sequence[TrainingData]) -> None:
        self._parts = parts
        self.resident = all(part.resident_bytes for part in parts)
        self._apart = any(part._resident is None or part._policy is not None for part in parts)

    def prepare(self, draws: Sequence[Draw]) -> Drawn:
        """Settle what is done to each drawn image: `[steps, trainings, B]`."""
        found = [part.prepare(draw) for part, draw in zip(self._parts, draws, strict=True)]
        return Drawn(*(torch.stack(columns, dim=1) for columns in zip(*found, strict=True)))

    def make(self, drawn: Drawn) -> Batch:
        """Return the batches of one step: images `float32 [trainings, B, 3, H, W]`."""
        if self._apart:
            batches = [part.make(drawn.at(place)) for place, part in enumerate(self._parts)]
            weight = [batch.weight for batch in batches if batch.weight is not None]
            images, targets, others = (torch.stack(list(c)) for c in list(zip(*batches, strict=True))[:3])
            return Batch(images, targets, others, torch.stack(weight) if weight else None)
        one = self._parts[0]
        index = one._windows(drawn.rows, drawn)
        pixels = torch.empty(*index.shape, 3, dtype=torch.uint8, device=index.device)
        for place, part in enumerate(self._parts):
            assert part._resident is not None
            source, window = part._resident.view(-1, 3), index[place].view(-1)
            torch.index_select(source, 0, window, out=pixels[place].view(-1, 3))
        return Batch(one._normalised(pixels), drawn.targets, drawn.targets, None)


def resident_limit_bytes(device: str) -> int:
    """Return how large a set may be to be held on the device; larger ones are read batch by batch.

    The batches are the same either way.
    """
    if device.startswith("cuda") and "GENBENCH_RESIDENT_MIB" not in os.environ:
        return int(torch.cuda.get_device_properties(device).total_memory * RESIDENT_SHARE)
    return memory_limit_bytes()
