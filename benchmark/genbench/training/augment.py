"""What a mix's `augment` adds to the standard augmentation, batched.

* `randaugment` (Cubuk et al., arXiv:1909.13719): two operations per image; ours draws from twelve that need
  no histogram (Equalize and AutoContrast are left out, Cutout is CutMix's business), each at a magnitude
  drawn uniformly up to the paper's level 9 of 10.
* `trivialaugment` (Mueller and Hutter, arXiv:2103.10158): one of the same operations, at any magnitude.
* `colour`: brightness, contrast and saturation, each changed by up to 40 %, one after another.
* `shear_zoom`: S4's: a shear of at most 0.2 degrees (Keras counts so), each axis zoomed by 0.8 to 1.2.
* `mixup` (Zhang et al., arXiv:1710.09412) and `cutmix` (Yun et al., arXiv:1905.04899, Sec. 3.2) with the
  batch's next image; the share is uniform, that is Beta(1, 1); labels are mixed alike.
* `strong`: RandAugment, then CutMix with probability one half.

Geometric operations of one image are composed into one affine map and resampled once.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from genbench.seeding import counter_uniform

OPERATIONS = (
    "identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y",
    "brightness", "contrast", "saturation", "posterize", "solarize", "invert",
)  # fmt: skip
_ANY = range(len(OPERATIONS))
_GEOMETRIC = frozenset(range(1, 6))  # places of rotate to translate_y
_COLOURS = tuple(range(place, place + 1) for place in range(6, 9))  # brightness, contrast, saturation
_SHEAR_DEGREES, _ZOOM = 0.2, 0.2


@dataclass(frozen=True)
class Policy:
    """What happens to each image after the standard augmentation.

    Attributes:
        turns: For each operation in turn, which of `OPERATIONS` it is drawn from.
        largest: Its largest magnitude, as a share of the full range.
        zoom: Whether the image is sheared and zoomed as S4 does.
        mixing: How it is mixed with the batch's next image.
        mixing_probability: How often.
    """

    turns: tuple[range, ...] = ()
    largest: float = 1.0
    zoom: bool = False
    mixing: Literal["none", "cutmix", "mixup"] = "none"
    mixing_probability: float = 1.0

    @property
    def counters(self) -> tuple[int, ...]:
        """The last counters of an image's draws, in the order in which `apply_policy` takes them.

        Three for each turn (which, how much, which sign), four for mixing, three for shear and zoom.
        """
        turns = tuple(range(3 * len(self.turns)))
        mixing = () if self.mixing == "none" else tuple(range(100, 104))
        return turns + mixing + (tuple(range(104, 107)) if self.zoom else ())


POLICIES: Mapping[str, Policy] = {
    "colour": Policy(_COLOURS, largest=0.4),
    "shear_zoom": Policy(zoom=True),
    "randaugment": Policy((_ANY, _ANY), largest=0.9),
    "trivialaugment": Policy((_ANY,)),
    "mixup": Policy(mixing="mixup"),
    "cutmix": Policy(mixing="cutmix"),
    "strong": Policy((_ANY, _ANY), largest=0.9, mixing="cutmix", mixing_probability=0.5),
}


def draw_for_policy(
    policy: Policy, seed: int, identities: torch.Tensor, visits: torch.Tensor
) -> torch.Tensor:
    """Draw all that a policy needs from (seed, image, visit): `float32 [..., draws, B]`, in [0, 1).

    For one batch or for many at once, with the same bits: a batch then launches its arithmetic alone.

    Args:
        policy: One of `POLICIES`.
        seed: Seed of the stream.
        identities: Number of each image: `int64 [..., B]`.
        visits: How often each was drawn before: of the same shape.
    """
    counters = torch.tensor(policy.counters, dtype=torch.int64).to(identities.device)
    return counter_uniform(seed, identities[..., None, :], visits[..., None, :], counters[:, None])


def apply_policy(
    policy: Policy, pixels: torch.Tensor, uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Apply a policy's operations to each image, then mix within the batch.

    Args:
        policy: One of `POLICIES`.
        pixels: `uint8 [B, H, W, 3]`.
        uniforms: What `draw_for_policy` drew for these images: `float32 [draws, B]`.

    Returns:
        Pixels `uint8 [B, H, W, 3]`; the row that each image was mixed with `int64 [B]`; the share of the
        image that is its own `float32 [B]`, or None if the policy mixes nothing.
    """
    images = pixels.permute(0, 3, 1, 2).float() / 255
    affine = torch.eye(3, device=pixels.device).expand(len(pixels), 3, 3)
    for turn, among in enumerate(policy.turns):
        which, how_much, side = uniforms[3 * turn : 3 * turn + 3].unbind()
        choice = among.start + (which * len(among)).long()
        level = policy.largest * how_much
        sign = torch.where(side < 0.5, -1.0, 1.0)
        images = _photometric(images, choice, level, sign, among)
        if _GEOMETRIC & set(among):
            affine = affine @ _geometric(choice, level * sign)
    draws = uniforms[3 * len(policy.turns) :].unbind()
    if policy.zoom:
        affine = _sheared_and_zoomed(draws[-3:])
    images = _resample(images, affine) if policy.turns or policy.zoom else images
    mixed, weight = _mixed(policy, images, draws)
    partner = torch.roll(torch.arange(len(pixels), device=pixels.device), -1)
    return (mixed * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous(), partner, weight


def _sheared_and_zoomed(draws: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return each image's affine map: `float32 [B, 3, 3]`."""
    angle, *zooms = (2 * draw - 1 for draw in draws)
    angle = angle * math.radians(_SHEAR_DEGREES)
    maps = torch.eye(3, device=angle.device).repeat(len(angle), 1, 1)
    maps[:, 0, 0] = torch.cos(angle) * (1 + _ZOOM * zooms[0])
    maps[:, 1, 0] = -torch.sin(angle) * (1 + _ZOOM * zooms[0])
    maps[:, 1, 1] = 1 + _ZOOM * zooms[1]
    return maps


def _mixed(
    policy: Policy, images: torch.Tensor, draws: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Mix each image with the next one; return images and own shares."""
    if policy.mixing == "none":
        return images, None
    chosen = draws[0] < policy.mixing_probability
    if policy.mixing == "cutmix":
        return _cutmix(images, chosen, draws)
    share = torch.where(chosen, draws[1], torch.ones_like(draws[1]))
    own = share[:, None, None, None]
    return own * images + (1 - own) * torch.roll(images, -1, dims=0), share


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
    images: torch.Tensor,
    choice: torch.Tensor,
    level: torch.Tensor,
    sign: torch.Tensor,
    among: range = _ANY,
) -> torch.Tensor:
    """Apply each image's colour operation, if it drew one: `float32 [B, 3, H, W]`, 0-1.

    Every operation that can have been drawn is computed for all images, and taken where it was.
    """
    factor = (1 + level * sign)[:, None, None, None]
    grey = images.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    depth = torch.exp2((8 - (level * 4).round()).clamp(min=4))[:, None, None, None]
    threshold = (1 - level)[:, None, None, None]
    operations: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "brightness": lambda x: x * factor,
        "contrast": lambda x: mean + (x - mean) * factor,
        "saturation": lambda x: grey + (x - grey) * factor,
        "posterize": lambda x: torch.floor(x * 255 * depth / 256) / depth * 256 / 255,
        "solarize": lambda x: torch.where(x >= threshold, 1 - x, x),
        "invert": lambda x: 1 - x,
    }
    changed = images
    for place in among:
        operation = operations.get(OPERATIONS[place])
        if operation is not None:
            changed = torch.where((choice == place)[:, None, None, None], operation(images), changed)
    return changed.clamp(0, 1)


def _cutmix(
    images: torch.Tensor, chosen: torch.Tensor, draws: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a rectangle of the next image into each chosen one; return images and own shares."""
    _, _, height, width = images.shape
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
