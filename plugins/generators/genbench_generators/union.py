"""`union`: the images of several generators as one set, in equal shares or in those of `shares`.

Each part is sampled as if it stood alone, so that `union` and its parts share artifacts on a board that
compares them; image i is then taken from one part, which its own seed chooses. The shares are therefore
kept up to chance, and a union of k parts that stand nowhere else samples k times as much as it uses.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._shared import chunks
from genbench_generators.configs.union import PARTS, UnionConfig


class Union(Generator):
    """Takes each image from one of its parts."""

    def __init__(self, config: UnionConfig) -> None:
        self.config = config

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield the chosen images of the parts."""
        parts = [request.drafts[option] for option in PARTS if option in request.drafts]
        for here in chunks(len(request)):
            rows = np.arange(here.start, here.stop)
            chosen = self._parts_of(request.seeds[rows], len(parts))
            batches = [draft.images.batch(rows) for draft in parts]
            images = torch.stack([batches[which][place] for place, which in enumerate(chosen)])
            sources = np.array(
                [parts[which].source_indices[row] for row, which in zip(rows, chosen, strict=True)]
            )
            prompts = [parts[which].prompts[row] for row, which in zip(rows, chosen, strict=True)]
            yield SyntheticBatch(images, request.labels[rows], sources, prompts)

    def _parts_of(self, seeds: npt.NDArray[np.int64], parts: int) -> npt.NDArray[np.int64]:
        """Return the place of the part that each seed chooses."""
        if not self.config.shares:
            return seeds % parts
        until = np.cumsum(self.config.shares) / np.sum(self.config.shares)
        uniform = (seeds & ((1 << 53) - 1)) / (1 << 53)
        return np.searchsorted(until[:-1], uniform, side="right").astype(np.int64)
