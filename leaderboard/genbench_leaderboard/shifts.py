"""Accuracy on shifts, and whatever else was measured. Exploratory; no verdict rests on it."""

import re
from collections import defaultdict
from collections.abc import Iterable

from genbench.records import Record
from genbench_leaderboard.distances import is_distance
from genbench_leaderboard.gather import Entry
from genbench_leaderboard.rows import Measure, ShiftGain
from genbench_leaderboard.statistics import estimate

_ON_SHIFT = re.compile(r"top1\[(.+)\]")
#: What `ood_accuracy` says of single shifts; p values, which have no mean.
_LEFT_OUT = re.compile(r"(ood_top1|gap|\w+_p)\[.*")


def shift_gains(entry: Entry, baseline: Entry | None) -> tuple[ShiftGain, ...]:
    """Return top-1 on every shift that was predicted, and the difference to the baseline, paired by seed."""
    names: dict[str, int] = {}
    for record in entry.measured.values():
        for metric in record.result.metrics:
            found = _ON_SHIFT.fullmatch(metric.name)
            if found:
                names[found[1]] = int(record.result.tables.get(found[1], {}).get("n", 0))
    gains = []
    for name, images in sorted(names.items()):
        own = entry.scores(f"top1[{name}]")
        other = baseline.scores(f"top1[{name}]") if baseline else {}
        pairs = [own[index] - other[index] for index in own if index in other]
        if own:
            difference = estimate(pairs) if pairs else None
            gains.append(ShiftGain(name, images, estimate(list(own.values())), difference))
    return tuple(gains)


def measures(entry: Entry, image_sets: Iterable[Record]) -> tuple[Measure, ...]:
    """Average every other metric of a row's cells and image sets; per index the newest record counts."""
    values: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for record in sorted((*entry.others, *image_sets), key=lambda one: (one.run.created, one.result.key)):
        for metric in record.result.metrics:
            left_out = is_distance(metric.name) or _LEFT_OUT.fullmatch(metric.name)
            if metric.value is not None and not left_out:
                values[metric.name, metric.unit][record.result.index] = metric.value
    return tuple(
        Measure(name, unit, estimate(list(found.values())).mean)
        for (name, unit), found in sorted(values.items())
    )
