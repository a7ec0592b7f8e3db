"""The rows of a suite by the size of their training sets: which test images they get wrong, seed by seed."""

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from genbench.records import Component, Record, Result
from genbench_evaluators._rows import BASELINE, as_text

Bits = npt.NDArray[np.uint8]
#: Options of a dataset that may differ along a curve; how many steps were taken is read from the ledger.
_OF_SIZE = frozenset({"limit_train", "epoch_repeats"})


@dataclass
class SizedRow:
    """One (dataset size, generator, filter, ratio) of a family of rows that differ in nothing else.

    Attributes:
        family: What the family shares, for people; one of its own.
        generator: Its label with that of the filter; `none` for real images alone.
        use: The generator's component, or empty where a filter has changed its images.
        real: Real training images.
        ratio: Synthetic images per real one.
        wrong: By seed index, 1 for each test image that its network gets wrong: `uint8 [images]`.
        steps: Numbers of optimizer steps that its networks took.
    """

    family: str
    generator: str
    use: str
    real: int
    ratio: float
    wrong: dict[int, Bits] = field(default_factory=dict)
    steps: set[int] = field(default_factory=set)

    @property
    def synthetic(self) -> int:
        """Synthetic training images."""
        return round(self.ratio * self.real)


def sized_rows(records: Iterable[Record]) -> list[SizedRow]:
    """Return the rows of `accuracy` records that append synthetic images to real ones, in a fixed order.

    Records that do not say how many training images there were, or which test images were right, are left
    out.
    """
    by_row: dict[tuple[str, str, int, float], list[Result]] = defaultdict(list)
    families: dict[str, tuple[str, str]] = {}
    for record in records:
        result = record.result
        if not _is_usable(result):
            continue
        assert result.data is not None
        family = _family(result)
        families.setdefault(family, _names(result))
        images = [_identity(one) for one in (result.generator, result.filter)]
        by_row[family, as_text(images), result.data.train, result.ratio].append(result)
    short = Counter(name for name, _ in families.values())
    names = _told_apart({key: one if short[one] == 1 else whole for key, (one, whole) in families.items()})
    labels = _labels(by_row)
    return [
        _row(names[family], labels[family, images], found)
        for (family, images, _, _), found in sorted(by_row.items())
    ]


def _is_usable(result: Result) -> bool:
    mix, table = result.mix, result.tables.get("test")
    is_row = result.subject == "cell" and result.evaluator.use == "accuracy" and result.status == "ok"
    is_appended = mix is not None and mix.mode == "append" and mix.batch_fraction is None
    is_known = isinstance(table, Mapping) and bool(table.get("correct_bits")) and bool(table.get("n"))
    return is_row and is_appended and is_known and result.data is not None


def _row(family: str, label: str, results: Sequence[Result]) -> SizedRow:
    first = results[0]
    assert first.data is not None
    use = first.generator.use if first.filter.use == BASELINE else ""
    row = SizedRow(family, label, use, first.data.train, first.ratio)
    for result in results:
        table = result.tables["test"]
        right = np.frombuffer(base64.b64decode(table["correct_bits"]), dtype=np.uint8)
        row.wrong[result.index] = 1 - np.unpackbits(right, count=int(table["n"]))
        if result.ledger.steps is not None:
            row.steps.add(result.ledger.steps)
    return row


def _family(result: Result) -> str:
    """Name what rows share whose training images alone differ: not the size of the training set."""
    assert result.mix is not None
    dataset = result.dataset
    options = {name: value for name, value in dataset.config.items() if name not in _OF_SIZE}
    data = [dataset.use, dataset.version, options, dataset.fingerprint]
    mix = result.mix.baseline.model_dump(mode="json")
    return as_text([data, _identity(result.classifier), mix, result.protocol.identity])


def _names(result: Result) -> tuple[str, str]:
    """Name a family by its components, and by their options, too."""
    assert result.classifier is not None
    assert result.mix is not None
    mix = result.mix
    words: list[str] = [mix.augment] if mix.augment != "standard" else []
    words += [f"budget {mix.budget}"] if mix.budget != "steps" else []
    words += [f"{mix.budget_scale:g}x budget"] if mix.budget_scale != 1 else []
    pairs = ([result.dataset.use, one] for one in (result.classifier.use, result.classifier.name))
    short, whole = (", ".join([*pair, *words]) for pair in pairs)
    return short, whole


def _labels(by_row: Mapping[tuple[str, str, int, float], Sequence[Result]]) -> dict[tuple[str, str], str]:
    """Name image sets by their shortest labels; within a family no two alike."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for (family, images, _, _), results in sorted(by_row.items()):
        for result in results:
            parts = [one.name for one in (result.generator, result.filter) if one.use != BASELINE]
            label = " + ".join(parts) or BASELINE
            known = found[family].get(images, label)
            found[family][images] = min(known, label, key=lambda one: (len(one), one))
    named = {family: _told_apart(labels) for family, labels in found.items()}
    return {(family, images): label for family, own in named.items() for images, label in own.items()}


def _told_apart(names: Mapping[str, str]) -> dict[str, str]:
    """Number those that share a name."""
    times, seen = Counter(names.values()), Counter[str]()
    found = {}
    for key in sorted(names):
        name = names[key]
        seen[name] += 1
        found[key] = f"{name} #{seen[name]}" if times[name] > 1 else name
    return found


def _identity(component: Component | None) -> object:
    return component.identity if component else None
