"""The rows of a suite as its evaluators see them: accuracy per split and seed, and the gain over none."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genbench.copy_judgement import judge_copies
from genbench.errors import ProtocolError
from genbench.metrics import STANDARD_SPLITS
from genbench.recipe import Mix
from genbench.records import Component, Record, Result
from genbench.roles import CONTROLS, FREE

BASELINE = "none"


@dataclass(frozen=True)
class SuiteRow:
    """One (dataset, generator, filter, mix, classifier).

    Attributes:
        label: Image set, mix, and the budget where it is unusual: one of its own among a classifier's rows.
        group: What it shares with the rows that are held against the same baseline: dataset, classifier,
            augmentation and budget, for people.
        pair: The same, as a key.
        maker: What names generator and filter, whatever the dataset, the ratio and the classifier.
        classifier: Short name.
        family: The classifier's component.
        external_data: What its classifier, generator or filter learned from elsewhere.
        images: What names its image set, or an empty string for real images alone.
        is_control: Whether its images are real ones again: more of them, or copies.
        top1: In %, by split (`val`, `test` or a shift) and seed index.
        gain: Of top-1 on test over the paired baseline, in points, mean over seeds; None without a pair.
    """

    label: str
    group: str
    pair: str
    maker: str
    classifier: str
    family: str
    external_data: tuple[str, ...]
    images: str
    is_control: bool
    top1: Mapping[str, Mapping[int, float]]
    gain: float | None

    def mean(self, split: str) -> float | None:
        """Return the mean top-1 on a split over seeds."""
        values = self.top1.get(split)
        return float(np.mean(list(values.values()))) if values else None

    @property
    def shifts(self) -> set[str]:
        """The shifts that its top-1 is known on."""
        return self.top1.keys() - STANDARD_SPLITS


def suite_rows(records: Iterable[Record]) -> list[SuiteRow]:
    """Return the rows of the `accuracy` records, in a fixed order."""
    by_row: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.result.subject == "cell" and record.result.evaluator.use == "accuracy":
            by_row[_row_key(record)].append(record)
    baselines = {
        _pair_key(found[0]): _top1(found)["test"]
        for found in by_row.values()
        if found[0].result.generator.use == BASELINE
    }
    return [_row(by_row[key], baselines.get(_pair_key(by_row[key][0]), {})) for key in sorted(by_row)]


def _row(records: Sequence[Record], baseline: Mapping[int, float]) -> SuiteRow:
    first, top1 = records[0].result, _top1(records)
    assert first.classifier is not None
    assert first.mix is not None
    is_real = first.generator.use == BASELINE
    pairs = [value - baseline[index] for index, value in top1["test"].items() if index in baseline]
    known = (*first.classifier.external_data, *first.generator.external_data, *first.filter.external_data)
    return SuiteRow(
        label=_label(first, first.mix),
        group=_group(first, first.mix),
        pair=_pair_key(records[0]),
        maker=as_text([first.generator.identity, first.filter.identity]),
        classifier=first.classifier.name,
        family=first.classifier.use,
        external_data=tuple(dict.fromkeys(known)),
        images="" if is_real else images_key(records[0]),
        is_control=first.generator.use in {*CONTROLS, FREE},
        top1=top1,
        gain=float(np.mean(pairs)) if pairs and not is_real else None,
    )


def _label(result: Result, mix: Mix) -> str:
    images = [one.name for one in (result.generator, result.filter) if one.use != BASELINE] or [BASELINE]
    words = [" + ".join(images), mix.label]
    words += [f"budget {mix.budget}"] if mix.budget != "steps" else []
    words += [f"T={mix.budget_scale:g}"] if mix.budget_scale != 1 else []
    return ", ".join(words)


def _group(result: Result, mix: Mix) -> str:
    assert result.classifier is not None
    words = [result.dataset.name, result.classifier.name, mix.augment]
    words += [f"budget {mix.budget}"] if mix.budget != "steps" else []
    words += [f"{mix.budget_scale:g}x budget"] if mix.budget_scale != 1 else []
    return ", ".join(words)


def images_key(record: Record) -> str:
    """Name the image set of a record, of a cell or of the set itself: not by how many images it has."""
    result = record.result
    images = [result.generator.identity, result.filter.identity, result.ratio]
    return as_text([_setting(result), images])


def void_images(records: Iterable[Record]) -> set[str]:
    """Return `images_key` of the image sets whose rows are void for copies of test (protocol rule 5)."""
    by_set: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.result.subject == "image_set":
            by_set[images_key(record)].append(record)
    return {key for key, found in by_set.items() if _is_void(found)}


def _is_void(records: Sequence[Record]) -> bool:
    try:
        return bool(judge_copies(records, ()).void)
    except ProtocolError:
        return True


def _row_key(record: Record) -> str:
    result = record.result
    parts = [_identity(one) for one in (result.generator, result.filter, result.classifier)]
    return as_text([_setting(result), parts, result.mix.model_dump() if result.mix else None])


def _pair_key(record: Record) -> str:
    """Name what a row shares with its baseline: dataset, protocol, classifier, augmentation and budget."""
    result = record.result
    mix = result.mix.baseline.model_dump() if result.mix else None
    return as_text([_setting(result), _identity(result.classifier), mix])


def _setting(result: Result) -> list[Any]:
    return [result.dataset.identity, result.protocol.identity]


def _identity(component: Component | None) -> Any:
    return component.identity if component else None


def as_text(value: Any) -> str:
    """Write JSON data so that equal data is equal text."""
    return json.dumps(value, sort_keys=True)


def _top1(records: Iterable[Record]) -> dict[str, dict[int, float]]:
    """Return top-1 by split and seed index; there is no suite without test."""
    found: dict[str, dict[int, float]] = defaultdict(dict, {"test": {}})
    for record in records:
        for metric in record.result.metrics:
            if metric.name == "top1" and metric.value is not None:
                found[metric.split][record.result.index] = metric.value
    return dict(found)
