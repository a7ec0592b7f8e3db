"""What a suite could find, judged by the spreads of earlier records of the same dataset and classifier."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from genbench.digest import digest
from genbench.errors import ProtocolError
from genbench.records import Component, Declaration, Record
from genbench.two_way import MeanSquares
from genbench_leaderboard.crossed import compare, effect, p_value
from genbench_leaderboard.groups import RawGroup, alpha_at, compared, make_groups
from genbench_leaderboard.sentences import count
from genbench_leaderboard.settled import settle
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT

_SEEDS_FOR_SPREAD = 3  #: fewer say little about the variance between seeds


@dataclass(frozen=True)
class Prospect:
    """What the contrasts of a suite could find on one dataset with one classifier.

    Attributes:
        images: Test images.
        contrasts: How many earlier contrasts it is estimated from.
        points: Effect that is found with 80 % power, in points; None without earlier contrasts.
        room: How far the baseline is from 100 %, in points.
        hopeless: Whether not even a network without a mistake could be *better*.
    """

    images: int
    contrasts: int
    points: float | None
    room: float
    hopeless: bool


def expectations(
    records: Sequence[Record], declared: Declaration, pairs: Iterable[tuple[Component, Component]]
) -> Iterator[str]:
    """Yield what the contrasts of a suite could find.

    Args:
        records: Earlier records, of anything.
        declared: By the suite.
        pairs: Its datasets and classifiers.
    """
    seeds = declared.seeds - declared.choosing_seeds
    if not declared.helps or seeds < SEEDS_FOR_VERDICT:
        yield "no verdict: " + (
            "every row is a reference line" if not declared.helps else f"it takes {SEEDS_FOR_VERDICT} seeds"
        )
        return
    level = alpha_at(declared, 0) / declared.helps
    for dataset, classifier in pairs:
        what = f"{dataset.name}, {classifier.name}"
        found = prospect(records, dataset, classifier, seeds, level)
        if found is None or found.points is None:
            yield f"{what}: no earlier contrasts to tell what this suite could find"
        else:
            yield (
                f"{what}: effects from about {found.points:.2f} points on would be found with 80 % power, by "
                f"{count(found.contrasts, 'earlier contrast', 'earlier contrasts')} on {found.images:,} test "
                "images"
            )
        if found is not None and found.hopeless:
            yield (
                f"{what}: none is {found.room:.2f} points from perfect, and not even a network without a "
                "mistake could be better: take more test images, more seeds or a harder dataset"
            )


def prospect(
    records: Iterable[Record], dataset: Component, classifier: Component, seeds: int, level: float
) -> Prospect | None:
    """Estimate what a contrast could find; None where nothing earlier is known.

    Args:
        records: Earlier records, of anything.
        dataset: Of the suite.
        classifier: Of the suite.
        seeds: How many seeds confirm.
        level: What one contrast is held to: alpha over the number of contrasts.
    """
    own = [one for one in records if _is_about(one, dataset, classifier)]
    groups = [group for group in make_groups(settle(own)[0]) if group.budget_scale == 1]
    by_row = {key: one for group in groups for key, one in _spreads(group)}
    spreads = list(by_row.values())
    baselines = [one for group in groups for one in _room(group)]
    if not baselines or seeds < 2:
        return None
    images = baselines[0].images
    best = baselines[0].at(seeds, images)
    variances = [one.at(seeds, images) for one in spreads if one.images == images]
    points = [effect(one.variance, one.degrees_of_freedom(), level) for one in variances]
    return Prospect(
        images,
        len(points),
        statistics.median(points) if points else None,
        100 * best.mean,
        seeds >= SEEDS_FOR_VERDICT and p_value(best) >= level,
    )


def _is_about(record: Record, dataset: Component, classifier: Component) -> bool:
    result = record.result
    if result.subject != "cell" or result.status != "ok" or result.classifier is None:
        return False
    if result.evaluator.use != "accuracy":
        return False
    found = (result.dataset.identity, result.classifier.identity)
    return digest(list(found)) == digest([dataset.identity, classifier.identity])


def _spreads(group: RawGroup) -> Iterator[tuple[str, MeanSquares]]:
    """Yield the mean squares of every contender against real images alone, by its key."""
    for entry in group.entries.values():
        baseline = group.baseline_of(entry)
        if baseline is None or entry.is_baseline or entry.role != "contender":
            continue
        try:
            found = compared(entry, baseline)
        except ProtocolError:
            continue
        if found is not None and found.squares is not None and found.n >= _SEEDS_FOR_SPREAD:
            yield entry.key, found.squares


def _room(group: RawGroup) -> Sequence[MeanSquares]:
    """Return the mean squares of a network without a mistake against the plain baseline."""
    found = []
    for entry in group.entries.values():
        answers = entry.answers() if entry.role == "baseline" else None
        if answers is not None and len(answers.packed) >= _SEEDS_FOR_SPREAD:
            best = compare(answers.all_right(), answers)
            if best is not None and best.squares is not None:
                found.append(best.squares)
    return found
