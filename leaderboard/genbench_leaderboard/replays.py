"""Statistics of `genbench replay`: is a published number one of ours, and does a published effect stand.

**A number.** A source that trained once reports one draw from the distribution of its training runs; n runs
of ours are n more draws, if ours is the same experiment. The mean of k further runs then lies within

    m +- t(df, .975) sqrt(V) + e,    V = s^2 (1/k + 1/n) + b,
    b  = p (100 - p) (1/N + 1/N'),   df = V^2 / ((s^2 (1/k + 1/n))^2 / (n - 1))

in 95 % of experiments: the prediction interval of normal samples (Hahn and Meeker, Statistical Intervals,
1991, chapter 4), widened by the binomial variance b of an accuracy of p % on N images here and N' there, with
Satterthwaite's degrees of freedom, and by e, how far the printed number may be off by rounding or by reading
a plot. b is 0 where both are measured on the same images, and for what is no share. Agreement is no proof of
sameness: the interval is printed, and a wide one excludes little.

**An effect.** The two arms are compared over seeds and test images at once, as on every board
(`crossed.py`); what is no accuracy, by Student's paired t over seeds. All contrasts of a column are one
Holm family, in which one that answers several effects counts once. With a significant difference an effect
*stands* or is *reversed* by its sign; it *stands, smaller than reported* where the interval, held to alpha
over the number of contrasts, excludes an effect as large as reported, less what the reported size may be
off. Without a significant difference it *does not stand* where the same is excluded, and nobody *can tell*
where it is not. Of a smaller version of the experiment, which has no size to compare, the same test tells
the *same direction* or the *other direction*, or *a difference* where none was reported. Fewer than five
seeds tell nothing; who looked at test before, at another number of seeds, is held to a lower alpha
(`statistics.level_of_look`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from genbench.copy_judgement import CopyJudgement
from genbench.errors import ProtocolError
from genbench.records import Record
from genbench_leaderboard.contrasts import all_judgements, alpha_of
from genbench_leaderboard.crossed import ALPHA, CONFIDENCE, SEEDS_FOR_INTERVAL, Comparison, Interval, compare
from genbench_leaderboard.groups import Entry, make_groups
from genbench_leaderboard.measures import ImageSets
from genbench_leaderboard.settled import settle
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT, estimate, holm

__all__ = ["SEEDS_FOR_VERDICT", "Agreement", "Asked", "Found", "Judged", "agreement", "difference", "judge"]

AgreementWord = Literal["agrees", "differs", "not run", "cannot be checked"]
EffectWord = Literal[
    "stands", "stands, smaller than reported", "does not stand", "cannot tell", "reversed", "not run",
    "same direction", "other direction", "a difference",
]  # fmt: skip
#: What is said of a smaller version of an experiment, which neither confirms nor refutes the source.
_IN_SMALL: Mapping[EffectWord, EffectWord] = {
    "stands": "same direction", "reversed": "other direction", "does not stand": "a difference",
}  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """Whether a published number is one that runs like ours give.

    Attributes:
        word: The verdict.
        interval: Within which it would have to lie; None below five seeds.
        why: Why it cannot be checked; empty where it can.
    """

    word: AgreementWord
    interval: Interval | None = None
    why: str = ""


def agreement(
    published: float,
    values: Sequence[float],
    *,
    runs: int = 1,
    error: float = 0.0,
    images: tuple[int | None, int | None] | None = None,
) -> Agreement:
    """Say whether a published number lies within the prediction interval of runs like ours.

    Args:
        published: The number.
        values: Ours, one per seed.
        runs: k, of how many runs it is the mean.
        error: e, how far it may be off.
        images: N and N', for accuracies in % on different images; None for the same images, or no share. An
            unknown N' adds nothing.
    """
    if not values:
        return Agreement("not run")
    if len(values) < SEEDS_FOR_VERDICT:
        return Agreement("cannot be checked", why=f"{len(values)} of {SEEDS_FOR_VERDICT} seeds")
    found = estimate(values)
    n, sd = found.n, found.sd or 0.0
    of_seeds = sd**2 * (1 / runs + 1 / n)
    share = min(max(published, 0.0), 100.0)
    of_images = sum(share * (100 - share) / one for one in images or () if one)
    variance = of_seeds + of_images
    df = (n - 1) * (variance / of_seeds) ** 2 if of_seeds else math.inf
    quantile = float(stdtrit(min(df, 1e9), (1 + CONFIDENCE) / 2))
    half = quantile * math.sqrt(variance) + error
    interval = Interval(found.mean - half, found.mean + half)
    slack = 1e-9 * max(1.0, abs(published))  # of sums of decimal fractions
    inside = interval.low - slack <= published <= interval.high + slack
    return Agreement("agrees" if inside else "differs", interval)


@dataclass(frozen=True)
class Asked:
    """A published conclusion and what was found about it.

    Attributes:
        sign: 1: above; -1: below; 0: no different.
        size: How large, as published; None where only words were, or where no size can be compared.
        found: The comparison; None where it was not run.
        void: Why it can tell nothing, whatever was measured.
        clean: The comparison without the test images that have near copies; None where none is left, or where
            nobody says which of them were right.
        error: How far the size may be off, by rounding or by reading a plot.
        is_copied: Whether there are test images with near copies: without any, `clean` says nothing.
        contrast: What is compared with what: equal ones count once in the family; empty: this one alone.
        is_scaled: Whether a smaller version of the experiment was run.
    """

    sign: int
    size: float | None
    found: Comparison | None
    void: str = ""
    clean: Comparison | None = None
    error: float = 0.0
    is_copied: bool = False
    contrast: str = ""
    is_scaled: bool = False


@dataclass(frozen=True)
class Judged:
    """What became of a conclusion.

    Attributes:
        word: The verdict.
        found: The comparison.
        adjusted_p: By Holm over the effects of the column.
        interval: Held to alpha over the number of effects.
        why: Why nothing can be told; empty where something can.
    """

    word: EffectWord
    found: Comparison | None = None
    adjusted_p: float | None = None
    interval: Interval | None = None
    why: str = ""


def judge(asked: Sequence[Asked], alpha: float = ALPHA) -> list[Judged]:
    """Judge all effects of a column as one family.

    One of which test images were copied is told only where it is told without these images, too.
    """
    whole = _judged(asked, alpha)
    kept = [replace(one, found=one.clean) if one.is_copied else one for one in asked]
    without = _judged(kept, alpha)
    return [_told_without_copies(*pair) for pair in zip(whole, without, strict=True)]


def _told_without_copies(whole: Judged, clean: Judged) -> Judged:
    if whole.word == clean.word or (whole.why and clean.word in ("not run", "cannot tell")):
        return whole
    if whole.word.startswith("stands") and clean.word.startswith("stands"):
        return replace(whole, word="stands")  # of its size, the copies tell otherwise
    return replace(whole, word="cannot tell", why="it rests on copies of test")


def _judged(asked: Sequence[Asked], alpha: float) -> list[Judged]:
    names = [one.contrast or str(place) for place, one in enumerate(asked)]
    usable = {
        name: one.found.p if one.found and not _why_nothing(one) else None
        for name, one in zip(names, asked, strict=True)
    }
    steps = dict(zip(usable, holm(list(usable.values()), alpha), strict=True))
    return [
        _one(one, steps[name].adjusted_p, alpha, len(usable)) for name, one in zip(names, asked, strict=True)
    ]


def _one(asked: Asked, adjusted_p: float, alpha: float, family: int) -> Judged:
    found = asked.found
    if found is None:
        return Judged("not run")
    why = _why_nothing(asked)
    if why:
        return Judged("cannot tell", found, why=why)
    interval = _interval(found, alpha / family)
    is_smaller = _excludes_size(interval, asked)
    word: EffectWord = "does not stand" if is_smaller else "cannot tell"
    if adjusted_p < alpha and not asked.sign:
        word = "does not stand"
    elif adjusted_p < alpha and (found.mean > 0) != (asked.sign > 0):
        word = "reversed"
    elif adjusted_p < alpha:
        word = "stands, smaller than reported" if is_smaller else "stands"
    return Judged(_IN_SMALL.get(word, word) if asked.is_scaled else word, found, adjusted_p, interval)


def _excludes_size(interval: Interval | None, asked: Asked) -> bool:
    """Say whether an interval holds nothing as large as reported, whatever that was rounded from."""
    if interval is None or asked.size is None or not asked.sign:
        return False
    most = interval.high if asked.sign > 0 else -interval.low
    return most < asked.sign * asked.size - asked.error


def _why_nothing(asked: Asked) -> str:
    if asked.void:
        return asked.void
    seeds = asked.found.n if asked.found else 0
    return f"{seeds} of {SEEDS_FOR_VERDICT} seeds" if seeds < SEEDS_FOR_VERDICT else ""


def _interval(found: Comparison, level: float) -> Interval | None:
    error, df = found.standard_error, found.degrees_of_freedom
    if not error or df is None:
        return None
    half = error * float(stdtrit(df, 1 - level / 2))
    return Interval(found.mean - half, found.mean + half)


def difference(row: Mapping[int, float], other: Mapping[int, float]) -> Comparison | None:
    """Compare numbers that are no accuracies by seed: Student's paired t; None where no seed is shared."""
    shared = sorted(row.keys() & other.keys())
    if not shared:
        return None
    values = [row[index] - other[index] for index in shared]
    found = estimate(values)
    if not found.sd:
        p = 1.0 if found.n > 1 else None  # without spread nothing can be told
        return Comparison(found.mean, found.n, 0, p=p)
    error = found.sd / math.sqrt(found.n)
    p = 2 * float(stdtr(found.n - 1, -abs(found.mean) / error))
    interval = found.interval if found.n >= SEEDS_FOR_INTERVAL else None
    return Comparison(found.mean, found.n, 0, error, found.n - 1, p, interval)


class Found:
    """The records of a column, as far as its arms need them: which images are right, and what is void.

    Args:
        records: Of one run.

    Attributes:
        alpha: The level of its family: less where test was read before, at another number of seeds.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        settled, _ = settle(records)
        groups = make_groups(settled)
        image_sets = ImageSets(settled)
        judgements = all_judgements(groups, image_sets)
        self.alpha = min(map(alpha_of, groups), default=ALPHA)
        self._entries: dict[str, tuple[Entry, CopyJudgement]] = {}
        self._voids: dict[str, str] = {}  # by key, of cells and of image sets
        for position, group in enumerate(groups):
            for entry in group.entries.values():
                found = judgements[position, entry.key]
                copies = replace(found, void=group.contradiction or found.void)
                for record in entry.measured.values():
                    self._entries[record.result.key] = (entry, copies)
                if copies.void:
                    mine = [*entry.measured.values(), *image_sets.of(entry, group)]
                    self._voids |= {record.result.key: copies.void for record in mine}

    def compared(self, row: Sequence[Record], other: Sequence[Record]) -> Asked:
        """Compare two arms by their accuracy on test; the conclusion itself is left to the caller.

        Args:
            row: Records of the one arm, by any evaluator.
            other: Records of the other.
        """
        mine, theirs = self._entry(row), self._entry(other)
        if mine is None or theirs is None:
            return Asked(0, None, None)
        (entry, copies), (base, base_copies) = mine, theirs
        void = copies.void or base_copies.void
        masks = [one for one in (copies.flagged, base_copies.flagged) if one is not None]
        is_copied = any(mask.any() for mask in masks)
        try:
            answers, others = entry.answers(), base.answers()
            if answers is None or others is None:
                scored = difference(entry.scores(), base.scores())
                return Asked(0, None, scored, void, is_copied=is_copied)  # nobody says which were right
            if answers.images != others.images:
                return Asked(0, None, None, "measured on different numbers of images")
        except ProtocolError as problem:
            return Asked(0, None, None, problem.message)
        whole, clean = compare(answers, others), None
        if is_copied and all(len(mask) == answers.images for mask in masks):
            kept = ~np.logical_or.reduce(masks)
            clean = compare(answers.kept(kept), others.kept(kept)) if kept.any() else None
        return Asked(0, None, whole, void, clean, is_copied=is_copied)

    def void(self, *arms: Sequence[Record]) -> str:
        """Say why rows can tell nothing, on whatever images they were measured; empty where they can."""
        known = (self._voids.get(record.result.key) for records in arms for record in records)
        return next((void for void in known if void), "")

    def _entry(self, records: Sequence[Record]) -> tuple[Entry, CopyJudgement] | None:
        known = (self._entries.get(record.result.key) for record in records)
        return next((one for one in known if one is not None), None)
