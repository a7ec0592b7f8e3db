"""`none`: the baseline, real images alone."""

from collections.abc import Iterator

from genbench.errors import PluginError
from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators.configs.none import NoneConfig


class NoGenerator(Generator):
    """Stands for the absence of a generator; the harness plans no step for it."""

    def __init__(self, config: NoneConfig) -> None:
        self.config = config

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Refuse.

        Raises:
            PluginError: Always: the baseline has no synthetic images.
        """
        raise PluginError("generator 'none' is the baseline: it has no synthetic images and is never sampled")
