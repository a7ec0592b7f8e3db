"""What copies of test among its synthetic images do to a row (protocol rule 5): a function of its records.

A row is void where its images are, pixel for pixel, images of val, test or the reserve that train does not
hold, or where more test images have near copies than chance explains: in one seed's set, or in those of all
seeds together. Below that, the test images that have a near copy are left out when the row is compared again.
Only the harness's own check counts; what else a record's tables say of copies, nobody reads.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genbench.chance import poisson_tail
from genbench.counts import COPY_TESTS, CopyTable, packed_bits
from genbench.errors import ProtocolError
from genbench.records import Record
from genbench.roles import CEILING

Mask = npt.NDArray[np.bool_]

FEWEST = 3  #: test images with a copy: fewer say nothing, however unlikely they are
#: A row's p is the smallest of its tests, times their number; below this, chance is no explanation.
ALARM = 0.001
CHECK = "copies"  #: the evaluator
_OWN_DISTRIBUTION = "genbench"
_SPLITS = {"test": "test images", "val": "val images", "reserve": "images of the reserve"}


@dataclass(frozen=True)
class CopyJudgement:
    """What is to be thought of a row's images.

    Attributes:
        checked: Whether the images of every seed were checked.
        void: Why the row cannot be judged, in words that accuse nobody; empty where it can.
        flagged: Test images with a near copy, of any seed: `bool [n]`; None where there are none.
        distinct: Test images with a near copy, by the test that is clearest.
        expected: How many chance explains at most, by the same test.
        blank: Synthetic images of one colour, at most, of a seed.
        duplicates: Synthetic images that are there already, at most, of a seed.
        of_images: How many images that seed has.
    """

    checked: bool = True
    void: str = ""
    flagged: Mask | None = None
    distinct: int = 0
    expected: float = 0.0
    blank: int = 0
    duplicates: int = 0
    of_images: int = 0


class _Found(NamedTuple):
    """Test images with a near copy by one test, of one seed or of all: how many, expected, and how likely."""

    distinct: int
    expected: float
    p: float

    @property
    def is_alarming(self) -> bool:
        return self.distinct >= FEWEST and self.p * len(COPY_TESTS) < ALARM


def judge_copies(records: Iterable[Record], seeds: Iterable[int]) -> CopyJudgement:
    """Judge a row by the records of its image sets.

    Args:
        records: Of all evaluators; of several checks of one seed's images, the newest counts.
        seeds: Indices of the seeds that the row is judged by.

    Raises:
        ProtocolError: Seeds were checked against different numbers of test images.
    """
    mine = list(records)
    tables = _tables(mine)
    if len({table.test for table in tables.values()}) > 1:
        sizes = sorted({table.test for table in tables.values()})
        raise ProtocolError(f"copies of test were looked for among {sizes} test images, by seed")
    found = _near_copies(list(tables.values()))
    duplicates, of_images = max(((one.duplicates, one.images) for one in tables.values()), default=(0, 0))
    clearest = min(found, key=lambda one: (not one.is_alarming, one.p), default=_Found(0, 0.0, 1.0))
    return CopyJudgement(
        checked=set(seeds) <= tables.keys(),
        void=_exact(mine, tables) or (_near(clearest) if clearest.is_alarming else ""),
        flagged=_flagged(tables.values()),
        distinct=clearest.distinct,
        expected=clearest.expected,
        blank=max((table.blank for table in tables.values()), default=0),
        duplicates=duplicates,
        of_images=of_images,
    )


def is_own_check(record: Record) -> bool:
    """Say whether a record is one of the harness's own check, and its table therefore what it says.

    No plugin can register an evaluator of its name (`genbench.registry`), and code of third parties is never
    loaded where it runs; the record names the distribution that ran, and what confined it, which is nothing.
    """
    result = record.result
    ran = [one for one in record.run.plugins if (one.kind, one.name) == ("evaluator", CHECK)]
    is_own = bool(ran) and all(
        one.distribution.partition(" ")[0] == _OWN_DISTRIBUTION and not one.confined and not one.changed
        for one in ran
    )
    return is_own and result.evaluator.use == CHECK and result.status == "ok" and "copies" in result.tables


def _tables(records: Sequence[Record]) -> Mapping[int, CopyTable]:
    """Return the newest table of each seed."""
    own = sorted(filter(is_own_check, records), key=lambda one: (one.run.created, one.result.key))
    return {record.result.index: record.result.copies() for record in own}


def _exact(records: Sequence[Record], tables: Mapping[int, CopyTable]) -> str:
    """Say how many images, of all seeds, are images that their generator was not given."""
    is_reserve_its_own = all(record.result.generator.use == CEILING for record in records)
    counts: Counter[str] = Counter()
    for table in tables.values():
        for split in _SPLITS:
            counts[split] += getattr(table.exact, split)
    if is_reserve_its_own:
        counts["reserve"] = 0
    said = [f"{n} synthetic images are {_SPLITS[split]}" for split, n in counts.items() if n]
    return f"{', '.join(said)}, pixel for pixel" if said else ""


def _near(found: _Found) -> str:
    return (
        f"more near copies of test images than chance explains: {found.distinct} test images, "
        f"{found.expected:.1f} expected"
    )


def _near_copies(tables: Sequence[CopyTable]) -> list[_Found]:
    """Return what every test finds, for each seed and, where there are several, for all of them together."""
    found = [_Found(one.found, one.expected, one.p) for table in tables for one in table.tests]
    if len(tables) < 2:
        return found
    for number in range(len(COPY_TESTS)):
        same = [table.tests[number] for table in tables]
        any_found = any(one.found for one in same)  # seldom: of most images there are no copies
        distinct = int(_union([(one.bits, tables[0].test) for one in same]).sum()) if any_found else 0
        expected = sum(one.expected for one in same)
        found.append(_Found(distinct, expected, poisson_tail(distinct, expected)))
    return found


def _flagged(tables: Iterable[CopyTable]) -> Mask | None:
    masks = [(one.bits, table.test) for table in tables for one in table.tests if one.found]
    return _union(masks) if masks else None


def _union(masks: Sequence[tuple[str, int]]) -> Mask:
    """Return which test images any mask holds; all are about the same number of images."""
    packed = [np.frombuffer(packed_bits(bits, count), dtype=np.uint8) for bits, count in masks]
    whole: npt.NDArray[np.uint8] = np.bitwise_or.reduce(packed)
    return np.unpackbits(whole, count=masks[0][1]).astype(np.bool_)
