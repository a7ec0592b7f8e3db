"""The JSON that steps leave for others: every file is written here and read here, and nowhere else.

It is read without torch: composing the records of a cached run must be quick. What holds tensors and arrays
is written and opened by its stage (`genbench.steps`).
"""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from genbench.digest import digest
from genbench.errors import PluginError
from genbench.metrics import Metric, Subject
from genbench.protocols import Evaluation
from genbench.records import Curve, DatasetImages, Sampled, Source, explained
from genbench.store import Artifact
from genbench.upgrades import metric_of_schema_1

_EVALUATION, _LEDGER, _HISTORY, _TRAINING = "evaluation.json", "ledger.json", "history.json", "training.json"
_COUNTS, _FILTER, _CURVE, _STOCK = "counts.json", "filter.json", "curve.json", "stock.json"
CARD = "dataset.json"  #: the facts of a dataset, beside its splits
_METRICS, _SOURCES = TypeAdapter(tuple[Metric, ...]), TypeAdapter(dict[str, Source])
_METRIC_FORM = 2  # of evaluation.json: metrics with fields
#: What a training notes of how it was done: it touches the last bits.
ENGINE_FACTS = ("trained_together", "micro_batch_images", "whole_step_graph")
CURVE_POINTS = 50  #: that a curve keeps at most


# --------------------------------------------------------------------------------------------- evaluations


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write metrics and tables; a value that is not finite becomes none, with a note.

    Raises:
        PluginError: Two metrics cannot be told apart.
    """
    metrics = [_finite(metric) for metric in evaluation.metrics]
    labels = [metric.label for metric in metrics]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise PluginError(
            f"two metrics are called {twice}: split, against, extractor or qualifiers must tell them apart"
        )
    content = {
        "form": _METRIC_FORM,
        "metrics": _METRICS.dump_python(tuple(metrics), mode="json"),
        "tables": evaluation.tables,
    }
    (folder / _EVALUATION).write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")


def read_evaluation(artifact: Artifact, subject: Subject) -> Evaluation:
    """Read what `write_evaluation` wrote, in this form or the older one, where names held what fields hold.

    Raises:
        PluginError: It holds what is no metric.
    """
    with _understood("evaluation"):
        content = artifact.read_json(_EVALUATION)
        tables, metrics = dict(content["tables"]), content["metrics"]
        if "form" not in content:
            metrics = [metric_of_schema_1(one, subject, tables) for one in metrics]
        return Evaluation(_METRICS.validate_python(metrics), tables)


def _finite(metric: Metric) -> Metric:
    if metric.value is None or math.isfinite(metric.value):
        return metric
    return replace(metric, value=None, note=f"not finite ({metric.value}). {metric.note}".strip())


# ----------------------------------------------------------------------------------------------- trainings


@dataclass(frozen=True)
class TrainingFacts:
    """What a training says of itself.

    Attributes:
        sources: Images of each source: available, distinct, consumed.
        steps: Optimizer steps.
        parameters: Numbers in the network.
        recipe: How it was trained.
        history: Rows of step, learning rate, loss and accuracy.
    """

    sources: Mapping[str, Source]
    steps: int
    parameters: int
    recipe: Mapping[str, Any]
    history: Curve


def write_training(facts: TrainingFacts, folder: Path) -> None:
    """Write a training's books."""
    about = {"steps": facts.steps, "parameters": facts.parameters, "recipe": dict(facts.recipe)}
    _write(folder / _LEDGER, _SOURCES.dump_python(dict(facts.sources), mode="json"))
    _write(folder / _HISTORY, [dict(row) for row in facts.history])
    _write(folder / _TRAINING, about)


def read_training(artifact: Artifact) -> TrainingFacts:
    """Read what `write_training` wrote."""
    with _understood("training"):
        about = artifact.read_json(_TRAINING)
        sources = _SOURCES.validate_python(artifact.read_json(_LEDGER))
        return TrainingFacts(sources, history=tuple(artifact.read_json(_HISTORY)), **about)


# -------------------------------------------------------------------------------------------------- images


def write_counts(counts: Sampled, folder: Path) -> None:
    """Write what became of the images that were asked for."""
    _write(folder / _COUNTS, TypeAdapter(Sampled).dump_python(counts, mode="json"))


def read_counts(folder: Path) -> Sampled:
    """Read what `write_counts` wrote."""
    with _understood("set of images"):
        content = json.loads((folder / _COUNTS).read_text(encoding="utf-8"))
        return TypeAdapter(Sampled).validate_python(content)


def write_stock(class_counts: Sequence[int], folder: Path) -> None:
    """Write how many images of each class a generator's stock has."""
    _write(folder / _STOCK, {"class_counts": list(class_counts)})


def read_stock(artifact: Artifact) -> Sequence[int]:
    """Read what `write_stock` wrote."""
    with _understood("stock"):
        return [int(count) for count in artifact.read_json(_STOCK)["class_counts"]]


def write_filter_report(
    reasons: Sequence[str], before: Sequence[int], after: Sequence[int], folder: Path
) -> None:
    """Write why images were dropped, and how many of each class there were before and after."""
    _write(folder / _FILTER, {"reasons": list(reasons), "before": list(before), "after": list(after)})


def read_filter_report(artifact: Artifact) -> Mapping[str, Any]:
    """Read what `write_filter_report` wrote: `reasons`, `before`, `after`."""
    with _understood("filter's report"):
        report = artifact.read_json(_FILTER)
        return {name: list(report[name]) for name in ("reasons", "before", "after")}


# ------------------------------------------------------------------------------------------------ datasets


def write_card(card: Mapping[str, Any], folder: Path) -> None:
    """Write the facts of a dataset: sizes of its splits, class names, image shape, statistics."""
    _write(folder / CARD, dict(card))


def read_card(artifact: Artifact) -> Mapping[str, Any]:
    """Read what `write_card` wrote."""
    with _understood("dataset"):
        return {**artifact.read_json(CARD)}


def dataset_images(artifact: Artifact) -> DatasetImages:
    """Return the splits' sizes, and a digest of all their images and labels."""
    with _understood("dataset"):
        card = read_card(artifact)
        sizes = dict(card["splits"])
    usual = {name: sizes.pop(name, 0) for name in ("train", "val", "test", "reserve")}
    contents = {name: entry["sha256"] for name, entry in artifact.files.items() if name != CARD}
    return DatasetImages(digest(contents), **usual, shifts=sizes, left_out=card.get("left_out", 0))


# -------------------------------------------------------------------------------------------------- curves


def write_curve(rows: Sequence[Mapping[str, float]], folder: Path) -> None:
    """Write a loss curve; no rows, no file."""
    if rows:
        _write(folder / _CURVE, [dict(row) for row in rows])


def read_curve(artifact: Artifact) -> Curve:
    """Read what `write_curve` wrote; empty where a step left no curve."""
    with _understood("loss curve"):
        return tuple(artifact.read_json(_CURVE)) if (artifact.folder / _CURVE).is_file() else ()


@contextlib.contextmanager
def _understood(what: str) -> Iterator[None]:
    """Name a file that holds its digest and yet is not what its step should have left.

    Raises:
        PluginError: Instead of whatever reading it raised.
    """
    try:
        yield
    except ValidationError as problem:
        raise PluginError(f"a stored {what} cannot be used: {explained(problem)}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
        raise PluginError(f"a stored {what} cannot be used: {problem!r}") from problem


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
