"""The tables on which comparisons rest: what `accuracy` counts, and which test images have copies.

Other tables are shown by nobody but their evaluator. These two are read by the leaderboard, so a record that
holds them is refused unless they agree with themselves, with its metrics, and with how likely chance is.
"""

import base64
import binascii
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from genbench.chance import largest_share, poisson_tail
from genbench.metrics import STRICT

#: Whole numbers that a float holds exactly: counts are averaged, and divided.
Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]
#: Images of a split. One list of them takes 80 MB; the largest test set of the field has 50,000.
Images = Annotated[int, Field(ge=0, le=10_000_000, strict=True)]
Share = Annotated[float, Field(ge=-1e-9, le=1 + 1e-9, allow_inf_nan=False)]
_MOST_CLASSES, _MOST_BINS = 100_000, 1_000
_ROUNDING = 1e-6  # by which a metric may differ from what its counts say, in its unit
_Bits = Annotated[str, Field(strict=True)]
_AGREEMENT = 1e-6  # of two computations of a probability, on two machines


@dataclass(frozen=True)
class ClassCounts:
    """Images and right predictions of one class; whatever else a row says of it is not looked at."""

    name: Annotated[str, Field(alias="class", strict=True)]
    n: Count
    correct: Count


@dataclass(frozen=True)
class ConfidenceBin:
    """Images whose confidence lies in one bin: how many, their mean confidence, and the share right."""

    images: Count
    confidence: Share
    accuracy: Share


@dataclass(frozen=True)
class Counts:
    """What the evaluator `accuracy` counts on one split; the comparison of two rows rests on it.

    Attributes:
        n: Images of the split.
        correct_bits: One bit per image, 1 where the prediction is right (see `pack_bits`).
        per_class: Images and right predictions by class.
        confusion: Images by true (row) and predicted class.
        reliability: Images by confidence, as far as there are any.
    """

    n: Images
    correct_bits: _Bits
    per_class: Annotated[tuple[ClassCounts, ...], Field(max_length=_MOST_CLASSES)] = ()
    confusion: tuple[Any, ...] = ()
    reliability: Annotated[tuple[ConfidenceBin, ...], Field(max_length=_MOST_BINS)] = ()


Score = Literal["whole", "pair", "quadrant"]
#: Of the check for copies: by which score, and from which ratio on, an image looks like a copy of test.
#: docs/design/copies.md says how they were found.
COPY_TESTS: tuple[tuple[Score, float], ...] = (
    ("whole", math.exp(1)),
    ("whole", math.exp(1.5)),
    ("whole", math.exp(3)),
    ("pair", math.exp(1)),
    ("pair", math.exp(1.5)),
    ("pair", math.exp(3)),
    ("quadrant", math.exp(2)),
    ("quadrant", math.exp(3)),
)
WORST_COPIES = 20  #: pairs of images that a table names
_Ratio = Annotated[float, Field(ge=0, le=1e6, strict=True)]
_Probability = Annotated[float, Field(ge=0, le=1, strict=True)]


@dataclass(frozen=True, config=STRICT)
class CopyTest:
    """How many test images have a copy by one measure, and how many would by chance.

    Attributes:
        score: By what a synthetic image is compared (see `genbench.copies.scores`).
        limit: The ratio above which it looks like a copy.
        real: Real images that look like copies of test.
        expected: Synthetic images that would: their number times the largest share that `real` allows (95 %).
        found: Distinct test images that have a copy.
        p: How likely so many are where `expected` are expected.
        bits: One bit per test image, 1 where it has a copy (see `pack_bits`).
    """

    score: Score
    limit: _Ratio
    real: Count
    expected: Annotated[float, Field(ge=0, strict=True)]
    found: Count
    p: _Probability
    bits: _Bits


@dataclass(frozen=True, config=STRICT)
class ExactCopies:
    """Synthetic images that are, pixel for pixel, an image of a split, and none of train."""

    val: Count
    test: Count
    reserve: Count

    @property
    def total(self) -> int:
        """All of them."""
        return self.val + self.test + self.reserve


@dataclass(frozen=True, config=STRICT)
class CopyPair:
    """A synthetic image, by its row among those that the filter left, and what it looks like.

    Attributes:
        synthetic: Its row.
        test: Row of the test image by the score that stands out most.
        train: Row of the train image that is most alike.
        whole: Its ratio by each score, 0 where there is no such score.
        pair: Likewise.
        quadrant: Likewise.
    """

    synthetic: Count
    test: Count
    train: Count
    whole: _Ratio
    pair: _Ratio
    quadrant: _Ratio


@dataclass(frozen=True, config=STRICT)
class CopyTable:
    """What the harness's own check for copies says of an image set.

    Attributes:
        version: Of the scores.
        grid: Pixels of a side that images were compared in.
        images: In the set.
        judged: That were compared: all, or a sample of a large set.
        real: Real images that were asked the same.
        test: Images of test.
        tests: In the order of `COPY_TESTS`.
        exact: Of all images.
        blank: Images of one colour.
        duplicates: Images less distinct ones.
        worst: Pairs that stand out most.
    """

    version: Annotated[int, Field(ge=1, strict=True)]
    grid: Literal[8, 32]
    images: Images
    judged: Images
    real: Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
    test: Images
    tests: Annotated[tuple[CopyTest, ...], Field(max_length=len(COPY_TESTS))]
    exact: ExactCopies
    blank: Count
    duplicates: Count
    worst: Annotated[tuple[CopyPair, ...], Field(max_length=WORST_COPIES)] = ()


_COUNTS, _COPIES = TypeAdapter(Counts), TypeAdapter(CopyTable)


def check_counts(split: str, table: Any, metrics: Mapping[str, float]) -> int:
    """Return how many images a split has, by the table of `accuracy`.

    Args:
        split: Its name.
        table: What was counted.
        metrics: What was published of the split, by name; those that follow from the counts are compared.

    Raises:
        ValueError: The table is none, or contradicts itself or a metric.
    """
    counts = _COUNTS.validate_python(table)
    correct = _ones(f"tables.{split}.correct_bits", counts.correct_bits, counts.n)
    found: dict[str, tuple[object, object]] = {}
    if counts.per_class:
        found["per_class n"] = (sum(row.n for row in counts.per_class), counts.n)
        found["per_class correct"] = (sum(row.correct for row in counts.per_class), correct)
        most = next((row for row in counts.per_class if row.correct > row.n), None)
        if most:
            raise ValueError(f"tables.{split}: {most.correct} of {most.n} images of a class are right")
    if counts.confusion:
        found |= _sums(split, counts, correct)
    if counts.reliability:
        right = math.fsum(one.images * one.accuracy for one in counts.reliability)
        found["reliability"] = (sum(one.images for one in counts.reliability), counts.n)
        found["reliability's accuracy"] = (round(right, 3), correct)
    for what, (seen, expected) in found.items():
        if seen != expected:
            raise ValueError(f"tables.{split}: {what} gives {seen}, not {expected}")
    _check_classes(split, counts)
    top1 = metrics.get("top1")
    if top1 is not None and counts.n and abs(top1 - 100 * correct / counts.n) > _ROUNDING:
        raise ValueError(f"top1 on {split} is {top1:g} %, but {correct} of {counts.n} images are right")
    for name, value in _following(counts):
        if name in metrics and abs(metrics[name] - value) > _ROUNDING:
            raise ValueError(f"{name} on {split} is {metrics[name]:g} %, and its counts say {value:g} %")
    return counts.n


def _check_classes(split: str, counts: Counts) -> None:
    """Compare what is said of single classes, once in each of two tables; an older record may have one."""
    if len(counts.per_class) != len(counts.confusion):
        return
    for place, (own, row) in enumerate(zip(counts.per_class, counts.confusion, strict=True)):
        if (own.n, own.correct) != (sum(row), row[place]):
            raise ValueError(f"tables.{split}: per_class and confusion differ for class {place}")


def _following(counts: Counts) -> Iterator[tuple[str, float]]:
    """Yield the metrics that follow from counts, in %, by name; as `accuracy` defines them."""
    held = [row for row in counts.per_class if row.n]
    if held:
        yield "balanced_accuracy", 100 * math.fsum(row.correct / row.n for row in held) / len(held)
    images = [sum(row) for row in counts.confusion]
    if any(images):
        predicted = map(sum, zip(*counts.confusion, strict=True))
        both = zip(counts.confusion, images, predicted, strict=True)
        scores = [2 * row[place] / (n + asked) for place, (row, n, asked) in enumerate(both) if n]
        yield "macro_f1", 100 * math.fsum(scores) / len(scores)
    total = sum(one.images for one in counts.reliability)
    if total:
        gaps = (one.images * abs(one.accuracy - one.confidence) for one in counts.reliability)
        yield "calibration_error", 100 * math.fsum(gaps) / total


def _sums(split: str, counts: Counts, correct: int) -> dict[str, tuple[object, object]]:
    """Return what the confusion counts add up to, and should; checked here, since there may be a million."""
    size, total, diagonal = len(counts.confusion), 0, 0
    for place, row in enumerate(counts.confusion):
        if not isinstance(row, list) or len(row) != size:
            raise ValueError(f"tables.{split}: confusion's columns are not as many as its {size} rows")
        if not all(type(count) is int and count >= 0 for count in row):
            raise ValueError(f"tables.{split}: confusion holds something that is no count, in row {place}")
        total += sum(row)
        diagonal += row[place]
    return {"confusion": (total, counts.n), "confusion's diagonal": (diagonal, correct)}


def read_copies(table: Any) -> CopyTable:
    """Return the table of the check for copies.

    Raises:
        ValueError: It is none, or contradicts itself or the laws of chance.
    """
    found = _COPIES.validate_python(table)
    if found.judged > found.images:
        raise ValueError(f"tables.copies: {found.judged} images judged of {found.images}")
    most = {"exact": found.exact.total, "blank": found.blank, "duplicates": found.duplicates}
    for name, count in most.items():
        if count > found.images:
            raise ValueError(f"tables.copies: {name} counts {count} of {found.images} images")
    if tuple((one.score, one.limit) for one in found.tests) != COPY_TESTS:
        raise ValueError(f"tables.copies: its tests are not the {len(COPY_TESTS)} that there are")
    for one in found.tests:
        _check_test(one, found)
    for pair in found.worst:
        if pair.synthetic >= found.images or pair.test >= found.test:
            raise ValueError(f"tables.copies: no such pair: {pair}")
    return found


def _check_test(one: CopyTest, table: CopyTable) -> None:
    what = f"tables.copies.{one.score} above {one.limit:.2f}"
    if one.real > table.real:
        raise ValueError(f"{what}: {one.real} of {table.real} real images")
    expected = table.judged * largest_share(one.real, table.real)
    right: dict[str, tuple[float, float]] = {
        "found": (one.found, _ones(f"{what}: bits", one.bits, table.test)),
        "expected": (one.expected, expected),
        "p": (one.p, poisson_tail(one.found, expected)),
    }
    for name, (said, computed) in right.items():
        if not math.isclose(said, computed, rel_tol=_AGREEMENT, abs_tol=1e-300):
            raise ValueError(f"{what}: {name} is {said:g}, not {computed:g}")


def _ones(what: str, packed: str, count: int) -> int:
    try:
        return int.from_bytes(packed_bits(packed, count)).bit_count()
    except ValueError as problem:
        raise ValueError(f"{what}: {problem}") from None


def pack_bits(values: Iterable[bool]) -> str:
    """Pack booleans into base64, eight to a byte, first value in the highest bit (see `unpack_bits`)."""
    bits = "".join("1" if value else "0" for value in values)
    padded = bits + "0" * (-len(bits) % 8)
    return base64.b64encode(bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8))).decode()


def unpack_bits(packed: str, count: int) -> list[bool]:
    """Return the `count` booleans that `pack_bits` packed.

    Raises:
        ValueError: The text is no base64, or holds another number of booleans.
    """
    bits = "".join(f"{byte:08b}" for byte in packed_bits(packed, count))
    return [bit == "1" for bit in bits[:count]]


def packed_bits(packed: str, count: int) -> bytes:
    """Return the bytes that `pack_bits` wrote as base64.

    Raises:
        ValueError: The text is no base64, or holds another number of booleans.
    """
    try:
        content = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise ValueError(f"no base64 ({problem})") from None
    unused = 8 * len(content) - count  # the lowest bits of the last byte
    if not 0 <= unused < 8 or (content and content[-1] & ((1 << unused) - 1)):
        raise ValueError(f"{len(content)} bytes do not hold {count} bits")
    return content
