"""Our metrics beside torchmetrics': `python perf/references.py` (about 1 min on one core).

Prints the table of docs/design/torchmetrics.md, for torchmetrics given float64 and float32: how far the
values are apart, and how long it takes as a multiple of our time, taking turns in one process. What importing
it costs is measured in fresh processes, beside importing torch alone.
"""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torchmetrics.functional as tm
import torchmetrics.functional.classification as tmc
from _timing import interleaved, ratio
from torchmetrics.functional.text import perplexity
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance, maximum_mean_discrepancy, poly_mmd

from genbench_evaluators import accuracy as own
from genbench_evaluators._frechet import fit_gaussian, frechet_distance, make_reference
from genbench_evaluators._kernels import Kernel, mean_between, mean_within, mmd2
from genbench_evaluators._neighbours import nearest
from genbench_evaluators.inception_score import inception_score
from genbench_evaluators.usefulness import spearman

IMAGES, CLASSES, SETS, DIMENSIONS, BANDWIDTH, ROUNDS = 10_000, 10, 2_000, 512, 32.0, 3
warnings.filterwarnings("ignore", module="torchmetrics")  # some say that they keep all features


class Pair(NamedTuple):
    """One metric: ours, and torchmetrics' as a function of the floating dtype that it is given."""

    name: str
    ours: Callable[[], object]
    theirs: Callable[[torch.dtype], object]


def main() -> None:
    """Print the table, then the cost of the import."""
    torch.set_num_threads(1)
    print(f"| metric | difference, float64 | float32 | time, float64 | float32 |\n|{' --- |' * 5}")
    for pair in (*_classification(), *_distances()):
        wide, narrow = (_apart(pair.ours(), pair.theirs(dtype)) for dtype in (torch.float64, torch.float32))
        variants = {
            "ours": pair.ours,
            "wide": partial(pair.theirs, torch.float64),
            "narrow": partial(pair.theirs, torch.float32),
        }
        seconds = interleaved(variants, ROUNDS)
        times = " | ".join(f"{ratio(seconds[name], seconds['ours']):.1f}" for name in ("wide", "narrow"))
        print(f"| {pair.name} | {wide:.1e} | {narrow:.1e} | {times} |")
    torch_alone, with_it = _import_seconds("torch"), _import_seconds("torchmetrics.functional.classification")
    print(f"importing it takes {with_it / torch_alone:.1f} times as long as torch alone")


def _classification() -> Iterator[Pair]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, IMAGES)
    logits = (2 * rng.normal(size=(IMAGES, CLASSES))).astype(np.float32)
    logits[np.arange(IMAGES), labels] += 2
    target = torch.from_numpy(labels)
    counts = own.confusion_counts(logits, labels)

    def given(dtype: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(logits).to(dtype)

    def scores(
        function: Callable[..., torch.Tensor], **more: object
    ) -> Callable[[torch.dtype], torch.Tensor]:
        return lambda dtype: function(given(dtype), target, CLASSES, **more)

    def share(most: int) -> Callable[[], float]:
        return lambda: float((own.true_class_ranks(logits, labels) < most).mean())

    def per_class(name: str) -> Callable[[], list[float | None]]:
        return lambda: [row[name] for row in own.class_scores(own.confusion_counts(logits, labels))]

    def brier() -> float:
        wrong = own.probabilities(logits)
        wrong[np.arange(IMAGES), labels] -= 1
        return float((wrong**2).sum(axis=1).mean())

    def their_brier(dtype: torch.dtype) -> torch.Tensor:
        one_hot = torch.nn.functional.one_hot(target, CLASSES).to(dtype)
        return CLASSES * tm.mean_squared_error(given(dtype).softmax(dim=1), one_hot)

    def calibration() -> float:
        return own.calibration_error(own.reliability(logits, logits.argmax(axis=1) == labels))

    yield Pair("top-1", share(1), scores(tmc.multiclass_accuracy, average="micro"))
    yield Pair("top-5", share(5), scores(tmc.multiclass_accuracy, average="micro", top_k=5))
    yield Pair(
        "confusion counts",
        lambda: own.confusion_counts(logits, labels),
        scores(tmc.multiclass_confusion_matrix),
    )
    yield Pair(
        "balanced accuracy",
        lambda: float(np.nanmean(own.recalls(own.confusion_counts(logits, labels)))),
        scores(tmc.multiclass_accuracy, average="macro"),
    )
    yield Pair("recall per class", per_class("recall"), scores(tmc.multiclass_recall, average=None))
    yield Pair("precision per class", per_class("precision"), scores(tmc.multiclass_precision, average=None))
    yield Pair("F1 per class", per_class("f1"), scores(tmc.multiclass_f1_score, average=None))
    yield Pair(
        "log-loss",
        lambda: own.log_loss(logits, labels),
        lambda dtype: perplexity(given(dtype)[None], target[None]).log(),
    )
    yield Pair("Brier score", brier, their_brier)
    yield Pair("calibration error", calibration, scores(tmc.multiclass_calibration_error, n_bins=15))
    yield Pair(
        "inception score",
        lambda: inception_score(logits.astype(np.float64)),
        lambda dtype: _through(InceptionScore(feature=torch.nn.Identity(), splits=1), [given(dtype)])[0],
    )
    gains = np.random.default_rng(1).permutation(CLASSES).astype(np.float64)
    recall = own.recalls(counts)
    yield Pair(
        "Spearman correlation",
        lambda: spearman(recall, gains),
        lambda dtype: tm.spearman_corrcoef(*(torch.from_numpy(side).to(dtype) for side in (recall, gains))),
    )


def _distances() -> Iterator[Pair]:
    draw = torch.Generator().manual_seed(0)
    real, made = (torch.randn(SETS, DIMENSIONS, generator=draw) + shift for shift in (0.0, 0.1))
    rbf, cubic = Kernel("rbf", (BANDWIDTH,)), Kernel("polynomial", scale=1 / DIMENSIONS)

    def ours(kernel: Kernel) -> Callable[[], float]:
        return lambda: mmd2(
            mean_within(real, kernel), mean_within(made, kernel), mean_between(real, made, kernel)
        )

    def their_rbf(dtype: torch.dtype) -> torch.Tensor:
        def k(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            squares = tm.pairwise_euclidean_distance(x, y, zero_diagonal=x is y).square()
            return torch.exp(squares / (-2 * BANDWIDTH**2))

        x, y = real.to(dtype), made.to(dtype)
        return maximum_mean_discrepancy(k(x, x), k(x, y), k(y, y))

    def their_fid(dtype: torch.dtype) -> torch.Tensor:
        metric = FrechetInceptionDistance(feature=_Same()).set_dtype(dtype)
        return _through(metric, [real.to(dtype)], [made.to(dtype)])

    def their_kid(dtype: torch.dtype) -> torch.Tensor:
        metric = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=1, subset_size=SETS)
        return _through(metric, [real.to(dtype)], [made.to(dtype)])[0]

    yield Pair(
        "FID",
        lambda: frechet_distance(make_reference(fit_gaussian(real)), fit_gaussian(made)),
        their_fid,
    )
    yield Pair("KID, metric class", ours(cubic), their_kid)
    yield Pair("KID, `poly_mmd`", ours(cubic), lambda dtype: poly_mmd(real.to(dtype), made.to(dtype)))
    yield Pair("MMD, Gaussian", ours(rbf), their_rbf)
    yield Pair(
        "nearest neighbours",
        lambda: nearest(made, real).distance,
        lambda dtype: tm.pairwise_euclidean_distance(made.to(dtype), real.to(dtype)).min(dim=1).values,
    )


class _Same(torch.nn.Module):
    num_features = DIMENSIONS

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def _through(metric: torch.nn.Module, *sides: list[torch.Tensor]) -> object:
    """Update a metric with one set, or with a real and a generated one, and compute it."""
    for place, (features,) in enumerate(sides):
        metric.update(features, **({"real": place == 0} if len(sides) == 2 else {}))
    return metric.compute()


def _apart(ours: object, theirs: object) -> float:
    """Return the largest difference, in the metric's own unit."""
    left, right = (np.asarray(side, dtype=np.float64) for side in (ours, theirs))
    return float(np.abs(left - right).max())


def _import_seconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    found = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(3)]
    return min(map(float, found))


if __name__ == "__main__":
    main()
