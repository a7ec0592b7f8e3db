"""`mmd`: the unbiased squared maximum mean discrepancy of features, with its floor.

Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012, Lemma 6, Eq. 3, with a Gaussian kernel. Departure:
the median heuristic (Sec. 8) looks at real training images alone, not at both samples, so that one kernel
measures all generators; and it is the same for train, val and the floor. No test is made of it: there is no
p-value.
"""

from collections.abc import Mapping

import torch

from genbench.errors import DataError
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench.records import Metric
from genbench_evaluators._feature_sets import Distances, FeatureSets, distance_metrics, gather
from genbench_evaluators._kernels import median_distance, mmd2, rbf_between, rbf_within
from genbench_evaluators.configs import MmdConfig

_HEURISTIC_ROWS = 2000  # about two million pairs: the median is known to a thousandth
_TEMPLATE = Metric("mmd2", None, higher_is_better=False, bounds=(-2, 2), tolerance=1e-6)  # against float64


class Mmd(ImageEvaluator):
    """Compares synthetic images with train and with val."""

    def __init__(self, config: MmdConfig) -> None:
        self._config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return `mmd2[...,train]`, `mmd2[...,val]` and `mmd2_floor[...,val]`.

        Raises:
            DataError: A set has fewer than two images, a feature is NaN or infinite, or no bandwidth can be
                taken from the training images.
        """
        sets = _centred(gather("mmd", synthetic, real, ctx), ctx.device)
        stated = self._config.bandwidth
        bandwidth = stated if stated is not None else _bandwidth(sets.train, ctx)
        distances = _distances(sets, bandwidth, ctx)
        metrics = distance_metrics(_TEMPLATE, self._config.extractor, distances, sets, lambda _: "")
        rows = min(len(sets.train), _HEURISTIC_ROWS)
        kernel = {
            "kernel": "exp(-|x - y|^2 / (2 bandwidth^2))",
            "bandwidth": bandwidth,
            "bandwidth_from": "the option `bandwidth`"
            if stated is not None
            else f"median distance between {rows} training images",
        }
        return Evaluation(metrics, {"kernel": kernel, "sizes": sets.sizes()})


def _centred(sets: FeatureSets, device: str) -> FeatureSets:
    """Move the mean of train to 0, which changes no distance and keeps float32 products exact enough."""
    centre = sets.train.mean(dim=0, dtype=torch.float64).float()
    return FeatureSets(*((features - centre).to(device) for features in sets))


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


def _distances(sets: FeatureSets, bandwidth: float, ctx: RunContext) -> Distances:
    """Compute the three values; what val is to itself, once."""
    within_val = rbf_within(sets.few_val, bandwidth)

    def against_val(features: torch.Tensor) -> float:
        within = rbf_within(features, bandwidth)
        return mmd2(within, within_val, rbf_between(features, sets.few_val, bandwidth))

    to_val, floor = against_val(sets.few_synthetic), against_val(sets.few_train)
    ctx.progress(1, 3)
    within_synthetic, within_train = rbf_within(sets.synthetic, bandwidth), rbf_within(sets.train, bandwidth)
    ctx.progress(2, 3)
    to_train = mmd2(within_synthetic, within_train, rbf_between(sets.synthetic, sets.train, bandwidth))
    ctx.progress(3, 3)
    return Distances(to_train, to_val, floor)
