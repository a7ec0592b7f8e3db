"""What the check knows of a dataset: computed once, whatever generators are asked.

The null is the same question, asked of images that are no copies for certain: real images of train and val,
each scored against train without itself and against test. How many of them look like copies is how many
honest images do: the dataset's own near duplicates, and chance. No generator touches either side of it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genbench.copies.grids import Grids, as_grids
from genbench.copies.scores import score
from genbench.copies.search import Split
from genbench.images import LabelledImages, fingerprints
from genbench.seeding import generator

MOST_REAL = 4000  #: real images that are asked about: a bound of 0.1 % where none of them looks like a copy
BATCH = 64  #: images that are read at once: as floats, 40 MB at 224 pixels
Known = Mapping[str, npt.NDArray[Any]]


def known_images(splits: Mapping[str, LabelledImages], device: str) -> Known:
    """Compute what the check needs of the real images.

    Args:
        splits: `train`, `val`, `test`, and `reserve` where there is one.
        device: Where to compute.

    Returns:
        `train`, `test`: `uint8 [N, D, D]`, their grids. `prints_train` and so on, for all splits, and
        `prints_mirrored`, of the mirror images of train: `uint64 [N]`. `null`: `float64 [n, 3]`, ratios.
    """
    grids: dict[str, Grids] = {}
    found: dict[str, npt.NDArray[Any]] = {}
    for name, images in splits.items():
        parts, prints, flipped = [], [], []
        for batch in images.batches(BATCH):
            parts.append(as_grids(batch))
            prints.append(fingerprints(batch))
            if name == "train":
                flipped.append(fingerprints(batch.flip(3)))
        grids[name] = np.concatenate(parts)
        found[f"prints_{name}"] = np.concatenate(prints)
        if flipped:
            found["prints_mirrored"] = np.concatenate(flipped)
    found |= {name: grids[name] for name in ("train", "test")}
    train, test = (Split(grids[name], device) for name in ("train", "test"))
    rows = _asked(len(grids["train"]) + len(grids["val"]))
    asked = np.concatenate([grids["train"], grids["val"]])[rows]
    skips = np.where(rows < len(grids["train"]), rows, -1)
    found["null"] = score(asked, train, test, skips).ratios
    return found


def _asked(count: int) -> npt.NDArray[np.int64]:
    order = torch.randperm(count, generator=generator("copies", "null"))
    rows: npt.NDArray[np.int64] = order[:MOST_REAL].sort().values.numpy()
    return rows


def copied_exactly(prints: npt.NDArray[np.uint64], known: Known) -> dict[str, npt.NDArray[np.bool_]]:
    """Say which images are, pixel for pixel, images that their generator was not given: `bool [n]` by split.

    An image that is also an image of train, or the mirror image of one, is none: datasets hold the same image
    in several splits. Each image counts for one split, the reserve first: it may come from there.
    """
    left = ~(np.isin(prints, known["prints_train"]) | np.isin(prints, known["prints_mirrored"]))
    found = {}
    for split in ("reserve", "val", "test"):
        there = known.get(f"prints_{split}")
        found[split] = left & np.isin(prints, there) if there is not None else np.zeros_like(left)
        left = left & ~found[split]
    return found


def blank(batch: torch.Tensor) -> npt.NDArray[np.bool_]:
    """Say which images have one colour from edge to edge: `uint8 [n, 3, H, W]` to `bool [n]`."""
    colours = batch.flatten(2)
    found: npt.NDArray[np.bool_] = (colours == colours[:, :, :1]).all(dim=2).all(dim=1).numpy()
    return found
