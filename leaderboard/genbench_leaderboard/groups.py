"""Records become groups and entries: who may be compared with whom. No statistics here.

Identity is what enters a key: name, version and resolved options of every component. Labels are for people,
so two entries that people could not tell apart get a version or a few digits of their digest.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genbench.digest import differences, digest
from genbench.errors import DataError, ProtocolError
from genbench.recipe import Mix
from genbench.records import Component, Protocol, Record
from genbench_leaderboard.rows import BASELINE, Failure

_DATA_OF_MIX = ("ratio", "mode", "augment", "batch_fraction")


@dataclass
class Entry:
    """One row before statistics: its records by seed index, and the other metrics of its cells."""

    key: str
    generator: Component
    filter: Component
    mix: Mapping[str, Any]
    measured: dict[int, Record] = field(default_factory=dict)
    others: list[Record] = field(default_factory=list)
    planned: int = 0
    generator_label: str = ""
    filter_label: str = ""

    @property
    def is_baseline(self) -> bool:
        """Whether its training images are real alone."""
        return self.generator.use == BASELINE

    @property
    def augment(self) -> str:
        """Its augmentation."""
        return str(self.mix["augment"])

    def scores(self, split: str = "test") -> dict[int, float]:
        """Return top-1 on a split by seed index, in order of index; seeds without it are left out."""
        found = {}
        for index in sorted(self.measured):
            value = self.measured[index].result.metric("top1", split)
            if value is not None and value.value is not None:
                found[index] = value.value
        return found

    @property
    def label(self) -> str:
        """Generator, filter and mix in one."""
        images = [self.generator_label or self.generator.name]
        image_filter = self.filter_label or self.filter.name
        images += [] if image_filter == BASELINE else [image_filter]
        return f"{' + '.join(images)}, {mix_label(self.mix)}"


@dataclass
class RawGroup:
    """Entries that share dataset, protocol, budget and classifier.

    Attributes:
        kin: Digest of all that but the budget's scale.
    """

    kin: str
    dataset: Component
    classifier: Component
    protocol: Protocol
    budget: str
    budget_scale: float
    entries: dict[str, Entry] = field(default_factory=dict)
    failures: set[Failure] = field(default_factory=set)

    @property
    def order(self) -> tuple[str, str, str, float, str]:
        """Where it stands on the board."""
        return (self.dataset.name, self.classifier.name, self.budget, self.budget_scale, self.kin)

    def baseline_of(self, entry: Entry) -> Entry | None:
        """Return real images alone, same augmentation; for real images alone, the standard augmentation."""
        augment = "standard" if entry.is_baseline else entry.augment
        found = (other for other in self.entries.values() if other.is_baseline and other.augment == augment)
        return next((other for other in found if other is not entry), None)


def mix_label(mix: Mapping[str, Any]) -> str:
    """Write a mix in a few words: `+1.0x standard`; the baseline is its augmentation alone."""
    return Mix.model_validate(mix).label


def settle(records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """Keep one record per result key: the newest that succeeded, else the newest.

    Returns:
        The records, in an order that does not depend on the given one, and notes on results that differ.
    """
    attempts: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        attempts[record.result.key].append(record)
    kept, notes = [], []
    for key in sorted(attempts):
        tried = attempts[key]
        if len(tried) > 1:
            tried.sort(
                key=lambda one: (one.result.status == "ok", one.run.created, one.result_digest, one.file_name)
            )
            notes += _disagreement(tried)
        kept.append(tried[-1])
    return kept, notes


def make_groups(records: Sequence[Record]) -> list[RawGroup]:
    """Sort settled records of cells into groups and entries.

    Raises:
        DataError: A record has no top-1.
    """
    groups: dict[str, RawGroup] = {}
    unplaced: list[tuple[RawGroup, Entry, Record]] = []
    for record in records:
        if record.result.subject != "cell":
            continue
        group = _group_of(record, groups)
        entry = _entry_of(record)
        if record.result.evaluator.use == "accuracy":
            entry = group.entries.setdefault(entry.key, entry)
            _measure(entry, record)
        if record.result.evaluator.use != "accuracy" or record.result.status != "ok":
            unplaced.append((group, entry, record))
    for found in groups.values():
        _name_entries(found)
    for group, entry, record in unplaced:
        placed = group.entries.get(entry.key)
        if record.result.status != "ok":
            group.failures.add(missing(record, (placed or entry).label))
        elif placed:
            placed.others.append(record)
    return sorted(groups.values(), key=lambda group: group.order)


def check_recipe(entry: Entry, group: RawGroup, groups: Sequence[RawGroup]) -> None:
    """Refuse an entry whose only baseline was trained by another recipe.

    Raises:
        ProtocolError: There is one; the message names what differs.
    """
    mine = {"classifier": group.classifier.identity, "protocol": group.protocol.identity}
    for other in groups:
        same = (other.budget, other.budget_scale, other.dataset.identity, other.classifier.use)
        if same != (group.budget, group.budget_scale, group.dataset.identity, group.classifier.use):
            continue
        baseline = other.baseline_of(entry)
        if other is group or baseline is None:
            continue
        theirs = {"classifier": other.classifier.identity, "protocol": other.protocol.identity}
        path, found, expected = differences(mine, theirs)[0]
        raise ProtocolError(
            f"{entry.label} on {group.dataset.name} cannot be compared with its baseline "
            f"({baseline.label}): {path} is {found!r}, not {expected!r}; "
            "paired cells may differ in nothing but their images",
            hint="run the baseline and the generator in one suite, or give the board one run's records",
        )


def missing(record: Record, name: str) -> Failure:
    """Return what is listed for a record without numbers."""
    result = record.result
    return Failure(name, result.index, " ".join(result.reason.split()), record.run.log)


def _disagreement(attempts: Sequence[Record]) -> list[str]:
    """Say so when attempts at the same key left different results.

    Results are what was measured: numbers, counts and the ledger. How large the plan was, and what an older
    schema did not say, is no difference.
    """
    done = [_measured(one) for one in attempts if one.result.status == "ok"]
    if not all(result["ledger"] for result in done):  # one was composed after its training was removed
        done = [{**result, "ledger": {}} for result in done]
    if len({digest(result) for result in done}) < 2:
        return []
    paths = sorted({path for result in done[:-1] for path, _, _ in differences(result, done[-1])})
    last = attempts[-1].result
    what = f"{last.generator.name}, seed {last.index}, {last.evaluator.use}"
    return [
        f"not reproducible: {len(done)} attempts at {last.key[:12]} ({what}) differ in "
        f"{', '.join(paths[:3])}; the newest counts"
    ]


def _measured(record: Record) -> dict[str, Any]:
    """Return what a record measured, as JSON data."""
    result = record.result
    metrics = {metric.label: metric.value for metric in result.metrics}
    ledger = {
        name: [source.available_images, source.distinct_images, source.consumed_images]
        for name, source in (("real", result.ledger.real), ("synthetic", result.ledger.synthetic))
        if source
    }
    return {"metrics": metrics, "tables": dict(result.tables), "ledger": ledger}


def _group_of(record: Record, groups: dict[str, RawGroup]) -> RawGroup:
    result = record.result
    assert result.classifier is not None  # the schema of a cell's record holds that
    assert result.mix is not None
    budget, scale = result.mix.budget, result.mix.budget_scale
    about = (result.dataset, result.classifier, result.protocol)
    kin = digest([*(part.identity for part in about), budget])
    made = RawGroup(kin, result.dataset, result.classifier, result.protocol, budget, scale)
    return groups.setdefault(f"{kin}/{scale!r}", made)


def _entry_of(record: Record) -> Entry:
    result = record.result
    assert result.mix is not None
    is_baseline = result.generator.use == BASELINE
    whole = result.mix.baseline if is_baseline else result.mix
    mix = whole.model_dump(mode="json", include=set(_DATA_OF_MIX))
    chosen = Component(BASELINE, label=BASELINE) if is_baseline else result.filter
    key = digest([result.generator.identity, chosen.identity, mix])
    return Entry(key, result.generator, chosen, mix)


def _measure(entry: Entry, record: Record) -> None:
    result = record.result
    entry.planned = max(entry.planned, result.planned_indices)
    if result.status != "ok":
        return
    top1 = result.metric("top1")
    if top1 is None or top1.value is None:
        raise DataError(f"{record.file_name}: status ok, but no value for the metric top1")
    known = entry.measured.get(result.index)
    if known is None or (known.run.created, known.result.key) < (record.run.created, result.key):
        entry.measured[result.index] = record


def _name_entries(group: RawGroup) -> None:
    entries = list(group.entries.values())
    generators = _names([entry.generator for entry in entries])
    filters = _names([entry.filter for entry in entries if not entry.is_baseline])
    for entry in entries:
        entry.generator_label = generators[digest(entry.generator.identity)]
        entry.filter_label = BASELINE if entry.is_baseline else filters[digest(entry.filter.identity)]


def _names(components: Iterable[Component]) -> dict[str, str]:
    """Name components by their shortest label; by version or digest, too, where two share it."""
    labels: dict[str, set[tuple[int, str]]] = defaultdict(set)
    versions: dict[str, Any] = {}
    for component in components:
        key, label = digest(component.identity), component.name
        labels[key].add((len(label), label))
        versions[key] = component.version
    sharing: dict[str, list[str]] = defaultdict(list)
    for key, found in labels.items():
        sharing[min(found)[1]].append(key)
    names = {}
    for label, keys in sharing.items():
        by_version = len({versions[key] for key in keys}) == len(keys)
        for key in keys:
            mark = f" v{versions[key]}" if by_version else f" #{key[:4]}"
            names[key] = label if len(keys) == 1 else label + mark
    return names
