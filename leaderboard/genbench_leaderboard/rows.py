"""What a board consists of: plain, frozen data, from which every rendering is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genbench.metrics import Averaged
from genbench.records import Protocol
from genbench_leaderboard.statistics import Estimate, Interval, PairedTest, Verdict

BASELINE = "none"  #: the generator and the filter that do nothing


@dataclass(frozen=True)
class Distance:
    """One distance between an image set and real images, averaged over seed indices.

    Attributes:
        family: `fid`, `mmd2`, ...
        extractor: What made the features.
        against: Against which real images: `train` or `val`.
        floor: Whether it is the distance between real and real at equal n.
        mean: Mean over seed indices.
        seeds: How many seed indices.
        n: Smallest and largest number of images of a seed, where filters or faults make it vary.
    """

    family: str
    extractor: str
    against: str
    floor: bool
    mean: float
    seeds: int
    n: tuple[int, int]


@dataclass(frozen=True)
class Cost:
    """Fit + filter + sample + train of one cell: mean wall seconds over seeds, largest memory peak."""

    seconds: float
    peak_memory_bytes: int
    devices: tuple[str, ...]


@dataclass(frozen=True, order=True)
class BudgetLimit:
    """At `scale` times the budget, val top-1 of the plain baseline is `val_rise` points higher (rule 3)."""

    scale: float
    val_rise: float


@dataclass(frozen=True)
class Contrast:
    """A row against its baseline: `none` with the same augmentation.

    Attributes:
        baseline: The baseline's mix.
        test: Paired over seeds; None where the two share no seed.
        images: Bootstrap interval over test images, in points.
        confirmatory: Whether it belongs to the board's Holm family.
        adjusted_p: Holm-adjusted p.
        level: The level that Holm holds this contrast to.
        verdict: Better, worse, or why there is none.
        minimum_detectable_points: What a *cannot tell* would have found with 80 % power, in points.
        points_per_minute: Only for *better*: gain per minute of extra cost, if there is any.
        copied_images: Test images with near copies among the synthetic ones, more than chance explains.
        without_copies: The comparison without them; a verdict that would be another one is *void*.
    """

    baseline: str
    test: PairedTest | None
    images: Interval | None
    confirmatory: bool
    adjusted_p: float | None = None
    level: float | None = None
    verdict: Verdict = "incomplete"
    minimum_detectable_points: float | None = None
    points_per_minute: float | None = None
    copied_images: int = 0
    without_copies: PairedTest | None = None


@dataclass(frozen=True)
class ClassGain:
    """What a row changes for one class.

    Attributes:
        name: Name of the class.
        images: Test images of the class.
        difference: Its recall less the baseline's, in points, over seeds.
        adjusted_p: Paired t over seeds, Holm-adjusted over the classes of the row; None below three seeds,
            and without spread.
    """

    name: str
    images: int
    difference: Estimate
    adjusted_p: float | None


@dataclass(frozen=True)
class ShiftGain:
    """How a row does on one shift.

    Attributes:
        name: Name of the shift.
        images: Images of the shift.
        top1: In %, over seeds.
        difference: To the baseline's, in points, over seeds; None for the baseline itself.
    """

    name: str
    images: int
    top1: Estimate
    difference: Estimate | None


@dataclass(frozen=True)
class Finding:
    """One number about all rows of a dataset together: does FID predict the gain, for example.

    Attributes:
        dataset: Short name.
        evaluator: Short name.
        metric: Name of the number.
        value: None where it cannot be computed; `note` says why.
        unit: Unit of the value.
        note: What a reader of the number needs.
    """

    dataset: str
    evaluator: str
    metric: str
    value: float | None
    unit: str
    note: str


@dataclass(frozen=True)
class Row:
    """One (generator, filter, mix) of a group.

    Attributes:
        generator: Short name, unique in its group.
        filter: Short name.
        mix: For people: `+1.0x standard`.
        mix_values: The mix, resolved.
        external_data: What generator, filter or classifier know from elsewhere; such rows rank apart.
        planned: How many seed indices were planned.
        top1: On test, in %; None where every seed failed.
        val_top1: On val, in %.
        contrast: None for the baseline itself, and where there is no baseline.
        rank: Among the complete rows of its pool with enough seeds.
        cost: None where no record says.
        distances: Distances of its image sets.
        classes: What it changes, class by class.
        shifts: How it does on every shift.
        measures: Whatever else was measured, but distances.
        test_copies: Distinct synthetic images that are test images, pixel for pixel: the maximum over seeds.
        metrics: Mean over seeds of every other metric of the row's cells, by name.
        budget_limited: Why its gain may be due to fewer visits of real images.
        mixed_environment: Whether some of its records come from another environment than most of the group.
    """

    generator: str
    filter: str
    mix: str
    mix_values: Mapping[str, Any]
    external_data: tuple[str, ...]
    planned: int
    top1: Estimate | None
    val_top1: Estimate | None
    contrast: Contrast | None
    rank: int | None
    cost: Cost | None
    distances: tuple[Distance, ...]
    classes: tuple[ClassGain, ...]
    shifts: tuple[ShiftGain, ...]
    measures: tuple[Averaged, ...]
    test_copies: int
    metrics: Mapping[str, float]
    budget_limited: BudgetLimit | None
    mixed_environment: bool

    @property
    def is_baseline(self) -> bool:
        """Whether its training images are real alone."""
        return float(self.mix_values["ratio"]) == 0

    @property
    def name(self) -> str:
        """Generator, filter and mix in one."""
        images = self.generator if self.filter == BASELINE else f"{self.generator} + {self.filter}"
        return f"{images}, {self.mix}"


@dataclass(frozen=True)
class Failure:
    """A record without numbers."""

    name: str
    index: int
    reason: str
    log: str


@dataclass(frozen=True)
class Environment:
    """Hardware and library versions, and how many records come from them."""

    hardware: Mapping[str, Any]
    versions: Mapping[str, str]
    records: int


@dataclass(frozen=True)
class Group:
    """Rows that may be compared: same dataset, protocol, budget and classifier.

    Attributes:
        ranked_pairs: Size of the Holm family of the ranks, all pools together.
        environments: The most common first.
        commands: What repeats the runs.
    """

    title: str
    dataset: str
    classifier: str
    budget: str
    budget_scale: float
    protocol: Protocol
    rows: tuple[Row, ...]
    ranked_pairs: int
    failures: tuple[Failure, ...]
    environments: tuple[Environment, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Board:
    """Everything that is published.

    Attributes:
        family_size: How many confirmatory contrasts Holm adjusted over, on the whole board.
        failures: Records without numbers that belong to no row: of image sets and suites.
        notes: What a reader must know about the records themselves.
        cells: How many cells were counted.
        findings: About all rows of a dataset together.
    """

    groups: tuple[Group, ...]
    family_size: int
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    cells: int = 0
    findings: tuple[Finding, ...] = ()
    primary_metric: str = field(default="test top-1")
