"""The columns of an experiment as suites, and the records that answer its arms."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from genbench.digest import canonical_json
from genbench.options import ComponentRef
from genbench.recipe import Mix
from genbench.records import Component, Record
from genbench.registry import Registry
from genbench.replays.experiment import Arm, Column, Experiment
from genbench.spec import FileDigest, resolve
from genbench.store import Store

_LISTS = ("datasets", "generators", "filters", "classifiers")


def suite_of(experiment: Experiment, column: Column, name: str) -> dict[str, Any]:
    """Return a column as the entries of a suite."""
    found: dict[str, Any] = {
        kind: [getattr(experiment, kind)[one].model_dump(mode="json") for one in getattr(column, kind)]
        for kind in _LISTS
        if getattr(column, kind)
    }
    return {
        **found,
        "name": name,
        "preset": column.preset,
        "seeds": column.seeds,
        "mixes": [experiment.mixes[one].model_dump(mode="json") for one in column.mixes],
        "evaluators": [one.model_dump(mode="json") for one in column.evaluators],
        "reference": column.reference.model_dump(mode="json"),
    }


@dataclass(frozen=True)
class Row:
    """What identifies the records of an arm.

    Attributes:
        arm: The arm.
        dataset: Identity of its dataset, as canonical JSON; so are the other components.
        classifier: Empty for an arm about an image set.
        mix: How its images form the training set.
    """

    arm: Arm
    dataset: str
    generator: str
    filter: str
    classifier: str
    mix: Mix

    @property
    def measures(self) -> str:
        """Everything but its name and title, as canonical JSON: rows of equal ones have the same numbers."""
        arm = self.arm
        parts = (self.dataset, self.generator, self.filter, self.classifier, self.mix.model_dump(mode="json"))
        return canonical_json([*parts, arm.metric, arm.split, arm.role, arm.against])

    def holds(self, record: Record) -> bool:
        """Say whether a record is one of this row's."""
        result = record.result
        parts = (self.dataset, self.generator, self.filter)
        same = parts == tuple(map(_identity, (result.dataset, result.generator, result.filter)))
        if not self.classifier:
            return same and result.subject == "image_set" and result.ratio == self.mix.ratio
        return same and _identity(result.classifier) == self.classifier and result.mix == self.mix


def rows_of(experiment: Experiment, column: Column, registry: Registry, store: Store) -> Mapping[str, Row]:
    """Return what identifies the records of each arm of a column.

    Raises:
        UsageError: A component or one of its options is unknown.
        DataError: A component's files cannot be read.
    """
    find = _Finder(registry, column.preset, store.fingerprint)
    return {name: _row(experiment, column, arm, find) for name, arm in column.arms.items()}


class _Finder:
    """Settles components, and remembers them."""

    def __init__(self, registry: Registry, preset: str, file_digest: FileDigest) -> None:
        self._registry, self._preset, self._digest = registry, preset, file_digest
        self._known: dict[str, str] = {}

    def identity(self, kind: Any, reference: ComponentRef) -> str:
        """Return what a record of this component holds, as canonical JSON."""
        key = canonical_json([kind, reference.model_dump(mode="json")])
        if key not in self._known:
            settled = resolve(self._registry, kind, reference, self._preset, self._digest)
            self._known[key] = canonical_json(settled.identity)
        return self._known[key]


def _row(experiment: Experiment, column: Column, arm: Arm, find: _Finder) -> Row:
    nothing = ComponentRef(use="none")
    mix = experiment.mixes[arm.mix].augmented()
    return Row(
        arm=arm,
        dataset=find.identity("dataset", experiment.datasets[arm.dataset or column.datasets[0]]),
        generator=find.identity("generator", experiment.generators.get(arm.generator, nothing)),
        filter=find.identity("filter", experiment.filters.get(arm.filter, nothing)),
        classifier=find.identity("classifier", experiment.classifiers[arm.classifier])
        if arm.classifier
        else "",
        mix=mix if arm.generator != "none" else mix.baseline,
    )


def _identity(component: Component | None) -> str:
    return canonical_json(component.identity) if component else ""


def values_of(row: Row, records: Iterable[Record]) -> dict[int, tuple[float, int | None]]:
    """Return the row's number by seed index, with how many images it rests on; failures are left out."""
    found: dict[int, tuple[float, int | None]] = {}
    for record in records:
        for one in record.result.metrics:
            asked = (row.arm.metric, row.arm.split, row.arm.role)
            fits = (one.name, one.split, one.role) == asked and row.arm.against in ("", one.against)
            if fits and one.value is not None and not one.qualifiers:
                found.setdefault(record.result.index, (one.value, one.n))
    return dict(sorted(found.items()))
