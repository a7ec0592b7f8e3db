"""`ood_accuracy`: accuracy under every shift of the dataset, with its interval, and the gap to test.

The interval is Wilson's (JASA 22, 1927) over the images of the shift: 2,000 images at 85 % mean +-1.6 points.
The gap is to the accuracy on those test images whose class the shift has: nine classes are not compared with
ten. Effective robustness, above what accuracy on test lets expect, is the evaluator `effective_robustness`:
it needs many models.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genbench.errors import DataError
from genbench.metrics import Metric
from genbench.protocols import Evaluation, PredictionEvaluator, Predictions, RunContext
from genbench_evaluators.configs.ood_accuracy import OodAccuracyConfig

_SPLITS = ("val", "test")
_COMPUTED = "computed-"
_Z = 1.959963984540054  # 97.5 % of a standard normal


class Share(NamedTuple):
    """A share of right answers, 0-1, with its 95 % interval and how many images it rests on."""

    value: float
    low: float
    high: float
    n: int


class OodAccuracy(PredictionEvaluator):
    """Reads the predictions of every shift."""

    def __init__(self, config: OodAccuracyConfig) -> None:
        self.config = config

    def evaluate(
        self,
        predictions: Mapping[str, Predictions],
        baseline: Mapping[str, Predictions] | None,
        ctx: RunContext,
    ) -> Evaluation:
        """Return accuracy and gap of every shift, and the mean over computed corruptions.

        Raises:
            DataError: A shift has no images or unknown labels, or logits are not finite.
        """
        shifts = [name for name in sorted(predictions) if name not in _SPLITS]
        if not shifts:
            note = "The dataset has no shift: --dataset NAME:shifts=[...]."
            return Evaluation([Metric("ood_top1", None, "%", True, (0, 100), note=note)])
        metrics, computed = [], []
        for name in shifts:
            found, there = _shares(name, predictions[name], predictions["test"])
            metrics.append(_percent(name, found))
            metrics.append(_gap(name, found, there))
            if name.startswith(_COMPUTED):
                computed.append(100 * found.value)
        if computed:
            note = f"Over {len(computed)} computed corruptions: not CIFAR-10-C's."
            mean = float(np.mean(computed))
            metrics.append(Metric("mean_computed_top1", mean, "%", True, (0, 100), 1e-9, note))
        return Evaluation(metrics)


def wilson(right: int, n: int) -> Share:
    """Return a share with its Wilson 95 % interval."""
    share, spread = right / n, _Z**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return Share(share, max(0.0, centre - half), min(1.0, centre + half), n)


def _shares(name: str, shift: Predictions, test: Predictions) -> tuple[Share, Share | None]:
    """Return the accuracy of a shift, and on the test images of its classes; None where test has none."""
    if len(shift.labels) == 0:
        raise DataError(f"ood_accuracy: shift {name!r} has no images")
    unknown = set(shift.labels.tolist()) - set(range(len(shift.class_names)))
    if unknown:
        raise DataError(
            f"ood_accuracy: shift {name!r} has labels {sorted(unknown)}, which are not classes of the dataset"
        )
    same = np.isin(test.labels, np.unique(shift.labels))
    there = wilson(int(_right("test", test)[same].sum()), int(same.sum())) if same.any() else None
    return wilson(int(_right(name, shift).sum()), len(shift.labels)), there


def _gap(name: str, found: Share, there: Share | None) -> Metric:
    """Return how many points a shift lies below test; no number where test has none of its classes."""
    note, points = "Test has no image of the shift's classes.", None
    if there is not None:
        note = f"Test images of the same classes: {100 * there.value:.2f} %, n = {there.n}."
        points = 100 * (there.value - found.value)
    return Metric("gap", points, "points", False, (-100, 100), 1e-9, note, split=name, against="test")


def _right(split: str, predictions: Predictions) -> npt.NDArray[np.bool_]:
    unusable = int((~np.isfinite(predictions.logits)).any(axis=1).sum())
    if unusable:
        raise DataError(
            f"ood_accuracy: logits of split {split!r} are NaN or infinite for {unusable} of "
            f"{len(predictions.labels)} images",
            hint="a training that diverged: lower recipe.learning_rate, or set recipe.clip_norm; without one "
            "(recipe.epochs=0), the weights or their normalisation overflow",
        )
    right: npt.NDArray[np.bool_] = predictions.logits.argmax(axis=1) == predictions.labels
    return right


def _percent(shift: str, share: Share) -> Metric:
    note = f"n = {share.n}; 95 % interval {100 * share.low:.2f} to {100 * share.high:.2f}."
    return Metric("ood_top1", 100 * share.value, "%", True, (0, 100), 1e-9, note, split=shift, n=share.n)
