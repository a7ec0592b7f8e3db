"""`accuracy`: top-1 and top-5 accuracy, balanced accuracy and log-loss of every split, with the counts.

Balanced accuracy is the mean recall over the classes that the split holds (Brodersen et al., ICPR 2010, not
adjusted for chance), log-loss the mean of -log softmax at the true class; both as in scikit-learn. Logits
that tie go to the lower class, for top-1 and top-5 alike. Val is reported beside test and selects nothing
here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from genbench.errors import DataError
from genbench.protocols import Evaluation, PredictionEvaluator, Predictions, RunContext
from genbench.records import Metric, pack_bits
from genbench_evaluators.configs import AccuracyConfig

_TOP5_CLASSES = 6  # with fewer, top-5 is always right
_TOLERANCE = 1e-9  # against sklearn.metrics, in each metric's unit
_BALANCED_NOTE = "Mean recall over the classes of the split."


class Accuracy(PredictionEvaluator):
    """Reads stored logits."""

    def __init__(self, config: AccuracyConfig) -> None:
        self._config = config

    def evaluate(
        self,
        predictions: Mapping[str, Predictions],
        baseline: Mapping[str, Predictions] | None,
        ctx: RunContext,
    ) -> Evaluation:
        """Return metrics per split, `top1` of test first, and per split a table of counts.

        Raises:
            DataError: Logits are NaN or infinite, or do not fit the labels; the message names the split.
        """
        metrics: list[Metric] = []
        tables: dict[str, Any] = {}
        for split in sorted(predictions, key=lambda name: (name != "test", name != "val", name)):
            own = predictions[split]
            _check(split, own)
            ranks = true_class_ranks(own.logits, own.labels)
            confusion = confusion_counts(own.logits, own.labels)
            _check_counts(split, confusion, own.labels)
            metrics += _metrics(split, own, ranks, confusion)
            tables[split] = _table(own, ranks, confusion)
        return Evaluation(metrics, tables)


def true_class_ranks(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many classes stand before the true one, 0 where it is predicted: `int64 [N]`.

    Args:
        logits: `float32 [N, C]`, finite.
        labels: `int64 [N]`.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    lower_class = np.arange(logits.shape[1]) < labels[:, None]
    ranks: npt.NDArray[np.int64] = ((logits > own) | ((logits == own) & lower_class)).sum(axis=1)
    return ranks


def confusion_counts(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count images by true and predicted class: `int64 [C, C]`, rows are true classes."""
    classes = logits.shape[1]
    pairs = labels * classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).astype(np.int64).reshape(classes, classes)


def recalls(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each class's share of right predictions: `float64 [C]`, NaN for a class without images."""
    counts = confusion.sum(axis=1)
    found: npt.NDArray[np.float64] = np.full(len(counts), np.nan)
    np.divide(confusion.diagonal(), counts, out=found, where=counts > 0)
    return found


def log_loss(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Return the mean of -log softmax(logits) at the true class, in nats, summed in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_normaliser = np.log(np.exp(shifted).sum(axis=1))
    return float((log_normaliser - shifted[np.arange(len(labels)), labels]).mean())


def _metrics(
    split: str,
    predictions: Predictions,
    ranks: npt.NDArray[np.int64],
    confusion: npt.NDArray[np.int64],
) -> Sequence[Metric]:
    def percent(name: str, share: float, note: str = "") -> Metric:
        return Metric(
            _metric_name(name, split),
            100 * share,
            unit="%",
            higher_is_better=True,
            bounds=(0, 100),
            tolerance=_TOLERANCE,
            note=note,
        )

    loss = Metric(
        _metric_name("log_loss", split),
        log_loss(predictions.logits, predictions.labels),
        unit="nats",
        higher_is_better=False,
        bounds=(0, None),
        tolerance=_TOLERANCE,
    )
    top5 = [percent("top5", float((ranks < 5).mean()))] if len(confusion) >= _TOP5_CLASSES else []
    balanced = percent("balanced_accuracy", float(np.nanmean(recalls(confusion))), _BALANCED_NOTE)
    return [percent("top1", float((ranks == 0).mean())), *top5, balanced, loss]


def _metric_name(name: str, split: str) -> str:
    """Return `top1` for test, `val_top1` for val, `top1[shift]` for a shift."""
    if split == "test":
        return name
    return f"val_{name}" if split == "val" else f"{name}[{split}]"


def _table(
    predictions: Predictions, ranks: npt.NDArray[np.int64], confusion: npt.NDArray[np.int64]
) -> Mapping[str, Any]:
    rows = zip(predictions.class_names, confusion.sum(axis=1), confusion.diagonal(), strict=True)
    return {
        "n": len(ranks),
        "correct_bits": pack_bits((ranks == 0).tolist()),
        "class_names": list(predictions.class_names),
        "confusion": confusion.tolist(),
        "per_class": [
            {"class": name, "n": int(n), "correct": int(right), "recall": float(right / n) if n else None}
            for name, n, right in rows
        ],
    }


def _check(split: str, predictions: Predictions) -> None:
    logits, count, classes = predictions.logits, len(predictions.labels), len(predictions.class_names)
    if count == 0:
        raise DataError(f"accuracy: split {split!r} has no images")
    if logits.shape != (count, classes):
        raise DataError(
            f"accuracy: logits of split {split!r} must be [{count}, {classes}] (images, classes), "
            f"found {list(logits.shape)}"
        )
    unusable = int((~np.isfinite(logits)).any(axis=1).sum())
    if unusable:
        raise DataError(
            f"accuracy: logits of split {split!r} are NaN or infinite for {unusable} of {count} images",
            hint="the training diverged: lower recipe.learning_rate, or set recipe.clip_norm",
        )


def _check_counts(split: str, confusion: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> None:
    expected = np.bincount(labels, minlength=len(confusion))
    if not np.array_equal(confusion.sum(axis=1), expected):
        raise DataError(
            f"accuracy: confusion counts of split {split!r} sum to {confusion.sum(axis=1).tolist()} per "
            f"class, but its labels to {expected.tolist()}"
        )
