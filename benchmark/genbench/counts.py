"""The tables on which comparisons rest: what `accuracy` counts, and which test images are copied.

Other tables are shown by nobody but their evaluator. These two are read by the leaderboard, so a record that
holds them is refused unless they agree with themselves and with its metrics.
"""

import base64
import binascii
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

#: Whole numbers that a float holds exactly: counts are averaged, and divided.
Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]
#: Images of a split. One list of them takes 80 MB; the largest test set of the field has 50,000.
Images = Annotated[int, Field(ge=0, le=10_000_000, strict=True)]
Share = Annotated[float, Field(ge=-1e-9, le=1 + 1e-9, allow_inf_nan=False)]
_MOST_CLASSES, _MOST_BINS = 100_000, 1_000
_ROUNDING = 1e-6  # by which a metric may differ from what its counts say, in its unit
_Bits = Annotated[str, Field(strict=True)]


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


@dataclass(frozen=True)
class Copies:
    """What the evaluator `memorization` says of the test images that have a copy among the synthetic ones.

    Attributes:
        n: Images of test.
        copied_bits: One bit per image, 1 where it is copied (see `pack_bits`).
        p: How likely so many are by chance.
        copied: How many are copied.
    """

    n: Images
    copied_bits: _Bits
    p: Annotated[float, Field(ge=0, le=1, strict=True)]
    copied: Count | None = None


_COUNTS, _COPIES = TypeAdapter(Counts), TypeAdapter(Copies)


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


def check_copies(table: Any) -> None:
    """Refuse a table of copied test images that is none, or contradicts itself.

    Raises:
        ValueError: It is.
    """
    copies = _COPIES.validate_python(table)
    found = _ones("tables.test_copies.copied_bits", copies.copied_bits, copies.n)
    if copies.copied not in {None, found}:
        raise ValueError(f"tables.test_copies: {copies.copied} images copied, and bits of {found}")


def _ones(what: str, packed: str, count: int) -> int:
    try:
        return int.from_bytes(_packed(packed, count)).bit_count()
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
    bits = "".join(f"{byte:08b}" for byte in _packed(packed, count))
    return [bit == "1" for bit in bits[:count]]


def _packed(packed: str, count: int) -> bytes:
    try:
        content = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise ValueError(f"no base64 ({problem})") from None
    unused = 8 * len(content) - count  # the lowest bits of the last byte
    if not 0 <= unused < 8 or (content and content[-1] & ((1 << unused) - 1)):
        raise ValueError(f"{len(content)} bytes do not hold {count} bits")
    return content
