"""The `strong` augmentation, batched: RandAugment-like operations, then CutMix.

RandAugment (Cubuk et al., arXiv:1909.13719) with two operations per image; ours draws from twelve that need
no histogram (Equalize and AutoContrast are left out, Cutout is CutMix's business), each at a magnitude drawn
uniformly up to the paper's level 9 of 10. Geometric operations of one image are composed into one affine
map and resampled once. CutMix (Yun et al., arXiv:1905.04899, Sec. 3.2) pastes, with probability one half, a
patch of the batch's next image; the area share is uniform, that is Beta(1, 1).
"""

import math

import torch
import torch.nn.functional as F

from genbench.seeding import counter_uniform

OPERATIONS = (
    "identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y",
    "brightness", "contrast", "saturation", "posterize", "solarize", "invert",
)  # fmt: skip
_OPERATIONS_PER_IMAGE = 2
_CUTMIX_PROBABILITY = 0.5


def strong_augmentation(
    pixels: torch.Tensor, seed: int, identities: torch.Tensor, visits: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Apply two random operations to each image, then CutMix within the batch.

    Args:
        pixels: `uint8 [B, H, W, 3]`.
        seed: Seed of the stream.
        identities: Number of each image: `int64 [B]`.
        visits: How often each was drawn before: `int64 [B]`.

    Returns:
        Pixels `uint8 [B, H, W, 3]`; the row whose patch each image received `int64 [B]`; the share of the
        image that is its own `float32 [B]`.
    """
    images = pixels.permute(0, 3, 1, 2).float() / 255
    affine = torch.eye(3, device=pixels.device).expand(len(pixels), 3, 3)
    for turn in range(_OPERATIONS_PER_IMAGE):
        choice = (counter_uniform(seed, identities, visits, 3 * turn) * len(OPERATIONS)).long()
        level = 0.9 * counter_uniform(seed, identities, visits, 3 * turn + 1)
        sign = torch.where(counter_uniform(seed, identities, visits, 3 * turn + 2) < 0.5, -1.0, 1.0)
        images = _photometric(images, choice, level, sign)
        affine = affine @ _geometric(choice, level * sign)
    images = _resample(images, affine)
    draws = [counter_uniform(seed, identities, visits, 100 + k) for k in range(4)]
    mixed, weight = _cutmix(images, draws)
    partner = torch.roll(torch.arange(len(pixels), device=pixels.device), -1)
    return (mixed * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous(), partner, weight


def _geometric(choice: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Return each image's affine map in normalised coordinates: `float32 [B, 3, 3]`; identity for others."""
    maps = torch.eye(3, device=amount.device).repeat(len(amount), 1, 1)

    def where(name: str) -> torch.Tensor:
        return choice == OPERATIONS.index(name)

    angle = torch.where(where("rotate"), amount * math.radians(30), torch.zeros_like(amount))
    maps[:, 0, 0] = maps[:, 1, 1] = torch.cos(angle)
    maps[:, 0, 1] = torch.where(where("shear_x"), amount * 0.3, -torch.sin(angle))
    maps[:, 1, 0] = torch.where(where("shear_y"), amount * 0.3, torch.sin(angle))
    maps[:, 0, 2] = torch.where(where("translate_x"), amount * 0.6, torch.zeros_like(amount))  # 30 % of width
    maps[:, 1, 2] = torch.where(where("translate_y"), amount * 0.6, torch.zeros_like(amount))
    return maps


def _resample(images: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    grid = F.affine_grid(affine[:, :2], list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _photometric(
    images: torch.Tensor, choice: torch.Tensor, level: torch.Tensor, sign: torch.Tensor
) -> torch.Tensor:
    """Apply each image's colour operation, if it drew one: `float32 [B, 3, H, W]`, 0-1."""
    factor = (1 + level * sign)[:, None, None, None]
    grey = images.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    depth = torch.exp2((8 - (level * 4).round()).clamp(min=4))[:, None, None, None]
    threshold = (1 - level)[:, None, None, None]
    results = {
        "brightness": images * factor,
        "contrast": mean + (images - mean) * factor,
        "saturation": grey + (images - grey) * factor,
        "posterize": torch.floor(images * 255 * depth / 256) / depth * 256 / 255,
        "solarize": torch.where(images >= threshold, 1 - images, images),
        "invert": 1 - images,
    }
    for name, result in results.items():
        images = torch.where((choice == OPERATIONS.index(name))[:, None, None, None], result, images)
    return images.clamp(0, 1)


def _cutmix(images: torch.Tensor, draws: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a rectangle of the next image into each that drew one; return images and own shares."""
    _, _, height, width = images.shape
    chosen = draws[0] < _CUTMIX_PROBABILITY
    side = torch.where(chosen, torch.sqrt(1 - draws[1]), torch.zeros_like(draws[1]))
    rows = torch.arange(height, device=images.device)[None]
    columns = torch.arange(width, device=images.device)[None]
    inside_rows = _inside(rows, draws[2] * height, side * height)
    inside_columns = _inside(columns, draws[3] * width, side * width)
    patch = inside_rows[:, :, None] & inside_columns[:, None, :]
    mixed = torch.where(patch[:, None], torch.roll(images, -1, dims=0), images)
    return mixed, 1 - patch.float().mean(dim=(1, 2))


def _inside(places: torch.Tensor, centre: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    return ((places + 0.5) - centre[:, None]).abs() < length[:, None] / 2
