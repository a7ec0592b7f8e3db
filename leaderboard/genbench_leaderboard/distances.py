"""Records of image sets, joined to rows: their distances, read from metric names and averaged over seeds."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from genbench.digest import digest
from genbench.records import Record
from genbench_leaderboard.gather import Entry, RawGroup, identity
from genbench_leaderboard.rows import Distance

_NAME = re.compile(
    r"(?P<family>[a-z0-9]+)(?P<floor>_floor)?\[(?P<extractor>[^,\]]+),n=(?P<n>\d+),(?P<split>\w+)\]"
)


def is_distance(name: str) -> bool:
    """Say whether a metric's name is that of a distance, which has a table of its own."""
    return _NAME.fullmatch(name) is not None


class ImageSets:
    """Records of image sets, found by what a row says about its images."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._found: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            result = record.result
            if result.subject == "image_set" and result.status == "ok":
                images = [result.dataset, result.generator, result.filter]
                self._found[_images_key([identity(one) for one in images], result.mix["ratio"])].append(
                    record
                )

    def of(self, entry: Entry, group: RawGroup) -> list[Record]:
        """Return the records of a row's images; those of the row's own protocol where there are any."""
        images = [identity(one) for one in (group.dataset, entry.generator, entry.filter)]
        found = self._found.get(_images_key(images, entry.mix["ratio"]), [])
        return [record for record in found if record.result.protocol == group.protocol] or found

    def distances(self, entry: Entry, group: RawGroup) -> tuple[Distance, ...]:
        """Return a row's distances."""
        return _average(self.of(entry, group))


def _images_key(components: Sequence[object], ratio: float) -> str:
    return digest([*components, float(ratio)])


def _average(records: Iterable[Record]) -> tuple[Distance, ...]:
    """Average every distance over seed indices; the newest record of an index counts."""
    values: dict[tuple[str, str, int, str, bool], dict[int, float]] = defaultdict(dict)
    for record in sorted(records, key=lambda one: (one.run.created, one.result.key)):
        for metric in record.result.metrics:
            name = _NAME.fullmatch(metric.name)
            if name and metric.value is not None:
                key = (name["family"], name["extractor"], int(name["n"]), name["split"], bool(name["floor"]))
                values[key][record.result.index] = metric.value
    return tuple(
        Distance(*key, mean=math.fsum(found.values()) / len(found), seeds=len(found))
        for key, found in sorted(values.items())
    )
