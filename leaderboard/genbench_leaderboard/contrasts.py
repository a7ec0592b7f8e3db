"""Every entry against its baseline, then Holm over the whole board, then verdicts and ranks."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from genbench.digest import digest
from genbench.errors import ProtocolError
from genbench.records import Record
from genbench_leaderboard.copies import Mask, judge_copies
from genbench_leaderboard.groups import Entry, RawGroup, check_recipe, mix_label
from genbench_leaderboard.measures import ImageSets
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

_NO_TIME = 1e-9  #: seconds: no clock tells less, and a gain divided by it says nothing

Contrasts = dict[tuple[int, str], Contrast]  #: by position of the group and key of the entry


@dataclass(frozen=True)
class Ranking:
    """Ranks by entry key, and how many pairs were compared."""

    by_entry: Mapping[str, int]
    pairs: int


def all_contrasts(groups: Sequence[RawGroup], image_sets: ImageSets) -> tuple[Contrasts, int]:
    """Compare every entry with its baseline; where test images were copied, a second time without them.

    A verdict that rests on them is void (protocol rule 5).

    Returns:
        The contrasts, and the size of the Holm family: the confirmatory ones with enough planned seeds.

    Raises:
        ProtocolError: A pair differs in more than its images.
    """
    contrasts: Contrasts = {}
    clean: Contrasts = {}
    for position, group in enumerate(groups):
        # Val alone chooses what is confirmatory; test is first read by `_contrast`.
        chosen = _confirmatory(group)
        for entry in group.entries.values():
            baseline = group.baseline_of(entry)
            if baseline is None:
                # Either nothing to compare with, or a baseline that differs in more than its images.
                if not entry.is_baseline:
                    check_recipe(entry, group, groups)
                continue
            pair = _Pair(entry, baseline, group)
            contrasts[position, entry.key] = _contrast(pair, entry.key in chosen)
            # Only rows with copies have a second, clean contrast; the others stand in for themselves below.
            copied = None if entry.is_baseline else judge_copies(image_sets.of(entry, group)).flagged
            if copied is not None:
                clean[position, entry.key] = _without(pair, contrasts[position, entry.key], copied)
    # Holm is over the whole board, so one contrast changed by copies may change the level of any other: both
    # families are judged as a whole, and then compared contrast by contrast.
    judged, family_size = _judged(contrasts, groups)
    for where, found in _judged({**contrasts, **clean}, groups)[0].items():
        if where in clean:
            judged[where] = _compared(judged[where], found)
    return judged, family_size


def rank_entries(group: RawGroup, contrasts: Mapping[str, Contrast]) -> Ranking:
    """Rank the complete entries with enough seeds; those that use external data among themselves."""
    by_entry: dict[str, int] = {}
    pairs = 0
    for external in (False, True):
        pool = [
            entry
            for _, entry in sorted(group.entries.items())
            if bool(external_data(entry, group)) is external and _rankable(entry, contrasts.get(entry.key))
        ]
        if len(pool) > 1:
            by_entry |= dict(zip([e.key for e in pool], ranks([e.scores() for e in pool]), strict=True))
            pairs += math.comb(len(pool), 2)
    return Ranking(by_entry, pairs)


def external_data(entry: Entry, group: RawGroup) -> tuple[str, ...]:
    """Return what the generator, the filter and the classifier know from elsewhere."""
    known = (entry.generator, entry.filter, group.classifier)
    return tuple(sorted({one for component in known for one in component.external_data}))


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
    contender = contrast is None or (contrast.confirmatory and contrast.verdict != "void")
    return complete and contender


def _confirmatory(group: RawGroup) -> set[str]:
    """Return the keys of the planned contrasts: per generator and augmentation, the one that val chose.

    The unaugmented baseline is diagnostic only. Test is never looked at here.
    """
    candidates: dict[tuple[str, str], list[tuple[float, str, str]]] = {}
    for key, entry in group.entries.items():
        if entry.is_baseline and entry.augment == "off":
            continue
        val = list(entry.scores("val").values())
        worth = -math.fsum(val) / len(val) if val else math.inf
        candidates.setdefault((entry.generator.use, entry.augment), []).append((worth, entry.label, key))
    return {min(found)[-1] for found in candidates.values()}


class _Pair(NamedTuple):
    """An entry and what it is compared with."""

    entry: Entry
    baseline: Entry
    group: RawGroup

    @property
    def shared(self) -> list[int]:
        """The seeds that both have."""
        return sorted(self.entry.scores().keys() & self.baseline.scores().keys())

    @property
    def name(self) -> str:
        """The baseline's."""
        return f"{BASELINE}, {mix_label(self.baseline.mix)}"

    def correct(self) -> list[tuple[Any, Any]] | None:
        """Return which test images both got right, for each shared seed: `int64 [n]`; None if one says not.

        Raises:
            ProtocolError: They were measured on different numbers of test images.
        """
        found = []
        for index in self.shared:
            row, other = _test_table(self.entry.measured[index]), _test_table(self.baseline.measured[index])
            if row is None or other is None:
                return None
            if row["n"] != other["n"]:
                raise ProtocolError(
                    f"{self.entry.label}, seed {index}: its test has {row['n']} images, its baseline's "
                    f"{other['n']}",
                    hint="paired cells must be measured on the same test images",
                )
            found.append((_correct(row), _correct(other)))
        return found

    def bootstrap(self, correct: Sequence[tuple[Any, Any]]) -> Interval:
        """Resample test images."""
        names = [self.group.kin, self.group.budget_scale, self.entry.key, self.baseline.key]
        seed = int(digest(["image bootstrap", *names])[:15], 16)
        total: Any = 0
        for mine, theirs in correct:
            total = total + mine - theirs
        return image_bootstrap(total, len(correct), seed)


def _contrast(pair: _Pair, confirmatory: bool) -> Contrast:
    shared = pair.shared
    if not shared:
        return Contrast(pair.name, None, None, confirmatory)
    mine, theirs = pair.entry.scores(), pair.baseline.scores()
    test = paired_t([mine[index] for index in shared], [theirs[index] for index in shared])
    correct = pair.correct()
    return Contrast(pair.name, test, pair.bootstrap(correct) if correct else None, confirmatory)


def _without(pair: _Pair, whole: Contrast, copied: Mask) -> Contrast:
    """Compare on the test images that were not copied; where no record says which were right, on none.

    Raises:
        ProtocolError: The copies were looked for among another number of test images.
    """
    correct, kept = pair.correct(), np.flatnonzero(~copied)
    left_out = replace(whole, test=None, images=None, copied_images=int(copied.sum()))
    if not correct or len(kept) == 0:
        return left_out
    if len(correct[0][0]) != len(copied):
        raise ProtocolError(
            f"{pair.entry.label}: its test has {len(correct[0][0])} images, and copies were looked for among "
            f"{len(copied)}"
        )
    rest = [(mine[kept], theirs[kept]) for mine, theirs in correct]
    sides = ([100 * float(side.mean()) for side in part] for part in zip(*rest, strict=True))
    return replace(left_out, test=paired_t(*sides), images=pair.bootstrap(rest))


def _compared(whole: Contrast, clean: Contrast) -> Contrast:
    """Note what is left of a contrast without the copied images; it is void if its verdict is not."""
    noted = replace(whole, copied_images=clean.copied_images, without_copies=clean.test)
    decisive = {"better", "worse", "cannot tell"}
    if whole.verdict == clean.verdict or not {whole.verdict, clean.verdict} & decisive:
        return noted
    return replace(noted, verdict="void", minimum_detectable_points=None, points_per_minute=None)


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
    extra = cost.seconds - base_cost.seconds if cost and base_cost else 0.0
    if contrast.verdict == "better" and extra > _NO_TIME:
        return replace(contrast, points_per_minute=test.difference.mean / (extra / 60))
    return contrast


def mean_of(entry: Entry, split: str) -> float | None:
    """Return the mean top-1 on a split over the seeds that have it."""
    values = list(entry.scores(split).values())
    return estimate(values).mean if values else None
