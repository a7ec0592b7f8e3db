"""`diffusemix`: part of a training image beside part of its edited copy, with a fractal blended in.

DiffuseMix (arXiv:2405.14881). With the source image x, its edited copy e, a mask M and a fractal F

    H = M x + (1 - M) e,    result = (1 - lambda) H + lambda F    (Eq. 1 and 2)

The label is the source's. Per image a mask (orientation and cut), a fractal and, in the editor, a prompt
are drawn from its seed. What the sources did is in the presets: the paper's four orientations cut in the
middle; the published code's two (the original always left or top), with a blend of 20 of 256 pixels and
both sums cut off to whole levels; S1's two with a random cut, which never leaves the whole image original,
and its Mandelbrot images (`_fractals.py`).

Departures: each source image is edited with one prompt drawn at random (the published code makes every
prompt's copy of every image: use a `ratio` of 9 for as many). Images are mixed at their own size: the
published code enlarges them to 256 pixels first, mixes, and leaves the reduction to its user; its mask is
reduced here instead, by area, so that it is the same at 256 pixels. There is no "black image" test (theirs
looks for white), since a blank edit is the editor's to report. S1 keeps its results as float32; here they
are rounded to `uint8`. Fractals of a folder are resized as Pillow does by default (bicubic), S1's
bilinearly, as each source does.
"""

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from genbench.errors import UsageError
from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._fractals import draw_fractals, read_fractals
from genbench_generators._shared import chunks
from genbench_generators.configs.diffusemix import DiffuseMixConfig, Orientation

_PUBLISHED_PIXELS = 256  # the side at which the published code draws its mask


class DiffuseMix(Generator):
    """Mixes each source image with its edited copy and a fractal."""

    def __init__(self, config: DiffuseMixConfig) -> None:
        self.config = config
        self._size = (0, 0)

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield mixed images.

        Raises:
            UsageError: The editor does not start from training images.
        """
        edited = request.drafts["editor"]
        if (edited.source_indices != request.source_indices).any():
            raise UsageError(
                f"diffusemix: option editor is {self.config.editor.use!r}, "
                "which does not edit training images",
                hint="diffusemix:editor=sdedit",
            )
        self._size = request.train.image_shape[1:]
        for part in chunks(len(request)):
            rows = np.arange(part.start, part.stop)
            sources = request.source_indices[part]
            x, e = request.train.batch(sources).numpy(), edited.images.batch(rows).numpy()
            triples = zip(x, e, request.seeds[part].tolist(), strict=True)
            mixed = [self._mixed(one, other, seed) for one, other, seed in triples]
            prompts = [edited.prompts[row] for row in map(int, rows)]
            yield SyntheticBatch(torch.from_numpy(np.stack(mixed)), request.labels[part], sources, prompts)

    def _mixed(self, x: npt.NDArray[np.uint8], e: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
        """Mix one image: `uint8 [3, H, W]`."""
        config = self.config
        rng = np.random.default_rng(abs(seed))
        orientation = config.orientations[rng.integers(len(config.orientations))]
        cut = float(rng.random()) if config.cut == "random" else 0.5
        fractal = self._fractals[rng.integers(len(self._fractals))]
        mask = make_mask(*self._size, orientation, cut, config.edge_fraction)
        return mix(x, e, mask, fractal, config.blend, down=config.rounding == "down")

    @cached_property
    def _fractals(self) -> npt.NDArray[np.float32]:
        config = self.config
        if config.fractals == "folder":
            return read_fractals(config.source_files(), *self._size)
        return draw_fractals(config.fractals, config.fractal_count, config.fractal_seed, *self._size)


def make_mask(
    height: int, width: int, orientation: Orientation, cut: float, edge_fraction: float
) -> npt.NDArray[np.float64]:
    """Return where the original stays: `float64 [height, width]`, 1 for the original, 0 for the edited copy.

    Args:
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        orientation: The side on which the original is.
        cut: Where the original ends, as a share of the side, in [0, 1); rounded down to a pixel, so that one
            pixel at least is edited.
        edge_fraction: Width of the linear blend around the cut, as a share of the side: of 256 pixels (or of
            the side, if it is larger), those in the blend have 0, 1 / (n - 1), ..., 1, as in the published
            code; a smaller image has the means of its pixels.
    """
    across = orientation in {"left", "right"}
    side = width if across else height
    here = math.floor(cut * side)
    edited = (
        _ramp(side, here, edge_fraction) if edge_fraction else (np.arange(side) >= here).astype(np.float64)
    )
    line = 1.0 - edited
    if orientation in {"right", "bottom"}:
        line = line[::-1]
    return np.broadcast_to(line[None, :] if across else line[:, None], (height, width))


def _ramp(side: int, cut_pixels: int, edge_fraction: float) -> npt.NDArray[np.float64]:
    """Return the share of the edited copy along a side: 0, then the blend, then 1: `float64 [side]`."""
    fine = max(_PUBLISHED_PIXELS, side)
    blend = max(1, round(edge_fraction * fine))
    first = round(cut_pixels / side * fine) - blend // 2
    share = np.clip((np.arange(fine) - first + (blend == 1)) / max(blend - 1, 1), 0, 1)
    until = np.concatenate([[0.0], share.cumsum()])
    edges = np.arange(side + 1) * (fine / side)
    means = np.diff(np.interp(edges, np.arange(fine + 1), until)) * (side / fine)
    return np.asarray(np.clip(means, 0, 1), dtype=np.float64)


def mix(
    x: npt.NDArray[np.uint8],
    e: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.float64],
    fractal: npt.NDArray[np.float32],
    blend: float,
    *,
    down: bool = False,
) -> npt.NDArray[np.uint8]:
    """Return (1 - blend) (mask x + (1 - mask) e) + blend fractal: `uint8 [3, H, W]`.

    Rounded once, at the end; with `down` cut off after either sum, in the order and precision of the
    published code, whose fractals are whole levels.
    """
    if not down:
        mixed = (1 - blend) * (mask * x + (1 - mask) * e) + blend * fractal
        return np.asarray(np.clip(np.rint(mixed), 0, 255), dtype=np.uint8)
    from_0_to_1 = mask * (x.astype(np.float32) / 255) + (1 - mask) * (e.astype(np.float32) / 255)
    hybrid = np.clip(from_0_to_1 * 255, 0, 255).astype(np.uint8).astype(np.float32)
    mixed = (1 - blend) * hybrid + blend * np.rint(fractal)
    return np.asarray(np.clip(mixed, 0, 255).astype(np.uint8))
