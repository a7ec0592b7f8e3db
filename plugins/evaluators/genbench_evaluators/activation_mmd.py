"""`activation_mmd`: S4's use of the MMD, as a demonstration of why it says nothing.

kyritzb/Synthetic-Data-Classification-Experiment compared the penultimate activations of networks trained on
different images by their squared MMD and read 0.0015 to 0.0024 as differences between the training sets. The
number is not identifiable: permuting a network's hidden units changes it and nothing that the network does.
So does another seed. The value beside it is that null: the same quantity between two networks that differ in
their seed alone. If the first is not clearly larger, it has measured the seed.

To compare image sets use `mmd`, one frozen extractor for both; to compare networks use `features` (CKA, which
no permutation changes). The kernel is Gaussian, its bandwidth the median distance between the baseline's own
activations; the estimator is that of `mmd`.
"""

from collections.abc import Mapping

import numpy as np
import torch

from genbench.metrics import Metric, Role
from genbench.protocols import Evaluation, PredictionEvaluator, Predictions, RunContext
from genbench_evaluators._kernels import Kernel, mean_between, mean_within, median_distance, mmd2
from genbench_evaluators.configs.activation_mmd import ActivationMmdConfig
from genbench_evaluators.features import Floats, finite_features

_HEURISTIC_ROWS = 2000
_WARNING = "Not identifiable: compare it with the null, and see the evaluator's documentation."


class ActivationMmd(PredictionEvaluator):
    """Reads stored features of test."""

    def __init__(self, config: ActivationMmdConfig) -> None:
        self.config = config

    def evaluate(
        self,
        predictions: Mapping[str, Predictions],
        baseline: Mapping[str, Predictions] | None,
        ctx: RunContext,
    ) -> Evaluation:
        """Return the MMD of this network's activations to the baseline's, and that of two baseline seeds.

        Raises:
            DataError: Features are NaN or infinite.
        """
        own = finite_features("activation_mmd", predictions["test"])
        other = own if baseline is None else finite_features("activation_mmd", baseline["test"])
        twin = ctx.inputs.get("twin")
        metrics = []
        if baseline is not None:
            metrics.append(_metric("score", (own, other), _WARNING))
        if twin is not None:
            seeds = finite_features("activation_mmd", twin["test"])
            metrics.append(_metric("floor", (other, seeds), "Two networks of other seeds."))
        if not metrics:
            note = "Only one seed of none: nothing to compare with."
            metrics.append(_metric("floor", None, note))
        return Evaluation(metrics)


def _metric(role: Role, sides: tuple[Floats, Floats] | None, note: str) -> Metric:
    """Return the MMD of two networks' activations; without a value where there are not two."""
    value, n = (squared_mmd(*sides), len(sides[0])) if sides else (None, None)
    return Metric(
        "activation_mmd2", value, "", None, (-2, 2), 1e-5, note,
        split="test", against="none", n=n, role=role,
    )  # fmt: skip


def squared_mmd(x: Floats, y: Floats) -> float:
    """Return the unbiased squared MMD of `float64 [n, D]` each; the bandwidth is y's median distance."""
    centre = y.mean(axis=0)
    a, b = (torch.from_numpy(side - centre).float() for side in (x, y))
    rows = np.linspace(0, len(b) - 1, min(len(b), _HEURISTIC_ROWS)).round().astype(np.int64)
    kernel = Kernel("rbf", (median_distance(b[torch.from_numpy(rows)]) or 1.0,))
    return mmd2(mean_within(a, kernel), mean_within(b, kernel), mean_between(a, b, kernel))
