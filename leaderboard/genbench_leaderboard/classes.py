"""Gains per class: which classes a row helps, and which it hurts. Exploratory; no verdict rests on them."""

from genbench_leaderboard.groups import Entry
from genbench_leaderboard.rows import ClassGain
from genbench_leaderboard.statistics import estimate, holm, paired_t

_SEEDS_FOR_P = 3


def class_gains(entry: Entry, baseline: Entry | None) -> tuple[ClassGain, ...]:
    """Return the difference of recall on test to the baseline, class by class, paired by seed.

    The p values of a row are Holm-adjusted over its classes.
    """
    if baseline is None or baseline is entry:
        return ()
    shared = [index for index in sorted(entry.measured) if index in baseline.measured]
    pairs = [(entry.classes(index), baseline.classes(index)) for index in shared]
    pairs = [(own, other) for own, other in pairs if own and own.keys() == other.keys()]
    if not pairs:
        return ()
    found = {}
    for name in (name for name, one in pairs[0][0].items() if one.images):
        row = [100 * own[name].right / own[name].images for own, _ in pairs]
        base = [100 * other[name].right / other[name].images for _, other in pairs]
        p = paired_t(row, base) if len(pairs) >= _SEEDS_FOR_P else None
        found[name] = (estimate([a - b for a, b in zip(row, base, strict=True)]), p)
    steps = holm([p for _, p in found.values()])
    return tuple(
        ClassGain(name, pairs[0][0][name].images, difference, step.adjusted_p if p is not None else None)
        for (name, (difference, p)), step in zip(found.items(), steps, strict=True)
    )
