"""Metrics against torchmetrics, each to its declared tolerance; see docs/design/torchmetrics.md.

torchmetrics divides in float32. Where a tolerance is smaller than that, its exact integer counts are taken
and divided here. FID, KID and the filter's inception score have their tests beside those of their formulas.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional as tm
import torchmetrics.functional.classification as tmc

from genbench.images import TensorImages
from genbench.protocols import Predictions, RunContext
from genbench.records import Metric
from genbench_evaluators._kernels import Kernel, mean_between, mean_within, mmd2
from genbench_evaluators.accuracy import Accuracy
from genbench_evaluators.configs.accuracy import AccuracyConfig
from genbench_evaluators.configs.ood_accuracy import OodAccuracyConfig
from genbench_evaluators.inception_score import inception_score
from genbench_evaluators.ood_accuracy import OodAccuracy
from genbench_evaluators.precision_recall import manifold
from genbench_evaluators.train_accuracy import share_right
from genbench_evaluators.usefulness import spearman

IMAGES, CLASSES = 503, 7


@pytest.fixture(scope="module")
def answers() -> Predictions:
    """Logits that lean towards the true class; each class has images, and its own share of right answers."""
    rng = np.random.default_rng(11)
    labels = rng.integers(0, CLASSES, IMAGES)
    logits = rng.normal(size=(IMAGES, CLASSES)).astype(np.float32)
    logits[np.arange(IMAGES), labels] += np.linspace(0, 2, CLASSES, dtype=np.float32)[labels]
    return Predictions(logits, logits, labels, tuple(f"class{label}" for label in range(CLASSES)))


@pytest.fixture
def measured(answers: Predictions, ctx: RunContext) -> Mapping[str, Metric]:
    """What `accuracy` says of them, by name."""
    return {
        one.name: one for one in Accuracy(AccuracyConfig()).evaluate({"test": answers}, None, ctx).metrics
    }


def tensors(answers: Predictions) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits `float64 [N, C]` and labels."""
    return torch.from_numpy(answers.logits).double(), torch.from_numpy(answers.labels)


def counts(answers: Predictions, average: Any = None, top_k: int = 1) -> torch.Tensor:
    """Return true and false positives, true and false negatives, and support: `int64 [..., 5]`."""
    return tmc.multiclass_stat_scores(*tensors(answers), CLASSES, average=average, top_k=top_k)


def assert_held(metric: Metric, reference: float) -> None:
    """The value is the reference's, to the tolerance that the metric declares."""
    assert metric.tolerance is not None
    assert metric.value == pytest.approx(reference, abs=metric.tolerance, rel=0)


@pytest.mark.parametrize(("name", "top_k"), [("top1", 1), ("top5", 5)])
def test_top_k(answers: Predictions, measured: Mapping[str, Metric], name: str, top_k: int) -> None:
    right, *_ = counts(answers, "micro", top_k).tolist()
    assert 0 < right < IMAGES
    assert_held(measured[name], 100 * right / IMAGES)


def test_balanced_accuracy(answers: Predictions, measured: Mapping[str, Metric]) -> None:
    right, _, _, missed, _ = counts(answers).double().T
    assert_held(measured["balanced_accuracy"], 100 * float((right / (right + missed)).mean()))


def test_macro_f1(answers: Predictions, measured: Mapping[str, Metric]) -> None:
    right, wrong, _, missed, _ = counts(answers).double().T
    assert_held(measured["macro_f1"], 100 * float((2 * right / (2 * right + wrong + missed)).mean()))


def test_log_loss(answers: Predictions, measured: Mapping[str, Metric]) -> None:
    logits, labels = tensors(answers)
    assert_held(measured["log_loss"], float(tm.text.perplexity(logits[None], labels[None]).log()))


def test_brier(answers: Predictions, measured: Mapping[str, Metric]) -> None:
    logits, labels = tensors(answers)
    one_hot = torch.nn.functional.one_hot(labels, CLASSES).double()
    assert_held(measured["brier"], CLASSES * float(tm.mean_squared_error(logits.softmax(dim=1), one_hot)))


def test_calibration_error(answers: Predictions, measured: Mapping[str, Metric]) -> None:
    error = tmc.multiclass_calibration_error(*tensors(answers), CLASSES, n_bins=15)
    assert_held(measured["calibration_error"], 100 * float(error))


def test_counts_and_scores_of_each_class(answers: Predictions, ctx: RunContext) -> None:
    table = Accuracy(AccuracyConfig()).evaluate({"test": answers}, None, ctx).tables["test"]
    assert table["confusion"] == tmc.multiclass_confusion_matrix(*tensors(answers), CLASSES).tolist()
    for row, (right, wrong, _, missed, images) in zip(
        table["per_class"], counts(answers).tolist(), strict=True
    ):
        assert (row["n"], row["correct"], row["predicted"]) == (images, right, right + wrong)
        assert row["recall"] == right / (right + missed)
        assert row["precision"] == right / (right + wrong)
        assert row["f1"] == 2 * right / (2 * right + wrong + missed)


def test_accuracy_under_a_shift(answers: Predictions, ctx: RunContext) -> None:
    splits = {"test": answers, "val": answers, "fog": answers}
    found = OodAccuracy(OodAccuracyConfig()).evaluate(splits, None, ctx).metrics[0]
    assert_held(found, 100 * counts(answers, "micro").tolist()[0] / IMAGES)


def test_share_right_of_a_network(answers: Predictions) -> None:
    class Remembers(torch.nn.Module):
        """Returns the logits of the image whose number its pixels spell."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            number = 256 * images[:, 0, 0, 0].long() + images[:, 1, 0, 0].long()
            return torch.from_numpy(answers.logits)[number]

    numbers = torch.arange(IMAGES)
    pixels = torch.stack([numbers // 256, numbers % 256, 0 * numbers], dim=1).byte()[:, :, None, None]
    images = TensorImages(pixels, answers.labels, list(answers.class_names))
    right = counts(answers, "micro").tolist()[0]
    assert share_right(Remembers(), images, "cpu") == right / IMAGES


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save all")  # of torchmetrics
@pytest.mark.filterwarnings("ignore:std.*degrees")  # of its splits, and there is one
def test_inception_score(answers: Predictions) -> None:
    from torchmetrics.image.inception import InceptionScore

    theirs = InceptionScore(feature=torch.nn.Identity(), splits=1)
    theirs.update(tensors(answers)[0])
    found = inception_score(answers.logits.astype(np.float64))
    assert found == pytest.approx(float(theirs.compute()[0]), rel=1e-6, abs=0)


@pytest.mark.parametrize("kind", ["rbf", "polynomial"])
def test_mmd_of_equally_many_images(kind: Any) -> None:
    """torchmetrics' estimator holds for sets of one size."""
    from torchmetrics.image.kid import maximum_mean_discrepancy, poly_kernel

    draw = torch.Generator().manual_seed(5)
    x, y = torch.randn(120, 16, generator=draw), torch.randn(120, 16, generator=draw) + 0.3
    kernel = Kernel(kind, (4.0,), scale=1 / 16)

    def theirs(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if kind == "polynomial":
            return poly_kernel(a.double(), b.double())
        squares = tm.pairwise_euclidean_distance(a.double(), b.double(), zero_diagonal=a is b).square()
        return torch.exp(-squares / (2 * 4.0**2))

    expected = maximum_mean_discrepancy(theirs(x, x), theirs(x, y), theirs(y, y))
    found = mmd2(mean_within(x, kernel), mean_within(y, kernel), mean_between(x, y, kernel))
    assert float(expected) > 0.001
    assert found == pytest.approx(float(expected), abs=1e-6, rel=0)


def test_manifolds_by_definition_on_pairwise_distances() -> None:
    draw = torch.Generator().manual_seed(6)
    real, made = torch.randn(90, 5, generator=draw), torch.randn(80, 5, generator=draw) * 0.7 + 0.4

    def radius(x: torch.Tensor, k: int) -> torch.Tensor:
        return tm.pairwise_euclidean_distance(x.double()).sort(dim=1).values[:, k]  # the first is itself

    across = tm.pairwise_euclidean_distance(made.double(), real.double())
    wide, narrow = radius(real, 5), radius(real, 3)
    expected = {
        "precision": (across <= narrow).any(dim=1).double().mean(),
        "recall": (across <= radius(made, 3)[:, None]).any(dim=0).double().mean(),
        "density": (across <= wide).double().sum(dim=1).mean() / 5,
        "coverage": (across.min(dim=0).values <= wide).double().mean(),
    }
    found = manifold(made, real, 3, 5)._asdict()
    assert all(0 < value < 2 and value != 1 for value in found.values())
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-6, rel=0)


def test_spearman_with_ties() -> None:
    rng = np.random.default_rng(2)
    left, right = rng.integers(0, 9, 40).astype(np.float64), rng.normal(size=40)
    theirs = tm.spearman_corrcoef(torch.from_numpy(left), torch.from_numpy(right))
    assert spearman(left, right) == pytest.approx(float(theirs), abs=1e-6)  # it computes in float32
