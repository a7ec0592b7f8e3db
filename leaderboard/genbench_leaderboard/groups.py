"""Records become groups and entries: who may be compared with whom. No statistics here.

Identity is what enters a key: name, version and resolved options of every component. Labels are for people,
so two entries that people could not tell apart get a version or a few digits of their digest.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from genbench.answered import Answered, ClassAnswers
from genbench.digest import Remembered, differences, digest
from genbench.errors import DataError, ProtocolError
from genbench.recipe import Mix
from genbench.records import Component, Declaration, Protocol, Record, Result
from genbench.roles import FREE, OFF, STRONG, Role, RowKind, roles_of
from genbench_leaderboard.crossed import Answers, Comparison, compare
from genbench_leaderboard.rows import BASELINE, Failure
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT, level_of_look

_DATA_OF_MIX = ("ratio", "mode", "augment", "augment_version", "batch_fraction")


class SeedClasses(NamedTuple):
    """What one seed gets right of test, by class, in little room: a board has a hundred thousand seeds."""

    names: tuple[str, ...] = ()
    images: tuple[int, ...] = ()
    right: tuple[int, ...] = ()

    @classmethod
    def of(cls, found: Answered | None) -> "SeedClasses":
        """Return what a table says; nothing where it does not say."""
        if found is None or not found.classes:
            return cls()
        names, right, images = zip(*found.classes, strict=True)
        return cls(_shared(names), _shared(images), right)


@lru_cache(1_024)
def _shared(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the same object for equal values: all seeds of a suite are tested on the same images."""
    return values


@dataclass
class Entry:
    """One row before statistics.

    Attributes:
        measured: Its records by seed index: those that confirm.
        choosing: Those of the seeds that only choose a configuration, on val.
        others: Records of its cells by other evaluators.
        planned: How many seeds are to confirm, at this look.
    """

    key: str
    generator: Component
    filter: Component
    mix: Mapping[str, Any]
    role: Role = ""
    measured: dict[int, Record] = field(default_factory=dict)
    choosing: dict[int, Record] = field(default_factory=dict)
    others: list[Record] = field(default_factory=list)
    planned: int = 0
    generator_label: str = ""
    filter_label: str = ""
    _answers: dict[str, Answers | None] = field(default_factory=dict, repr=False, compare=False)
    _classes: dict[int, SeedClasses] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_baseline(self) -> bool:
        """Whether its training images are real alone."""
        return self.generator.use == BASELINE

    @property
    def augment(self) -> str:
        """Its augmentation."""
        return str(self.mix["augment"])

    @property
    def policy(self) -> tuple[str, int]:
        """Its augmentation, and what that meant when it was trained."""
        return self.augment, int(self.mix.get("augment_version", 1))

    def answers(self, split: str = "test") -> Answers | None:
        """Return which images of a split its networks got right; None where a record does not say.

        Raises:
            ProtocolError: Its seeds were measured on different numbers of images.
        """
        if split not in self._answers:
            self._answers[split] = self._unpacked(split)
        return self._answers[split]

    def _unpacked(self, split: str) -> Answers | None:
        packed, sizes = {}, set[int]()
        for index, record in self.measured.items():
            found = record.result.answered(split)
            if split == "test":
                self._classes[index] = SeedClasses.of(found)  # a table is long: both are taken at one reading
            if found is None or not found.packed or not found.images:
                return None
            packed[index] = np.frombuffer(found.packed, dtype=np.uint8)
            sizes.add(found.images)
        if len(sizes) > 1:
            raise ProtocolError(f"its seeds were measured on {' and '.join(map(str, sorted(sizes)))} images")
        return Answers(packed, sizes.pop()) if sizes else None

    def classes(self, index: int) -> dict[str, ClassAnswers]:
        """Return what a seed gets right of each class of test, by name; empty where nobody says."""
        if index not in self._classes:
            self._classes[index] = SeedClasses.of(self.measured[index].result.answered())
        names, images, right = self._classes[index]
        return {name: ClassAnswers(name, *one) for name, *one in zip(names, right, images, strict=True)}

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
    """Entries that share dataset, protocol, budget, classifier and declaration.

    Attributes:
        kin: Digest of all that but the budget's scale.
        declared: What the suite declared, at its latest look; None where records know no declaration.
        looks_before: Numbers of seeds at which test of a contender was read before, unplanned.
        read_before: Entries of which test was read for an earlier plan, by its suite and number of seeds.
        helps: The most contrasts with real images alone that were ever declared of its contenders.
        adds: The most with what is simpler.
        contradiction: How its records contradict each other about what was declared; empty where they agree.
        keys: Of all records that it was made of.
    """

    kin: str
    dataset: Component
    classifier: Component
    protocol: Protocol
    budget: str
    budget_scale: float
    declared: Declaration | None = None
    looks_before: set[int] = field(default_factory=set)
    read_before: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    helps: int = 0
    adds: int = 0
    contradiction: str = ""
    keys: set[str] = field(default_factory=set)
    entries: dict[str, Entry] = field(default_factory=dict)
    failures: set[Failure] = field(default_factory=set)

    @property
    def kind(self) -> tuple[str, float]:
        """What groups of several families may share."""
        return (self.kin, self.budget_scale)

    @property
    def order(self) -> tuple[str, str, str, float, str, int, str]:
        """Where it stands on the board: of several suites with the same networks, the larger one first."""
        family = self.declared.family if self.declared else ""
        place = (self.dataset.name, self.classifier.name, self.budget, self.budget_scale, self.kin)
        return (*place, -len(self.entries), family)

    def has_further_question(self, entry: Entry) -> bool:
        """Say whether it is asked if an entry is more than copies, and more than free augmentation."""
        return entry.generator.use != FREE and entry.augment not in {OFF, STRONG}

    def simpler_than(self, entry: Entry) -> list[Entry]:
        """Return the rows with frozen augmented copies instead, and real images under strong augmentation."""
        others = [one for one in self.entries.values() if one is not entry]
        copies = [
            one
            for one in others
            if one.generator.use == FREE and one.filter.use == BASELINE and one.mix == entry.mix
        ]
        return copies + [one for one in others if one.is_baseline and one.augment == STRONG]

    def baseline_of(self, entry: Entry) -> Entry | None:
        """Return real images alone, same augmentation; for real images alone, the standard augmentation."""
        policy = ("standard", 1) if entry.is_baseline else entry.policy
        found = (other for other in self.entries.values() if other.is_baseline and other.policy == policy)
        return next((other for other in found if other is not entry), None)


def alpha_at(declared: Declaration, unplanned: int) -> float:
    """Return the level that a family is held to at its look.

    Args:
        declared: The family.
        unplanned: How many looks at test there were before that nobody had planned.
    """
    first = declared.choosing_seeds
    looks = [look for look in (*declared.looks, declared.seeds) if look <= declared.look]
    shares = [(look - first) / (declared.seeds - first) for look in looks]
    return level_of_look(shares, unplanned)


def compared(entry: Entry, other: Entry, split: str = "test") -> Comparison | None:
    """Compare two entries on a split; without results per image, only their means. None without shared seeds.

    Raises:
        ProtocolError: They were measured on different numbers of images.
    """
    mine, theirs = entry.answers(split), other.answers(split)
    if mine is not None and theirs is not None:
        if mine.images != theirs.images:
            raise ProtocolError(
                f"its {split} has {mine.images} images, and that of the other row {theirs.images}"
            )
        return compare(mine, theirs)
    own, base = entry.scores(split), other.scores(split)
    shared = sorted(own.keys() & base.keys())
    if not shared:
        return None
    mean = math.fsum(own[index] - base[index] for index in shared) / len(shared)
    return Comparison(mean, len(shared), 0)


def mix_label(mix: Mapping[str, Any]) -> str:
    """Write a mix in a few words: `+1.0x standard`; the baseline is its augmentation alone."""
    return Mix.model_validate(mix).label


def make_groups(records: Sequence[Record], family: str = "") -> list[RawGroup]:
    """Sort settled records of cells into groups and entries.

    A cell that several suites declared stands in a group of each, so that no suite changes what another one
    concluded. What is left of a suite whose other cells are elsewhere is left out where a whole one shows it,
    and so is a trial, of fewer seeds than a verdict takes, where a larger suite shows its cells and says so.

    Args:
        records: One per key.
        family: Only the groups of this family; empty for all.

    Raises:
        DataError: A record has no top-1.
    """
    groups: dict[str, RawGroup] = {}
    unplaced: list[tuple[RawGroup, Record]] = []
    names = Remembered()
    for record in records:
        if record.result.subject != "cell":
            continue
        for declared in _families(record, family):
            group = _group_of(record, declared, groups, names)
            group.keys.add(record.result.key)
            if record.result.evaluator.use == "accuracy":
                key = _entry_key_of(record, names)
                if key not in group.entries:
                    group.entries[key] = _entry_of(record, names)
                _measure(group.entries[key], record, declared)
            if record.result.evaluator.use != "accuracy" or record.result.status != "ok":
                unplaced.append((group, record))
    for found in groups.values():
        _settle_entries(found)
    _share_looks(groups.values())
    for group, record in unplaced:
        _place(record, group, names)
    return sorted(_without_remains(groups.values()), key=lambda group: group.order)


def _without_remains(groups: Collection[RawGroup]) -> list[RawGroup]:
    """Leave out what another group of the same kind shows: remains where it is whole, and trials."""
    there = Counter[str]()  # contenders of a family, which may be in several groups
    for group in groups:
        there[_family_of(group)] += sum(entry.role == "contender" for entry in group.entries.values())
    complete = {id(group) for group in groups if _is_whole(group, there[_family_of(group)])}
    whole: dict[tuple[str, float], list[RawGroup]] = defaultdict(list)
    larger: dict[tuple[str, float], list[RawGroup]] = defaultdict(list)
    for group in groups:
        if id(group) in complete:
            whole[group.kind].append(group)
        if not _is_trial(group):
            larger[group.kind].append(group)

    def is_shown_elsewhere(group: RawGroup) -> bool:
        others = [] if id(group) in complete else whole[group.kind]
        others = others + larger[group.kind] if _is_trial(group) else others
        return any(group.keys <= one.keys for one in others)

    return [group for group in groups if not is_shown_elsewhere(group)]


def _place(record: Record, group: RawGroup, names: Remembered) -> None:
    """Put a record of a failure, or of another evaluator, to the row that it belongs to."""
    placed = group.entries.get(_entry_key_of(record, names))
    if record.result.status != "ok":
        group.failures.add(missing(record, (placed or _entry_of(record, names)).label))
    elif placed and _is_planned(record, group.declared):
        placed.others.append(record)


def _families(record: Record, only: str) -> list[Declaration | None]:
    """Return the latest look of every family that a cell took part in; None for a cell that knows of none.

    Args:
        record: Of the cell.
        only: The family that is asked for; empty for all.
    """
    latest: dict[str, Declaration | None] = {}
    for declared in record.run.declared:
        known = latest.get(declared.family)
        if known is None or known.look < declared.look:
            latest[declared.family] = declared
    if only:
        return [latest[only]] if only in latest else []
    return list(latest.values()) or [None]


def _family_of(group: RawGroup) -> str:
    return group.declared.family if group.declared else ""


def _is_whole(group: RawGroup, contenders_there: int) -> bool:
    """Say whether all is there that a suite planned here: a baseline, and every seed of every row.

    Args:
        group: Of one suite.
        contenders_there: How many contenders of its family there are, in this group and others.
    """
    if group.declared is None:
        return True
    entries = group.entries.values()
    contenders = any(entry.role == "contender" for entry in entries) or not group.declared.helps
    contenders = contenders and contenders_there >= group.declared.helps
    seeds = all(len(entry.measured) == entry.planned for entry in entries)
    return contenders and seeds and any(entry.is_baseline for entry in entries)


def _is_trial(group: RawGroup) -> bool:
    """Say whether a suite planned fewer seeds than a verdict takes: test was read, and that is all."""
    return group.declared is not None and group.declared.seeds < SEEDS_FOR_VERDICT


def _settle_entries(group: RawGroup) -> None:
    """Name the entries of a group, say what they are for, and keep the seeds that are due at its look."""
    _name_entries(group)
    entries = list(group.entries.values())
    roles = roles_of([RowKind(entry.generator.use, entry.augment) for entry in entries])
    declared = group.declared
    for entry, role in zip(entries, roles, strict=True):
        entry.role = entry.role or role
        if declared is not None:
            confirming = declared.look - declared.choosing_seeds
            entry.planned = min(entry.planned, confirming)  # one, where nothing learns
    if declared is not None:
        _look_back(group, declared)


def _look_back(group: RawGroup, declared: Declaration) -> None:
    """Note what was declared of a group's contenders before, and whether its records agree on what is.

    A look counts where its cell took part in confirming, unless this very plan had planned it. Whoever
    declares less later is held to the most that was ever declared.
    """
    facts: set[tuple[object, ...]] = set()
    for entry in group.entries.values():
        cells = (*entry.measured.values(), *entry.choosing.values())
        own = [one for record in cells for one in record.run.declared if one.family == declared.family]
        facts |= {(one.seeds, one.looks, one.choosing_seeds, one.helps, one.adds) for one in own}
        if len({one.role for one in own}) > 1:
            group.contradiction = f"its records contradict each other about the role of {entry.label}"
        for record in cells:
            for one in takewhile(lambda one: one.family != declared.family, record.run.declared):
                group.read_before[one.suite, one.look].add(entry.key)
            if entry.role == "contender":
                _look_back_at(record, group, declared)
    if len(facts) > 1:
        group.contradiction = "its records contradict each other about what the suite declared"


def _look_back_at(record: Record, group: RawGroup, declared: Declaration) -> None:
    plan = (declared.seeds, declared.looks, declared.choosing_seeds)
    for one in record.run.declared:
        group.helps, group.adds = max(group.helps, one.helps), max(group.adds, one.adds)
        if (one.family, one.look) == (declared.family, declared.look):
            return
        is_planned = (one.seeds, one.looks, one.choosing_seeds) == plan
        if record.result.index >= one.choosing_seeds and not is_planned and one.look != declared.look:
            group.looks_before.add(one.look)


def _share_looks(groups: Iterable[RawGroup]) -> None:
    """Give all groups of a family the looks and the sizes of all: they share one alpha."""
    families: dict[str, list[RawGroup]] = defaultdict(list)
    for group in groups:
        if group.declared is not None:
            families[group.declared.family].append(group)
    for members in families.values():
        looks = set().union(*(group.looks_before for group in members))
        for group in members:
            group.looks_before = looks
            group.helps = max(one.helps for one in members)
            group.adds = max(one.adds for one in members)


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
        differing = differences(mine, theirs)
        if not differing:  # of another suite, whose baseline has no part in what this one declared
            continue
        path, found, expected = differing[0]
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


def _kin(dataset: Component, classifier: Component, protocol: Protocol, budget: str) -> str:
    return digest([dataset.identity, classifier.identity, protocol.identity, budget])


def _group_of(
    record: Record, declared: Declaration | None, groups: dict[str, RawGroup], names: Remembered
) -> RawGroup:
    result = record.result
    assert result.classifier is not None  # the schema of a cell's record holds that
    assert result.mix is not None
    budget, scale = result.mix.budget, result.mix.budget_scale
    kin = names.of(_kin, result.dataset, result.classifier, result.protocol, budget)
    name = f"{kin}/{scale!r}/{declared.family if declared else ''}"
    if name not in groups:
        groups[name] = RawGroup(
            kin, result.dataset, result.classifier, result.protocol, budget, scale, declared
        )
    group = groups[name]
    if declared is not None and group.declared is not None and declared.look > group.declared.look:
        group.declared = declared
    return group


_NO_FILTER = Component(BASELINE, label=BASELINE)


def _entry_of(record: Record, names: Remembered) -> Entry:
    """Return an entry for the row that a record belongs to."""
    result = record.result
    assert result.mix is not None
    chosen = _filter_of(result)
    key = _entry_key_of(record, names)
    return Entry(key, result.generator, chosen, _data_of(result.generator, result.mix))


def _entry_key_of(record: Record, names: Remembered) -> str:
    result = record.result
    return names.of(_entry_key, result.generator, _filter_of(result), result.mix)


def _filter_of(result: Result) -> Component:
    return _NO_FILTER if result.generator.use == BASELINE else result.filter


def _entry_key(generator: Component, chosen: Component, mix: Mix) -> str:
    return digest([generator.identity, chosen.identity, _data_of(generator, mix)])


def _data_of(generator: Component, mix: Mix) -> Mapping[str, Any]:
    whole = mix.baseline if generator.use == BASELINE else mix
    return whole.model_dump(mode="json", include=set(_DATA_OF_MIX))


def _is_planned(record: Record, declared: Declaration | None) -> bool:
    """Say whether a record's seed is one of those that confirm."""
    return declared is None or declared.choosing_seeds <= record.result.index < declared.seeds


def _measure(entry: Entry, record: Record, declared: Declaration | None) -> None:
    result = record.result
    entry.planned = max(entry.planned, result.planned_indices)
    entry.role = declared.role if declared is not None else ""
    if result.status != "ok":
        return
    top1 = result.metric("top1")
    if top1 is None or top1.value is None:
        raise DataError(f"{record.file_name}: status ok, but no value for the metric top1")
    place = entry.measured if _is_planned(record, declared) else entry.choosing
    known = place.get(result.index)
    if known is None or (known.run.created, known.result.key) < (record.run.created, result.key):
        place[result.index] = record


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
