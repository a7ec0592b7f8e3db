"""What was measured of a row besides accuracy on test: distances, shifts, and everything else.

Exploratory; no verdict rests on it. Metrics are read by their fields and averaged over seeds as they declare.
"""

from collections import defaultdict
from collections.abc import Iterable

from genbench.copy_judgement import CHECK
from genbench.digest import Remembered
from genbench.errors import ProtocolError
from genbench.metrics import STANDARD_SPLITS, Averaged, Metric, average
from genbench.records import Protocol, Record
from genbench.sheets import images_id
from genbench_leaderboard.crossed import Comparison
from genbench_leaderboard.groups import Entry, RawGroup, compared
from genbench_leaderboard.provenance import author_of
from genbench_leaderboard.rows import Distance, Measured, ShiftGain
from genbench_leaderboard.statistics import estimate

_Rules = tuple[int, int, str]


class ImageSets:
    """Records of image sets, found by what a row says about its images."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._found: dict[str, list[Record]] = defaultdict(list)
        self._of_protocol: dict[tuple[str, *_Rules], list[Record]] = defaultdict(list)
        self._names = Remembered()
        for record in records:
            result = record.result
            if result.subject == "image_set" and result.status == "ok":
                images = self._names.of(
                    images_id, result.dataset, result.generator, result.filter, result.ratio
                )
                self._found[images].append(record)
                self._of_protocol[images, *_rules(result.protocol)].append(record)

    def of(self, entry: Entry, group: RawGroup) -> list[Record]:
        """Return the records of a row's images; those of the row's own protocol where there are any."""
        images = self.id_of(entry, group)
        same = self._of_protocol.get((images, *_rules(group.protocol)), ())
        return [one for one in same if one.result.protocol == group.protocol] or self._found.get(images, [])

    def id_of(self, entry: Entry, group: RawGroup) -> str:
        """Return which set of images a row has, as `genbench.sheets` names it."""
        return self._names.of(images_id, group.dataset, entry.generator, entry.filter, entry.mix["ratio"])

    def distances(self, entry: Entry, group: RawGroup) -> tuple[Distance, ...]:
        """Return a row's distances, each a mean over its seeds."""
        found = []
        for one in average_records(one for one in self.of(entry, group) if not author_of(one)):
            if is_distance(one):
                about, floor = one.identity, one.identity.role == "floor"
                assert one.n is not None
                found.append(
                    Distance(about.name, about.extractor, about.against, floor, one.value, one.seeds, one.n)
                )
        return tuple(found)


def _rules(protocol: Protocol) -> _Rules:
    """Return what protocols that differ mostly differ in: many suites measure the same images."""
    return (protocol.version, protocol.base_seed, protocol.preset)


def is_distance(one: Averaged) -> bool:
    """Say whether a measure is a distance between two sets of images, or its floor: they have a table.

    That is: a number without unit or qualifier, against train or val, that rests on an extractor's features.
    """
    about = one.identity
    between = about.against in {"train", "val"} and about.split in {"synthetic", "train"}
    return between and bool(about.extractor) and not about.unit and not about.qualifiers and one.n is not None


def average_records(records: Iterable[Record]) -> list[Averaged]:
    """Average the metrics of records over seed indices; per index and metric the newest record counts."""
    newest: dict[int, dict[object, Metric]] = defaultdict(dict)
    for record in sorted(records, key=lambda one: (one.run.created, one.result.key)):
        for metric in record.result.metrics:
            newest[record.result.index][metric.identity] = metric
    return average({index: list(found.values()) for index, found in newest.items()})


def shift_gains(entry: Entry, baseline: Entry | None) -> tuple[ShiftGain, ...]:
    """Return top-1 on every shift that was predicted, and the difference to the baseline.

    The difference is one over seeds and images of the shift, as on test; without results per image, its mean.
    """
    sizes: dict[str, int] = {}
    for record in entry.measured.values():
        for metric in record.result.metrics:
            if metric.name == "top1" and metric.split not in STANDARD_SPLITS:
                sizes[metric.split] = metric.n or 0
    gains = []
    for name, images in sorted(sizes.items()):
        own = entry.scores(name)
        if own:
            difference = _gain(entry, baseline, name) if baseline else None
            gains.append(ShiftGain(name, images, estimate(list(own.values())), difference))
    return tuple(gains)


def _gain(entry: Entry, baseline: Entry, split: str) -> Comparison | None:
    try:
        return compared(entry, baseline, split)
    except ProtocolError:
        return None


def measures(entry: Entry, image_sets: Iterable[Record]) -> tuple[Measured, ...]:
    """Average every metric of a row's cells and image sets that has no table of its own.

    What is measured on a single shift is left out: the table of shifts says it with its gain. A metric of a
    third party is named as theirs, whatever it is called.
    """
    by_author: dict[str, list[Record]] = defaultdict(list)
    for record in (*entry.others, *image_sets):
        if record.result.evaluator.use != CHECK:  # what the harness's check finds is said of the row itself
            by_author[author_of(record)].append(record)
    return tuple(
        Measured(one, author)
        for author in sorted(by_author)
        for one in average_records(by_author[author])
        if (author or not is_distance(one)) and one.identity.split in STANDARD_SPLITS
    )
