"""The rows of a suite's records: mean accuracies over seeds, and the gain over the paired baseline."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genbench.records import Record

_BASELINE = "none"
_DATA = ("ratio", "mode", "batch_fraction")


@dataclass(frozen=True)
class SuiteRow:
    """One (generator, filter, mix, classifier).

    Attributes:
        label: For people.
        classifier: Short name.
        family: The classifier's component.
        images: What names its image set, or an empty string for real images alone.
        scores: `top1` and `top1[shift]` in %, by name and seed index.
        gain: `top1` less that of the paired baseline, in points, mean over seeds; None without a pair.
    """

    label: str
    classifier: str
    family: str
    images: str
    scores: Mapping[str, Mapping[int, float]]
    gain: float | None

    def mean(self, name: str) -> float | None:
        """Return a score's mean over seeds."""
        values = self.scores.get(name)
        return float(np.mean(list(values.values()))) if values else None


def suite_rows(records: Iterable[Record]) -> list[SuiteRow]:
    """Return the rows of the `accuracy` records, in a fixed order."""
    by_row: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.result.subject == "cell" and record.result.evaluator["use"] == "accuracy":
            by_row[_row_key(record)].append(record)
    baselines = {
        _pair_key(found[0]): _scores(found)["top1"]
        for found in by_row.values()
        if found[0].result.generator["use"] == _BASELINE
    }
    return [_row(by_row[key], baselines.get(_pair_key(by_row[key][0]), {})) for key in sorted(by_row)]


def _row(records: Sequence[Record], baseline: Mapping[int, float]) -> SuiteRow:
    first, scores = records[0].result, _scores(records)
    assert first.classifier is not None
    is_real = first.generator["use"] == _BASELINE
    pairs = [value - baseline[index] for index, value in scores["top1"].items() if index in baseline]
    return SuiteRow(
        label=f"{_label(first.generator)}, {first.mix.get('augment', 'standard')}",
        classifier=_label(first.classifier),
        family=str(first.classifier["use"]),
        images="" if is_real else images_key(records[0]),
        scores=scores,
        gain=float(np.mean(pairs)) if pairs and not is_real else None,
    )


def images_key(record: Record) -> str:
    """Name the image set of a record, of a cell or of the set itself."""
    result = record.result
    return _text([_identity(result.generator), _identity(result.filter), float(result.mix["ratio"])])


def _row_key(record: Record) -> str:
    result = record.result
    parts = [_identity(one) for one in (result.generator, result.filter, result.classifier or {})]
    return _text([parts, result.mix])


def _pair_key(record: Record) -> str:
    """Name what a row shares with its baseline: classifier, augmentation and budget."""
    result = record.result
    mix = {name: value for name, value in result.mix.items() if name not in _DATA}
    return _text([_identity(result.classifier or {}), mix])


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _scores(records: Sequence[Record]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for record in records:
        for metric in record.result.metrics:
            if metric.value is not None and (metric.name == "top1" or metric.name.startswith("top1[")):
                found[metric.name][record.result.index] = metric.value
    return dict(found)


def _identity(component: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in component.items() if name not in {"label", "external_data"}}


def _label(component: Mapping[str, Any]) -> str:
    return str(component.get("label", component["use"]))
