"""From records to the board: `build_board` is the way in, `genbench_leaderboard.tables` the way out.

The same records give the same board, in whatever order they come.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from genbench.digest import Remembered, canonical_json
from genbench.levels import LEVELS, Checked, Level, level_of, level_of_record, record_mark
from genbench.metrics import INTERVALS
from genbench.records import Record, Result
from genbench_leaderboard.classes import class_gains
from genbench_leaderboard.contrasts import (
    Judgements,
    Place,
    all_contrasts,
    all_judgements,
    cost_of,
    external_data,
    hopeless_baselines,
    mean_of,
    outliers,
    rank_entries,
)
from genbench_leaderboard.groups import Entry, RawGroup, make_groups, missing, mix_label
from genbench_leaderboard.measures import ImageSets, average_records, measures, shift_gains
from genbench_leaderboard.provenance import provenance
from genbench_leaderboard.rows import (
    Board,
    Books,
    BudgetLimit,
    Contrast,
    Environment,
    Failure,
    Finding,
    Group,
    Reading,
    Row,
)
from genbench_leaderboard.settled import settle
from genbench_leaderboard.statistics import estimate

__all__ = ["Board", "Group", "Row", "build_board"]

#: Rule 3: where the baseline's val rises by more than this with the larger budget, rows are budget-limited.
BUDGET_RISE_POINTS = 0.5


def build_board(
    records: Iterable[Record],
    verified: Mapping[str, Checked] | None = None,
    family: str = "",
    command: str = "",
) -> Board:
    """Compute everything that is published from records.

    Args:
        records: In any order.
        verified: What others found about them (`verification.read_verified`).
        family: Show what this family declared, and nothing else; empty for all.
        command: What repeats all of it; empty for the commands that the records name.

    Raises:
        DataError: A record lacks what its status promises.
        ProtocolError: A row and its baseline differ in more than their images.
    """
    known = verified or {}
    settled, notes = settle(records, known)
    raw = make_groups(settled, family)
    image_sets = ImageSets(settled)
    judgements = all_judgements(raw, image_sets)
    contrasts: dict[int, list[tuple[Place, Contrast]]] = defaultdict(list)
    for place, contrast in all_contrasts(raw, judgements).items():
        contrasts[place.group].append((place, contrast))
    names = Remembered()
    kin: dict[str, list[RawGroup]] = defaultdict(list)
    for group in raw:
        kin[group.kin].append(group)
    groups = tuple(
        _group(_Sources(position, raw, contrasts, judgements, image_sets, known, command, names, kin), title)
        for position, title in enumerate(_titles(raw))
    )
    entries = [entry for group in raw for entry in group.entries.values()]
    cells = len(
        {one.result.key for row in entries for one in (*row.measured.values(), *row.choosing.values())}
    )
    failures, findings = _other_failures(settled), _findings(settled)
    return Board(groups, failures, tuple(notes), cells, findings, verified=bool(known))


class _Sources(NamedTuple):
    """Everything that a group, or one of its rows, is made of."""

    position: int
    raw: Sequence[RawGroup]
    contrasts: Mapping[int, Sequence[tuple[Place, Contrast]]]
    judgements: Judgements
    image_sets: ImageSets
    verified: Mapping[str, Checked]
    command: str
    names: Remembered
    kin: Mapping[str, Sequence[RawGroup]]

    @property
    def commands(self) -> tuple[str, ...]:
        """What repeats the group."""
        named = {record.run.command for record in _measured(self.group) if record.run.command}
        return (self.command,) if self.command else tuple(sorted(named))

    @property
    def group(self) -> RawGroup:
        """The group before statistics."""
        return self.raw[self.position]

    def of(self, question: str) -> dict[str, list[Contrast]]:
        """Return the group's contrasts that answer a question, by entry."""
        found: dict[str, list[Contrast]] = defaultdict(list)
        for place, contrast in self.contrasts.get(self.position, ()):
            if place.question == question:
                found[place.entry].append(contrast)
        return found


def _group(sources: _Sources, title: str) -> Group:
    group = sources.group
    helps, adds = ({key: tuple(found) for key, found in sources.of(one).items()} for one in ("helps", "adds"))
    first = {key: found[0] for key, found in helps.items()}
    ranking, environments = rank_entries(group, first), _environments(group, sources.names)
    made = {
        key: _row(sources, environments, entry, first.get(key), adds.get(key, ()), ranking.by_entry.get(key))
        for key, entry in group.entries.items()
    }
    rows = tuple(sorted(made.values(), key=_row_order))
    return Group(
        title=title,
        dataset=group.dataset.name,
        classifier=group.classifier.name,
        budget=group.budget,
        budget_scale=group.budget_scale,
        protocol=group.protocol,
        declared=group.declared,
        unplanned_looks=tuple(sorted(group.looks_before)),
        read_before=tuple(
            Reading(suite, seeds, tuple(row.name for row in rows if row in [made[key] for key in keys]))
            for (suite, seeds), keys in sorted(group.read_before.items())
        ),
        hopeless=hopeless_baselines(group, first),
        rows=rows,
        ranked_pairs=ranking.pairs,
        failures=tuple(sorted(group.failures, key=_failure_order)),
        environments=environments,
        provenance=provenance(group, _image_records(group, sources.image_sets)),
        commands=sources.commands,
        dataset_component=group.dataset,
        classifier_component=group.classifier,
    )


def _row(
    sources: _Sources,
    environments: tuple[Environment, ...],
    entry: Entry,
    contrast: Contrast | None,
    adds: tuple[Contrast, ...],
    rank: int | None,
) -> Row:
    group, image_sets = sources.group, sources.image_sets
    baseline = group.baseline_of(entry)
    own_images = [] if entry.is_baseline else image_sets.of(entry, group)
    copies = sources.judgements[sources.position, entry.key]
    top1, val_top1 = (list(entry.scores(split).values()) for split in ("test", "val"))
    return Row(
        generator=entry.generator_label,
        filter=entry.filter_label,
        mix=mix_label(entry.mix),
        mix_values=entry.mix,
        external_data=external_data(entry, group),
        planned=entry.planned,
        top1=estimate(top1) if top1 else None,
        val_top1=estimate(val_top1) if val_top1 else None,
        role=entry.role,
        contrast=contrast,
        adds=adds,
        books=_books(entry),
        outliers=outliers(entry),
        level=_level(entry, baseline, sources.verified),
        rerun=sum(level_of_record(one, sources.verified) == "reproduced" for one in entry.measured.values()),
        contradictions=_contradictions(entry, sources.verified),
        rank=rank,
        cost=cost_of(entry),
        distances=() if entry.is_baseline else image_sets.distances(entry, group),
        classes=class_gains(entry, baseline),
        shifts=shift_gains(entry, baseline),
        measures=measures(entry, own_images),
        test_copies=max((_test_copies(record) for record in entry.measured.values()), default=0),
        blank=copies.blank,
        duplicates=copies.duplicates,
        of_images=copies.of_images,
        metrics=_other_metrics(entry),
        budget_limited=_budget_limit(entry, group, sources.kin[group.kin]),
        mixed_environment=_is_mixed(entry, environments, sources.names),
        generator_component=entry.generator,
        filter_component=entry.filter,
        results=tuple(entry.measured[index].result_digest for index in sorted(entry.measured)),
        images_id="" if entry.is_baseline else image_sets.id_of(entry, group),
    )


def _level(entry: Entry, baseline: Entry | None, verified: Mapping[str, Checked]) -> Level:
    """Return how far a row was checked: no further than what it is held against."""
    rows = [entry] if baseline is None else [entry, baseline]
    levels: list[Level] = [level_of(_cells(row), verified) for row in rows]
    return min(levels, key=LEVELS.index)


def _contradictions(entry: Entry, verified: Mapping[str, Checked]) -> tuple[str, ...]:
    known = (verified.get(record_mark(record)) for record in _cells(entry)) if verified else ()
    return tuple(dict.fromkeys(line for one in known if one is not None for line in one.contradictions))


def _cells(entry: Entry) -> list[Record]:
    return [*entry.measured.values(), *entry.choosing.values(), *entry.others]


def _image_records(group: RawGroup, image_sets: ImageSets) -> list[Record]:
    made = (entry for entry in group.entries.values() if not entry.is_baseline)
    return [record for entry in made for record in image_sets.of(entry, group)]


def _books(entry: Entry) -> Books | None:
    """Add up what the records say of a row's images: means over its seeds."""
    results = [entry.measured[index].result for index in sorted(entry.measured)]
    ledgers = [result.ledger for result in results if result.ledger.real is not None]
    data = next((result.data for result in results if result.data is not None), None)
    if data is None or not ledgers:
        return None
    real = [ledger.real.consumed_images for ledger in ledgers if ledger.real]
    synthetic = [ledger.synthetic for ledger in ledgers if ledger.synthetic]
    steps = [ledger.steps for ledger in ledgers if ledger.steps is not None]
    faults = [sum(ledger.images.faults.values()) for ledger in ledgers if ledger.images]
    return Books(
        train=data.train,
        test=data.test,
        synthetic=_mean([one.available_images for one in synthetic]),
        real_seen=_mean(real),
        synthetic_seen=_mean([one.consumed_images for one in synthetic]),
        steps=_mean(steps) if steps else None,
        faults=_mean(faults),
    )


def _mean(counts: Sequence[int]) -> float:
    return math.fsum(counts) / len(counts) if counts else 0.0


def _test_copies(record: Record) -> int:
    images = record.result.ledger.images
    return images.copies.get("test", 0) if images else 0


def _row_order(row: Row) -> tuple[object, ...]:
    """Baselines first, the plain one before all; then by rank, external data last; then by test top-1."""
    rank = math.inf if row.rank is None else row.rank
    mean = -row.top1.mean if row.top1 else math.inf
    return (not row.is_baseline, row.contrast is not None, bool(row.external_data), rank, mean, row.name)


def _other_metrics(entry: Entry) -> dict[str, float]:
    """Average every metric but the two that have columns, by label."""
    found = average_records([*entry.others, *(entry.measured[index] for index in sorted(entry.measured))])
    return {one.identity.label: one.value for one in found if one.identity.label not in ("top1", "val_top1")}


def _budget_limit(entry: Entry, group: RawGroup, kin: Sequence[RawGroup]) -> BudgetLimit | None:
    """Say whether the plain baseline gains from a larger budget at which this row was run, too (rule 3).

    Args:
        entry: The row.
        group: Of the row.
        kin: The groups that differ from it in nothing but their budget.
    """
    if entry.is_baseline:
        return None
    here = _plain_val(group)
    for other in kin:
        larger = other.budget_scale > group.budget_scale
        there = _plain_val(other) if larger and entry.key in other.entries else None
        if here is not None and there is not None and there - here > BUDGET_RISE_POINTS:
            return BudgetLimit(other.budget_scale / group.budget_scale, there - here)
    return None


def _plain_val(group: RawGroup) -> float | None:
    """Val top-1 of real images under the standard augmentation."""
    plain = (entry for entry in group.entries.values() if entry.is_baseline and entry.augment == "standard")
    baseline = next(plain, None)
    return mean_of(baseline, "val") if baseline else None


def _measured(group: RawGroup) -> list[Record]:
    return [record for entry in group.entries.values() for record in entry.measured.values()]


def _environment_key(record: Record, names: Remembered) -> str:
    return names.of(_environment_name, record.run.hardware, record.run.versions)


def _environment_name(hardware: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    return canonical_json([hardware, versions])


def _environments(group: RawGroup, names: Remembered) -> tuple[Environment, ...]:
    """Return the distinct environments of a group, the most common first."""
    records = {_environment_key(record, names): record for record in _measured(group)}
    counts = Counter(_environment_key(record, names) for record in _measured(group))
    order = sorted(counts, key=lambda key: (-counts[key], key))
    return tuple(
        Environment(records[key].run.hardware, records[key].run.versions, counts[key]) for key in order
    )


def _is_mixed(entry: Entry, environments: Sequence[Environment], names: Remembered) -> bool:
    usual = _environment_name(environments[0].hardware, environments[0].versions) if environments else ""
    return any(_environment_key(record, names) != usual for record in entry.measured.values())


def _titles(raw: Sequence[RawGroup]) -> list[str]:
    """Name the groups; preset, base seed, suite or digest only where they tell apart what shares a name."""
    titles = []
    for group in raw:
        budget = [f"{group.budget_scale:g}x budget"] if group.budget_scale != 1 else []
        budget += [group.budget] if group.budget != "steps" else []
        titles.append(", ".join([group.dataset.name, group.classifier.name, *budget]))
    ways = [
        [f", preset {group.protocol.preset or '?'}" for group in raw],
        [f", base seed {group.protocol.base_seed}" for group in raw],
        [f", suite {group.declared.suite}" if group.declared else "" for group in raw],
        [f", {group.declared.look} seeds" if group.declared else "" for group in raw],
        [f" #{group.kin[:4]}" for group in raw],
        [f" #{group.declared.family[:4]}" if group.declared else "" for group in raw],
    ]
    for marks in ways:
        told: dict[str, set[str]] = defaultdict(set)
        for title, mark in zip(titles, marks, strict=True):
            told[title].add(mark)
        apart = {title for title, found in told.items() if len(found) > 1}
        titles = [title + mark * (title in apart) for title, mark in zip(titles, marks, strict=True)]
    return titles


def _failure_order(failure: Failure) -> tuple[str, ...]:
    return (failure.name, f"{failure.index:09d}", failure.reason, failure.log)


def _other_failures(records: Iterable[Record]) -> tuple[Failure, ...]:
    """Return the records without numbers that are about image sets and suites."""
    found = set()
    for record in records:
        result = record.result
        if result.subject != "cell" and result.status != "ok":
            images = f"{result.generator.name} on {result.dataset.name}"
            found.add(missing(record, f"{result.evaluator.name} of {images}"))
    return tuple(sorted(found, key=_failure_order))


def _intervals(result: Result) -> dict[str, tuple[float, float]]:
    """Return the intervals that an evaluator gave as numbers, by the label of their metric.

    Where an index stands in for records, this reads the file of one: a suite has few such evaluations.
    """
    given = result.tables.get(INTERVALS)
    found = {}
    for label, ends in given.items() if isinstance(given, Mapping) else ():
        match ends:
            case [int() | float() as low, int() | float() as high] if -math.inf < low <= high < math.inf:
                found[str(label)] = (float(low), float(high))
            case _:
                pass
    return found


def _findings(records: Iterable[Record]) -> tuple[Finding, ...]:
    """Return what was found across the rows, in the order of dataset and evaluator."""
    found = []
    for record in records:
        result = record.result
        if result.subject == "suite" and result.status == "ok":
            ends = _intervals(result)
            found += [
                Finding(
                    result.dataset.name,
                    result.evaluator.name,
                    one.label,
                    one.value,
                    one.unit,
                    one.note,
                    name=one.name,
                    about=tuple(one.qualifiers),
                    interval=ends.get(one.label),
                    source=result.key,
                )
                for one in result.metrics
            ]
    return tuple(sorted(found, key=lambda one: (one.dataset, one.evaluator, one.metric)))
