"""`accuracy` against scikit-learn, and what it refuses."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import sklearn.metrics
from scipy.special import softmax

from genbench.errors import DataError
from genbench.protocols import Evaluation, Predictions, RunContext
from genbench.records import unpack_bits
from genbench_evaluators._accuracy_pictures import draw_confusion
from genbench_evaluators.accuracy import Accuracy
from genbench_evaluators.configs.accuracy import AccuracyConfig


def predictions(count: int = 200, classes: int = 7, seed: int = 0, missing: int | None = None) -> Predictions:
    """Logits that lean towards the true class; `missing` is a class without images."""
    draw = np.random.default_rng(seed)
    labels = draw.choice([label for label in range(classes) if label != missing], count).astype(np.int64)
    logits = draw.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += 1
    names = tuple(f"class{label}" for label in range(classes))
    return Predictions(logits, np.zeros((count, 2), np.float32), labels, names)


def evaluate(ctx: RunContext, **splits: Predictions) -> Evaluation:
    return Accuracy(AccuracyConfig()).evaluate(splits, None, ctx)


def values(evaluation: Evaluation) -> dict[str, float | None]:
    return {metric.label: metric.value for metric in evaluation.metrics}


def test_agrees_with_scikit_learn(ctx: RunContext) -> None:
    test = predictions()
    found, chosen = evaluate(ctx, test=test), test.logits.argmax(1)
    probabilities = softmax(test.logits.astype(np.float64), axis=1)
    expected = {
        "top1": 100 * sklearn.metrics.accuracy_score(test.labels, chosen),
        "top5": 100 * sklearn.metrics.top_k_accuracy_score(test.labels, test.logits, k=5),
        "balanced_accuracy": 100 * sklearn.metrics.balanced_accuracy_score(test.labels, chosen),
        "log_loss": sklearn.metrics.log_loss(test.labels, probabilities),
    }
    tolerances = {metric.label: metric.tolerance for metric in found.metrics}
    assert {name: tolerances[name] for name in expected} == dict.fromkeys(expected, 1e-9)
    assert {name: values(found)[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    table = found.tables["test"]
    assert table["confusion"] == sklearn.metrics.confusion_matrix(test.labels, chosen).tolist()
    assert unpack_bits(table["correct_bits"], table["n"]) == (test.labels == chosen).tolist()
    recall = sklearn.metrics.recall_score(test.labels, chosen, average=None)
    assert [row["recall"] for row in table["per_class"]] == pytest.approx(recall.tolist())
    assert [row["class"] for row in table["per_class"]] == table["class_names"] == list(test.class_names)


def test_test_comes_first_and_every_split_is_named(ctx: RunContext) -> None:
    found = evaluate(ctx, fog=predictions(seed=1), val=predictions(seed=2), test=predictions(seed=3))
    labels = [metric.label for metric in found.metrics]
    assert labels[0] == "top1"
    assert {"val_top1", "top1[fog]", "val_log_loss", "balanced_accuracy[fog]"} <= set(labels)
    assert all(metric.n == found.tables[metric.split]["n"] for metric in found.metrics)
    assert found.tables.keys() == {"test", "val", "fog"}


def test_facts_of_the_primary_metric(ctx: RunContext) -> None:
    top1 = evaluate(ctx, test=predictions()).metrics[0]
    assert (top1.unit, top1.higher_is_better, top1.bounds) == ("%", True, (0, 100))


def test_a_class_without_images_has_no_recall_and_does_not_count(ctx: RunContext) -> None:
    test = predictions(missing=3)
    found, chosen = evaluate(ctx, test=test), test.logits.argmax(1)
    row = found.tables["test"]["per_class"][3]
    assert (row["n"], row["correct"], row["recall"]) == (0, 0, None)
    recall = sklearn.metrics.recall_score(
        test.labels, chosen, labels=[0, 1, 2, 4, 5, 6], average="macro", zero_division=0
    )
    assert values(found)["balanced_accuracy"] == pytest.approx(100 * recall)


def test_no_top5_with_five_classes(ctx: RunContext) -> None:
    assert "top5" not in values(evaluate(ctx, test=predictions(classes=5)))


def test_ties_go_to_the_lower_class_in_top1_and_top5(ctx: RunContext) -> None:
    labels = np.arange(7)
    tied = Predictions(np.zeros((7, 7), np.float32), np.zeros((7, 1), np.float32), labels, tuple("abcdefg"))
    found = values(evaluate(ctx, test=tied))
    assert found["top1"] == pytest.approx(100 / 7)
    assert found["top5"] == pytest.approx(500 / 7)
    assert found["log_loss"] == pytest.approx(np.log(7))


def test_huge_logits_do_not_overflow(ctx: RunContext) -> None:
    test = predictions(count=10)
    huge = Predictions(test.logits * 1e36, test.features, test.labels, test.class_names)
    assert np.isfinite(values(evaluate(ctx, test=huge))["log_loss"] or 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_unusable_logits_are_refused_by_split_and_number(ctx: RunContext, bad: float) -> None:
    val = predictions()
    val.logits[[3, 3, 9], [0, 1, 2]] = bad
    with pytest.raises(DataError, match="logits of split 'val' are NaN or infinite for 2 of 200 images"):
        evaluate(ctx, test=predictions(), val=val)


def test_logits_that_do_not_fit_are_refused(ctx: RunContext) -> None:
    test = predictions()
    short = Predictions(test.logits[:5], test.features, test.labels, test.class_names)
    with pytest.raises(
        DataError, match=r"split 'test' must be \[200, 7\] \(images, classes\), found \[5, 7\]"
    ):
        evaluate(ctx, test=short)


def test_an_empty_split_is_refused(ctx: RunContext) -> None:
    with pytest.raises(DataError, match="split 'fog' has no images"):
        evaluate(ctx, test=predictions(), fog=predictions(count=0))


def test_classes_agree_with_scikit_learn_and_calibration_with_torchmetrics(ctx: RunContext) -> None:
    import torch
    from sklearn.metrics import brier_score_loss, f1_score, precision_recall_fscore_support
    from torchmetrics.functional.classification import multiclass_calibration_error

    from genbench_evaluators.accuracy import probabilities

    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 400)
    logits = (rng.normal(size=(400, 5)) * 2).astype(np.float32)
    logits[np.arange(400), labels] += 1.5
    given = Predictions(logits, logits, labels, tuple("abcde"))
    found = Accuracy(AccuracyConfig()).evaluate({"test": given}, None, ctx)
    values = {metric.label: metric.value for metric in found.metrics}
    predicted = logits.argmax(axis=1)
    theirs = precision_recall_fscore_support(labels, predicted)
    rows = found.tables["test"]["per_class"]
    for position, name in enumerate(("precision", "recall", "f1")):
        assert [row[name] for row in rows] == pytest.approx(theirs[position].tolist())
    assert [row["predicted"] for row in rows] == np.bincount(predicted, minlength=5).tolist()
    assert values["macro_f1"] == pytest.approx(100 * f1_score(labels, predicted, average="macro"))
    own = probabilities(logits)
    expected = sum(brier_score_loss(labels == label, own[:, label]) for label in range(5))
    assert values["brier"] == pytest.approx(expected)
    error = multiclass_calibration_error(torch.from_numpy(own), torch.from_numpy(labels), 5, n_bins=15)
    assert values["calibration_error"] == pytest.approx(100 * float(error), abs=1e-4)
    assert sum(one["images"] for one in found.tables["test"]["reliability"]) == 400
    assert all((ctx.files / name).stat().st_size > 3000 for name in ("confusion.png", "reliability.png"))


def test_counts_are_written_into_the_cells_of_few_classes_alone(tmp_path: Path) -> None:
    written: dict[int, set[str]] = {}
    for classes in (20, 21):
        counts = np.arange(classes**2).reshape(classes, classes) + 1000
        with patch("matplotlib.axes.Axes.text", autospec=True) as text:
            draw_confusion(counts, [str(label) for label in range(classes)], tmp_path / "confusion.png")
        written[classes] = {call.args[3] for call in text.call_args_list}
    assert written == {20: {str(1000 + cell) for cell in range(400)}, 21: set()}


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not(ctx: RunContext) -> None:
    labels = np.arange(40, dtype=np.int64) % 4
    for found, brier, error in ((labels, 0, 0), ((labels + 1) % 4, 2, 100)):
        logits = 100 * np.eye(4, dtype=np.float32)[found]
        given = Predictions(logits, logits, labels, tuple("abcd"))
        values = {
            one.label: one.value
            for one in Accuracy(AccuracyConfig()).evaluate({"test": given}, None, ctx).metrics
        }
        assert values["brier"] == pytest.approx(brier)
        assert values["calibration_error"] == pytest.approx(error)
