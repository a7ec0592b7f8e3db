"""`mmd`: the unbiased squared maximum mean discrepancy of features, with its floor and a permutation test.

Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012, Lemma 6, Eq. 3, with a Gaussian kernel (or a mean
of several, or a polynomial one). Departure: the median heuristic (Sec. 8) looks at real training images
alone, not at both samples, so that one kernel measures all generators; and it is the same for train, val and
the floor.

The p value is that of random splits of synthetic and val images together (Sec. 5): the share that differs as
much or more. With many images it is small for any generator, however good: it says that there is a
difference, not that it matters.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from genbench.errors import DataError
from genbench.metrics import Metric
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench_evaluators._feature_sets import Distances, FeatureSets, distance_metrics, gather
from genbench_evaluators._kernels import (
    Kernel,
    mean_between,
    mean_within,
    median_distance,
    mmd2,
    permutation_p,
)
from genbench_evaluators.configs.mmd import MmdConfig

_MOST_PERMUTED = 2000  # of each side: the matrix of all pairs is held in memory
_HEURISTIC_ROWS = 2000  # about two million pairs: the median is known to a thousandth
_TEMPLATE = Metric("mmd2", None, higher_is_better=False, bounds=(-2, 2), tolerance=1e-6)  # against float64


class Mmd(ImageEvaluator):
    """Compares synthetic images with train and with val."""

    def __init__(self, config: MmdConfig) -> None:
        self._config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return the distance to train, the distance to val, its floor, and a p value.

        Raises:
            DataError: A set has fewer than two images, a feature is NaN or infinite, or no bandwidth can be
                taken from the training images.
        """
        found = gather("mmd", synthetic, real)
        if self._config.kernel == "polynomial":
            sets, kernel = found.on(ctx.device), Kernel("polynomial", scale=1 / found.dimensions)
            described: Mapping[str, object] = {"kernel": "(x . y / D + 1)^3"}
        else:
            sets = found.centred().on(ctx.device)
            kernel, described = self._rbf(sets, ctx)
        distances = _distances(sets, kernel, ctx)
        template = _TEMPLATE if kernel.kind == "rbf" else replace(_TEMPLATE, bounds=(None, None))
        metrics = distance_metrics(template, self._config.extractor, distances, sets, lambda _: "")
        if self._config.permutations:
            metrics.append(self._p(sets, kernel, ctx))
        return Evaluation(metrics, {"kernel": described, "sizes": sets.sizes()})

    def _rbf(self, sets: FeatureSets, ctx: RunContext) -> tuple[Kernel, Mapping[str, object]]:
        """Return the Gaussian kernel, and where its bandwidth comes from."""
        stated = self._config.bandwidth
        bandwidth = stated if stated is not None else _bandwidth(sets.train, ctx)
        rows = min(len(sets.train), _HEURISTIC_ROWS)
        described = {
            "kernel": "exp(-|x - y|^2 / (2 bandwidth^2))",
            "bandwidth": bandwidth,
            "bandwidth_from": "the option `bandwidth`"
            if stated is not None
            else f"median distance between {rows} training images",
            "bandwidth_factors": list(self._config.bandwidth_factors),
        }
        return Kernel(
            "rbf", tuple(bandwidth * factor for factor in self._config.bandwidth_factors)
        ), described

    def _p(self, sets: FeatureSets, kernel: Kernel, ctx: RunContext) -> Metric:
        n, rounds = len(sets.few_val), self._config.permutations
        shown = min(n, _MOST_PERMUTED)
        sides = _drawn(sets.few_synthetic, shown, ctx), _drawn(sets.few_val, shown, ctx)
        p = permutation_p(*sides, kernel, rounds, ctx.rng("splits"))
        note = f"Against val, {rounds} random splits of {shown} and {shown} images."
        return Metric(
            "mmd2", p, "", None, (0, 1), 1e-9, note,
            split="synthetic", against="val", extractor=self._config.extractor, n=shown,
            role="p_value", average="none",
        )  # fmt: skip


def _drawn(features: torch.Tensor, count: int, ctx: RunContext) -> torch.Tensor:
    """Return `count` rows drawn at random: synthetic images lie class by class, the first ones of a few."""
    if count == len(features):
        return features
    return features[torch.randperm(len(features), generator=ctx.rng("drawn"))[:count].to(features.device)]


def _bandwidth(train: torch.Tensor, ctx: RunContext) -> float:
    """Return the median distance between (at most 2,000, drawn) training images."""
    rows = torch.randperm(len(train), generator=ctx.rng("bandwidth"))[:_HEURISTIC_ROWS].sort().values
    median = median_distance(train[rows.to(train.device)])
    if median == 0:
        raise DataError(
            "mmd: the median distance between training images is 0: most have the same features",
            hint="set mmd:bandwidth=VALUE",
        )
    return median


def _distances(sets: FeatureSets, kernel: Kernel, ctx: RunContext) -> Distances:
    """Compute the three values; what val is to itself, once."""
    within_val = mean_within(sets.few_val, kernel)

    def against_val(features: torch.Tensor) -> float:
        within = mean_within(features, kernel)
        return mmd2(within, within_val, mean_between(features, sets.few_val, kernel))

    to_val, floor = against_val(sets.few_synthetic), against_val(sets.few_train)
    ctx.progress(1, 3)
    within_synthetic, within_train = mean_within(sets.synthetic, kernel), mean_within(sets.train, kernel)
    ctx.progress(2, 3)
    to_train = mmd2(within_synthetic, within_train, mean_between(sets.synthetic, sets.train, kernel))
    ctx.progress(3, 3)
    return Distances(to_train, to_val, floor)
