"""The image operations of RandAugment, TrivialAugment, AugMix and ColorJitter, for a batch at once.

What each does to an image, and the magnitude of each of its bins, is torchvision's
(`torchvision.transforms.v2` of uint8 tensors without `fill`: what comes from outside the image is black). The
tests compare pixels with torchvision's, image by image: on a CPU they are equal, but for 1 in 10,000 that
`hue` rounds to the next level. Another device may round otherwise: by one level, or, where a geometric
operation takes a pixel from the border of two, to the other one.

Each image of a batch has an operation of its own. Every operation that a policy can draw is computed for all
images and taken where it was drawn: each batch launches as many, and nothing waits for the device. What is
needed of an operation is settled in advance, as a row of `SETTINGS` numbers.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

Interpolation = Literal["nearest", "bilinear"]

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "saturation",
    "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize", "hue",
)  # fmt: skip
_PLACE = {name: place for place, name in enumerate(OPERATIONS)}
GEOMETRIC = frozenset({"shear_x", "shear_y", "translate_x", "translate_y", "rotate"})
BLENDED = frozenset({"brightness", "saturation", "contrast", "sharpness"})
UNSIGNED = frozenset({"identity", "posterize", "solarize", "autocontrast", "equalize"})
#: Columns of a setting: the operation's place in `OPERATIONS`; its amount; the affine map from the place of a
#: pixel, counted from the middle of the image, to where it comes from, in units of half a side (x, then y).
SETTINGS = 8
_LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601, as torchvision's rgb_to_grayscale rounds it


@dataclass(frozen=True)
class Space:
    """Which operations are drawn from, and how far each goes.

    Attributes:
        names: The operations, in torchvision's order.
        bins: Into how many magnitudes each range is divided, both ends included.
        shear: Largest shear, as a tangent.
        shift_pixels: Largest shift for a side of that many pixels.
        degrees: Largest rotation.
        blend: Largest change of the factor of brightness, saturation, contrast and sharpness.
        bits: Bits that posterize leaves in the first bin, and how many fewer in the last.
    """

    names: tuple[str, ...]
    bins: int
    shear: float
    shift_pixels: Callable[[int], float]
    degrees: float
    blend: float
    bits: tuple[int, int]

    def magnitudes(self, name: str, height: int, width: int) -> list[float]:
        """Return the magnitude of each bin: radians' tangent, pixels, degrees, factor - 1, bits, or share."""
        largest = {
            "shear_x": self.shear,
            "shear_y": self.shear,
            "translate_x": self.shift_pixels(width),
            "translate_y": self.shift_pixels(height),
            "rotate": self.degrees,
            **dict.fromkeys(BLENDED, self.blend),
        }
        if name == "solarize":
            return _evenly(1.0, 0.0, self.bins)
        if name == "posterize":
            most, fewer = self.bits
            return [float(round(most - place * fewer / (self.bins - 1))) for place in range(self.bins)]
        if name not in largest:
            return [0.0] * self.bins
        return _evenly(0.0, largest[name], self.bins)


def _evenly(start: float, end: float, count: int) -> list[float]:
    """Return what torch.linspace does: float32, counted from the nearer end, each rounded once."""
    first, last, places = float(np.float32(start)), float(np.float32(end)), np.arange(count)
    step = float((np.float32(end) - np.float32(start)) / np.float32(count - 1))
    values = np.where(places < count // 2, first + step * places, last - step * places[::-1])
    return [float(value) for value in values.astype(np.float32)]


_ALL = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "saturation"),
    *("contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)
_AUGMIX = (
    *("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "posterize", "solarize", "autocontrast"),
    *("equalize", "brightness", "saturation", "contrast", "sharpness"),
)
RANDAUGMENT = Space(_ALL, 31, 0.3, lambda side: 150.0 / 331.0 * side, 30.0, 0.9, (8, 4))
TRIVIALAUGMENT_WIDE = Space(_ALL, 31, 0.99, lambda side: 32.0, 135.0, 0.99, (8, 6))
AUGMIX = Space(_AUGMIX, 10, 0.3, lambda side: side / 3.0, 30.0, 0.9, (4, 4))


@cache
def settings_table(space: Space, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return the setting of every operation, bin and sign: `float32 [operations, bins, 2, SETTINGS]`.

    Of the signs, 0 is minus.
    """
    rows = [
        _setting(name, sign * magnitude, height, width)
        for name in space.names
        for magnitude in space.magnitudes(name, height, width)
        for sign in _signs(name)
    ]
    return np.stack(rows).reshape(len(space.names), space.bins, 2, SETTINGS)


def _signs(name: str) -> tuple[int, int]:
    return (1, 1) if name in UNSIGNED else (-1, 1)


def _setting(name: str, magnitude: float, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return one operation's setting: `float32 [SETTINGS]`."""
    amounts: Mapping[str, float] = {
        **dict.fromkeys(BLENDED, magnitude),
        "posterize": 256 - 2.0 ** (8 - int(magnitude)),  # the bits that stay, as a mask
        "solarize": 255 * magnitude,
    }
    angle = math.radians(magnitude) if name == "rotate" else 0.0
    shear_x, shear_y = (magnitude if name == f"shear_{axis}" else 0.0 for axis in "xy")
    right, down = (int(magnitude) if name == f"translate_{axis}" else 0 for axis in "xy")
    # A shear leaves the first row (column) where it is, a rotation turns about the middle.
    across = [math.cos(angle), shear_x - math.sin(angle), shear_x * height / 2 - right]
    along = [shear_y + math.sin(angle), math.cos(angle), shear_y * width / 2 - down]
    sides = np.array([[0.5 * width], [0.5 * height]], dtype=np.float32)
    maps = np.array([across, along], dtype=np.float32) / sides
    return np.array([_PLACE[name], amounts.get(name, 0.0), *maps.flat], dtype=np.float32)


def plain_settings(name: str, amounts: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return settings of one operation that moves nothing, by amount: `float32 [..., SETTINGS]`."""
    one = torch.from_numpy(_setting(name, 0.0, height, width)).to(amounts.device)
    settings = one.expand(*amounts.shape, SETTINGS).clone()
    settings[..., 1] = amounts
    return settings


def apply_operations(
    pixels: torch.Tensor, settings: torch.Tensor, names: frozenset[str], interpolation: Interpolation
) -> torch.Tensor:
    """Apply to each image the operation that its setting names.

    Args:
        pixels: `uint8 [B, 3, H, W]`.
        settings: One column per image: `float32 [SETTINGS, B]`.
        names: All operations that can be among them.
        interpolation: Of geometric operations.

    Returns:
        `uint8 [B, 3, H, W]`.
    """
    operation, amount = (column[:, None, None, None] for column in settings[:2])

    def drawn(name: str) -> torch.Tensor:
        found: torch.Tensor = operation == _PLACE[name]
        return found

    changed = pixels
    if names & BLENDED:
        first, last = (_PLACE[name] for name in ("brightness", "sharpness"))
        blended = (operation >= first) & (operation <= last)
        changed = torch.where(blended, _blended(pixels, drawn, amount, names), pixels)
    if "posterize" in names:
        changed = torch.where(drawn("posterize"), pixels & amount.clamp(min=0).byte(), changed)
    if "solarize" in names:
        flipped = torch.where(pixels >= amount, 255 - pixels, pixels)
        changed = torch.where(drawn("solarize"), flipped, changed)
    if "autocontrast" in names:
        changed = torch.where(drawn("autocontrast"), _autocontrast(pixels), changed)
    if "equalize" in names:
        changed = torch.where(drawn("equalize"), _equalized(pixels), changed)
    if "hue" in names:
        changed = torch.where(drawn("hue"), _hue_turned(pixels, amount), changed)
    return _moved(changed, settings[2:], interpolation) if names & GEOMETRIC else changed


def luma(values: torch.Tensor) -> torch.Tensor:
    """Return the whole grey level of each pixel, ITU-R 601: `float32 [B, 3, H, W]` to `[B, 1, H, W]`."""
    red, green, blue = values.unbind(dim=1)
    grey = torch.add(torch.add(red * _LUMA[0], green, alpha=_LUMA[1]), blue, alpha=_LUMA[2])
    return grey.floor_()[:, None]


def _blended(
    pixels: torch.Tensor, drawn: Callable[[str], torch.Tensor], change: torch.Tensor, names: frozenset[str]
) -> torch.Tensor:
    """Change images by how they differ from black, their grey, its mean, or their blur: `uint8`."""
    values, towards = pixels.float(), torch.zeros((), device=pixels.device)
    if names & {"saturation", "contrast"}:
        grey = luma(values)
        towards = torch.where(drawn("saturation"), grey, towards)
        towards = torch.where(drawn("contrast"), grey.mean(dim=(2, 3), keepdim=True), towards)
    scaled = values * (1 + change)
    if "sharpness" in names and min(pixels.shape[2:]) > 2:
        # as torchvision: what is added is the difference to the blur, so that flat parts stay as they are
        sharpness = drawn("sharpness")
        towards = torch.where(sharpness, _blurred(values) - values, towards)
        scaled = torch.where(sharpness, values, scaled)
    return torch.addcmul(scaled, towards, -change).clamp_(0, 255).byte()


def _blurred(values: torch.Tensor) -> torch.Tensor:
    """Return (the sum of 3 x 3 pixels + 4 times the middle one) / 13, rounded; the border as it is."""
    inner = values[:, :, 1:-1, 1:-1]
    sums = F.avg_pool2d(values, 3, stride=1, divisor_override=1)
    blurred = values.clone()
    blurred[:, :, 1:-1, 1:-1] = ((sums + 4 * inner) / 13).round_()
    return blurred


def _autocontrast(pixels: torch.Tensor) -> torch.Tensor:
    """Stretch each channel from 0 to 255; a channel of one value stays."""
    values = pixels.float()
    low, high = values.amin(dim=(2, 3), keepdim=True), values.amax(dim=(2, 3), keepdim=True)
    flat = low == high
    scale = torch.where(flat, 1.0, (high - low) * (1.0 / 255))
    low = torch.where(flat, 0.0, low)
    return ((values - low) / scale).clamp_(0, 255).byte()


def _equalized(pixels: torch.Tensor) -> torch.Tensor:
    """Equalize each channel's histogram, as Pillow does; a channel of nearly one value stays."""
    flat = pixels.flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.int32, device=pixels.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat, dtype=torch.int32))
    until = counts.cumsum(dim=2)
    last = counts.gather(2, until.argmax(dim=2, keepdim=True))  # how many pixels have the largest value
    step = (flat.shape[2] - last).div(255, rounding_mode="floor")
    levels = (until + step.div(2, rounding_mode="floor")).div(step.clamp(min=1), rounding_mode="floor")
    lookup = F.pad(levels[..., :-1].clamp_(0, 255), (1, 0)).byte()
    return torch.where((step > 0)[..., None], lookup.gather(2, flat).view_as(pixels), pixels)


def _hue_turned(pixels: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Turn each image's hue by a share of the circle: `uint8 [B, 3, H, W]`."""
    red, green, blue = (pixels.float() / 255).unbind(dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = torch.where(chroma == 0, 1.0, chroma)
    sextant = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sextant = (sextant / 6 + turn[:, 0]).remainder(1.0) * 6
    # f(n) = V - C max(0, min(k, 4 - k, 1)), k = (n + H) mod 6, for n = 5, 3, 1
    channels = []
    for offset in (5, 3, 1):
        k = (sextant + offset).remainder(6.0)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return (torch.stack(channels, dim=1) * 255.999).clamp_(0, 255).byte()  # as torchvision's to_dtype


def _moved(pixels: torch.Tensor, maps: torch.Tensor, interpolation: Interpolation) -> torch.Tensor:
    """Resample each image by its affine map, `float32 [6, B]`; black comes from outside."""
    _, _, height, width = pixels.shape
    x = torch.arange(width, device=pixels.device) - (width - 1) / 2
    y = (torch.arange(height, device=pixels.device) - (height - 1) / 2)[:, None]
    factor = maps[:, :, None, None]
    grid = torch.stack([x * factor[i] + y * factor[i + 1] + factor[i + 2] for i in (0, 3)], dim=-1)
    moved = F.grid_sample(pixels.float(), grid, mode=interpolation, padding_mode="zeros", align_corners=False)
    return moved.round_().byte()
