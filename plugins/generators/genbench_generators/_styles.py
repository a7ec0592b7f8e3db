"""The style images of `style_transfer`: from a folder, or drawn here from a seed."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from genbench.images import read_square, to_square
from genbench.seeding import derive_seed
from genbench_generators.configs.style_transfer import StyleTransferConfig

_CANVAS = 192  # drawn styles are this large, in pixels, whatever size is asked for
Plane = npt.NDArray[np.float64]


class Styles(NamedTuple):
    """Style images.

    Attributes:
        names: One per style: the path inside the folder without its suffix, or `waves-1`.
        images: `float32 [S, 3, size, size]`, 0-1, on the CPU.
    """

    names: tuple[str, ...]
    images: torch.Tensor


def load_styles(config: StyleTransferConfig, size: int) -> Styles:
    """Read or draw all styles, cropped to a square and scaled to `size` pixels.

    All are held in memory: a thousand styles of 256 pixels are 0.8 GB.

    Raises:
        DataError: A file is not an image, or is too large.
    """
    from PIL import Image

    files = config.style_files()
    if files:
        names = tuple(name.rpartition(".")[0] for name in files)
        squares = []
        for path in files.values():
            squares.append(read_square(path, size, f"style_transfer: {path.name} in styles"))
    else:
        names = tuple(style_name(index) for index in range(config.drawn_styles))
        squares = [
            to_square(Image.fromarray(draw_style(index, config.style_seed)), size)
            for index in range(config.drawn_styles)
        ]
    images = torch.from_numpy(np.stack(squares)).float() / 255
    return Styles(names, _blurred(images, config.style_blur_pixels))


def style_name(index: int) -> str:
    """Return the name of a drawn style.

    >>> style_name(0), style_name(9)
    ('stripes-0', 'waves-9')
    """
    return f"{list(_KINDS)[index % len(_KINDS)]}-{index}"


def draw_style(index: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one style: `uint8 [192, 192, 3]`. The kinds take turns; colours and shapes are seeded."""
    rng = np.random.default_rng(derive_seed("drawn style", seed, index))
    draw = list(_KINDS.values())[index % len(_KINDS)]
    grain = rng.normal(0, 0.02, (_CANVAS, _CANVAS, 1))
    return np.asarray((draw(rng) + grain).clip(0, 1) * 255, dtype=np.uint8)


def _blurred(images: torch.Tensor, side: int) -> torch.Tensor:
    """Average-pool with stride 1; the border averages over what is there (TensorFlow's SAME padding)."""
    return F.avg_pool2d(images, side, stride=1, padding=side // 2, count_include_pad=False)


# --------------------------------------------------------------------------------------------- drawing


def _stripes(rng: np.random.Generator) -> Plane:
    """Straight bands in four colours."""
    y, x = _grid()
    angle = rng.uniform(0, math.pi)
    return _coloured(rng.uniform(4, 7) * (x * math.cos(angle) + y * math.sin(angle)), rng)


def _waves(rng: np.random.Generator) -> Plane:
    """Bands that swing."""
    y, x = _grid()
    swing = 0.06 * np.sin(2 * math.pi * (rng.uniform(2, 4) * x + rng.uniform()))
    return _coloured(rng.uniform(4, 7) * (y + swing), rng)


def _blots(rng: np.random.Generator) -> Plane:
    """Clouds of colour with soft edges."""
    return _coloured(4 * _clouds(rng, 6), rng, softness=0.5)


def _dots(rng: np.random.Generator) -> Plane:
    """Round dots in rows, each in a colour of its own, on one ground."""
    y, x = _grid()
    rows = int(rng.integers(7, 11))
    cell_y, cell_x = np.floor(y * rows).astype(int), np.floor(x * rows).astype(int)
    distance = np.hypot(y * rows - cell_y - 0.5, x * rows - cell_x - 0.5)
    palette = _palette(rng)
    colours = palette[1:][rng.integers(0, 3, (rows, rows))][cell_y, cell_x]
    cover = (((0.4 - distance) * 12).clip(0, 1))[..., None]
    return np.asarray(cover * colours + (1 - cover) * palette[0])


def _strokes(rng: np.random.Generator) -> Plane:
    """Short strokes of a brush along a flow, one over another."""
    flow, tone = 2 * math.pi * _clouds(rng, 3), _clouds(rng, 5)
    palette = _palette(rng)
    canvas = np.ones((_CANVAS, _CANVAS, 3)) * palette[0]
    for row, column in rng.integers(0, _CANVAS, (1500, 2)):
        along = np.arange(-9, 10)[:, None]
        across = np.linspace(-1.5, 1.5, 7)[None, :]
        angle = flow[row, column]
        rows = np.rint(row + along * math.sin(angle) + across * math.cos(angle)).astype(int)
        columns = np.rint(column + along * math.cos(angle) - across * math.sin(angle)).astype(int)
        place = int(4 * tone[row, column] + rng.uniform(0, 1)) % 4
        canvas[rows % _CANVAS, columns % _CANVAS] = palette[place] + rng.normal(0, 0.06, 3)
    return np.asarray(canvas)


def _mosaic(rng: np.random.Generator) -> Plane:
    """Stones of one colour each, with dark joints: the cells of scattered points."""
    y, x = _grid()
    points = rng.uniform(size=(110, 2))
    distances = np.hypot(y[..., None] - points[:, 0], x[..., None] - points[:, 1])
    nearest = np.argsort(distances, axis=2)[:, :, :2]
    gap = np.diff(np.take_along_axis(distances, nearest, axis=2), axis=2)
    colours = _palette(rng)[rng.integers(0, 4, len(points))][nearest[:, :, 0]]
    return np.asarray(colours * (gap * 90).clip(0.1, 1))


def _weave(rng: np.random.Generator) -> Plane:
    """Threads that pass over and under each other."""
    y, x = _grid()
    threads = int(rng.integers(10, 16))
    palette = _palette(rng)
    over = (np.floor(y * threads) + np.floor(x * threads)) % 2 == 0
    shade_y, shade_x = (np.abs(np.sin(math.pi * threads * part))[..., None] for part in (y, x))
    return np.asarray(np.where(over[..., None], palette[2] * shade_y, palette[3] * shade_x))


def _marble(rng: np.random.Generator) -> Plane:
    """Veins: bands that clouds have pushed about."""
    y, x = _grid()
    return _coloured(3 * (x + y) + 4 * _clouds(rng, 4), rng, softness=0.8)


_KINDS: dict[str, Callable[[np.random.Generator], Plane]] = {
    "stripes": _stripes,
    "waves": _waves,
    "blots": _blots,
    "dots": _dots,
    "strokes": _strokes,
    "mosaic": _mosaic,
    "weave": _weave,
    "marble": _marble,
}


def _grid() -> tuple[Plane, Plane]:
    """Return rows and columns of the canvas, each 0 to 1."""
    y, x = np.mgrid[0:_CANVAS, 0:_CANVAS] / _CANVAS
    return y, x


def _palette(rng: np.random.Generator) -> Plane:
    """Return four colours, from dark to light and far apart in hue: `float64 [4, 3]`, 0-1."""
    hues = (rng.uniform() + np.array([0, 0.45, 0.2, 0.65]) + rng.uniform(-0.05, 0.05, 4))[:, None]
    value = np.array([0.25, 0.55, 0.8, 1.0])[:, None]
    saturation = np.array([0.8, 0.9, 0.8, 0.3])[:, None]
    wheel = (np.abs((hues + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1).clip(0, 1)
    return np.asarray(value * (1 - saturation + saturation * wheel))


def _coloured(level: Plane, rng: np.random.Generator, softness: float = 0.2) -> Plane:
    """Colour a plane: each whole number is a colour of the palette, which repeats."""
    palette = _palette(rng)
    below = np.floor(level).astype(int)
    blend = (((level - below - 1) / softness + 1).clip(0, 1))[..., None]
    return np.asarray((1 - blend) * palette[below % 4] + blend * palette[(below + 1) % 4])


def _clouds(rng: np.random.Generator, waves: float) -> Plane:
    """Return smooth noise, ranked to be even in 0-1, with about `waves` hills along a side."""
    y, x = (np.fft.fftfreq(_CANVAS)[index] * _CANVAS for index in np.mgrid[0:_CANVAS, 0:_CANVAS])
    spectrum = np.fft.fft2(rng.normal(size=(_CANVAS, _CANVAS))) * np.exp(-(x**2 + y**2) / waves**2)
    smooth = np.fft.ifft2(spectrum).real
    return np.asarray(np.argsort(np.argsort(smooth, axis=None)).reshape(smooth.shape) / smooth.size)
