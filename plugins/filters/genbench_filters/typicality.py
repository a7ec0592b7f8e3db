"""`typicality`: drops the images that are farther from the real images of their class than those do.

The score is the distance to the k-th nearest real image of the class in a classifier's penultimate features:
Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", arXiv:2204.06507, Algorithm 1.
Departures: neighbours are sought within the image's own class, and each class has a bound of its own; the
bound is a quantile of leave-one-out distances among the real images themselves, as no others may be looked
at; features are not scaled to unit length. The judge has seen these real images, which draws them together:
the bound is stricter than `quantile` says for images that it has not seen.
"""

import numpy as np

from genbench.errors import DataError
from genbench.images import LabelledImages
from genbench.protocols import Filter, RunContext, Verdicts
from genbench_filters._distances import leave_one_out_distances, neighbour_distances
from genbench_filters._shared import judged_features, verdicts
from genbench_filters.configs.typicality import TypicalityConfig


class Typicality(Filter):
    """Compares kNN distances, class by class."""

    def __init__(self, config: TypicalityConfig) -> None:
        self.config = config

    def keep(self, synthetic: LabelledImages, train: LabelledImages, ctx: RunContext) -> Verdicts:
        """Keep an image that is no farther from its class than `quantile` of the class's real images.

        Raises:
            DataError: A class has fewer than two real images, or features are not finite.
        """
        who = f"typicality: judge {self.config.judge.use!r}"
        real = judged_features(ctx.inputs["judge"], train, ctx.device, who)
        made = judged_features(ctx.inputs["judge"], synthetic, ctx.device, who)
        reasons = [""] * len(synthetic)
        labels = np.unique(synthetic.labels)
        for position, label in enumerate(labels):
            rows = np.flatnonzero(synthetic.labels == label)
            own = real[np.flatnonzero(train.labels == label)]
            if len(own) < 2:
                raise DataError(
                    f"typicality: class {train.class_names[label]!r} has {len(own)} real images, and "
                    "distances among them need 2"
                )
            k = min(self.config.neighbours, len(own) - 1)
            bound = leave_one_out_distances(own, k).quantile(self.config.quantile).item()
            for row, distance in zip(rows, neighbour_distances(made[rows], own, k).tolist(), strict=True):
                if distance > bound:
                    reasons[row] = f"distance {distance:.4g} > {bound:.4g}"
            ctx.progress(position + 1, len(labels))
        return verdicts(reasons)
