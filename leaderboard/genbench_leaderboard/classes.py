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
    pairs = [(_classes(entry, index), _classes(baseline, index)) for index in shared]
    pairs = [(own, other) for own, other in pairs if own and own.keys() == other.keys()]
    if not pairs:
        return ()
    names = [name for name, (_, count) in pairs[0][0].items() if count]
    found = {}
    for name in names:
        row, base = (
            [100 * side[name][0] / side[name][1] for side in sides] for sides in zip(*pairs, strict=True)
        )
        p = paired_t(row, base) if len(pairs) >= _SEEDS_FOR_P else None
        found[name] = (estimate([a - b for a, b in zip(row, base, strict=True)]), p)
    steps = holm([p for _, p in found.values()])
    return tuple(
        ClassGain(name, pairs[0][0][name][1], difference, step.adjusted_p if p is not None else None)
        for (name, (difference, p)), step in zip(found.items(), steps, strict=True)
    )


def _classes(entry: Entry, index: int) -> dict[str, tuple[int, int]]:
    """Return (right, images) on test by class name."""
    found = entry.measured[index].result.answered()
    return {one.name: (one.right, one.images) for one in found.classes} if found is not None else {}
