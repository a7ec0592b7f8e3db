"""`real_extra`: real images that were held out of train, as many as any generator would make.

The ceiling: what labelled images from the same source are worth. It is the only generator that is handed
the dataset's reserve (`--dataset NAME:reserve=N`), and never an image twice.
"""

from collections.abc import Iterator

import numpy as np

from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._shared import chunks
from genbench_generators.configs.real_extra import RealExtraConfig


class RealExtra(Generator):
    """Returns held-out real images."""

    def __init__(self, config: RealExtraConfig) -> None:
        self.config = config

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield images of the reserve; none of them was made from a training image."""
        for part in chunks(len(request)):
            images = request.train.batch(request.source_indices[part])
            yield SyntheticBatch(images, request.labels[part], np.full(len(images), -1, dtype=np.int64))
