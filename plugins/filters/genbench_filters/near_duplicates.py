"""`near_duplicates`: drops copies of training images, and copies within the set but for the first.

Carlini et al., "Extracting Training Data from Diffusion Models", arXiv:2301.13188, measure copies by the l2
distance of pixels divided by the root of their number. Departures: a copy is what is as close as the
closest `quantile` of real images are to each other, in place of a number chosen by eye; their maximum over
tiles and their comparison with further neighbours are left out. Mirrored or shifted copies are not found.
"""

import numpy as np
import numpy.typing as npt
import torch

from genbench.errors import DataError
from genbench.images import LabelledImages
from genbench.protocols import Filter, RunContext, Verdicts
from genbench_filters._distances import squared_distances
from genbench_filters._shared import verdicts
from genbench_filters.configs.near_duplicates import NearDuplicatesConfig

_CHUNK_IMAGES = 512
_NONE = -1
Rows = npt.NDArray[np.int64]


class NearDuplicates(Filter):
    """Compares every image with every training image, and with every image kept before it."""

    def __init__(self, config: NearDuplicatesConfig) -> None:
        self.config = config

    def keep(self, synthetic: LabelledImages, train: LabelledImages, ctx: RunContext) -> Verdicts:
        """Keep what copies neither a training image nor an image that was kept before it, of any class.

        Raises:
            DataError: `quantile` is to be used, and there is only one training image.
        """
        config = self.config
        most = _squared_bound(config, train, ctx)
        reasons = [""] * len(synthetic)
        kept: list[int] = []
        for start in range(0, len(synthetic), _CHUNK_IMAGES):
            rows = np.arange(start, min(start + _CHUNK_IMAGES, len(synthetic)))
            chunk = _flat(synthetic, rows, ctx.device)
            if config.of_training:
                copied = _first_within(chunk, train, np.arange(len(train)), most, ctx.device)
                _note(reasons, rows, copied, "copies training image")
            if config.within_set:
                copied = _first_within(chunk, synthetic, np.array(kept, dtype=np.int64), most, ctx.device)
                _note(reasons, rows, copied, "copies image")
                _note_within(reasons, rows, squared_distances(chunk, chunk) <= most)
            kept += [int(row) for row in rows if not reasons[row]]
            ctx.progress(int(rows[-1]) + 1, len(synthetic))
        return verdicts(reasons)


def _squared_bound(config: NearDuplicatesConfig, train: LabelledImages, ctx: RunContext) -> float:
    """Return the squared distance, summed over pixels, up to which an image is a copy."""
    pixels = int(np.prod(train.image_shape))
    if config.max_distance is not None:
        return config.max_distance**2 * pixels
    if len(train) < 2:
        raise DataError(
            "near_duplicates: option quantile compares real images with each other, and there are "
            f"{len(train)}",
            hint="near_duplicates:max_distance=0",
        )
    order = torch.randperm(len(train), generator=ctx.rng("calibration")).numpy()
    drawn = np.sort(order[: config.calibration_images])
    nearest = [
        _nearest_other(train, drawn[start : start + _CHUNK_IMAGES], ctx.device)
        for start in range(0, len(drawn), _CHUNK_IMAGES)
    ]
    # `lower` gives a distance that was found: one between two would round away from the pair that sets it.
    bound = float(np.quantile(torch.cat(nearest).cpu().numpy(), config.quantile, method="lower"))
    ctx.log.info("near_duplicates: copies differ by at most %.3f grey levels", (bound / pixels) ** 0.5)
    return bound


def _nearest_other(train: LabelledImages, rows: Rows, device: str) -> torch.Tensor:
    """Return the squared distance of each of these rows to the nearest other row: `float64 [n]`."""
    chunk = _flat(train, rows, device)
    nearest = torch.full((len(rows),), torch.inf, dtype=torch.float64, device=device)
    for start in range(0, len(train), _CHUNK_IMAGES):
        others = np.arange(start, min(start + _CHUNK_IMAGES, len(train)))
        squares = squared_distances(chunk, _flat(train, others, device))
        squares[torch.from_numpy(rows[:, None] == others).to(device)] = torch.inf
        nearest = torch.minimum(nearest, squares.min(dim=1).values)
    return nearest


def _first_within(
    chunk: torch.Tensor, others: LabelledImages, rows: Rows, most: float, device: str
) -> list[int]:
    """Return the first of some rows of another set that each image copies, or `_NONE`: one per image."""
    first = torch.full((len(chunk),), _NONE)
    for start in range(0, len(rows), _CHUNK_IMAGES):
        part = rows[start : start + _CHUNK_IMAGES]
        copies = (squared_distances(chunk, _flat(others, part, device)) <= most).cpu()
        new = copies.any(dim=1) & (first == _NONE)
        first[new] = torch.from_numpy(part)[copies.int().argmax(dim=1)[new]]
    found: list[int] = first.tolist()
    return found


def _note(reasons: list[str], rows: Rows, copied: list[int], what: str) -> None:
    """Give the images that copy something, and have no reason yet, theirs."""
    for row, original in zip(rows, copied, strict=True):
        if original != _NONE and not reasons[row]:
            reasons[row] = f"{what} {original}"


def _note_within(reasons: list[str], rows: Rows, close: torch.Tensor) -> None:
    """Give the images of a chunk that copy one kept before them in this chunk theirs, in order."""
    table = close.cpu().numpy()
    for position, row in enumerate(rows):
        before = [other for other in np.flatnonzero(table[position, :position]) if not reasons[rows[other]]]
        if before and not reasons[row]:
            reasons[row] = f"copies image {rows[before[0]]}"


def _flat(images: LabelledImages, rows: Rows, device: str) -> torch.Tensor:
    """Return some images as `float64 [n, 3 H W]`, 0-255."""
    return images.batch(rows).to(device).flatten(1).double()
