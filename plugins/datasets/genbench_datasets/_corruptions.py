"""Fifteen families of corruptions in five severities, computed from test images.

After Hendrycks and Dietterich (arXiv:1903.12261, Sec. 3): the same families, drawn here with numpy, scipy and
Pillow, with strengths for small images. They are **not** CIFAR-10-C: frost and snow are drawn instead of
photographed, strengths and filters differ. Their shifts are named `computed-...`, so that nobody mixes the
two.

Every function takes and returns `float32 [N, H, W, 3]`, 0-1, and a severity from 1 to 5.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from genbench.image_files import open_image

Images = npt.NDArray[np.floating[Any]]
Corruption = Callable[[Images, int, np.random.Generator], Images]


def _pick(severity: int, *strengths: float) -> float:
    return strengths[severity - 1]


def gaussian_noise(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Add normal noise."""
    return x + rng.normal(0, _pick(severity, 0.04, 0.06, 0.08, 0.1, 0.14), x.shape)


def shot_noise(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Count photons: Poisson noise, more of it in dark pictures."""
    photons = _pick(severity, 250, 120, 70, 40, 25)
    return rng.poisson(x * photons) / photons


def impulse_noise(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Set pixels to black or white."""
    hit = rng.random(x.shape[:3]) < _pick(severity, 0.01, 0.03, 0.05, 0.08, 0.14)
    return np.where(hit[..., None], (rng.random(x.shape[:3]) < 0.5)[..., None], x)


def defocus_blur(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Blur with a disk."""
    radius = max(0.5 + 0.12 * severity, _side(x) * _pick(severity, 0.02, 0.03, 0.045, 0.06, 0.08))
    return _filtered(x, _disk(radius))


def glass_blur(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Look through rough glass: neighbours are exchanged at random, then blurred a little."""
    most = max(1, round(_side(x) * _pick(severity, 0.02, 0.03, 0.04, 0.06, 0.08)))
    moves = rng.integers(-most, most + 1, (2, *x.shape[:3]))
    moves = moves * (rng.random(x.shape[:3]) < _pick(severity, 0.3, 0.5, 0.7, 0.9, 1.0))
    rows = np.clip(np.arange(x.shape[1])[:, None] + moves[0], 0, x.shape[1] - 1)
    columns = np.clip(np.arange(x.shape[2])[None] + moves[1], 0, x.shape[2] - 1)
    return _blurred(x[np.arange(len(x))[:, None, None], rows, columns], _side(x) * 0.012)


def motion_blur(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Blur along a line, each image along its own."""
    length = max(1.5 + 0.4 * severity, _side(x) * _pick(severity, 0.08, 0.12, 0.16, 0.22, 0.3))
    return np.stack([_filtered(image[None], _line(length, angle))[0]
                     for image, angle in zip(x, rng.uniform(-45, 45, len(x)), strict=True)])  # fmt: skip


def zoom_blur(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Average over zooms."""
    zooms = np.linspace(1, 1 + _pick(severity, 0.06, 0.1, 0.15, 0.2, 0.28), 6)
    return np.asarray(np.mean([_zoomed(x, zoom) for zoom in zooms], axis=0))


def snow(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Let drawn flakes fall over a paler picture."""
    flakes = rng.random(x.shape[:3]) < _pick(severity, 0.01, 0.018, 0.026, 0.035, 0.05)
    fallen = _filtered(flakes[..., None].astype(np.float32), _line(max(2.0, _side(x) * 0.1), -60))
    layer = np.clip(fallen * 4, 0, 1)
    pale = np.maximum(x, x.mean(axis=3, keepdims=True) * 0.5 + _pick(severity, 0.1, 0.15, 0.2, 0.25, 0.3))
    return np.asarray(pale * (1 - 0.7 * layer) + 0.7 * layer)


def frost(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Lay a drawn pattern of ice over the picture."""
    white = np.array([0.85, 0.95, 1.0], dtype=np.float32)
    ice = np.clip(_plasma(x.shape, rng, decay=1.6) * 1.6 - 0.3, 0, 1)[..., None] * white
    share = _pick(severity, 0.2, 0.3, 0.4, 0.5, 0.6)
    return np.asarray((1 - share) * x + share * ice)


def fog(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Add clouds, and take contrast away."""
    amount = _pick(severity, 0.3, 0.5, 0.75, 1.0, 1.4)
    return np.asarray((x + amount * _plasma(x.shape, rng, decay=2.2)[..., None]) / (1 + amount))


def brightness(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Add light."""
    return x + _pick(severity, 0.06, 0.12, 0.18, 0.24, 0.32)


def contrast(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Pull colours towards the picture's mean."""
    mean = x.mean(axis=(1, 2), keepdims=True)
    return np.asarray(mean + (x - mean) * _pick(severity, 0.75, 0.55, 0.4, 0.25, 0.15))


def elastic_transform(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Bend the picture."""
    side = _side(x)
    strength = side * _pick(severity, 0.02, 0.03, 0.045, 0.06, 0.08)
    moves = rng.uniform(-1, 1, (2, *x.shape[:3])).astype(np.float32)
    smooth = np.stack([ndimage.gaussian_filter(move, (0, side * 0.08, side * 0.08)) for move in moves])
    smooth *= strength / np.maximum(np.abs(smooth).max(axis=(2, 3), keepdims=True), 1e-9)
    rows, columns = np.meshgrid(np.arange(x.shape[1]), np.arange(x.shape[2]), indexing="ij")
    bent = np.empty_like(x)
    for number, image in enumerate(x):
        places = [rows + smooth[0, number], columns + smooth[1, number]]
        for channel in range(3):
            bent[number, ..., channel] = ndimage.map_coordinates(
                image[..., channel], places, order=1, mode="reflect"
            )
    return bent


def pixelate(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Shrink and enlarge again, without smoothing."""
    from PIL import Image

    height, width = x.shape[1:3]
    share = _pick(severity, 0.9, 0.75, 0.6, 0.5, 0.4)
    small = (max(1, round(width * share)), max(1, round(height * share)))
    return _each(
        x,
        lambda image: image.resize(small, Image.Resampling.BOX).resize(
            (width, height), Image.Resampling.NEAREST
        ),
    )


def jpeg_compression(x: Images, severity: int, rng: np.random.Generator) -> Images:
    """Save as JPEG."""
    from PIL import Image

    def saved(image: Image.Image) -> Image.Image:
        content = io.BytesIO()
        image.save(content, "jpeg", quality=int(_pick(severity, 80, 60, 40, 25, 12)))
        with open_image(content.getvalue(), "the image as JPEG") as opened:
            return opened.convert("RGB")

    return _each(x, saved)


CORRUPTIONS: Mapping[str, Corruption] = {
    function.__name__: function
    for function in (
        *(gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur),
        *(snow, frost, fog, brightness, contrast, elastic_transform, pixelate, jpeg_compression),
    )
}


def corrupted(pixels: npt.NDArray[np.uint8], family: str, severity: int, seed: int) -> npt.NDArray[np.uint8]:
    """Corrupt images: `uint8 [N, 3, H, W]` to the same; the same each time.

    Args:
        pixels: The images.
        family: One of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: Seed of whatever is drawn.
    """
    rng = np.random.default_rng(seed)
    x = pixels.transpose(0, 2, 3, 1).astype(np.float32) / 255
    made = np.clip(CORRUPTIONS[family](x, severity, rng), 0, 1)
    return np.ascontiguousarray((made * 255).round().astype(np.uint8).transpose(0, 3, 1, 2))


def _side(x: Images) -> int:
    return int(min(x.shape[1:3]))


def _filtered(x: Images, kernel: npt.NDArray[np.float64]) -> Images:
    return np.asarray(ndimage.convolve(x, kernel[None, :, :, None].astype(np.float32), mode="reflect"))


def _blurred(x: Images, sigma: float) -> Images:
    return np.asarray(ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode="reflect"))


def _disk(radius: float) -> npt.NDArray[np.float64]:
    reach = int(np.ceil(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    weights = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)  # partly covered at the rim
    return np.asarray(weights / weights.sum())


def _line(length: float, degrees: float) -> npt.NDArray[np.float64]:
    reach = int(np.ceil(length / 2))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    angle = np.deg2rad(degrees)
    along, across = (
        columns * np.cos(angle) - rows * np.sin(angle),
        columns * np.sin(angle) + rows * np.cos(angle),
    )
    weights = np.clip(1 - np.abs(across), 0, 1) * (np.abs(along) <= length / 2)
    return np.asarray(weights / weights.sum())


def _zoomed(x: Images, zoom: float) -> Images:
    height, width = x.shape[1:3]
    offset: Any = (0, (height - 1) * (1 - 1 / zoom) / 2, (width - 1) * (1 - 1 / zoom) / 2, 0)
    matrix = (1, 1 / zoom, 1 / zoom, 1)
    return np.asarray(ndimage.affine_transform(x, matrix, offset, order=1, mode="nearest"))


def _plasma(shape: tuple[int, ...], rng: np.random.Generator, decay: float) -> Images:
    """Draw clouds, noise whose spectrum falls as 1 / f^decay: `float32 [N, H, W]`, 0-1."""
    count, height, width = shape[:3]
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    fall = np.maximum(np.hypot(rows, columns), 1 / max(height, width)) ** -decay
    clouds = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(count, height, width))) * fall, s=(height, width))
    low, high = clouds.min(axis=(1, 2), keepdims=True), clouds.max(axis=(1, 2), keepdims=True)
    return np.asarray((clouds - low) / np.maximum(high - low, 1e-9), dtype=np.float32)


def _each(x: Images, change: Callable[..., object]) -> Images:
    from PIL import Image

    bytes_of = (np.clip(x, 0, 1) * 255).round().astype(np.uint8)
    return (
        np.stack([np.asarray(change(Image.fromarray(image))) for image in bytes_of]).astype(np.float32) / 255
    )
