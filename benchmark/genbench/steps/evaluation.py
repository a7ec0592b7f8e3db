"""The `evaluate` step: images, predictions or a network become metrics."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from genbench.errors import PluginError
from genbench.images import Subset
from genbench.protocols import (
    Evaluation,
    Evaluator,
    ImageEvaluator,
    ImageSet,
    ModelEvaluator,
    PredictionEvaluator,
    RunContext,
)
from genbench.records import Metric
from genbench.steps.network import open_predictions
from genbench.steps.real import Splits
from genbench.steps.synthetic import open_sample
from genbench.store import Artifact
from genbench.training import NormalisedNetwork


def evaluate(
    evaluator: Evaluator,
    artifacts: Mapping[str, Artifact],
    splits: Splits,
    network: NormalisedNetwork | None,
    ctx: RunContext,
    *,
    wants_train: bool = False,
) -> Evaluation:
    """Call an evaluator with what its kind reads.

    Raises:
        PluginError: It is of no kind that a step can call.
    """
    if isinstance(evaluator, PredictionEvaluator):
        own = open_predictions(artifacts["predict"], splits)
        baseline = open_predictions(artifacts["baseline"], splits) if "baseline" in artifacts else None
        if "twin" in artifacts:
            ctx.inputs = {**ctx.inputs, "twin": open_predictions(artifacts["twin"], splits)}
        return evaluator.evaluate(own, baseline, ctx)
    if isinstance(evaluator, ImageEvaluator):
        named = [role.removeprefix("real:") for role in artifacts if role.startswith("real:")]
        wanted = named or ["train", "val"]  # without an extractor it sees pixels alone
        real = {
            name: ImageSet(
                splits.named(name),
                _features(artifacts, f"real:{name}"),
                _summary(artifacts, f"summary:{name}"),
            )
            for name in wanted
        }
        return evaluator.evaluate(_synthetic_set(artifacts), real, ctx)
    if isinstance(evaluator, ModelEvaluator) and network is not None:
        with_train = {"train": splits.train} if wants_train else {}
        return evaluator.evaluate(network, {**splits.evaluated, **with_train}, ctx)
    raise PluginError(
        f"{type(evaluator).__name__} must be an ImageEvaluator, PredictionEvaluator or ModelEvaluator "
        "(with `reads_network = True` in its config)"
    )


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write metrics and tables; a value that is not finite becomes none, with a note."""
    metrics = [asdict(_finite(metric)) for metric in evaluation.metrics]
    content = {"metrics": metrics, "tables": evaluation.tables}
    (folder / "evaluation.json").write_text(json.dumps(content, indent=1, allow_nan=False))


def _finite(metric: Metric) -> Metric:
    if metric.value is None or math.isfinite(metric.value):
        return metric
    return replace(metric, value=None, note=f"not finite ({metric.value}). {metric.note}".strip())


def _synthetic_set(artifacts: Mapping[str, Artifact]) -> ImageSet:
    images: Any = open_sample(artifacts["sample"]).images
    features = _features(artifacts, "synthetic")
    if "filter" in artifacts:
        kept = np.flatnonzero(np.load(artifacts["filter"].folder / "keep.npy"))
        images = Subset(images, kept)
        features = features[kept] if features is not None else None
    return ImageSet(images, features)


def _summary(artifacts: Mapping[str, Artifact], role: str) -> Mapping[str, Any] | None:
    if role not in artifacts:
        return None
    with np.load(artifacts[role].folder / "summary.npz") as stored:
        return dict(stored)


def _features(artifacts: Mapping[str, Artifact], role: str) -> Any:
    return np.load(artifacts[role].folder / "features.npy") if role in artifacts else None
