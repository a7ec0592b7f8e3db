"""`none`: every synthetic image stays."""

import numpy as np

from genbench.images import LabelledImages
from genbench.protocols import Filter, RunContext, Verdicts
from genbench_filters.configs.none import NoFilterConfig


class NoFilter(Filter):
    """Keeps everything. The harness plans no step for it; plugins may still call it."""

    def __init__(self, config: NoFilterConfig) -> None:
        self.config = config

    def keep(self, synthetic: LabelledImages, train: LabelledImages, ctx: RunContext) -> Verdicts:
        """Keep every image."""
        return Verdicts(np.ones(len(synthetic), dtype=bool), [""] * len(synthetic))
