"""`accuracy`: top-1 and top-5 accuracy, calibration, and what happens to each class, with the counts.

Balanced accuracy is the mean recall over the classes that the split holds (Brodersen et al., ICPR 2010, not
adjusted for chance), log-loss the mean of -log softmax at the true class; both as in scikit-learn. Logits
that tie go to the lower class, for top-1 and top-5 alike. Val is reported beside test and selects nothing
here.

Per class: precision, recall and F1 with the counts they rest on; `macro_f1` is their mean over the classes
that the split holds. The Brier score is the mean over images of the summed squared error of all class
probabilities, from 0 to 2 (Brier, 1950). The calibration error is the mean over 15 bins of equal width of
|accuracy - confidence|, weighted by images (Guo et al., arXiv:1706.04599, Eq. 3). Two pictures show test: the
confusion counts, and accuracy against confidence. Where only the predicted classes of a model are known, what
reads more of the logits has no value.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from genbench.errors import DataError
from genbench.metrics import Metric
from genbench.protocols import Evaluation, PredictionEvaluator, Predictions, RunContext, only_classes
from genbench.records import pack_bits
from genbench_evaluators._accuracy_pictures import draw_confusion, draw_reliability
from genbench_evaluators.configs.accuracy import AccuracyConfig

_TOP5_CLASSES = 6  # with fewer, top-5 is always right
_TOLERANCE = 1e-9  # against sklearn.metrics, in each metric's unit
_BINS = 15
_NO_LOGITS = "Needs logits: of this model, only the predicted classes are known."
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
            bins = [] if only_classes(own.logits) else reliability(own.logits, ranks == 0)
            metrics += _further_metrics(split, own, confusion, bins)
            tables[split] = {**_table(own, ranks, confusion), "reliability": [one._asdict() for one in bins]}
            if split == "test" and ctx.pictures:
                draw_confusion(confusion, own.class_names, ctx.files / "confusion.png")
                if bins:
                    draw_reliability(bins, ctx.files / "reliability.png")
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


class Bin(NamedTuple):
    """Images whose confidence lies in one bin: how many, their mean confidence, and the share right."""

    images: int
    confidence: float
    accuracy: float


def probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return softmax(logits) in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def reliability(logits: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> list[Bin]:
    """Sort images into 15 bins by their largest probability; empty bins are left out."""
    confidence = probabilities(logits).max(axis=1)
    place = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    bins = []
    for number in range(_BINS):
        here = place == number
        if here.any():
            bins.append(Bin(int(here.sum()), float(confidence[here].mean()), float(right[here].mean())))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error, 0-1."""
    total = sum(one.images for one in bins)
    return sum(one.images * abs(one.accuracy - one.confidence) for one in bins) / total


def class_scores(confusion: npt.NDArray[np.int64]) -> list[dict[str, float | None]]:
    """Return precision, recall and F1 of each class; None where nothing was there to count."""
    scores: list[dict[str, float | None]] = []
    for label, right in enumerate(confusion.diagonal().tolist()):
        images, predicted = int(confusion[label].sum()), int(confusion[:, label].sum())
        scores.append(
            {
                "predicted": predicted,
                "precision": right / predicted if predicted else None,
                "recall": right / images if images else None,
                "f1": 2 * right / (images + predicted) if images + predicted else None,
            }
        )
    return scores


def _further_metrics(
    split: str, predictions: Predictions, confusion: npt.NDArray[np.int64], bins: Sequence[Bin]
) -> Sequence[Metric]:
    held = np.flatnonzero(confusion.sum(axis=1))
    scores = class_scores(confusion)
    f1 = [scores[label]["f1"] or 0.0 for label in held]
    wrong = probabilities(predictions.logits)
    wrong[np.arange(len(wrong)), predictions.labels] -= 1
    brier = float((wrong**2).sum(axis=1).mean())
    on: Any = {"split": split, "n": len(wrong)}
    macro_f1 = Metric("macro_f1", 100 * float(np.mean(f1)), "%", True, (0, 100), _TOLERANCE, **on)
    if not bins:
        return [
            macro_f1,
            Metric("brier", None, "", False, (0, 2), _TOLERANCE, _NO_LOGITS, **on),
            Metric("calibration_error", None, "%", False, (0, 100), 1e-4, _NO_LOGITS, **on),
        ]
    error = 100 * calibration_error(bins)
    return [
        macro_f1,
        Metric("brier", brier, "", False, (0, 2), _TOLERANCE, **on),
        Metric("calibration_error", error, "%", False, (0, 100), 1e-4, **on),
    ]


def _metrics(
    split: str,
    predictions: Predictions,
    ranks: npt.NDArray[np.int64],
    confusion: npt.NDArray[np.int64],
) -> Sequence[Metric]:
    on: Any = {"split": split, "n": len(ranks)}

    def percent(name: str, share: float, note: str = "") -> Metric:
        return Metric(name, 100 * share, "%", True, (0, 100), _TOLERANCE, note, **on)

    known = not only_classes(predictions.logits)
    nats, note = (log_loss(predictions.logits, predictions.labels), "") if known else (None, _NO_LOGITS)
    loss = Metric("log_loss", nats, "nats", False, (0, None), _TOLERANCE, note, **on)
    has_top5 = known and len(confusion) >= _TOP5_CLASSES
    top5 = [percent("top5", float((ranks < 5).mean()))] if has_top5 else []
    balanced = percent("balanced_accuracy", float(np.nanmean(recalls(confusion))), _BALANCED_NOTE)
    return [percent("top1", float((ranks == 0).mean())), *top5, balanced, loss]


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
            {"class": name, "n": int(n), "correct": int(right), **scores}
            for (name, n, right), scores in zip(rows, class_scores(confusion), strict=True)
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
            hint="a training that diverged: lower recipe.learning_rate, or set recipe.clip_norm; without one "
            "(recipe.epochs=0), the weights or their normalisation overflow",
        )


def _check_counts(split: str, confusion: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> None:
    expected = np.bincount(labels, minlength=len(confusion))
    if not np.array_equal(confusion.sum(axis=1), expected):
        raise DataError(
            f"accuracy: confusion counts of split {split!r} sum to {confusion.sum(axis=1).tolist()} per "
            f"class, but its labels to {expected.tolist()}"
        )
