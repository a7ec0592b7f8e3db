"""`copies`: the training images again, pixel for pixel.

The floor: a generator whose images do no more than these adds nothing but weight to images that are there.
"""

from collections.abc import Iterator

from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._shared import chunks
from genbench_generators.configs.copies import CopiesConfig


class Copies(Generator):
    """Returns the source image of every request."""

    def __init__(self, config: CopiesConfig) -> None:
        self.config = config

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield the source images."""
        for part in chunks(len(request)):
            sources = request.source_indices[part]
            yield SyntheticBatch(request.train.batch(sources), request.labels[part], sources)
