"""What a mix's `augment` adds to the standard augmentation, batched on the device.

Each name means what it means in torchvision, and what `classical` of the same name freezes into its copies;
`operations.py` says how exactly the pixels agree.

* `randaugment` (Cubuk et al., arXiv:1909.13719) is torchvision's `RandAugment()`: two of 14 operations per
  image, at magnitude 9 of 0 to 30. `trivialaugment` (Mueller and Hutter, arXiv:2103.10158) is
  `TrivialAugmentWide()`: one of the same 14, at any of 31 magnitudes, over wider ranges; it shifts by up to
  32 pixels, whatever the image's size. Nearest neighbours, black from outside.
* `augmix` (Hendrycks et al., arXiv:1912.02781) is `AugMix()`: three chains of one to three of 13 operations
  at severity 3, bilinear, mixed with one another and with the image. The images alone: the paper's
  consistency loss (Jensen-Shannon) is not part of it, since arms would be trained by different losses.
* `colour` is `ColorJitter(0.4, 0.4, 0.4, 0.1)`: brightness, contrast, saturation and hue, in random order.
* `shear_zoom`: S4's: a shear of at most 0.2 degrees (Keras counts so), each axis zoomed by 0.8 to 1.2; black
  comes from outside, where Keras and `classical:shear_zoom` repeat the border.
* `mixup` (Zhang et al., arXiv:1710.09412) and `cutmix` (Yun et al., arXiv:1905.04899, Sec. 3.2) with the
  batch's next image; the share is uniform, that is Beta(1, 1); labels are mixed alike.
* `strong`: one operation of RandAugment at magnitude 5, then CutMix for half of the images: of the
  combinations of the two that were tried, the best on val of CIFAR-10 (docs/tuning/README.md).

A policy whose result changes gets another number in `recipe.POLICY_VERSIONS`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from genbench.seeding import counter_uniform
from genbench.training.operations import (
    AUGMIX,
    RANDAUGMENT,
    SETTINGS,
    TRIVIALAUGMENT_WIDE,
    Interpolation,
    Space,
    apply_operations,
    plain_settings,
    settings_table,
)

_SHEAR_DEGREES, _ZOOM = 0.2, 0.2
_JITTER: Mapping[str, float] = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
_CHAINS, _LONGEST, _SEVERITY = 3, 3, 3  # of AugMix
_MIXING, _SHEARING, _JITTERING, _CHAINING = (
    tuple(range(100, 104)),
    tuple(range(104, 107)),
    tuple(range(107, 112)),
    tuple(range(112, 119)),
)


@dataclass(frozen=True)
class Policy:
    """What happens to each image after the standard augmentation.

    Attributes:
        space: What operations are drawn from, with their magnitudes.
        turns: How many operations each image gets, one after another.
        level: At which magnitude of the space; None draws one of all for each operation.
        form: What is done in turns: `drawn` operations, ColorJitter's (`jitter`), or AugMix' chains of them
            (`chains`), whose magnitudes are drawn up to its severity.
        zoom: Whether the image is sheared and zoomed as S4 does.
        mixing: How it is mixed with the batch's next image.
        mixing_probability: How often.
    """

    space: Space | None = None
    turns: int = 0
    level: int | None = None
    form: Literal["drawn", "jitter", "chains"] = "drawn"
    zoom: bool = False
    mixing: Literal["none", "cutmix", "mixup"] = "none"
    mixing_probability: float = 1.0

    @property
    def names(self) -> frozenset[str]:
        """All operations that it can draw."""
        return frozenset(_JITTER if self.form == "jitter" else self.space.names if self.space else ())

    @property
    def interpolation(self) -> Interpolation:
        """How its geometric operations resample."""
        return "bilinear" if self.form == "chains" else "nearest"

    @property
    def all_turns(self) -> int:
        """Operations per image, those of all chains together."""
        return _CHAINS * _LONGEST if self.form == "chains" else self.turns

    @property
    def plain_counters(self) -> tuple[int, ...]:
        """The last counters of the draws that `apply_policy` takes as they are."""
        return (() if self.mixing == "none" else _MIXING) + (_SHEARING if self.zoom else ())

    @property
    def rows(self) -> int:
        """How many numbers per image `draw_for_policy` settles."""
        weights = _CHAINS + 1 if self.form == "chains" else 0
        return self.all_turns * SETTINGS + weights + len(self.plain_counters)


POLICIES: dict[str, Policy] = {
    "colour": Policy(turns=len(_JITTER), form="jitter"),
    "shear_zoom": Policy(zoom=True),
    "randaugment": Policy(RANDAUGMENT, turns=2, level=9),
    "trivialaugment": Policy(TRIVIALAUGMENT_WIDE, turns=1),
    "augmix": Policy(AUGMIX, form="chains"),
    "mixup": Policy(mixing="mixup"),
    "cutmix": Policy(mixing="cutmix"),
    "strong": Policy(RANDAUGMENT, turns=1, level=5, mixing="cutmix", mixing_probability=0.5),
}


# ---------------------------------------------------------------------------------------------- what is drawn


def draw_for_policy(
    policy: Policy, seed: int, identities: torch.Tensor, visits: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    """Settle all that a policy does to each image from (seed, image, visit): `float32 [..., policy.rows, B]`.

    For one batch or for many at once, with the same bits: a batch then launches its arithmetic alone.

    Args:
        policy: One of `POLICIES`.
        seed: Seed of the stream.
        identities: Number of each image: `int64 [..., B]`.
        visits: How often each was drawn before: of the same shape.
        height: Height of the images, in pixels.
        width: Their width.
    """

    def uniform(counters: Sequence[int]) -> torch.Tensor:
        last = torch.tensor(counters, dtype=torch.int64).to(identities.device)
        return counter_uniform(seed, identities[..., None, :], visits[..., None, :], last[:, None])

    parts = list[torch.Tensor]()
    if policy.form == "jitter":
        parts = [_jitter_settings(uniform(_JITTERING), height, width).flatten(-3, -2)]
    elif policy.space is not None:
        settings = _drawn_settings(policy, policy.space, uniform(range(3 * policy.all_turns)), height, width)
        if policy.form == "chains":
            settings, weights = _chained(settings, uniform(_CHAINING), height, width)
            parts.append(weights)
        parts.insert(0, settings.flatten(-3, -2))
    if policy.plain_counters:
        parts.append(uniform(policy.plain_counters))
    return torch.cat(parts, dim=-2)


def _drawn_settings(
    policy: Policy, space: Space, draws: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    """Draw operation, magnitude and sign of each turn: `[..., 3 turns, B]` to `[..., turns, SETTINGS, B]`."""
    which, how_much, side = (draws[..., place::3, :] for place in range(3))
    operation = (which * len(space.names)).long()
    among = _SEVERITY if policy.form == "chains" else space.bins
    level = (how_much * among).long() if policy.level is None else torch.full_like(operation, policy.level)
    table = torch.from_numpy(settings_table(space, height, width)).to(draws.device).flatten(0, 2)
    return table[(operation * space.bins + level) * 2 + (side >= 0.5)].movedim(-1, -2)


def _jitter_settings(draws: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Draw the order of ColorJitter and its amounts: `[..., 5, B]` to `[..., turns, SETTINGS, B]`."""
    orders = torch.tensor(list(itertools.permutations(range(len(_JITTER))))).to(draws.device)
    order = orders[(draws[..., 0, :] * len(orders)).long()].movedim(-1, -2)  # [..., turns, B]
    each = [
        plain_settings(name, (2 * draws[..., 1 + place, :] - 1) * most, height, width)
        for place, (name, most) in enumerate(_JITTER.items())
    ]
    settings = torch.stack(each, dim=-3).movedim(-1, -2)  # [..., operations, SETTINGS, B]
    return settings.gather(-3, order[..., None, :].expand_as(settings))


def _chained(
    settings: torch.Tensor, draws: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut AugMix' chains to their lengths and draw its weights: settings, and `[..., 1 + chains, B]`.

    The weight of the image is uniform, which is Beta(1, 1); those of the chains share the rest as a flat
    Dirichlet distribution does, that is as exponential draws.
    """
    lengths = 1 + (draws[..., :_CHAINS, :] * _LONGEST).long()
    places = torch.arange(_LONGEST, device=draws.device)[:, None]
    kept = (places < lengths[..., None, :]).flatten(-3, -2)  # [..., chains x longest, B]
    nothing = plain_settings("identity", torch.zeros(1, device=draws.device), height, width).movedim(-1, -2)
    settings = torch.where(kept[..., None, :], settings, nothing)
    shares = -torch.log1p(-draws[..., _CHAINS : 2 * _CHAINS, :])
    own = draws[..., 2 * _CHAINS :, :]
    weights = (1 - own) * shares / shares.sum(dim=-2, keepdim=True).clamp(min=1e-30)
    return settings, torch.cat([own, weights], dim=-2)


# -------------------------------------------------------------------------------------------- what is applied


def apply_policy(
    policy: Policy, pixels: torch.Tensor, drawn: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Apply a policy's operations to each image, then mix within the batch.

    Args:
        policy: One of `POLICIES`.
        pixels: `uint8 [B, H, W, 3]`.
        drawn: What `draw_for_policy` settled for these images: `float32 [policy.rows, B]`.

    Returns:
        Pixels `uint8 [B, H, W, 3]`; the row that each image was mixed with `int64 [B]`; the share of the
        image that is its own `float32 [B]`, or None if the policy mixes nothing.
    """
    changed = pixels.permute(0, 3, 1, 2).contiguous()
    turns = drawn[: policy.all_turns * SETTINGS].view(policy.all_turns, SETTINGS, len(pixels))
    if policy.form == "chains":
        changed = _apply_chains(policy, changed, turns, drawn[policy.all_turns * SETTINGS :])
    else:
        for settings in turns.unbind():
            changed = apply_operations(changed, settings, policy.names, policy.interpolation)
    partner = torch.roll(torch.arange(len(pixels), device=pixels.device), -1)
    if not policy.plain_counters:
        return changed.permute(0, 2, 3, 1).contiguous(), partner, None
    draws = drawn[-len(policy.plain_counters) :].unbind()
    images = changed.float() / 255
    if policy.zoom:
        images = _sheared_and_zoomed(images, draws[-3:])
    mixed, weight = _mixed(policy, images, draws)
    return (mixed * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous(), partner, weight


def _apply_chains(
    policy: Policy, pixels: torch.Tensor, turns: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Mix each image with its chains of operations: `uint8 [B, 3, H, W]`; all chains are one batch."""
    settings = turns.view(_CHAINS, _LONGEST, SETTINGS, len(pixels)).permute(1, 2, 0, 3).flatten(2)
    chains = pixels.repeat(_CHAINS, 1, 1, 1)
    for each in settings.unbind():
        chains = apply_operations(chains, each, policy.names, policy.interpolation)
    own, *others = weights[:, :, None, None, None].unbind()
    mixed = own * pixels
    for weight, chain in zip(others, chains.chunk(_CHAINS), strict=True):
        mixed = mixed + weight * chain
    return mixed.byte()


def _sheared_and_zoomed(images: torch.Tensor, draws: Sequence[torch.Tensor]) -> torch.Tensor:
    """Shear and zoom about the centre: `float32 [B, 3, H, W]`; black comes from outside."""
    angle, *zooms = (2 * draw - 1 for draw in draws)
    angle = angle * math.radians(_SHEAR_DEGREES)
    maps = torch.eye(3, device=angle.device).repeat(len(angle), 1, 1)
    maps[:, 0, 0] = torch.cos(angle) * (1 + _ZOOM * zooms[0])
    maps[:, 1, 0] = -torch.sin(angle) * (1 + _ZOOM * zooms[0])
    maps[:, 1, 1] = 1 + _ZOOM * zooms[1]
    grid = F.affine_grid(maps[:, :2], list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


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
