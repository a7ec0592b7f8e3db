"""`diffusemix`: part of a training image beside part of its edited copy, with a fractal blended in.

DiffuseMix (arXiv:2405.14881). With the source image x, its edited copy e, a mask M and a fractal F

    H = M x + (1 - M) e,    result = (1 - lambda) H + lambda F    (Eq. 1 and 2)

The label is the source's. Per image a mask (orientation and cut), a fractal and, in the editor, a prompt are
drawn from its seed. What the sources did is in the presets: the paper's four orientations cut in the middle;
the published code's two (the original always left or top) with a blend of 20 pixels in 256; S1's two with a
random cut, which never leaves the whole image original.

Departures: the fractals are drawn here (`_fractals.py`); each source image is edited with one prompt drawn at
random (the published code makes every prompt's copy of every image: use a `ratio` of 9 for as many); there is
no "black image" test, since a blank edit is the editor's to report.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from genbench.errors import UsageError
from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._fractals import draw_fractals
from genbench_generators._shared import chunks
from genbench_generators.configs.diffusemix import DiffuseMixConfig, Orientation


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
        fractal = self._fractals[rng.integers(config.fractal_count)]
        mask = make_mask(*self._size, orientation, cut, config.edge_fraction)
        return mix(x, e, mask, fractal, config.blend)

    @cached_property
    def _fractals(self) -> npt.NDArray[np.float32]:
        config = self.config
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
        edge_fraction: Width of the linear blend around the cut, as a share of the side.
    """
    across = orientation in {"left", "right"}
    side = width if across else height
    from_here = np.arange(side) + 0.5 if orientation in {"left", "top"} else side - np.arange(side) - 0.5
    distance = np.floor(cut * side) - from_here  # in pixels, positive where the original is
    blend = edge_fraction * side
    line = np.clip(distance / blend + 0.5, 0, 1) if blend > 0 else (distance > 0).astype(np.float64)
    return np.broadcast_to(line[None, :] if across else line[:, None], (height, width))


def mix(
    x: npt.NDArray[np.uint8],
    e: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.float64],
    fractal: npt.NDArray[np.float32],
    blend: float,
) -> npt.NDArray[np.uint8]:
    """Return (1 - blend) (mask x + (1 - mask) e) + blend fractal, rounded: `uint8 [3, H, W]`."""
    mixed = (1 - blend) * (mask * x + (1 - mask) * e) + blend * fractal
    return np.asarray(np.clip(np.rint(mixed), 0, 255), dtype=np.uint8)
