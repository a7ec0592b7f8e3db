"""Every entry against its baseline, then Holm over the whole board, then verdicts and ranks."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genbench.digest import digest
from genbench.errors import ProtocolError
from genbench.records import Record
from genbench_leaderboard.gather import Entry, RawGroup, check_recipe, mix_label
from genbench_leaderboard.rows import BASELINE, Contrast, Cost
from genbench_leaderboard.statistics import (
    SEEDS_FOR_VERDICT,
    Interval,
    decide,
    estimate,
    holm,
    image_bootstrap,
    minimum_detectable_effect,
    paired_t,
    ranks,
    unpack_correct,
)

Contrasts = dict[tuple[int, str], Contrast]  #: by position of the group and key of the entry


@dataclass(frozen=True)
class Ranking:
    """Ranks by entry key, and how many pairs were compared."""

    by_entry: Mapping[str, int]
    pairs: int


def all_contrasts(groups: Sequence[RawGroup]) -> tuple[Contrasts, int]:
    """Compare every entry with its baseline.

    Returns:
        The contrasts, and the size of the Holm family: the confirmatory ones with enough planned seeds.

    Raises:
        ProtocolError: A pair differs in more than its images.
    """
    contrasts: Contrasts = {}
    for position, group in enumerate(groups):
        chosen = _confirmatory(group)
        for entry in group.entries.values():
            baseline = group.baseline_of(entry)
            if baseline is not None:
                contrasts[position, entry.key] = _contrast(entry, baseline, group, entry.key in chosen)
            elif not entry.is_baseline:
                check_recipe(entry, group, groups)
    return _judged(contrasts, groups)


def rank_entries(group: RawGroup, contrasts: Mapping[str, Contrast]) -> Ranking:
    """Rank the complete entries with enough seeds; those that use external data among themselves."""
    by_entry: dict[str, int] = {}
    pairs = 0
    for external in (False, True):
        pool = [
            entry
            for _, entry in sorted(group.entries.items())
            if bool(external_data(entry)) is external and _rankable(entry, contrasts.get(entry.key))
        ]
        if len(pool) > 1:
            by_entry |= dict(zip([e.key for e in pool], ranks([e.scores() for e in pool]), strict=True))
            pairs += math.comb(len(pool), 2)
    return Ranking(by_entry, pairs)


def external_data(entry: Entry) -> tuple[str, ...]:
    """Return what the generator and the filter know from elsewhere."""
    declared = (*entry.generator.get("external_data", ()), *entry.filter.get("external_data", ()))
    return tuple(sorted({str(one) for one in declared}))


def cost_of(entry: Entry) -> Cost | None:
    """Add up the stages of each cell; mean over seeds."""
    runs = [entry.measured[index].run.costs for index in sorted(entry.measured)]
    if not runs or not all(runs):
        return None
    seconds = math.fsum(cost.seconds for costs in runs for cost in costs) / len(runs)
    peak = max(cost.peak_memory_bytes for costs in runs for cost in costs)
    devices = {cost.device for costs in runs for cost in costs if cost.device}
    return Cost(seconds, peak, tuple(sorted(devices)))


def _judged(contrasts: Contrasts, groups: Sequence[RawGroup]) -> tuple[Contrasts, int]:
    """Adjust the confirmatory contrasts of the whole board together, and give every contrast its verdict."""
    entries = {(at, key): entry for at, group in enumerate(groups) for key, entry in group.entries.items()}
    family = [
        where
        for where in sorted(contrasts)
        if contrasts[where].confirmatory and entries[where].planned >= SEEDS_FOR_VERDICT
    ]
    steps = dict(zip(family, holm([_p_value(contrasts[at], entries[at]) for at in family]), strict=True))
    judged = {}
    for where, contrast in contrasts.items():
        step = steps.get(where)
        decided = replace(
            contrast,
            verdict=decide(entries[where].planned, contrast.test, step, contrast.images),
            adjusted_p=step.adjusted_p if step else None,
            level=step.level if step else None,
        )
        judged[where] = _complete(decided, entries[where], groups[where[0]])
    return judged, len(family)


def _rankable(entry: Entry, contrast: Contrast | None) -> bool:
    complete = len(entry.scores()) >= max(entry.planned, SEEDS_FOR_VERDICT)
    exploratory = contrast is not None and not contrast.confirmatory
    return complete and not exploratory


def _confirmatory(group: RawGroup) -> set[str]:
    """Return the keys of the planned contrasts: per generator and augmentation, the one that val chose.

    The unaugmented baseline is diagnostic only. Test is never looked at here.
    """
    candidates: dict[tuple[str, str], list[tuple[float, str, str]]] = {}
    for key, entry in group.entries.items():
        if entry.is_baseline and entry.augment == "off":
            continue
        val = list(entry.scores("val_top1").values())
        worth = -math.fsum(val) / len(val) if val else math.inf
        candidates.setdefault((entry.generator["use"], entry.augment), []).append((worth, entry.label, key))
    return {min(found)[-1] for found in candidates.values()}


def _contrast(entry: Entry, baseline: Entry, group: RawGroup, confirmatory: bool) -> Contrast:
    mine, theirs = entry.scores(), baseline.scores()
    shared = sorted(mine.keys() & theirs.keys())
    name = f"{BASELINE}, {mix_label(baseline.mix)}"
    if not shared:
        return Contrast(name, None, None, confirmatory)
    seed = int(digest(["image bootstrap", group.kin, group.budget_scale, entry.key, baseline.key])[:15], 16)
    test = paired_t([mine[index] for index in shared], [theirs[index] for index in shared])
    return Contrast(name, test, _bootstrap(entry, baseline, shared, seed), confirmatory)


def _bootstrap(entry: Entry, baseline: Entry, shared: Sequence[int], seed: int) -> Interval | None:
    total: Any = 0
    for index in shared:
        row, other = _test_table(entry.measured[index]), _test_table(baseline.measured[index])
        if row is None or other is None:
            return None
        if row["n"] != other["n"]:
            raise ProtocolError(
                f"{entry.label}, seed {index}: its test has {row['n']} images, its baseline's {other['n']}",
                hint="paired cells must be measured on the same test images",
            )
        total = total + _correct(row) - _correct(other)
    return image_bootstrap(total, len(shared), seed)


def _test_table(record: Record) -> Mapping[str, Any] | None:
    table = record.result.tables.get("test")
    return table if isinstance(table, Mapping) and table.get("correct_bits") and table.get("n") else None


def _correct(table: Mapping[str, Any]) -> Any:
    return unpack_correct(base64.b64decode(table["correct_bits"]), table["n"])


def _p_value(contrast: Contrast, entry: Entry) -> float | None:
    """Return the p that enters Holm: None, which counts as 1, where planned seeds are missing."""
    test = contrast.test
    return test.p if test is not None and test.difference.n == entry.planned else None


def _complete(contrast: Contrast, entry: Entry, group: RawGroup) -> Contrast:
    """Add what only some verdicts have: the detectable effect, and the gain per minute."""
    test = contrast.test
    if test is None:
        return contrast
    if contrast.verdict == "cannot tell" and contrast.level and test.difference.sd:
        effect = minimum_detectable_effect(test.difference.n, contrast.level)
        return replace(contrast, minimum_detectable_points=effect * test.difference.sd)
    baseline = group.baseline_of(entry)
    cost, base_cost = cost_of(entry), cost_of(baseline) if baseline else None
    if contrast.verdict == "better" and cost and base_cost and cost.seconds > base_cost.seconds:
        gain = test.difference.mean / ((cost.seconds - base_cost.seconds) / 60)
        return replace(contrast, points_per_minute=gain)
    return contrast


def mean_of(entry: Entry, metric: str) -> float | None:
    """Return the mean of one metric over the seeds that have it."""
    values = list(entry.scores(metric).values())
    return estimate(values).mean if values else None
