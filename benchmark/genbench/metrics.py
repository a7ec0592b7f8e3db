"""`Metric`: one number and the facts about it that no table, no statistic and no reader should have to guess.

What a number is about stands in fields, never in its name: `fid` of synthetic images against train, by the
extractor `reference`, from 1,437 images. `Metric.label` is the one place where a name for people is formed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

Subject = Literal["cell", "image_set", "suite"]
Role = Literal["score", "floor", "p_value", "curve", "check"]
Average = Literal["mean", "pooled", "none"]
Bounds = tuple[float | None, float | None]

#: Splits whose name is left out of a label: what a cell and an image set are usually measured on.
USUAL_SPLITS = ("", "test", "synthetic")
#: The table in which an evaluator of suites may give the ends of intervals: `{metric's label: [low, high]}`.
INTERVALS = "intervals"
#: Every split that is no shift. A shift is a test set from another distribution, and has a name of its own.
STANDARD_SPLITS = frozenset({"", "train", "val", "test", "reserve", "synthetic"})
_BOUNDS_OF_UNIT: dict[str, Bounds] = {"%": (0, 100)}  # a percentage is a share
_SUFFIX_OF_ROLE: dict[Role, str] = {"floor": "_floor", "p_value": "_p"}
_ROUNDING = 1e-9  # by which a sum of shares may leave its bounds
_LARGEST = 1e100  # a larger number is no measurement, and its square no number

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class Metric:
    """One number of one evaluation.

    Attributes:
        name: What was computed, in lower-case letters, digits and `_`: `top1`, `fid`.
        value: None where it cannot be computed; `note` says why.
        unit: `%`, `points`, `nats`, `images`, ... or empty. A percentage lies within 0 and 100.
        higher_is_better: None where neither direction is better.
        bounds: Smallest and largest possible value; None is unbounded.
        tolerance: Largest difference from the named reference implementation that a test allows.
        note: One sentence that a reader of the number needs.
        split: The images that it was measured on: `test`, `val`, `train`, `synthetic` or a shift; empty for a
            number about a whole suite.
        against: What they were compared with: a split, or `none`, the baseline; empty for no comparison.
        extractor: What made the features, or the classifier that judged.
        n: How many images it rests on; None where that says nothing.
        qualifiers: Whatever else tells it from others of its name, in order: `k=3`, an attack, a row.
        role: `score`, what a reader wants to know; `floor`, the same measurement on real images (or on
            another seed of the baseline), below which no score means anything; `p_value`; `curve`, one point
            of a curve, whose place is in `qualifiers`; `check`, about the data or the measurement itself.
        average: What becomes of it over seeds: `mean`; `pooled`, the mean weighted by `n`, for shares of sets
            whose size varies; `none`, it has no average and is shown for no row.
    """

    name: str
    value: float | None
    unit: str = ""
    higher_is_better: bool | None = None
    bounds: Bounds = (None, None)
    tolerance: float = Field(default=0.0, ge=0)
    note: str = ""
    split: str = ""
    against: str = ""
    extractor: str = ""
    n: int | None = Field(default=None, ge=0, le=2**53)
    qualifiers: tuple[str, ...] = ()
    role: Role = "score"
    average: Average = "mean"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ValueError(
                f"metric name {self.name!r}: use lower-case letters, digits and '_'; split, extractor, n "
                "and whatever else it is about are fields of Metric"
            )
        for bounds, slack in (
            (self.bounds, self.tolerance),
            (_BOUNDS_OF_UNIT.get(self.unit, (None, None)), 0.0),  # whatever tolerance a metric gives itself
            ((-_LARGEST, _LARGEST), 0.0),
        ):
            if self.value is not None and not _lies_within(self.value, *bounds, slack):
                raise ValueError(f"{self.label}: {self.value:g} does not lie within {_range(*bounds)}")
        return self

    @cached_property
    def identity(self) -> "MetricIdentity":
        """What tells it from every other metric of its row, whatever the seed."""
        parts = (self.name, self.split, self.against, self.extractor, self.qualifiers, self.role, self.unit)
        return MetricIdentity(*parts)

    @property
    def label(self) -> str:
        """Its name for people; the same for all seeds of a row, since `n` is left out."""
        return self.identity.label


class MetricIdentity(NamedTuple):
    """The fields of a metric that do not change from seed to seed (see `Metric`)."""

    name: str
    split: str
    against: str
    extractor: str
    qualifiers: tuple[str, ...]
    role: Role
    unit: str

    @property
    def label(self) -> str:
        """Write it in a few words.

        >>> Metric("top1", 97.5, "%", split="val").label
        'val_top1'
        >>> Metric("fid", 1.3, split="synthetic", against="train", extractor="reference", n=1079).label
        'fid[reference,train]'
        """
        is_plain = not self.against and self.role == "score"
        prefix = f"{self.split}_" if is_plain and self.split in {"train", "val"} else ""
        named = (
            self.role == "floor" or prefix or self.split in USUAL_SPLITS
        )  # a floor's split goes without saying
        inside = [
            *([] if named else [self.split]),
            *([self.extractor] if self.extractor else []),
            *self.qualifiers,
            *([self.against] if self.against else []),
        ]
        return f"{prefix}{self.name}{_SUFFIX_OF_ROLE.get(self.role, '')}" + (
            f"[{','.join(inside)}]" if inside else ""
        )


class Averaged(NamedTuple):
    """A metric over the seeds of a row.

    Attributes:
        identity: What was measured.
        value: Mean over seeds, or pooled value.
        seeds: How many seeds have a value.
        n: Smallest and largest number of images that a seed's value rests on; None where no seed says.
    """

    identity: MetricIdentity
    value: float
    seeds: int
    n: tuple[int, int] | None


def unlike_their_labels(measured: Iterable[tuple[str, Role, float | None]]) -> tuple[float, float] | None:
    """Return how often a judge sees their class in images, and in real ones, in %, if that is less than half.

    None where it is not, or was not measured.

    Args:
        measured: Name, role and value of the metrics of an image set: its `label_fidelity` is looked at.
    """
    shares = {role: value for name, role, value in measured if name == "label_fidelity" and value is not None}
    made, real = shares.get("score"), shares.get("floor")
    return None if made is None or real is None or made >= real / 2 else (made, real)


def shown_range(sizes: Iterable[int]) -> str:
    """Write how many images a number rests on, or their range where it varies: `1437`, `1012-1437`.

    Empty where nothing is known.
    """
    known = list(sizes)
    if not known:
        return ""
    return str(min(known)) if min(known) == max(known) else f"{min(known)}-{max(known)}"


def average(by_seed: Mapping[int, Iterable[Metric]]) -> list[Averaged]:
    """Average every metric over seeds as it declares, sorted by identity.

    Seeds on which a metric has no value are left out of its average; a metric that declares `average="none"`
    has none.

    Args:
        by_seed: The metrics of each seed index.
    """
    found: dict[MetricIdentity, list[Metric]] = {}
    for seed in sorted(by_seed):
        for metric in by_seed[seed]:
            if metric.value is not None and metric.average != "none":
                found.setdefault(metric.identity, []).append(metric)
    return [_averaged(found[identity]) for identity in sorted(found)]


def _averaged(metrics: Sequence[Metric]) -> Averaged:
    sizes = [metric.n for metric in metrics if metric.n is not None]
    weights = [1.0] * len(metrics)
    if metrics[0].average == "pooled" and len(sizes) == len(metrics) and len(set(sizes)) > 1:
        weights = [float(size) for size in sizes]  # equal sizes keep the plain mean, bit for bit
    values = (weight * (metric.value or 0.0) for weight, metric in zip(weights, metrics, strict=True))
    mean = math.fsum(values) / math.fsum(weights)
    return Averaged(metrics[0].identity, mean, len(metrics), (min(sizes), max(sizes)) if sizes else None)


def _lies_within(value: float, low: float | None, high: float | None, tolerance: float) -> bool:
    """Say whether a value lies within its bounds, give or take its tolerance; NaN and infinity pass."""
    slack = max(tolerance, _ROUNDING)
    below = low is not None and value < low - slack
    above = high is not None and value > high + slack
    return not math.isfinite(value) or not (below or above)


def _range(low: float | None, high: float | None) -> str:
    return f"{'-infinity' if low is None else f'{low:g}'} and {'infinity' if high is None else f'{high:g}'}"
